"""Drawings of one answer as SVG: kept tokens over the picture, and bars.

Text takes the colour of the page, so that the drawings suit a dark page too.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from html import escape

from PIL import Image

from todre.geometry import TokenBox
from todre.plots.kept_tokens import LABELS
from todre.plots.lines import BLUE, GREEN, GREY, ORANGE, RED, SKY
from todre.plots.marks import COLOURS, lit

SIDE = 640
"""Most pixels of the longer side of a picture on the page."""
STAGES = {"encode": BLUE, "select": GREEN, "prefill": ORANGE, "decode": SKY, "other": GREY}
"""Stages of an answer's time, and their colours."""
_WIDTH, _HEIGHT, _BELOW, _ABOVE = 320, 96, 16, 14
_TICK = 0.03
"""Width of a newline token's tick, over the picture's width."""


def data_url(picture: Image.Image) -> str:
    """The picture, made smaller where it is large, as a `data:` URL of a JPEG."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    small.convert("RGB").save(stream, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def plain_picture(picture: Image.Image, words: str) -> str:
    """The picture alone; `words` say what it shows to who cannot see it."""
    return f'<img class="todre-picture" alt="{escape(words)}" src="{data_url(picture)}">'


def kept_tokens(
    picture: Image.Image, boxes: Sequence[TokenBox], kept: Mapping[int, str], counts: tuple[int, int] | None = None
) -> str:
    """The picture, pale where no kept token looked, with a frame for each kept token.

    Where all tokens are kept, frames show under the pointer alone.

    Args:
        picture: RGB.
        boxes: places of all visual tokens.
        kept: by index into `boxes`, what a click on the token says.
        counts: (kept tokens, all tokens), where a token may have several boxes.
    """
    width, height = picture.size
    looked = [boxes[place] for place in kept]
    shown = picture if len(kept) == len(boxes) else Image.fromarray(lit(picture, looked, SIDE))
    right = width * (1 + 2 * _TICK) if any(box.kind == "newline" for box in looked) else width
    order = {"thumbnail": 0, "grid": 1, "crop": 2, "newline": 3}
    places = sorted(kept, key=lambda place: order.get(boxes[place].kind, 0))
    frames = "".join(_frame(boxes[place], kept[place], width) for place in places)
    some, every = counts or (len(kept), len(boxes))
    words = f"{some} of {every} visual tokens, framed over the picture"
    look = "todre-kept todre-all" if len(kept) == len(boxes) else "todre-kept"
    return (
        f'<svg class="{look}" viewBox="0 0 {right:g} {height}" role="img" aria-label="{words}">'
        f'<image href="{data_url(shown)}" width="{width}" height="{height}" preserveAspectRatio="none"/>{frames}</svg>'
        f"{_legend({box.kind for box in looked})}"
    )


def layer_bars(counts: Sequence[int], before: int) -> str:
    """Bars of the visual tokens that each decoder layer ran on.

    Args:
        counts: tokens by layer.
        before: tokens without pruning, which a bar of full height stands for.
    """
    bars = [
        (count / max(before, 1), f"layer {layer}: {count} of {before} visual tokens")
        for layer, count in enumerate(counts, 1)
    ]
    return _bars(bars, "visual tokens by layer", f"{before}", BLUE)


def share_bars(values: Mapping[int, float | None], title: str, threshold: float, deciding: Sequence[int]) -> str:
    """Bars of shares by layer, with a threshold across them.

    Args:
        values: share by layer; None where there is none.
        title: what the bars are.
        threshold: the share at which the line lies.
        deciding: layers whose bars have another colour.
    """
    top = max([threshold, *(value for value in values.values() if value is not None)]) * 1.1
    bars, colours = [], []
    for layer, value in values.items():
        said = "undefined" if value is None else f"{100 * value:.2f} %"
        bars.append(((value or 0.0) / top, f"layer {layer}: {said}" + (", stage 2 decides" * (layer in deciding))))
        colours.append(RED if layer in deciding else BLUE)
    across = _ABOVE + _HEIGHT * (1 - threshold / top)
    line = (
        f'<line x1="0" x2="{_WIDTH}" y1="{across:.1f}" y2="{across:.1f}" stroke="currentColor" '
        'stroke-width="1.5" stroke-dasharray="4 3"/>'
    )
    scale = f"{100 * top:.1f} %, dashed: threshold {100 * threshold:g} %"
    return _bars(bars, title, scale, BLUE, colours, line, list(values))


def time_bar(times: Mapping[str, float | None]) -> str:
    """One bar of an answer's time, divided by stage, with a line of numbers below.

    Args:
        times: milliseconds by stage, as `Timings.to_dict` has them.
    """
    parts = {stage: times.get(stage) or 0.0 for stage in STAGES}
    whole = sum(parts.values()) or 1.0
    left, drawn = 0.0, ""
    for stage, part in parts.items():
        width = _WIDTH * part / whole
        drawn += (
            f'<rect x="{left:.2f}" y="0" width="{width:.2f}" height="14" fill="{STAGES[stage]}">'
            f"<title>{stage}: {part:.1f} ms</title></rect>"
        )
        left += width
    keys = " ".join(_key(STAGES[stage], f"{stage} {part:.1f}") for stage, part in parts.items())
    return (
        f'<svg class="todre-bars" viewBox="0 0 {_WIDTH} 14" preserveAspectRatio="none" role="img" '
        f'aria-label="time by stage">{drawn}</svg><p class="todre-keys">{keys} ms</p>'
    )


def _legend(kinds: Collection[str]) -> str:
    """What the colours of frames mean, for the kinds of token that are framed."""
    keys = [_key(COLOURS[kind], words) for kind, words in LABELS.items() if kind in kinds]
    return f'<p class="todre-keys">{" ".join(keys)}</p>' if keys else ""


def _key(colour: str, words: str) -> str:
    return f'<span><i style="background:{colour}"></i>{escape(words)}</span>'


def _frame(box: TokenBox, words: str, width: int) -> str:
    """A token's rectangle, which says its words when pointed at or clicked."""
    colour = COLOURS.get(box.kind, GREY)
    left, across = box.left, box.right - box.left
    if box.kind == "newline":
        left, across = width * (1 + _TICK / 2), width * _TICK
    down = box.bottom - box.top
    if across <= 0 or down <= 0:
        return ""
    said = escape(words)
    return (
        f'<rect class="todre-token" data-say="{said}" x="{left:.1f}" y="{box.top:.1f}" width="{across:.1f}" '
        f'height="{down:.1f}" stroke="{colour}"><title>{said}</title></rect>'
    )


def _bars(
    bars: Sequence[tuple[float, str]],
    title: str,
    top: str,
    colour: str,
    colours: Sequence[str] = (),
    over: str = "",
    labels: Sequence[int] = (),
) -> str:
    """Bars of (height from 0 to 1, what it says), numbered from 1 or by `labels`."""
    step = _WIDTH / max(len(bars), 1)
    every = -(-len(bars) // 12)
    drawn = ""
    for number, (height, said) in enumerate(bars):
        tall = _HEIGHT * min(height, 1.0)
        fill = colours[number] if colours else colour
        drawn += (
            f'<rect x="{number * step + step * 0.08:.2f}" y="{_ABOVE + _HEIGHT - tall:.2f}" '
            f'width="{step * 0.84:.2f}" height="{tall:.2f}" fill="{fill}"><title>{escape(said)}</title></rect>'
        )
        if number % every == 0:
            drawn += (
                f'<text x="{(number + 0.5) * step:.1f}" y="{_ABOVE + _HEIGHT + 12}" text-anchor="middle" '
                f'class="todre-small">{labels[number] if labels else number + 1}</text>'
            )
    return (
        f'<svg class="todre-bars" viewBox="0 0 {_WIDTH} {_ABOVE + _HEIGHT + _BELOW}" role="img" '
        f'aria-label="{escape(title)}"><text x="0" y="10" class="todre-small">{escape(title)} (top: {escape(top)})'
        f'</text>{drawn}<line x1="0" x2="{_WIDTH}" y1="{_ABOVE + _HEIGHT}" y2="{_ABOVE + _HEIGHT}" '
        f'stroke="currentColor" stroke-width="0.7"/>{over}</svg>'
    )
