"""FLOPs in words."""

from __future__ import annotations


def format_flops(count: float) -> str:
    """Text of a number of FLOPs, in powers of a thousand."""
    for unit in ("", " k", " M", " G", " T"):
        if count < 1000 or unit == " T":
            return f"{count:.3g}{unit}" if count < 1000 else f"{count:.0f}{unit}"
        count /= 1000
    raise AssertionError  # pragma: no cover
