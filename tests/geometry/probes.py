"""Tiny models of many families with their own image and video processors, ready for `geometry.oracle`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from geometry.oracle import PLAIN, Probe, without_attention
from PIL import Image
from torch import Tensor


@cache
def tiny(module: str, model_type: str, variant: str = "") -> Any:
    """The random model of a specimen, without attention."""
    specimens = import_module(f"families.zoo.{module}").SPECIMENS
    found = [one for one in specimens if one.model_type == model_type and variant in ("", one.variant)]
    model = found[0].build("eager")
    if model_type == "gemma4":  # as many positions as its processor's smallest budget can ask for
        embedder = model.model.vision_tower.patch_embedder
        embedder.position_embedding_size = 300
        embedder.position_embedding_table = torch.nn.Parameter(torch.randn(2, 300, embedder.hidden_size))
    return without_attention(model)


def pictures(processor: Any, nested: bool = False, **call: Any) -> Callable[[list[np.ndarray]], dict[str, Any]]:
    """Process pictures of one prompt with a PIL image processor."""

    def process(media: list[np.ndarray]) -> dict[str, Any]:
        images = [Image.fromarray(one[0]) for one in media]
        return dict(processor(images=[images] if nested else images, return_tensors="pt", **call))

    return process


def joined(features: Any) -> Tensor:
    """Features of all pictures, (n, d), whatever they are grouped by."""
    if isinstance(features, list | tuple):
        return torch.cat([joined(one) for one in features])
    return features.reshape(-1, features.shape[-1])


def encoded(*names: str, kind: str = "image") -> Callable[[Any, dict[str, Any]], Tensor]:
    """The features that the model itself puts into the prompt, from these inputs."""

    def features(model: Any, inputs: dict[str, Any]) -> Tensor:
        base = model.base_model
        encode = base.get_video_features if kind == "video" else base.get_image_features
        return joined(
            encode(**{name: inputs[name] for name in names if name in inputs}, return_dict=True).pooler_output
        )

    return features


def with_processor(image_processor: Any = None, video_processor: Any = None, **more: Any) -> SimpleNamespace:
    """What stands for the family's processor."""
    return SimpleNamespace(image_processor=image_processor, video_processor=video_processor, **more)


# Patches of 4 × 4, merged 2 × 2: pictures of 8 to 20 cells, so that some are scaled up, some down.
AREA = {"shortest_edge": 8 * 64, "longest_edge": 20 * 64}
GRID = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "size": AREA, **PLAIN}
MERGED = {
    "qwen2_vl": ("qwen_vl", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "qwen2_5_vl": ("qwen_vl", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "qwen3_vl": ("qwen_vl", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "qwen3_vl_moe": ("qwen_vl", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "qwen3_5": ("qwen3_5", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "qwen3_5_moe": ("qwen3_5", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "glm4v": ("glm_vl", "glm4v.image_processing_pil_glm4v:Glm4vImageProcessorPil"),
    "glm4v_moe": ("glm_vl", "glm4v.image_processing_pil_glm4v:Glm4vImageProcessorPil"),
    "glm46v": ("glm_vl", "glm46v.image_processing_pil_glm46v:Glm46VImageProcessorPil"),
    "glm_ocr": ("glm_vl", "glm46v.image_processing_pil_glm46v:Glm46VImageProcessorPil"),
    "glmga": ("glm_vl", "glmga.image_processing_pil_glmga:GlmgaImageProcessorPil"),
    "ernie4_5_vl_moe": (
        "baidu_vl",
        "ernie4_5_vl_moe.image_processing_pil_ernie4_5_vl_moe:Ernie4_5_VLMoeImageProcessorPil",
    ),
    "paddleocr_vl": ("baidu_vl", "paddleocr_vl.image_processing_pil_paddleocr_vl:PaddleOCRVLImageProcessorPil"),
    "video_llama_3": ("video_llama_3", "video_llama_3.image_processing_pil_video_llama_3:VideoLlama3ImageProcessorPil"),
    "exaone4_5": ("exaone", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "hyperclovax_vision_v2": ("exaone", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "qwen2_5_omni_thinker": ("qwen_omni", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "qwen3_omni_moe_thinker": ("qwen_omni", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "lfm3_vl": ("lfm3_vl", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "cosmos3_omni": ("cosmos", "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"),
    "cosmos3_edge": ("cosmos", "cosmos3_edge.image_processing_pil_cosmos3_edge:Cosmos3EdgeImageProcessorPil"),
    "cohere_compass": (
        "cohere_compass",
        "cohere_compass.image_processing_pil_cohere_compass:CohereCompassImageProcessorPil",
    ),
}
SETTINGS = {
    "ernie4_5_vl_moe": {"temporal_patch_size": 1},
    "paddleocr_vl": {"temporal_patch_size": 1},
    "cosmos3_edge": {"temporal_patch_size": 1},
    "video_llama_3": {"temporal_patch_size": 1, "merge_size": 1},
}


def processor_class(path: str) -> Any:
    """A class of transformers.models, "module:Class"."""
    module, _, name = path.partition(":")
    return getattr(import_module(f"transformers.models.{module}"), name)


def merged(model_type: str) -> Probe:
    """A family that merges patches 2 × 2."""
    module, path = MERGED[model_type]
    processor = processor_class(path)(**{**GRID, **SETTINGS.get(model_type, {})})
    model = tiny(module, model_type)
    features = encoded("pixel_values", "image_grid_thw", "image_merge_sizes")
    return Probe(with_processor(processor), model, pictures(processor), features, cell=4 * processor.merge_size)


@dataclass(frozen=True)
class Case:
    """What a probe of one family is made of.

    Attributes:
        zoo: module of the specimen, its model type and variant.
        processor: image processor, as "module:Class", and its settings.
        cell: pixels of the processed picture along one side of a token.
        inputs: what the image processor makes that the model needs.
        call: settings that the family's processor hands to the image processor at each call.
        outer: attributes of the family's processor that matter.
        reach: as in `Probe`.
        nested: the family's processor hands on pictures as a list for each sample.
    """

    zoo: tuple[str, str, str]
    processor: str
    settings: dict[str, Any]
    cell: int
    inputs: tuple[str, ...] = ("pixel_values",)
    call: dict[str, Any] = field(default_factory=dict)
    outer: dict[str, Any] = field(default_factory=dict)
    reach: float = 0.0
    nested: bool = False


def pictured(case: Case) -> Probe:
    """The probe of a case."""
    processor = processor_class(case.processor)(**case.settings)
    outer = with_processor(processor, **case.outer)
    features = encoded(*case.inputs)
    return Probe(
        outer, tiny(*case.zoo), pictures(processor, case.nested, **case.call), features, case.cell, reach=case.reach
    )
