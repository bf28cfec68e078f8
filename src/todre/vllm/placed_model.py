"""Models of vLLM whose positions have rows and columns: kept tokens keep theirs."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.runtime.selection import Choice
from todre.tensors.transfer import upload
from todre.vllm import unpruned_prompt
from todre.vllm.contract import check_names
from todre.vllm.families import MediumInputs
from todre.vllm.place_channels import PlaceShifts, with_places, without_places
from todre.vllm.position_tables import check_in_table, widened
from todre.vllm.stage1_model import Stage1, Stage1Model

_QWEN3 = "vllm.model_executor.models.qwen3_vl:Qwen3VL"
_NEEDED = {
    "vllm.model_executor.models.interfaces:SupportsMRoPE.get_mrope_input_positions": ("input_tokens", "mm_features"),
    "vllm.model_executor.models.interfaces:SupportsMultiModal.embed_input_ids": (
        *("multimodal_embeddings", "is_multimodal"),
    ),
    "vllm.multimodal.inputs:MultiModalFeatureSpec": ("data", "modality", "mm_position"),
    "vllm.multimodal.inputs:PlaceholderRange": ("offset", "length"),
    f"{_QWEN3}MultiModalProcessor.get_video_repl": ("tokens_per_frame", "timestamps", "tokenizer", "select_token_id"),
}
"""As in `todre.vllm.contract`, what positions rely on."""


class PlacedStage1(Stage1):
    """Hands tokens on with their places behind them.

    Args:
        model: vLLM's model, a `PlacedModel`.
        config: the model's config, with the server's settings.
    """

    def __init__(self, model: Any, config: Any) -> None:
        super().__init__(model, config)
        self.full_ids: unpruned_prompt.FullIds = model.full_ids
        self.number: unpruned_prompt.Numbering = model.unpruned_positions
        self.embed_text = model.get_language_model().embed_input_ids

    def untouched(self, features: Any) -> Any:
        """All tokens, whose positions vLLM gave already: their places are zero."""
        if features is None:
            return None
        return tuple(with_places(each, torch.zeros(len(each), 3, dtype=torch.int64, device="cpu")) for each in features)

    def rows(
        self, choice: Choice, features: Tensor, medium: MediumInputs, inputs: dict[str, Any], number: int
    ) -> Tensor:
        """The kept tokens with their places, and text that stands between frames."""
        fields = {name: SimpleNamespace(data=value[number]) for name, value in inputs.items() if name != medium.pixels}
        ids = self.full_ids(medium.kind, fields)
        rows = torch.cat([choice.embeddings, features[:, self.width :]], dim=1)
        keep = choice.keep
        if len(ids) > len(rows):
            rows, keep = self._with_text(rows, keep, torch.tensor(ids, dtype=torch.int64, device="cpu"), medium.kind)
        rows = with_places(rows, unpruned_prompt.places(medium.kind, fields, ids, self.number))
        return rows if keep is None else rows[keep]

    def _with_text(self, rows: Tensor, keep: Tensor | None, ids: Tensor, kind: str) -> tuple[Tensor, Tensor | None]:
        """The rows with those of text among them, and which are kept; all text is."""
        token = self.facts.token_id(self.config, kind)
        is_visual = torch.isin(ids, torch.tensor(token, dtype=torch.int64, device="cpu"))
        visual, text = (upload(mask.nonzero().flatten(), rows.device) for mask in (is_visual, ~is_visual))
        everything = rows.new_zeros(len(ids), rows.shape[1])
        everything[:, : self.width] = self.embed_text(upload(ids, rows.device))
        everything[visual] = rows
        return everything, None if keep is None else torch.cat([text, visual[keep]]).sort().values


class PlacedModel(Stage1Model):
    """Mixin before a family's model: kept tokens have their unpruned positions."""

    stage1: ClassVar[type[Stage1]] = PlacedStage1

    config: Any
    """The model's config, set by vLLM's own model."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        check_positions(vllm_config)
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        longest = self.config.get_text_config().max_position_embeddings
        self.todre_table = widened(self.get_language_model(), longest)  # type: ignore[attr-defined]
        device = next(self.parameters()).device  # type: ignore[attr-defined]
        self.todre_shifts = PlaceShifts(vllm_config.scheduler_config.max_num_batched_tokens, device)

    def full_ids(self, kind: str, fields: Mapping[str, Any]) -> list[int]:
        """The ids of one medium before pruning; see `unpruned_prompt.FullIds`."""
        name = next(medium.counts for medium in self.todre.family.media if medium.kind == kind)
        assert name is not None  # rows of such families name the grids
        merged = self.config.vision_config.spatial_merge_size**2
        token = self.todre.facts.token_id(self.config, kind)
        assert token is not None  # rows list media that are marked
        return [token] * (int(fields[name].data.prod()) // merged)

    def unpruned_positions(self, tokens: list[int], media: list[Any]) -> tuple[Tensor, int]:
        """Positions that vLLM gives a prompt without pruned media."""
        found: tuple[Tensor, int] = super().get_mrope_input_positions(tokens, media)  # type: ignore[misc]
        return found

    def get_mrope_input_positions(self, input_tokens: list[int], mm_features: list[Any]) -> tuple[Tensor, int]:
        """Positions of a prompt, and what to add to columns after it.

        Raises:
            UnsupportedInputError: a position is beyond the table of rotations.
        """
        media = sorted(mm_features, key=lambda each: each.mm_position.offset)
        pruned = [unpruned_prompt.is_pruned(self.todre.family, each) for each in media]
        if not any(pruned):
            return self.unpruned_positions(input_tokens, mm_features)
        found, behind = unpruned_prompt.positions(input_tokens, media, pruned, self.full_ids, self.unpruned_positions)
        check_in_table(behind + len(input_tokens), self.todre_table)
        return found, behind

    def embed_input_ids(self, *args: Any, **kwargs: Any) -> Tensor:
        """Embeddings of a step, while the places of its visual tokens wait for `forward`."""
        visual = kwargs.get("multimodal_embeddings")
        if visual is not None and len(visual):
            kwargs["multimodal_embeddings"], places = without_places(visual)
            self.todre_shifts.put(places, kwargs["is_multimodal"])
        found: Tensor = super().embed_input_ids(*args, **kwargs)  # type: ignore[misc]
        return found

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """One step, with each kept token at its own position."""
        self.todre_shifts.add(kwargs["positions"] if "positions" in kwargs else args[1])
        return super().forward(*args, **kwargs)  # type: ignore[misc]


def check_positions(vllm_config: Any) -> None:
    """Check that places reach the decoder as they are carried.

    Raises:
        ContractError: this vLLM lacks what is relied on.
        UnsupportedModelError: the model's positions have one axis.
        UnsupportedInputError: an option of the engine takes another way to the decoder.
    """
    check_names(_NEEDED)
    if not vllm_config.model_config.uses_mrope:
        raise UnsupportedModelError(
            "The checkpoint's RoPE has one axis (no mrope_section), where kept tokens cannot keep rows and columns; "
            "`todre serve` serves it with transformers."
        )
    speculative = vllm_config.speculative_config
    found = (
        "--enable-dbo"
        if vllm_config.parallel_config.use_ubatching
        else "--speculative-config with a draft model"
        if speculative is not None and speculative.uses_draft_kv_cache()
        else None
    )
    if found is not None:
        raise UnsupportedInputError(
            f"{found} cannot be combined with pruning of a model whose positions have rows and columns; leave it out, "
            "or serve unpruned."
        )
