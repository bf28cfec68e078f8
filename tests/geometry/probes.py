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


SQUARE = {"size": {"height": 24, "width": 24}, **PLAIN}
GOT = "got_ocr2.image_processing_pil_got_ocr2:GotOcr2ImageProcessorPil"
CROPS = {"crop_to_patches": True, "min_patches": 1, "max_patches": 6}
SPLIT = {"size": {"longest_edge": 60}, "max_image_size": {"longest_edge": 24}, **PLAIN}
PIXTRAL = "pixtral.image_processing_pil_pixtral:PixtralImageProcessorPil"
SIGLIP = "siglip.image_processing_pil_siglip:SiglipImageProcessorPil"
CLIP = "clip.image_processing_pil_clip:CLIPImageProcessorPil"
CENTRE = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}, **PLAIN}
GEMMA = "gemma3.image_processing_pil_gemma3:Gemma3ImageProcessorPil"
NEXT = "llava_next.image_processing_pil_llava_next:LlavaNextImageProcessorPil"
CANVASES = {"image_grid_pinpoints": [[24, 48], [48, 24], [48, 48]]}
ANYRES: dict[str, Any] = {
    "cell": 6,
    "inputs": ("pixel_values", "image_sizes"),
    "outer": {"num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"},
}
PAN = {
    "do_pan_and_scan": True,
    "pan_and_scan_min_crop_size": 16,
    "pan_and_scan_max_num_crops": 4,
    "pan_and_scan_min_ratio_to_activate": 1.2,
}


def pixtral_settings(patch: int) -> dict[str, Any]:
    """Sides up to 48 pixels, whole tokens."""
    return {"size": {"longest_edge": 48}, "patch_size": {"height": patch, "width": patch}, **PLAIN}


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


PICTURES: dict[str, Case] = {
    "internvl": Case(
        ("internvl", "internvl", ""), GOT, {"size": {"height": 36, "width": 36}, **PLAIN, **CROPS}, cell=12
    ),
    "internvl, crops by its processor": Case(
        ("internvl", "internvl", ""),
        GOT,
        {"size": {"height": 36, "width": 36}, **PLAIN, "max_patches": 3},
        cell=12,
        call={"crop_to_patches": True},
        outer={"images_kwargs": {"crop_to_patches": True}},
    ),
    "internvl, one tile": Case(
        ("internvl", "internvl", ""), GOT, {"size": {"height": 36, "width": 36}, **PLAIN}, cell=12
    ),
    "qianfan_ocr": Case(
        ("internvl", "qianfan_ocr", ""), GOT, {"size": {"height": 36, "width": 36}, **PLAIN, **CROPS}, cell=12
    ),
    "aya_vision": Case(("cohere", "aya_vision", ""), GOT, {**SQUARE, **CROPS}, cell=8),
    "ovis2": Case(
        ("ovis2", "ovis2", ""), "ovis2.image_processing_pil_ovis2:Ovis2ImageProcessorPil", {**SQUARE, **CROPS}, cell=8
    ),
    "ovis2, by aspect ratio": Case(
        ("ovis2", "ovis2", ""),
        "ovis2.image_processing_pil_ovis2:Ovis2ImageProcessorPil",
        {**SQUARE, **CROPS, "use_covering_area_grid": False},
        cell=8,
    ),
    "idefics3": Case(
        ("smolvlm", "idefics3", ""),
        "idefics3.image_processing_pil_idefics3:Idefics3ImageProcessorPil",
        SPLIT,
        cell=8,
        inputs=("pixel_values", "pixel_attention_mask"),
    ),
    "smolvlm": Case(
        ("smolvlm", "smolvlm", ""),
        "smolvlm.image_processing_pil_smolvlm:SmolVLMImageProcessorPil",
        SPLIT,
        cell=8,
        inputs=("pixel_values", "pixel_attention_mask"),
    ),
    "smolvlm, not split": Case(
        ("smolvlm", "smolvlm", ""),
        "smolvlm.image_processing_pil_smolvlm:SmolVLMImageProcessorPil",
        {**SPLIT, "do_image_splitting": False},
        cell=8,
        inputs=("pixel_values", "pixel_attention_mask"),
    ),
    "mistral3": Case(
        ("mistral3", "mistral3", ""), PIXTRAL, pixtral_settings(6), cell=6, inputs=("pixel_values", "image_sizes")
    ),
    "lighton_ocr": Case(
        ("ocr", "lighton_ocr", ""), PIXTRAL, pixtral_settings(6), cell=6, inputs=("pixel_values", "image_sizes")
    ),
    "llava with pixtral": Case(
        ("llava_towers", "llava", "pixtral"),
        PIXTRAL,
        pixtral_settings(6),
        cell=6,
        inputs=("pixel_values", "image_sizes"),
    ),
    "gemma3": Case(("gemma3", "gemma3", ""), GEMMA, SQUARE, cell=8),
    "gemma3, pan and scan": Case(("gemma3", "gemma3", ""), GEMMA, {**SQUARE, **PAN}, cell=8),
    "paligemma": Case(("gemma3", "paligemma", ""), SIGLIP, SQUARE, cell=4),
    "vipllava": Case(("llava_towers", "vipllava", ""), CLIP, CENTRE, cell=6),
    "llava with siglip": Case(
        ("llava_towers", "llava", "siglip"),
        SIGLIP,
        SQUARE,
        cell=6,
        outer={"num_additional_image_tokens": 0, "vision_feature_select_strategy": "full"},
    ),
    "video_llava": Case(
        ("llava_towers", "video_llava", ""),
        "video_llava.image_processing_video_llava:VideoLlavaImageProcessor",
        CENTRE,
        cell=6,
        call={"return_legacy_image_output": False},
        outer={"num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"},
    ),
    "gemma4": Case(
        ("gemma4", "gemma4", ""),
        "gemma4.image_processing_pil_gemma4:Gemma4ImageProcessorPil",
        {"patch_size": 4, "pooling_kernel_size": 3, "max_soft_tokens": 70, **PLAIN},
        cell=12,
        inputs=("pixel_values", "image_position_ids"),
    ),
    "deepseek_vl": Case(
        ("deepseek_vl", "deepseek_vl", ""),
        "deepseek_vl.image_processing_pil_deepseek_vl:DeepseekVLImageProcessorPil",
        {"size": {"height": 20, "width": 20}, "min_size": 4, **PLAIN},
        cell=4,
    ),
    "janus": Case(
        ("deepseek_vl", "janus", ""),
        "janus.image_processing_pil_janus:JanusImageProcessorPil",
        {"size": {"height": 20, "width": 20}, "min_size": 4, **PLAIN},
        cell=4,
    ),
    "llava_next": Case(("llava_next", "llava_next", ""), NEXT, {**CENTRE, **CANVASES}, **ANYRES),
    "llava_next_video": Case(("llava_next", "llava_next_video", ""), NEXT, {**CENTRE, **CANVASES}, **ANYRES),
    "llava_onevision": Case(
        ("llava_onevision", "llava_onevision", ""),
        "llava_onevision.image_processing_pil_llava_onevision:LlavaOnevisionImageProcessorPil",
        {
            "size": {"height": 20, "width": 20},
            "image_grid_pinpoints": [[rows * 20, columns * 20] for rows in (1, 2, 3) for columns in (1, 2, 3)],
            **PLAIN,
        },
        cell=4,
        inputs=("pixel_values", "image_sizes", "batch_num_images"),
        outer={"vision_feature_select_strategy": "full"},
        nested=True,
        reach=1.0,
    ),
}


def pictured(case: Case) -> Probe:
    """The probe of a case."""
    processor = processor_class(case.processor)(**case.settings)
    outer = with_processor(processor, **case.outer)
    features = encoded(*case.inputs)
    return Probe(
        outer, tiny(*case.zoo), pictures(processor, case.nested, **case.call), features, case.cell, reach=case.reach
    )


PROMPTS = [[(40, 24)], [(90, 61), (25, 130)], [(7, 9)], [(23, 110)], [(200, 190)]]
"""Sizes of the pictures of a few prompts."""
