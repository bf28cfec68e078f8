"""vLLM's multimodal processors for a pruned model: placeholders, budgets, hashes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import PromptReplacement, PromptUpdateDetails

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.base import budget
from todre.vllm.budget_field import packed_retain
from todre.vllm.families import ServedFamily, family_of
from todre.vllm.served_methods import create
from todre.vllm.settings import PREFIX, RETAIN, ServerSettings, check_not_nested, is_all, without_own


class Stage1Info:
    """Mixin before processing information that knows numbers of tokens."""

    def get_mm_max_tokens_per_item(self, *args: Any, **kwargs: Any) -> Any:
        """The most tokens of a medium, by its kind, at the largest budget that is allowed."""
        config = self.get_hf_config()  # type: ignore[attr-defined]
        most = dict(super().get_mm_max_tokens_per_item(*args, **kwargs))  # type: ignore[misc]
        settings = ServerSettings.of(config)
        pruned = {medium.kind for medium in family_of(config.model_type).media}
        return {kind: budget(settings.max_retain, n) if kind in pruned else n for kind, n in most.items()}


class Stage1Processor:
    """Mixin before a family's processor: placeholders of kept tokens alone.

    The number of kept tokens follows from the budget and the number of tokens, so the prompt is known before the
    picture is encoded. The budget itself travels with each picture to the model.

    Attributes:
        model_type: the row of `todre.vllm.families`.
    """

    model_type: ClassVar[str]

    info: Any
    """The family's processing information, set by vLLM's own processor."""

    def __init__(self, info: Any, dummy_inputs: Any) -> None:
        super().__init__(info, dummy_inputs)  # type: ignore[call-arg]
        at_startup = info.ctx.get_mm_config().mm_processor_kwargs or {}
        check_not_nested(at_startup)
        own = [name for name in at_startup if name.startswith(PREFIX)]
        if own:
            raise InvalidValueError(
                f"{own[0]} in --mm-processor-kwargs is read by nobody at startup; set 'retain' of 'todre' in "
                "--hf-overrides, which `todre vllm-args` prints."
            )

    @property
    def family(self) -> ServedFamily:
        """The facts about the family."""
        return family_of(self.model_type)

    @property
    def settings(self) -> ServerSettings:
        """The server's settings."""
        return ServerSettings.of(self.info.get_hf_config())

    def entries(self, kind: str, n: int) -> list[int]:
        """Tokens of each entry of one medium with `n` tokens.

        A medium is one entry unless the family's tiles stand apart.
        """
        return [n]

    def get_dummy_inputs(self, *args: Any, **kwargs: Any) -> Any:
        """Inputs by which vLLM plans memory, at the largest budget that is allowed."""
        inputs = super().get_dummy_inputs(*args, **kwargs)  # type: ignore[misc]
        most = self.settings.max_retain
        # A share just below 1.0 keeps as many tokens on the way of pruned pictures, whose memory is then in the plan.
        budget_of_all = {RETAIN: math.nextafter(1.0, 0.0) if is_all(most) else most}
        return dataclasses.replace(inputs, hf_processor_mm_kwargs={**inputs.hf_processor_mm_kwargs, **budget_of_all})

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Mapping[str, object]) -> Any:
        out = super()._apply_hf_processor_main(mm_items, without_own(hf_kwargs))  # type: ignore[misc]
        with _request_errors():
            retain = packed_retain(self.settings.requested(hf_kwargs))
        for medium in self.family.media:
            if medium.pixels in out:
                count = mm_items.get_count(medium.kind, strict=False)
                out[medium.retain] = retain.expand(count, -1).clone()
        return out

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, object]) -> Any:
        fields = dict(super()._get_mm_fields_config(hf_inputs, without_own(hf_processor_mm_kwargs)))  # type: ignore[misc]
        for medium in self.family.media:
            fields[medium.retain] = MultiModalFieldConfig.batched(medium.kind, keep_on_cpu=True)
        return fields

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[Any]:
        own = without_own(hf_processor_mm_kwargs)
        updates = super()._get_prompt_updates(mm_items, own, out_mm_kwargs)  # type: ignore[misc]
        with _request_errors():
            retain = self.settings.requested(hf_processor_mm_kwargs)
            asked = RETAIN in hf_processor_mm_kwargs
            fields = {medium.kind: medium.retain for medium in self.family.media}
        return [
            self._shorter(update, retain, fields[update.modality], out_mm_kwargs, asked)
            if update.modality in fields
            else update
            for update in updates
        ]

    def _shorter(self, update: Any, retain: float, field: str, out_mm_kwargs: Any, asked: bool) -> Any:
        """The same update, with as many placeholders as tokens are kept."""
        settings, original, kind = self.settings, update.replacement, update.modality
        method = create(settings.method, retain, self.family.positions, settings.options)

        def replacement(number: int) -> Any:
            full = original(number) if callable(original) else original
            item = out_mm_kwargs[kind][number]
            with _request_errors():
                if item is not None and field not in item:
                    if asked:
                        raise InvalidValueError(f"Ready-made embeddings are not pruned; leave {RETAIN} out.")
                    return full
                self.check_item(kind, item)
            shorter = self.shortened(kind, full, lambda n: settings.kept(method, retain, self.entries(kind, n)))
            return full if is_all(retain) else shorter

        return PromptReplacement(modality=update.modality, target=update.target, replacement=replacement)

    def check_item(self, kind: str, item: Any) -> None:
        """Check what only the model would find, where a failure ends the engine.

        Args:
            kind: `image` or `video`.
            item: vLLM's record of the medium's inputs; None if it was checked before and comes from a cache.

        Raises:
            InvalidValueError: the medium cannot be served.
        """

    def shortened(self, kind: str, full: Any, kept: Callable[[int], int]) -> Any:
        """A placeholder with as many embedded tokens as are kept.

        Args:
            kind: `image` or `video`.
            full: token ids, or vLLM's details about them.
            kept: number of tokens that stay of n.
        """
        details = full if isinstance(full, PromptUpdateDetails) else PromptUpdateDetails(full)
        ids = details.full
        embedded = [True] * len(ids) if details.is_embed is None else details.is_embed(ids).tolist()
        with _request_errors():
            left = kept(sum(embedded))
        places = []
        for place, is_embedded in enumerate(embedded):
            if not is_embedded or left > 0:
                places.append(place)
                left -= int(is_embedded)
        stays = [ids[place] for place in places]
        if details.is_embed is None:
            return stays
        mask = torch.tensor([embedded[place] for place in places], dtype=torch.bool, device="cpu")
        return PromptUpdateDetails(full=stays, is_embed=lambda _: mask)

    def _get_mm_hashes(self, inputs: Any) -> Any:
        with _request_errors():
            retain = self.settings.requested(inputs.hf_processor_mm_kwargs)
            kinds = [medium.kind for medium in self.family.media]
            # Here and not where placeholders are made, which are asked about what no cache has alone.
            if RETAIN in inputs.hf_processor_mm_kwargs and not any(kind in inputs.mm_data_items for kind in kinds):
                raise InvalidValueError(
                    f"{RETAIN} is given, and of this family only media of the kind {' and '.join(kinds)} are pruned; "
                    "leave it out."
                )
        arguments = {**without_own(inputs.hf_processor_mm_kwargs), **self.settings.identity(retain)}
        return super()._get_mm_hashes(dataclasses.replace(inputs, hf_processor_mm_kwargs=arguments))  # type: ignore[misc]


@contextmanager
def _request_errors() -> Iterator[None]:
    """Errors in a request become those that vLLM answers with HTTP 400."""
    try:
        yield
    except (InvalidValueError, UnsupportedInputError) as error:
        raise VLLMValidationError(str(error)) from error
