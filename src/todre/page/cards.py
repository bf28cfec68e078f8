"""What the page shows of an answer, in HTML: a card for each method."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from todre.clips import Clip
from todre.flops.words import format_flops
from todre.geometry import ClipShape, TokenBox, visual_token_boxes
from todre.loading.model import Loaded
from todre.page import svg
from todre.page.answering import Outcome
from todre.page.clips import sheet, still
from todre.report import PruningReport, format_bytes
from todre.running import Answer, Media

LONGER = "answers on this page are no longer"
HINT = "Point at a token, or click on it, to see its place."


def waiting(name: str, text: str) -> str:
    """The card of a method that is still answering; `text` is its answer so far."""
    said = escape(text) or "…"
    return f'<article class="todre-card" data-state="answering"><h3>{escape(name)}</h3>{_answer(said)}</article>'


def stopped(name: str) -> str:
    """The card of a method that the visitor did not wait for."""
    return f'<article class="todre-card" data-state="stopped"><h3>{escape(name)}</h3><p>Stopped.</p></article>'


def card(loaded: Loaded, picture: Media, outcome: Outcome) -> str:
    """The card of a method that has answered, or does not apply."""
    head = f"<h3>{escape(outcome.name)}</h3>"
    if outcome.answer is None:
        return f'<article class="todre-card" data-state="refused">{head}<p>{escape(outcome.refusal)}</p></article>'
    answered = outcome.answer
    before = answered.visual_tokens_before
    return (
        f'<article class="todre-card" data-state="done" data-method="{escape(outcome.name)}">{head}'
        f"{_answer(escape(answered.text) or '(nothing)')}{drawing(loaded, picture, outcome)}{_facts(answered)}"
        f"{svg.layer_bars(answered.report.visual_tokens_per_layer[0], before)}"
        f"{svg.time_bar(answered.timings.to_dict())}{noted(answered.notes(LONGER))}</article>"
    )


def noted(notes: Sequence[str]) -> str:
    """A paragraph for each note."""
    return "".join(f"<p>{escape(note)}</p>" for note in notes)


def drawing(loaded: Loaded, picture: Media, outcome: Outcome) -> str:
    """The kept tokens over the picture, or the smaller picture that was shown.

    Where the places of a model's tokens are not known, the picture alone.
    """
    answered = outcome.answer
    if answered is None:
        return ""
    if answered.shown.visual_tokens:
        smaller = answered.shown.pictures[0]
        return _figure(
            svg.plain_picture(smaller, "the smaller picture that the model was shown"),
            f"The model was shown this picture of {smaller.width} × {smaller.height} pixels.",
        )
    boxes = places(loaded, picture)
    if len(boxes) != answered.report.visual_tokens_before[0]:
        return _figure(
            svg.plain_picture(still(picture), "the picture"), "The places of this model's visual tokens are not known."
        )
    turns = {place: turn for turn, place in enumerate(outcome.order, 1)}
    kept = {
        place: token_words(boxes, place, answered.report)
        + (f" Choice {turns[place]} of {len(turns)}." if place in turns else "")
        + (f" {outcome.saliency.words(place)}" if outcome.saliency else "")
        for place in answered.report.survivors(0)
    }
    if not isinstance(picture, Clip):
        return _figure(svg.kept_tokens(picture, boxes, kept), HINT)
    laid = sheet(picture, boxes)
    said = {index: kept[token] for index, token in enumerate(laid.tokens) if token in kept}
    return _figure(svg.kept_tokens(laid.picture, laid.boxes, said, (len(kept), len(boxes))), HINT)


def places(loaded: Loaded, picture: Media) -> list[TokenBox]:
    """The place of each visual token; none where they are not known."""
    from todre.errors import UnsupportedModelError

    shape = ClipShape(*picture.size, len(picture)) if isinstance(picture, Clip) else picture.size
    try:
        return visual_token_boxes(loaded.processor, loaded.model.config, [shape])
    except UnsupportedModelError:
        return []


def token_words(boxes: Sequence[TokenBox], place: int, report: PruningReport) -> str:
    """Where a kept token looked, and the layers that it was in."""
    box = boxes[place]
    looked = f"x {box.left:.0f}–{box.right:.0f}, y {box.top:.0f}–{box.bottom:.0f} in pixels"
    if box.kind == "newline":
        looked = f"the end of a row of crops, y {box.top:.0f}–{box.bottom:.0f}"
    if box.frame is not None:
        first, end = box.frame + 1, box.frame + box.frames
        looked += f" of frame {first}" if first == end else f" of frames {first} to {end}"
    last = _last_layer(place, report)
    deep = f"in all {report.n_layers} layers" if last == report.n_layers else f"in layers 1 to {last}"
    return f"Token {place} of {len(boxes)} ({box.kind}): {looked}; {deep} of the decoder."


def _last_layer(place: int, report: PruningReport) -> int:
    """The last layer (1-based) that ran on a visual token."""
    last = 0
    steps = sorted(report.kept_from_layer[0].items())
    ends = [start for start, _ in steps[1:]] + [report.n_layers]
    for (_, kept), end in zip(steps, ends, strict=True):
        if place in kept:
            last = end
    return last


def _facts(answered: Answer) -> str:
    """The counts of an answer; exact numbers are in `data-value`."""
    report, flops = answered.report, answered.flops
    before, after = answered.visual_tokens_before, report.visual_tokens_after[0]
    share = f" ({100 * after / before:.1f} %)" if before else ""
    held = format_bytes(report.kv_bytes[0])
    if not answered.shown.visual_tokens:  # of a smaller picture the report knows nothing that was held before
        held = f"{format_bytes(report.kv_bytes_unpruned[0])} → {held}"
    rows = [
        ("Visual tokens", after, f"{before} → {after}{share}"),
        ("KV cache", report.kv_bytes[0], held),
        ("FLOPs", flops and flops.total, "not known for this model" if flops is None else format_flops(flops.total)),
        ("New tokens", answered.new_tokens, f"{answered.new_tokens}"),
        ("Time", "", f"{answered.timings.total:.0f} ms"),
    ]
    lines = "".join(
        f'<tr><th scope="row">{name}</th><td data-fact="{name}" data-value="{"" if value is None else value}">'
        f"{escape(said)}</td></tr>"
        for name, value, said in rows
    )
    return f'<table class="todre-facts">{lines}</table>'


def _answer(said: str) -> str:
    return f'<p class="todre-answer">{said}</p>'


def _figure(drawn: str, caption: str) -> str:
    return f'<figure>{drawn}<figcaption class="todre-say" aria-live="polite">{escape(caption)}</figcaption></figure>'
