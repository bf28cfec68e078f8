"""Video files as an input: a few frames of a clip, and when they are shown.

`open_clip` reads a file through PyAV (extra `video`), `open_animation` an animated picture, `clip_of_frames` makes a
clip from pictures in memory, and `is_clip` tells a video file from a picture by its first bytes. How a model's
processor prepares frames belongs to `todre.processing`. Nothing here imports torch.
"""

from __future__ import annotations

from todre.clips.animation import is_animation, open_animation
from todre.clips.clip import Clip, ClipWarning, clip_of_frames, clip_sha256
from todre.clips.reader import open_clip
from todre.clips.signatures import is_clip

__all__ = [
    "Clip",
    "ClipWarning",
    "clip_of_frames",
    "clip_sha256",
    "is_animation",
    "is_clip",
    "open_animation",
    "open_clip",
]
