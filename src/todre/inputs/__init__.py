"""Inputs as people have them: one reader of pictures for every command.

`reader` opens what a text names: a path, `-`, a `file://`, `data:` or web address, a page of a PDF, HEIC. `several`
finds the pictures that folders, patterns and ranges of pages stand for. What a text means is told by
`todre.files.locations`, and what a picture may be by `todre.images`.
"""

from __future__ import annotations

from todre.inputs.reader import Reading, open_medium, open_picture, open_with_bytes, picture_of, reading_for
from todre.inputs.several import MOST_TOGETHER, PICTURES, named_pictures, one_picture

__all__ = [
    "MOST_TOGETHER",
    "PICTURES",
    "Reading",
    "named_pictures",
    "one_picture",
    "open_medium",
    "open_picture",
    "open_with_bytes",
    "picture_of",
    "reading_for",
]
