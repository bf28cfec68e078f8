"""Figures of results, drawn with matplotlib (extra `plots`).

Each figure is one function from a document, or from what `todre.reading` read, to a matplotlib `Figure`; it writes
nothing. `save_figure` in `marks` writes a figure. `kept_tokens` and `contact_sheet` draw kept tokens over pictures and
clips, `animations` draws them frame by frame (`animation_frames` says what a frame shows, `animation_files` writes
them), `instruments` draws `todre analyze`, `bench` draws `todre bench`, and the others draw `todre eval`.
"""

from __future__ import annotations

import importlib.util

from todre.errors import MissingDependencyError

FORMATS = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
"""Suffixes of the formats in which figures can be written."""


def require_matplotlib() -> None:
    """Raise `MissingDependencyError` unless matplotlib is installed; imports nothing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError(
            "Drawing needs matplotlib, which is not installed; run `pip install 'todre[plots]'`, or ask for no picture."
        )
