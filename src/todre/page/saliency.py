"""How salient the vision tower found each visual token: attention of its [CLS].

Where a tower has no [CLS], it is the attention that a token receives.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from todre.analysis.animations import heard
from todre.hf.leading_tokens import leading_of
from todre.loading.model import Loaded
from todre.methods.base import Method
from todre.methods.views.visual_tokens import VisualTokens
from todre.running import Media
from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """What the tower's attention says of each visual token.

    Attributes:
        what: which attention.
        values: shares of that attention, the mean where a token is made of several patches; NaN where it has none.
        ranks: place of each token in its tile or frame, 1 for the most salient; 0 where it has none.
        among: tokens of its tile or frame that are ranked.
        part: the word for it, "tile" or "frame".
    """

    what: str
    values: tuple[float, ...]
    ranks: tuple[int, ...]
    among: tuple[int, ...]
    part: str = "tile"

    def words(self, place: int) -> str:
        """A sentence about the token at `place`."""
        if math.isnan(self.values[place]):
            return "Saliency: none."
        rank = f"rank {self.ranks[place]} of {self.among[place]} in its {self.part}"
        return f"{self.what} {100 * self.values[place]:.2f} %, {rank}."


@dataclass(frozen=True, kw_only=True)
class Reader(Method):
    """Reads signals of the vision tower, and chooses nothing.

    Args:
        requests: the signals.
    """

    requests: tuple[Signal, ...]

    name: ClassVar[str] = "reader"

    def signals(self) -> tuple[Signal, ...]:
        """Those that were asked for."""
        return self.requests


def saliencies(loaded: Loaded, picture: Media, question: str, methods: Sequence[Method], seed: int) -> list[Saliency]:
    """For each method, the saliency that it read, or else the tower's.

    The picture is encoded once for all of them, by the tower as it is.

    Args:
        loaded: model and processor.
        picture: RGB, or a clip.
        question: plain text.
        methods: at least one that the model can run.
        seed: of the answers.
    """
    requests = [request_of(method) for method in methods]
    visual = heard(loaded, picture, question, Reader(requests=tuple(dict.fromkeys(requests))), seed)
    return [ranked(visual, request, what(request, loaded.model.config)) for request in requests]


def request_of(method: Method) -> Signal:
    """The first attention of the tower that a method reads, as shares.

    For a method that reads none, it is that of the last layer, where ToDRE's pivot reads it.
    """
    read = (signal for signal in method.signals() if signal.kind in ("cls", "received", "auto"))
    return replace(next(read, Signal("auto")), even=False)


def what(request: Signal, config: Any) -> str:
    """Which attention a request reads from a model's tower, in words."""
    leading = leading_of(getattr(config, "vision_config", None))
    of_cls = request.kind == "cls" or (request.kind == "auto" and leading is not None and leading.cls)
    layer = f"{request.layer:g} of the depth" if isinstance(request.layer, float) else f"{request.layer}"
    return ("[CLS] attention" if of_cls else "Attention received") + f" (tower layer {layer})" * (request.layer != -1)


def ranked(visual: VisualTokens, request: Signal, name: str) -> Saliency:
    """The values of a signal of one number a token, ranked in tiles or frames."""
    values = [float(value) for value in visual.signals[request].tolist()]
    host = visual.host
    tiles = list(zip(*(each.tolist() for each in (host.picture, host.frame, host.tile)), strict=True))
    groups: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for tile, value in zip(tiles, values, strict=True):
        if not math.isnan(value):
            bisect.insort(groups[tile], value)
    ranks = [
        0 if math.isnan(value) else 1 + len(groups[tile]) - bisect.bisect_right(groups[tile], value)
        for tile, value in zip(tiles, values, strict=True)
    ]
    among = tuple(len(groups[tile]) for tile in tiles)
    part = "frame" if len(set(host.frame.tolist())) > 1 else "tile"
    return Saliency(what=name, values=tuple(values), ranks=tuple(ranks), among=among, part=part)
