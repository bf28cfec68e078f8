"""The plan of a study: its parts, each measured group by group."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any

from todre.errors import InvalidValueError
from todre.evaluate.stage2.changes import KINDS, Change, changes_at
from todre.fields import Checked, Items
from todre.fields.kinds import Attended, Count, Natural, Retain
from todre.methods import registry
from todre.methods.base import Method, NoPruning
from todre.methods.shared.layers import resolve_layers
from todre.methods.specs import method_of
from todre.methods.todre import ToDRE

WHOLE, BLIND = "whole", "blind"
VERSIONS = ("todre-v1", "todre")
"""The versions of ToDRE, whose stage 2 is studied as it is printed."""


@dataclass(frozen=True)
class Part:
    """A part of a study.

    Attributes:
        name: unique within the study.
        method: what prunes; its stage 1 alone, where changes are measured.
        changes: changes of the layers; a part without any is answered by `method` as it is, in the real runtime,
            unless it is `layered`.
        layered: whether the part is run layer by layer, with attention read.
        grey: whether pictures are replaced by grey ones.
        groups: how many groups of pictures are asked, from the first; None for all.
    """

    name: str
    method: Method
    changes: tuple[Change, ...] = ()
    layered: bool = True
    grey: bool = False
    groups: int | None = None

    @property
    def digest(self) -> str:
        """Hash of all that an answer depends on, besides the name."""
        fields: dict[str, Any] = {"method": self.method.to_dict(), "changes": [each.name for each in self.changes]}
        fields |= {"layered": self.layered, "grey": self.grey}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Plan(Checked):
    """What a study measures.

    Args:
        depth: number of decoder layers.
        drop, hide, delete, skip: layers of the changes.
        retains: budgets of stage 1, after which each version's stage 2 is asked.
        thresholds: τ of stage 2.
        methods: further methods, as `todre.methods.specs.method_of` takes them.
        rankings: methods that keep some tokens after a layer, compared in deep layers.
        deep_layers: the layers after which they act.
        deep_retains: the budgets that they keep.
        deep_groups: how many groups of pictures they are asked about.
        draws: draws of rankings that are random.
    """

    depth: Count
    drop: tuple[Count, ...] = ()
    hide: tuple[Count, ...] = ()
    delete: tuple[Count, ...] = ()
    skip: tuple[Count, ...] = ()
    retains: tuple[Retain, ...] = (0.25, 0.1)
    thresholds: Annotated[tuple[Attended, ...], Items(least=1, ascending=True)] = (0.03, 0.1, 0.2)
    methods: tuple[str, ...] = ()
    rankings: tuple[str, ...] = ()
    deep_layers: tuple[Count, ...] = ()
    deep_retains: tuple[Retain, ...] = (0.1,)
    deep_groups: Natural = 0
    draws: Count = 3

    @property
    def versions(self) -> dict[str, ToDRE]:
        """The versions of ToDRE by name."""
        found = {name: registry.create(name) for name in VERSIONS}
        return {name: each for name, each in found.items() if isinstance(each, ToDRE)}

    def candidates(self, version: str) -> tuple[int, ...]:
        """Counts of layers run after which a version's stage 2 may drop the picture."""
        layers = resolve_layers(self.versions[version].layers, self.depth)
        return tuple(layer for layer in layers if layer < self.depth)

    def parts(self) -> tuple[Part, ...]:
        """All parts, in the order in which a group is measured.

        Raises:
            InvalidValueError: a value that cannot be used on this decoder, or a method named twice.
        """
        parts = [self._whole(), Part(BLIND, NoPruning(), grey=True)]
        for version in VERSIONS:
            drops = changes_at("drop", self.candidates(version), self.depth)
            for retain in self.retains:
                stage1 = dataclasses.replace(self.versions[version], retain=retain, stages=(1,))
                parts.append(Part(stage1_name(version, retain), stage1, drops))
        parts += [Part(f"method {spec}", method_of(spec), layered=False) for spec in self.methods]
        parts += self._deep()
        names = [part.name for part in parts]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidValueError(f"{twice!r} would be measured twice; name each method, layer and budget once.")
        return tuple(parts)

    def _whole(self) -> Part:
        layers = {kind: set(getattr(self, kind)) for kind in KINDS}
        for version in VERSIONS:
            layers["drop"] |= set(self.candidates(version))
        changes = [each for kind in KINDS for each in changes_at(kind, sorted(layers[kind]), self.depth)]
        return Part(WHOLE, NoPruning(), tuple(changes))

    def _deep(self) -> list[Part]:
        parts = []
        for layer in self.deep_layers if self.deep_groups else ():
            for retain in self.deep_retains:
                for name in self.rankings:
                    for draw, method in enumerate(deep_method(name, layer, retain, self.draws)):
                        label = deep_name(name, layer, retain, draw)
                        parts.append(Part(label, method, layered=False, groups=self.deep_groups))
        return parts

    def to_dict(self) -> dict[str, Any]:
        """Every field, ready for JSON."""
        return dataclasses.asdict(self)


def stage1_name(version: str, retain: float) -> str:
    """Name of the part with a version's stage 1 alone."""
    return f"{version}/1@{retain:g}"


def deep_name(ranking: str, layer: int, retain: float, draw: int = 0) -> str:
    """Name of a ranking's part."""
    return f"deep {ranking}:{layer}@{retain:g}#{draw}"


def deep_method(name: str, layer: int, retain: float, draws: int) -> list[Method]:
    """The method `name` acting after `layer` alone, one for each draw.

    A method that is not random has one draw.

    Raises:
        InvalidValueError: the method has no layer after which it keeps a share.
    """
    settings = registry.entry(name).settings
    place = next((field for field in ("layer", "layers") if field in settings), None)
    if place is None or "retain" not in settings:
        raise InvalidValueError(f"{name} has no layer after which it keeps a share of the tokens; leave it out.")
    values: dict[str, Any] = {"retain": retain, place: layer if place == "layer" else (layer,)}
    if name == "random-deep":
        return [registry.create(name, seed=draw, **values) for draw in range(draws)]
    return [registry.create(name, **values)]


def named_layers(text: str, depth: int, last: bool = False) -> tuple[int, ...]:
    """Layers of an option: `all`, `none`, numbers as in `4,8,12`, or `every:2`.

    Args:
        text: the option.
        depth: number of layers.
        last: whether the last layer is among `all`.

    Raises:
        InvalidValueError: the text is none of these.
    """
    end = depth + 1 if last else depth
    if text in ("all", "none"):
        return tuple(range(1, end)) if text == "all" else ()
    try:
        if text.startswith("every:"):
            step = int(text.removeprefix("every:"))
            return tuple(range(step, end, step))
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise InvalidValueError(
            f"{text!r} names no layers; write all, none, every:2, or numbers as in 4,8,12."
        ) from None
