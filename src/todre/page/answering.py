"""Answers under several methods, one after the other, and the record of them.

Each is `todre.running.answer`, as in `todre compare`, so the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from todre.analysis.animations import choosing
from todre.errors import TodreError
from todre.loading.model import Loaded
from todre.methods import registry
from todre.methods.base import Method
from todre.methods.shared.ordered import Ordered
from todre.page.saliency import Saliency, saliencies
from todre.page.wish import Wish
from todre.running import Answer, Media, Settings, answer

SETTINGS = Settings(max_new_tokens=64, seed=0, warm_up=0, repeats=1)
"""How every answer of the page is generated: one run, not warmed up."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """An answer that has begun.

    Attributes:
        place: of the method among those chosen.
        text: the answer so far.
    """

    place: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one method.

    Attributes:
        place: of the method among those chosen.
        name: the method's name.
        answer: the answer; None where the method does not apply.
        refusal: why it does not apply.
        order: the kept tokens in the order in which the method chose them; empty where it has none, or before that is
            known.
        saliency: of each visual token; None before it is known.
    """

    place: int
    name: str
    answer: Answer | None
    refusal: str = ""
    order: tuple[int, ...] = ()
    saliency: Saliency | None = None


def has_budget(name: str) -> bool:
    """Whether the method of that name keeps the share that it is told to keep."""
    return "retain" in registry.entry(name).settings


def method_of(name: str, share: float) -> Method:
    """The method of that name, with the share where it has a budget."""
    return registry.create_with(name, seed=SETTINGS.seed, retain=share)


def answer_all(
    loaded: Loaded, picture: Media, wish: Wish, give: Callable[[Any], None], ended: Callable[[], bool]
) -> None:
    """Answer under each method; gives `Begun` and `Outcome` as they come.

    A method that chooses one token after another gives its outcome again with their order. Once all have answered, each
    gives it again with the tokens' saliency.

    Args:
        loaded: model and processor.
        picture: RGB, or a clip.
        wish: what is asked.
        give: called with each of them.
        ended: asked after each token; once True, nothing further is given.

    Raises:
        InvalidValueError: the question cannot be asked.
    """
    outcomes: list[Outcome] = []
    for place, name in enumerate(wish.methods):
        give(Begun(place=place, text=""))
        found = outcome(loaded, picture, wish.question, (place, name, wish.share), give, ended)
        if ended():
            return
        give(found)
        order = order_of(loaded, picture, found, wish.share)
        outcomes.append(replace(found, order=order))
        if order and not ended():
            give(outcomes[-1])
    if not ended():
        for found in salient(loaded, picture, wish, outcomes):
            give(found)


def order_of(loaded: Loaded, picture: Media, found: Outcome, share: float) -> tuple[int, ...]:
    """The kept tokens in the order of choosing; none where the method has no order.

    The picture is encoded once more for it, after the answer was timed.
    """
    if found.answer is None:
        return ()
    method = method_of(found.name, share)
    kept = len(found.answer.report.kept[0])
    if not (method.selects and isinstance(method, Ordered)) or kept == found.answer.report.visual_tokens_before[0]:
        return ()
    try:
        _, chosen = choosing(loaded, picture, method, found.answer, SETTINGS.seed)
    except TodreError:
        return ()
    return tuple(int(token) for token in chosen.tolist())


def salient(loaded: Loaded, picture: Media, wish: Wish, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes whose tokens can be shown, with the tokens' saliency.

    The picture is encoded once more for it, after all answers were timed.
    """
    shown = [(one, one.answer.report) for one in outcomes if one.answer and not one.answer.shown.visual_tokens]
    if not shown:
        return []
    methods = [method_of(one.name, wish.share) for one, _ in shown]
    try:
        found = saliencies(loaded, picture, wish.question, methods, SETTINGS.seed)
    except TodreError:
        return []
    return [
        replace(one, saliency=saliency)
        for (one, report), saliency in zip(shown, found, strict=True)
        if len(saliency.values) == report.visual_tokens_before[0]
    ]


def outcome(
    loaded: Loaded,
    picture: Media,
    question: str,
    chosen: tuple[int, str, float],
    give: Callable[[Any], None],
    ended: Callable[[], bool],
) -> Outcome:
    """What comes of one method.

    Args:
        loaded: model and processor.
        picture: RGB, or a clip.
        question: plain text.
        chosen: the method's place, its name, and the share that it keeps.
        give: called with a `Begun` after each token.
        ended: asked after each token; True ends the answer.
    """
    place, name, share = chosen
    tokens: list[int] = []

    def on_token(token: int) -> None:
        tokens.append(token)
        text = loaded.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        give(Begun(place=place, text=text))

    try:
        method = method_of(name, share)
        answered = answer(loaded, [picture], question, method, SETTINGS, on_token=on_token, ended=ended)
    except TodreError as error:
        return Outcome(place=place, name=name, answer=None, refusal=str(error))
    return Outcome(place=place, name=name, answer=answered)


def record(question: str, file: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The document that `todre compare --json` prints.

    Args:
        question: as it was asked.
        file: name of the picture's file, or of the example.
        outcomes: in the order of the methods.
    """
    refused = {each.name: each.refusal for each in outcomes if each.answer is None}
    answers = [each.answer.to_dict() for each in outcomes if each.answer is not None]
    return {"question": question, "file": file, **({"left_out": refused} if refused else {}), "answers": answers}
