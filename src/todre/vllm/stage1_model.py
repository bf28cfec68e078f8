"""vLLM's models when pruned: watch the tower, choose tokens, hand on those."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from todre.errors import UnsupportedModelError
from todre.hf.anyres import packing_of
from todre.hf.encoding import Encoding
from todre.hf.families import FAMILIES as HF_FAMILIES
from todre.hf.leading_tokens import discarded_count, leading_of
from todre.methods.base import Method
from todre.runtime.samples import Media, visual_tokens
from todre.runtime.selection import Choice, choose
from todre.tensors.token_facts import Signal, TokenFacts
from todre.vllm.budget_field import unpacked_retains
from todre.vllm.contract import check_engine
from todre.vllm.families import MediumInputs, ServedFamily, family_of
from todre.vllm.launch import check_config
from todre.vllm.medium_inputs import facts_of, groups, part_of, unit_counts
from todre.vllm.served_methods import create
from todre.vllm.settings import ServerSettings, is_all
from todre.vllm.tower_watch import TowerWatch, side_by_side


class Stage1(nn.Module):
    """Chooses among a model's visual tokens, picture by picture.

    Args:
        model: vLLM's model, whose tower is built.
        config: the model's config, with the server's settings.

    Raises:
        UnsupportedModelError, UnsupportedInputError, InvalidValueError: the settings cannot be served.
    """

    def __init__(self, model: nn.Module, config: Any) -> None:
        super().__init__()
        self.config = config
        self.width = int(config.get_text_config().hidden_size)
        self.family: ServedFamily = family_of(config.model_type)
        check_config(self.family, config)
        self.settings = ServerSettings.of(config)
        self.leading = leading_of(config.vision_config)
        self.facts = HF_FAMILIES[config.model_type]
        layers = attrgetter(self.family.layers)(model)
        self.patches_per_unit = _patches_per_unit(config.vision_config)
        # A budget of 1.0 asks for no signal, so the smallest one says what will be read.
        self.requests = self.method(1).signals()
        self.watch = TowerWatch(
            layers, self.family.attention, config.vision_config, self.leading, self.facts.saliency, self.requests
        )

    def method(self, retain: float) -> Method:
        """The method with a budget."""
        return create(self.settings.method, retain, self.family.positions, self.settings.options)

    def embed(self, encode: Callable[..., Any], inputs: dict[str, Any]) -> Any:
        """The embeddings of each medium, (kept tokens, d).

        Args:
            encode: the model's own method, which gives all tokens of each medium.
            inputs: its arguments, and each medium's budget.
        """
        medium = next((each for each in self.family.media if each.retain in inputs), None)
        retains = [] if medium is None else unpacked_retains(inputs.pop(medium.retain))
        if medium is None or all(map(is_all, retains)):
            return self.untouched(encode(**inputs))
        units = unit_counts(medium, inputs)
        tokens = [count * self.patches_per_unit for count in units]
        alike = medium.kind == "video" and medium.counts is None
        found: list[Tensor] = []
        for start, stop in groups(tokens, self.settings.tower_tokens, alike):
            part = part_of(medium, inputs, units, start, stop)
            found += self._chosen(encode, medium, part, units[start:stop], retains[start:stop])
        return tuple(found)

    def _chosen(
        self,
        encode: Callable[..., Any],
        medium: MediumInputs,
        inputs: dict[str, Any],
        units: list[int],
        retains: list[float],
    ) -> list[Tensor]:
        """Kept embeddings of media that are encoded together."""
        with self.watch.recording() as recorded:
            features = [each.flatten(0, -2) for each in encode(**inputs)]
        entries = self._entries(medium, inputs, units, features, recorded)
        found: list[Tensor] = []
        for number, (each, facts, retain) in enumerate(zip(features, entries, retains, strict=True)):
            if is_all(retain):
                found += self.untouched([each])
            else:
                found.append(self.rows(self._choice(each, facts, retain), each, medium, inputs, number))
        return found

    def _entries(
        self,
        medium: MediumInputs,
        inputs: dict[str, Any],
        units: list[int],
        features: list[Tensor],
        recorded: dict[Signal, list[Tensor]],
    ) -> list[list[TokenFacts]]:
        """Facts about the tokens of each medium, one record for each of its entries."""
        counts = units if self.family.tiles_apart else [1] * len(units)
        lengths = [len(each) // count for each, count in zip(features, counts, strict=True) for _ in range(count)]
        arguments = facts_of(medium, inputs)
        widths = {request: int(calls[0].shape[-1]) for request, calls in recorded.items()}
        widths |= {each: 1 for each in self.requests if each not in widths and each.kind != "grid"}
        layout = self.facts.layout(medium.kind)
        assert layout is not None  # rows list media of which the layout is known
        facts = layout(
            Encoding(
                base=packing_of(self.config) if hasattr(self.config, "image_grid_pinpoints") else None,
                config=self.config,
                arguments=arguments,
                lengths=lengths,
                signals=side_by_side(recorded),
                widths=widths,
                leading=0 if self.leading is None else self.leading.count,
                discard_count=discarded_count(self.config, arguments),
                device=features[0].device,
            )
        )
        waiting = iter(facts)
        return [[next(waiting) for _ in range(count)] for count in counts]

    def _choice(self, features: Tensor, entries: list[TokenFacts], retain: float) -> Choice:
        """The choice among one medium's tokens, by what the LLM's first layer is given."""
        everywhere = torch.ones(1, len(features), dtype=torch.bool, device="cpu")
        embeddings = features[None, :, : self.width]
        (sample,) = visual_tokens(embeddings, [Media(everywhere, entries)], ~everywhere).tokens
        return choose(self.method(retain), sample)

    def untouched(self, features: Any) -> Any:
        """What is handed on of media that are not pruned, given what the model encoded."""
        return features

    def rows(
        self, choice: Choice, features: Tensor, medium: MediumInputs, inputs: dict[str, Any], number: int
    ) -> Tensor:
        """What is handed on of a pruned medium, (kept tokens, c).

        Merged tokens have their new embeddings.

        Args:
            choice: the tokens that are kept.
            features: (n, c) all tokens; what stands behind the embedding belongs to later layers (deepstack).
            medium: the kind of medium.
            inputs: the inputs of the media that were encoded with it.
            number: which of these it is.
        """
        everything = torch.cat([choice.embeddings, features[:, self.width :]], dim=1)
        return everything if choice.keep is None else everything[choice.keep]


class Stage1Model:
    """Mixin before a family's model: `embed_multimodal` gives kept tokens alone."""

    stage1: ClassVar[type[Stage1]] = Stage1
    """What chooses tokens and hands them on."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        check_engine(vllm_config)
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        self.todre = self.stage1(self, vllm_config.model_config.hf_config)  # type: ignore[arg-type]

    def embed_multimodal(self, **inputs: Any) -> Any:
        """Embeddings of each medium, (kept tokens, d)."""
        return self.todre.embed(super().embed_multimodal, inputs)  # type: ignore[misc]

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load a checkpoint, with what the watched tower needs beside vLLM's layers."""
        filled: set[str] = set()
        passing = self.todre.watch.copying(weights, lambda name: filled.add(f"todre.watch.{name}"))
        loaded: set[str] = super().load_weights(passing)  # type: ignore[misc]
        lacking = [name for name, _ in self.todre.watch.named_parameters() if f"todre.watch.{name}" not in filled]
        if lacking:
            raise UnsupportedModelError(
                f"The checkpoint has no plain weight for {lacking[0]} of the vision tower, which a signal is read "
                "from; use a checkpoint with a plain tower, or a method without signals."
            )
        return loaded | filled


def _patches_per_unit(vision_config: Any) -> int:
    """Tokens of one tile or frame in the tower; 1 where units are patches."""
    size, patch = getattr(vision_config, "image_size", None), vision_config.patch_size
    if size is None:
        return 1
    sides = [size] * 2 if isinstance(size, int) else list(size)
    patches = [patch] * 2 if isinstance(patch, int) else list(patch)
    return (sides[0] // patches[0]) * (sides[1] // patches[1])
