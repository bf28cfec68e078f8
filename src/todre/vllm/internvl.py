"""InternVL (the checkpoints in transformers' form) in vLLM, pruned."""

from __future__ import annotations

from typing import ClassVar

from vllm.model_executor.models.interns1 import (
    InternS1DummyInputsBuilder,
    InternS1ForConditionalGeneration,
    InternS1MultiModalProcessor,
    InternS1ProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from todre.vllm.processor import Stage1Processor
from todre.vllm.stage1_model import Stage1Model


class InternVLProcessor(Stage1Processor, InternS1MultiModalProcessor):
    """The processor of InternVL."""

    model_type: ClassVar[str] = "internvl"

    def entries(self, kind: str, n: int) -> list[int]:
        """Tokens of each tile, which has a budget of its own."""
        each = int(self.info.get_hf_processor().image_seq_length)
        return [each] * (n // each)


@MULTIMODAL_REGISTRY.register_processor(
    InternVLProcessor, info=InternS1ProcessingInfo, dummy_inputs=InternS1DummyInputsBuilder
)
class TodreInternVL(Stage1Model, InternS1ForConditionalGeneration):
    """InternVL with kept tokens alone."""
