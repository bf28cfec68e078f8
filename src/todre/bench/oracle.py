"""Oracles: the untouched model on a prompt that never had the dropped tokens.

An oracle runs the model's own `get_image_features`, the method's `select` on the tokens of the pruned run, and
`generate` on embeddings that were shortened beforehand. Drops between two decoder layers are replayed: a hook takes the
columns that stay, which are known in advance. The code that prunes at run time is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from todre.bench.prompts import Prompt
from todre.bench.replay import Drops, NoReplayError, drops_of, replaying
from todre.bench.workloads import Call, Called, Clock, Pruned, exact_length, generate
from todre.hf.keywords import EMBEDS, IDS, MASK
from todre.methods.base import Method
from todre.methods.views.visual_tokens import VisualTokens
from todre.pruning import prune
from todre.runtime.selection import Choice, choose, signals_of

if TYPE_CHECKING:
    from todre.report import PruningReport
    from todre.tensors.token_facts import Signal


class NoOracleError(Exception):
    """Raised if no hand-shortened prompt can stand for the method.

    The message says why.
    """


@dataclass(frozen=True)
class Short:
    """A prompt that never had the dropped tokens.

    Attributes:
        embeds: (b, q', d) input embeddings, shorter rows padded at their left.
        mask: (b, q'), 1 at real tokens, 0 at padding.
        samples: for each row, the visual tokens that the method saw.
        drops: columns that leave between layers.
    """

    embeds: Tensor
    mask: Tensor
    samples: tuple[VisualTokens, ...]
    drops: Drops


@dataclass(frozen=True)
class Oracle:
    """The oracle of the subject named `of`."""

    model: Any
    prompt: Prompt
    name: str
    method: Method
    of: str
    short: Short

    @property
    def how(self) -> str:
        """Description of the call."""
        replayed = ", drops between layers replayed" if self.short.drops.places else ""
        selected = "select, " if self.method.selects else ""
        return f"encode, {selected}and the untouched model on the hand-shortened prompt{replayed}"

    @contextmanager
    def ready(self) -> Iterator[Call]:
        """The call, with the replay's hooks if tokens leave between layers."""

        @torch.inference_mode()
        def call(new_tokens: int, clock: Clock) -> Called:
            self.model.get_image_features(**self.prompt.pictures, return_dict=True)
            started = clock()
            if self.method.selects:
                for sample in self.short.samples:
                    choose(self.method, sample)
            select = clock() - started
            inputs = {EMBEDS: self.short.embeds, MASK: self.short.mask}
            return Called(generate(self.model, new_tokens, **inputs), select)

        with replaying(self.model, self.short.drops):
            yield call


def oracle_of(subject: Pruned) -> Oracle:
    """The oracle of a pruned subject.

    Raises:
        NoOracleError: the method changes the encoding, or drops tokens in a way that cannot be replayed.
    """
    return Oracle(
        subject.model, subject.prompt, f"{subject.name} oracle", subject.method, subject.name, shorten(subject)
    )


@torch.inference_mode()
def shorten(subject: Pruned) -> Short:
    """The prompt, shortened by hand to the tokens that the method itself selects."""
    model, prompt, method = subject.model, subject.prompt, subject.method
    if method.in_tower:
        raise NoOracleError(f"{method.name} encodes pictures otherwise, which no shortened prompt does")
    samples = visual_tokens_of(model, prompt, method)
    report = _report(model, prompt, method)
    if all(set(layers) == {prompt.visual_tokens} for layers in report.visual_tokens_per_layer):
        raise NoOracleError("nothing is dropped, so that the untouched model is the bound")
    chosen = [choose(method, sample) if method.selects else Choice(None, sample.embeddings) for sample in samples]
    rows = []
    for row, answer in enumerate(chosen):
        visual = prompt.visual[row]
        embeds = model.get_input_embeddings()(prompt.inputs[IDS][row])
        embeds[visual] = answer.embeddings.to(embeds.dtype)
        stay = ~visual
        stay[visual] = answer.mask.to(stay.device)
        rows.append((embeds[stay], visual[stay]))
    try:
        drops = drops_of(model, report, [visual for _, visual in rows])
    except NoReplayError as error:
        raise NoOracleError(str(error)) from error
    longest = max(len(embeds) for embeds, _ in rows)
    short = rows[0][0].new_zeros(len(rows), longest, rows[0][0].shape[1])
    mask = torch.zeros(len(rows), longest, dtype=torch.long, device=short.device)
    for row, (embeds, _) in enumerate(rows):
        short[row, longest - len(embeds) :], mask[row, longest - len(embeds) :] = embeds, 1
    return Short(short, mask, tuple(samples), drops)


def _report(model: Any, prompt: Prompt, method: Method) -> PruningReport:
    with exact_length(model), prune(model, method) as report:
        generate(model, 1, **prompt.inputs)
    return report


@dataclass(frozen=True, kw_only=True)
class _Onlooker(Method):
    """Method that keeps every token, and logs the tokens that `shown` would see."""

    shown: Method
    log: list[VisualTokens]

    name: ClassVar[str] = "onlooker"

    @property
    def selects(self) -> bool:
        return True

    def signals(self) -> tuple[Signal, ...]:
        return signals_of(self.shown)

    def select(self, visual: VisualTokens) -> Tensor:
        self.log.append(visual)
        return torch.ones(len(visual), dtype=torch.bool, device=visual.embeddings.device)

    def to_dict(self) -> dict[str, Any]:
        return {"method": self.name}


def visual_tokens_of(model: Any, prompt: Prompt, method: Method) -> list[VisualTokens]:
    """Visual tokens of each row, as the method's `select` sees them."""
    log: list[VisualTokens] = []
    with exact_length(model), prune(model, _Onlooker(shown=method, log=log)):
        generate(model, 1, **prompt.inputs)
    return log
