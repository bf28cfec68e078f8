"""LLaVA-1.5, LLaVA-NeXT and LLaVA-OneVision in vLLM, pruned."""

from __future__ import annotations

import re
from typing import ClassVar

from vllm.model_executor.models.llava import (
    LlavaDummyInputsBuilder,
    LlavaForConditionalGeneration,
    LlavaMultiModalProcessor,
    LlavaProcessingInfo,
)
from vllm.model_executor.models.llava_next import (
    LlavaNextForConditionalGeneration,
    LlavaNextMultiModalProcessor,
    LlavaNextProcessingInfo,
)
from vllm.model_executor.models.llava_onevision import (
    LlavaOnevisionDummyInputsBuilder,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionMultiModalProcessor,
    LlavaOnevisionProcessingInfo,
)
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY

from todre.vllm.processor import Stage1Processor
from todre.vllm.stage1_model import Stage1Model

# Recent releases of transformers (seen in 5.23) save a tower's weights without `vision_model.` in their names, which
# vLLM 0.32 does not find.
_FLAT = WeightsMapper(
    orig_to_new_regex={re.compile(r"^(model\.)?vision_tower\.(?!vision_model\.)"): "vision_tower.vision_model."}
)


class LlavaProcessor(Stage1Processor, LlavaMultiModalProcessor):
    """The processor of LLaVA-1.5."""

    model_type: ClassVar[str] = "llava"


class LlavaNextProcessor(Stage1Processor, LlavaNextMultiModalProcessor):
    """The processor of LLaVA-NeXT."""

    model_type: ClassVar[str] = "llava_next"


class LlavaOnevisionProcessor(Stage1Processor, LlavaOnevisionMultiModalProcessor):
    """The processor of LLaVA-OneVision."""

    model_type: ClassVar[str] = "llava_onevision"


@MULTIMODAL_REGISTRY.register_processor(LlavaProcessor, info=LlavaProcessingInfo, dummy_inputs=LlavaDummyInputsBuilder)
class TodreLlava(Stage1Model, LlavaForConditionalGeneration):
    """LLaVA-1.5 with kept tokens alone."""

    hf_to_vllm_mapper = _FLAT | LlavaForConditionalGeneration.hf_to_vllm_mapper


@MULTIMODAL_REGISTRY.register_processor(
    LlavaNextProcessor, info=LlavaNextProcessingInfo, dummy_inputs=LlavaDummyInputsBuilder
)
class TodreLlavaNext(Stage1Model, LlavaNextForConditionalGeneration):
    """LLaVA-NeXT with kept tokens alone."""

    hf_to_vllm_mapper = _FLAT | LlavaNextForConditionalGeneration.hf_to_vllm_mapper


@MULTIMODAL_REGISTRY.register_processor(
    LlavaOnevisionProcessor, info=LlavaOnevisionProcessingInfo, dummy_inputs=LlavaOnevisionDummyInputsBuilder
)
class TodreLlavaOnevision(Stage1Model, LlavaOnevisionForConditionalGeneration):
    """LLaVA-OneVision with kept tokens alone."""

    hf_to_vllm_mapper = _FLAT | LlavaOnevisionForConditionalGeneration.hf_to_vllm_mapper
