"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL in vLLM, pruned.

Kept tokens keep their places in time, row and column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.model_executor.models.qwen2_vl import (
    Qwen2VLDummyInputsBuilder,
    Qwen2VLForConditionalGeneration,
    Qwen2VLMultiModalProcessor,
    Qwen2VLProcessingInfo,
)
from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from todre.errors import InvalidValueError
from todre.vllm.placed_model import PlacedModel
from todre.vllm.position_tables import TABLE_FACTOR
from todre.vllm.processor import Stage1Info, Stage1Processor


class Qwen2VLInfo(Stage1Info, Qwen2VLProcessingInfo):
    """What the processor of Qwen2-VL says of itself."""


class Qwen2_5VLInfo(Stage1Info, Qwen2_5_VLProcessingInfo):
    """What the processor of Qwen2.5-VL says of itself."""


class Qwen3VLInfo(Stage1Info, Qwen3VLProcessingInfo):
    """What the processor of Qwen3-VL says of itself."""

    def get_mm_max_tokens_per_item(self, *args: Any, **kwargs: Any) -> Any:
        """The most tokens of a medium; a pruned clip's have text among them."""
        most = super().get_mm_max_tokens_per_item(*args, **kwargs)
        processor, tokenizer = self.get_video_processor(), self.get_tokenizer()
        stamp = len(tokenizer.encode("<99999.9 seconds>", add_special_tokens=False)) + len(("start", "end"))
        return {**most, "video": most["video"] + processor.max_frames // processor.temporal_patch_size * stamp}


class PlacedProcessor(Stage1Processor):
    """Mixin before a processor of media with time, rows and columns."""

    def check_item(self, kind: str, item: Any) -> None:
        """Check that a medium's positions have room in the model's table.

        Raises:
            InvalidValueError: they are not.
        """
        config = self.info.get_hf_config()
        text = config.get_text_config()
        scaled = (getattr(text, "rope_parameters", None) or {}).get("rope_type", "default") == "yarn"
        counts = next(medium.counts for medium in self.family.media if medium.kind == kind)
        if item is None or scaled:
            return
        steps, rows, columns = item[counts].data.flatten().tolist()
        seconds = float(item["second_per_grid_ts"].data) if "second_per_grid_ts" in item else 1.0
        rate = getattr(config.vision_config, "tokens_per_second", 1) if "second_per_grid_ts" in item else 1
        side = config.vision_config.spatial_merge_size
        span = max(steps * seconds * rate, rows // side, columns // side)
        room = TABLE_FACTOR * text.max_position_embeddings - self.info.ctx.model_config.max_model_len
        if span > room:
            raise InvalidValueError(
                f"This {kind} takes {span:,.0f} positions of time, rows or columns, and the model's table has room "
                f"for {room:,}; send a shorter clip or a smaller picture, or a clip with more frames per second."
            )


class Qwen2VLProcessor(PlacedProcessor, Qwen2VLMultiModalProcessor):
    """The processor of Qwen2-VL."""

    model_type: ClassVar[str] = "qwen2_vl"


class Qwen2_5VLProcessor(PlacedProcessor, Qwen2_5_VLMultiModalProcessor):
    """The processor of Qwen2.5-VL."""

    model_type: ClassVar[str] = "qwen2_5_vl"


class Qwen3VLProcessor(PlacedProcessor, Qwen3VLMultiModalProcessor):
    """The processor of Qwen3-VL."""

    model_type: ClassVar[str] = "qwen3_vl"

    def shortened(self, kind: str, full: Any, kept: Callable[[int], int]) -> Any:
        """A placeholder of kept tokens; for a clip, with text between frames.

        How many tokens of which frame are kept is known only to the model, which therefore embeds that text too.
        """
        found = super().shortened(kind, full, kept)
        return found.full if kind == "video" else found


@MULTIMODAL_REGISTRY.register_processor(Qwen2VLProcessor, info=Qwen2VLInfo, dummy_inputs=Qwen2VLDummyInputsBuilder)
class TodreQwen2VL(PlacedModel, Qwen2VLForConditionalGeneration):
    """Qwen2-VL with kept tokens alone."""


@MULTIMODAL_REGISTRY.register_processor(
    Qwen2_5VLProcessor, info=Qwen2_5VLInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class TodreQwen2_5VL(PlacedModel, Qwen2_5_VLForConditionalGeneration):
    """Qwen2.5-VL with kept tokens alone."""


@MULTIMODAL_REGISTRY.register_processor(Qwen3VLProcessor, info=Qwen3VLInfo, dummy_inputs=Qwen3VLDummyInputsBuilder)
class TodreQwen3VL(PlacedModel, Qwen3VLForConditionalGeneration):
    """Qwen3-VL with kept tokens alone."""

    def full_ids(self, kind: str, fields: Mapping[str, Any]) -> list[int]:
        """The ids of one medium before pruning; a clip's have times among them."""
        ids = super().full_ids(kind, fields)
        if kind != "video":
            return ids
        config, times = self.config, fields["timestamps"].data
        replacement = Qwen3VLMultiModalProcessor.get_video_repl(
            tokens_per_frame=[len(ids) // len(times)] * len(times),
            timestamps=times,
            tokenizer=self._tokenizer,
            vision_start_token_id=config.vision_start_token_id,
            vision_end_token_id=config.vision_end_token_id,
            video_token_id=config.video_token_id,
        )
        return list(replacement.full)
