"""Checks of a file's bytes: whether it is a video, and whether it is complete.

Only the first bytes and the outermost boxes are read.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".flv", ".wmv", ".ogv", ".3gp",
)  # fmt: skip
"""Suffixes of videos, read only where a file's first bytes say nothing.

Such files are empty, absent or damaged.
"""

_PICTURE_BRANDS = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_BOXES = {
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"free", b"skip", b"wide", b"pnot", b"uuid", b"meta", b"sidx",
    b"ssix", b"prft", b"emsg", b"pdin", b"udta", b"junk",
}  # fmt: skip
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_TS_PACKET = 188


def is_clip(path: str | Path) -> bool:
    """True if a file is a video, by its first bytes.

    Where the first bytes say nothing, the file's suffix decides.
    """
    head = b""
    with suppress(OSError, ValueError):
        if Path(path).is_file():
            with open(path, "rb") as file:
                head = file.read(4 * (_TS_PACKET + 4))
    return has_signature(head) or (not _is_picture(head) and Path(path).suffix.lower() in SUFFIXES)


def has_signature(head: bytes) -> bool:
    """True if a file's first bytes begin a container that holds video.

    Known containers are ISO media, Matroska, AVI, MPEG, FLV, ASF and Ogg.
    """
    if head[4:8] in _BOXES:
        return head[8:12] not in _PICTURE_BRANDS
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    if head.startswith((_EBML, b"FLV\x01", b"OggS", b"\x00\x00\x01\xba", _ASF)):
        return True
    stride = next((size for size in (_TS_PACKET, _TS_PACKET + 4) if _has_sync(head, size)), None)
    return stride is not None


def missing_bytes(path: Path) -> tuple[int, int] | None:
    """(bytes in the file, bytes that the file states) if bytes are missing.

    None if no bytes are missing, or if the file states no length. ISO media, Matroska and RIFF state the length of what
    follows, which reveals a file that was cut short; other containers, and live recordings that left their length open,
    state nothing.
    """
    actual = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(16)
        stated: int | None = None
        if head[:4] == b"RIFF":
            stated = _riff_end(file, actual)
        elif head[:4] == _EBML:
            stated = _matroska_end(file)
        elif head[4:8] in _BOXES:
            stated = _boxes_end(file, actual)
    return (actual, stated) if stated is not None and stated > actual else None


def _boxes_end(file: BinaryIO, actual: int) -> int:
    """The byte at which the last top-level box of an ISO media file ends.

    Reading stops at the first box of an unknown type.
    """
    position = 0
    while position + 8 <= actual:
        file.seek(position)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if head[4:8] not in _BOXES or size == 0:  # appended data, or a last box without a length
            return position
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        position += max(size, 8)
    return position


def _riff_end(file: BinaryIO, actual: int) -> int:
    """The byte at which the last RIFF chunk of an AVI file ends.

    A padding byte after a chunk of odd length may be missing.
    """
    position = 0
    while position + 12 <= actual:
        file.seek(position)
        head = file.read(8)
        size = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or size == 0:
            break
        position += 8 + size
    return position


def _matroska_end(file: BinaryIO) -> int | None:
    """The byte at which a Matroska segment ends; None if its length is open."""
    file.seek(4)
    header = _vint(file)
    if header is None:
        return None
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return None
    length = _vint(file)
    return None if length is None else file.tell() + length


def _vint(file: BinaryIO) -> int | None:
    """A length in Matroska's variable-length coding.

    None for "unknown" (all ones) and at the end of the file.
    """
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    extra = 8 - first[0].bit_length()
    raw = bytes([first[0] & (0x7F >> extra)]) + file.read(extra)
    value = int.from_bytes(raw, "big")
    return None if value == (1 << 7 * (extra + 1)) - 1 or len(raw) <= extra else value


def _is_picture(head: bytes) -> bool:
    signatures = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return webp or head.startswith(signatures) or (head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS)


def _has_sync(head: bytes, stride: int) -> bool:
    """True if MPEG transport packets of `stride` bytes follow each other.

    M2TS puts four bytes before each packet.
    """
    offset = stride - _TS_PACKET
    places = range(offset, min(len(head), 4 * stride), stride)
    return len(places) >= 3 and all(head[place] == 0x47 for place in places)
