"""What an animation's file may be; read before anything that draws is imported."""

from __future__ import annotations

SUFFIXES = (".gif", ".webp", ".mp4")
"""Suffixes of the kinds of file that animations are written to."""
STEP = 10
"""Milliseconds by which a GIF counts; every duration is a multiple."""
LEAST_DURATION, MOST_DURATION = 20, 10_000
"""Bounds of a frame's duration in milliseconds; browsers slow down shorter ones."""
LEAST_WIDTH, MOST_WIDTH = 320, 1280
"""Bounds of an animation's width in pixels."""
MOST_FRAMES = 400
"""Most frames of an animation, all of which are held in memory."""
