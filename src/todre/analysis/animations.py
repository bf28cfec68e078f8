"""What animations show: the order of choosing, answers at budgets, the layers.

Each function turns one picture and one question into an `Animation`, a record of what every frame shows. Drawing
belongs to `todre.plots.animations`.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from todre.errors import InvalidValueError, UnsupportedInputError, UnsupportedModelError
from todre.geometry import TokenBox, visual_token_boxes
from todre.loading.model import Loaded
from todre.methods.auto_budget import AutoBudget
from todre.methods.base import Method
from todre.methods.shared.ordered import ordered
from todre.methods.views.visual_tokens import VisualTokens
from todre.plots.animation_frames import Animation, BudgetFrame, LayerFrame, OrderFrame
from todre.running import Answer, Media, QuestionWarning, Settings, answer
from todre.runtime.selection import signals_of
from todre.select import likeness
from todre.tensors.token_facts import Signal

_COLUMNS = 256
"""Chosen tokens whose cosines with all tokens are held at once."""


@dataclass(frozen=True, kw_only=True)
class Listener(Method):
    """Method that keeps every visual token, and notes what it was shown.

    Args:
        asking: the method whose signals are requested.
        heard: gets the tokens of each sample.
    """

    asking: Method
    heard: list[VisualTokens] = field(default_factory=list, compare=False, repr=False)

    name: ClassVar[str] = "listener"

    @property
    def selects(self) -> bool:
        """True: the tokens are shown before the LLM."""
        return True

    def signals(self) -> tuple[Signal, ...]:
        """Those of `asking`."""
        return signals_of(self.asking)

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep all tokens."""
        self.heard.append(visual)
        return torch.ones(len(visual), dtype=torch.bool, device=visual.device)


def places(loaded: Loaded, picture: Image.Image) -> list[TokenBox]:
    """The rectangle of each visual token of a picture.

    Raises:
        UnsupportedModelError: the places are not known for this model.
    """
    return visual_token_boxes(loaded.processor, loaded.model.config, [picture.size])


def order_of_choosing(
    loaded: Loaded, picture: Image.Image, question: str, method: Method, settings: Settings, most: int
) -> Animation:
    """Tokens in the order in which a method chose them, and the coverage radius.

    Args:
        loaded: model and processor.
        picture: RGB.
        question: plain text.
        method: chooses before the LLM, one token after another.
        settings: how to answer.
        most: most frames; where more tokens are chosen, frames add several, as evenly as whole numbers allow.

    Raises:
        UnsupportedInputError: the method has no order of choosing, or chose from several parts of the picture.
        UnsupportedModelError: the places of the tokens are not known.
        InvalidValueError: the method kept every token.
    """
    ordered(method)
    boxes = places(loaded, picture)
    answered = answer(loaded, [picture], question, method, settings)
    _check_count(answered, boxes)
    kept = answered.report.kept[0]
    if len(kept) == len(boxes):
        raise InvalidValueError(
            f"{method.name} keeps all {len(boxes)} visual tokens, so there is no order of choosing; keep fewer."
        )
    visual, chosen = choosing(loaded, picture, method, answered, settings.seed)
    tokens = tuple(int(token) for token in chosen.tolist())
    radii = coverage_radii(visual.embeddings, chosen)
    steps = min(most, len(tokens))
    counts = [0, *(round((step + 1) * len(tokens) / steps) for step in range(steps))]
    frames = [
        OrderFrame(kept=tokens[:count], fresh=count - before, radius=radii[count - 1])
        for before, count in itertools.pairwise(counts)
    ]
    return Animation(picture, boxes, method.name, question, answered.text, frames)


def choosing(
    loaded: Loaded, picture: Media, method: Method, answered: Answer, seed: int
) -> tuple[VisualTokens, Tensor]:
    """(what a method was shown, the tokens that it kept in the order of choosing).

    Args:
        loaded: model and processor.
        picture: RGB, or a clip.
        method: chooses before the LLM, one token after another.
        answered: its answer about the picture.
        seed: of that answer.

    Raises:
        UnsupportedInputError: the method has no order of choosing, or chose from several parts of the picture.
    """
    visual = heard(loaded, picture, answered.question, method, seed)
    chosen = ordered(_with_count(method, answered)).order(visual)
    if sorted(chosen.tolist()) != sorted(answered.report.kept[0]):
        raise UnsupportedInputError(
            f"{method.name} chose from {loaded.name}'s picture in several parts, so it has no single order of "
            "choosing; use another model, or a method that takes the picture as a whole."
        )
    return visual, chosen


def falling_budget(
    loaded: Loaded,
    picture: Image.Image,
    question: str,
    methods: Sequence[tuple[str, Method]],
    settings: Settings,
    begin: Callable[[str], None] = lambda budget: None,
) -> Animation:
    """The tokens and the answer at each budget, marked where the answer changes.

    Args:
        loaded: model and processor.
        picture: RGB.
        question: plain text.
        methods: (budget as text, method with this budget), in the order of the frames.
        settings: how to answer.
        begin: called with each budget before it is run.

    Raises:
        InvalidValueError: there is no budget.
        UnsupportedModelError: the places of the tokens are not known.
    """
    if not methods:
        raise InvalidValueError("An animation of 0 budgets was asked for; give at least one.")
    boxes = places(loaded, picture)
    frames: list[BudgetFrame] = []
    for budget, method in methods:
        begin(budget)
        with _warned_once(bool(frames)):
            answered = answer(loaded, [picture], question, method, settings)
        _check_count(answered, boxes)
        frames.append(
            BudgetFrame(
                budget=budget,
                kept=tuple(answered.report.survivors(0)),
                answer=answered.text,
                changed=bool(frames) and answered.text != frames[-1].answer,
            )
        )
    return Animation(picture, boxes, methods[0][1].name, question, "", frames)


def passing_layers(
    loaded: Loaded, picture: Image.Image, question: str, method: Method, settings: Settings
) -> Animation:
    """The visual tokens that each layer of the decoder ran on.

    The first frame shows all tokens, as they were before the method.

    Raises:
        UnsupportedModelError: the places of the tokens are not known.
    """
    boxes = places(loaded, picture)
    answered = answer(loaded, [picture], question, method, settings)
    _check_count(answered, boxes)
    report = answered.report
    frames = [LayerFrame(layer=0, kept=tuple(range(len(boxes))), tokens=len(boxes))]
    kept: tuple[int, ...] = ()
    for layer, tokens in enumerate(report.visual_tokens_per_layer[0], 1):
        kept = tuple(report.kept_from_layer[0].get(layer - 1, kept))
        frames.append(LayerFrame(layer=layer, kept=kept, tokens=tokens))
    return Animation(picture, boxes, method.name, question, answered.text, frames)


def heard(loaded: Loaded, picture: Media, question: str, method: Method, seed: int) -> VisualTokens:
    """The visual tokens of a picture or clip as `method` is shown them.

    They come from a run of their own, which keeps every token.
    """
    listener = Listener(asking=method, positions=method.positions)
    with _warned_once(True):
        answer(loaded, [picture], question, listener, Settings(max_new_tokens=1, seed=seed))
    return listener.heard[0]


@torch.no_grad()
def coverage_radii(x: Tensor, order: Tensor) -> list[float]:
    """Coverage radius of the first 1, 2, … tokens of an order.

    Args:
        x: (n, d) tokens, any float dtype and device.
        order: (k,) int64 on x's device, k different tokens.

    Returns:
        k numbers: as `todre.select.coverage_radius` has them for the first 1, 2, … tokens of `order`.
    """
    nearest = torch.full(x.shape[:1], -torch.inf, dtype=torch.float64, device="cpu")
    left = torch.ones(len(x), dtype=torch.bool, device="cpu")
    found = []
    for part in order.split(_COLUMNS):
        cosines = likeness(x, x[part]).cpu().double()
        for column, token in enumerate(part.tolist()):
            nearest = torch.maximum(nearest, cosines[:, column])
            left[token] = False
            worst = float(nearest[left].min()) if bool(left.any()) else 1.0
            found.append(max(0.0, 1.0 - worst))
    return found


def _with_count(method: Method, answered: Answer) -> Method:
    """The method with the number of tokens that its automatic budget gave."""
    if not isinstance(getattr(method, "retain", None), AutoBudget):
        return method
    counts = answered.report.auto_budgets[0]
    return dataclasses.replace(method, **dict[str, Any](retain=sum(counts)))


def _check_count(answered: Answer, boxes: Sequence[TokenBox]) -> None:
    count = answered.report.visual_tokens_before[0]
    if count != len(boxes):
        raise UnsupportedModelError(
            f"The model saw {count} visual tokens, and the places of {len(boxes)} are known, so they cannot be drawn."
        )


@contextmanager
def _warned_once(already: bool) -> Iterator[None]:
    """Hide warnings about the question if they were given `already`."""
    with warnings.catch_warnings():
        if already:
            warnings.simplefilter("ignore", QuestionWarning)
        yield
