"""What todre relies on in vLLM, checked when a pruned model is built.

Names and their arguments are checked, and the options of the engine that pictures are encoded with.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from typing import Any

from todre.errors import ContractError, UnsupportedInputError

TESTED = ("0.32.0",)
"""Releases of vLLM that passed the tests."""

_NEEDED = {
    "vllm.multimodal.processing:BaseMultiModalProcessor._apply_hf_processor_main": ("mm_items", "hf_kwargs"),
    "vllm.multimodal.processing:BaseMultiModalProcessor._get_mm_fields_config": ("hf_inputs", "hf_processor_mm_kwargs"),
    "vllm.multimodal.processing:BaseMultiModalProcessor._get_prompt_updates": (
        *("mm_items", "hf_processor_mm_kwargs", "out_mm_kwargs"),
    ),
    "vllm.multimodal.processing:BaseMultiModalProcessor._get_mm_hashes": ("inputs",),
    "vllm.multimodal.processing:BaseMultiModalProcessor.get_dummy_inputs": ("seq_len", "mm_counts", "mm_options"),
    "vllm.multimodal.processing:ProcessorInputs": ("prompt", "mm_data_items", "hf_processor_mm_kwargs"),
    "vllm.multimodal.processing:PromptReplacement": ("modality", "target", "replacement"),
    "vllm.multimodal.processing:PromptUpdateDetails": ("full", "is_embed"),
    "vllm.multimodal.inputs:MultiModalFieldConfig.batched": ("modality", "keep_on_cpu"),
    "vllm.exceptions:VLLMValidationError": ("message",),
}
"""Callables of vLLM that are overridden or called, with their arguments."""


def check_names(needed: dict[str, tuple[str, ...]] | None = None) -> None:
    """Check that vLLM has what is overridden and called.

    Args:
        needed: callables as `module:qualified.name`, and their arguments; None means all that todre needs.

    Raises:
        ContractError: a name is not there, or has lost an argument.
    """
    import vllm

    for place, arguments in (_NEEDED if needed is None else needed).items():
        module, _, name = place.partition(":")
        try:
            found = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
            there = set(inspect.signature(found).parameters)  # type: ignore[arg-type]
        except (ImportError, AttributeError):
            there = None
        lacking = name if there is None else next((each for each in arguments if each not in there), None)
        if lacking is not None:
            what = name if there is None else f"the argument {lacking!r} of {name}"
            raise ContractError(
                f"vLLM {vllm.__version__} has not {what}, which pruning relies on; todre was tested with vLLM "
                f"{', '.join(TESTED)}."
            )
    if vllm.__version__ not in TESTED:
        logging.getLogger("vllm.todre").warning(
            "todre was tested with vLLM %s, and this is %s; what it relies on is there.",
            ", ".join(TESTED),
            vllm.__version__,
        )


def check_engine(vllm_config: Any) -> None:
    """Check that the engine encodes pictures in a way that can be pruned.

    Args:
        vllm_config: vLLM's config.

    Raises:
        ContractError: this vLLM lacks what is relied on.
        UnsupportedInputError: an option of the engine goes past what prunes.
    """
    check_names()
    compilation, parallel = vllm_config.compilation_config, vllm_config.parallel_config
    multimodal = vllm_config.model_config.multimodal_config
    refused = {
        "compile_mm_encoder": getattr(compilation, "compile_mm_encoder", False),
        "cudagraph_mm_encoder": getattr(compilation, "cudagraph_mm_encoder", False),
        "--video-pruning-rate": getattr(multimodal, "video_pruning_rate", None),
        "--mm-encoder-tp-mode data": getattr(multimodal, "mm_encoder_tp_mode", None) == "data",
        "--enable-tower-connector-lora": getattr(vllm_config.lora_config, "enable_tower_connector_lora", False),
        "--tensor-parallel-size": parallel.tensor_parallel_size > 1,
        "--pipeline-parallel-size": parallel.pipeline_parallel_size > 1,
        "--prefill-context-parallel-size": getattr(parallel, "prefill_context_parallel_size", 1) > 1,
        "--mm-encoder-only": getattr(multimodal, "mm_encoder_only", False),
    }
    found = next((option for option, is_set in refused.items() if is_set), None)
    if getattr(vllm_config, "use_v2_model_runner", False):
        logging.getLogger("vllm.todre").warning(
            "vLLM's Model Runner V2 was never seen with todre's models; VLLM_USE_V2_MODEL_RUNNER=0 takes the other one."
        )
    if found is not None:
        raise UnsupportedInputError(
            f"{found} cannot be combined with todre's pruning in vLLM, which has not been shown to be right with it; "
            "leave it out, or serve unpruned."
        )
