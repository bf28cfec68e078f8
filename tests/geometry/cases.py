"""What the probes of families that look at pictures are made of."""

from __future__ import annotations

from typing import Any

from geometry.oracle import PLAIN
from geometry.probes import Case

PROMPTS = [[(40, 24)], [(90, 61), (25, 130)], [(7, 9)], [(23, 110)], [(200, 190)]]
"""Sizes of the pictures of a few prompts."""

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
