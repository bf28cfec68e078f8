"""vLLM's multimodal processors for a pruned model: placeholders, budgets, hashes."""

from __future__ import annotations

import dataclasses
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
from todre.vllm.settings import PREFIX, RETAIN, ServerSettings, is_all, without_own


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
        most = {**inputs.hf_processor_mm_kwargs, RETAIN: self.settings.max_retain}
        return dataclasses.replace(inputs, hf_processor_mm_kwargs=most)

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
        fields = {medium.kind: medium.retain for medium in self.family.media}
        return [
            self._shorter(update, retain, fields[update.modality], out_mm_kwargs)
            if update.modality in fields and not is_all(retain)
            else update
            for update in updates
        ]

    def _shorter(self, update: Any, retain: float, field: str, out_mm_kwargs: Any) -> Any:
        """The same update, with as many placeholders as tokens are kept."""
        settings, original = self.settings, update.replacement
        method = create(settings.method, retain, self.family.positions, settings.options)

        def replacement(number: int) -> Any:
            full = original(number) if callable(original) else original
            item = out_mm_kwargs[update.modality][number]
            if item is not None and field not in item:  # ready-made embeddings are not pruned
                return full
            kind = update.modality
            return self.shortened(kind, full, lambda n: settings.kept(method, retain, self.entries(kind, n)))

        return PromptReplacement(modality=update.modality, target=update.target, replacement=replacement)

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
        mask = torch.tensor([embedded[place] for place in places])
        return PromptUpdateDetails(full=stays, is_embed=lambda _: mask)

    def _get_mm_hashes(self, inputs: Any) -> Any:
        with _request_errors():
            retain = self.settings.requested(inputs.hf_processor_mm_kwargs)
        arguments = {**without_own(inputs.hf_processor_mm_kwargs), **self.settings.identity(retain)}
        return super()._get_mm_hashes(dataclasses.replace(inputs, hf_processor_mm_kwargs=arguments))  # type: ignore[misc]


@contextmanager
def _request_errors() -> Iterator[None]:
    """Errors in a request become those that vLLM answers with HTTP 400."""
    try:
        yield
    except (InvalidValueError, UnsupportedInputError) as error:
        raise VLLMValidationError(str(error)) from error
