"""Families whose own processors need torchvision, and all clips: one process with the stand-in for torchvision.

Run by `test_stock.py` as `python -m geometry.stock`; prints one line of JSON for each case.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from geometry.cases import CENTRE, CROPS, PICTURES, PROMPTS, SPLIT, SQUARE
from geometry.oracle import PLAIN, Probe, Size, check, without_attention
from geometry.probes import GRID, Case, encoded, joined, pictured, processor_class, tiny, with_processor
from torch import Tensor

CLIPS: list[list[Size]] = [[(40, 24, 4)], [(90, 61, 3), (25, 190, 3)]]
"""One clip, and two of other shapes with an odd number of frames."""


def clips(processor: Any) -> Callable[[list[np.ndarray]], dict[str, Any]]:
    """Process the clips of one prompt with a video processor; they were sampled before."""

    def process(media: list[np.ndarray]) -> dict[str, Any]:
        videos = [torch.from_numpy(one).permute(0, 3, 1, 2).contiguous() for one in media]
        return dict(processor(videos=videos, do_sample_frames=False, return_tensors="pt"))

    return process


MERGED_CLIPS = {
    "qwen2_vl": ("qwen_vl", "qwen2_vl.video_processing_qwen2_vl:Qwen2VLVideoProcessor"),
    "qwen2_5_vl": ("qwen_vl", "qwen2_vl.video_processing_qwen2_vl:Qwen2VLVideoProcessor"),
    "qwen3_vl": ("qwen_vl", "qwen3_vl.video_processing_qwen3_vl:Qwen3VLVideoProcessor"),
    "qwen3_vl_moe": ("qwen_vl", "qwen3_vl.video_processing_qwen3_vl:Qwen3VLVideoProcessor"),
    "qwen3_5": ("qwen3_5", "qwen3_vl.video_processing_qwen3_vl:Qwen3VLVideoProcessor"),
    "qwen3_5_moe": ("qwen3_5", "qwen3_vl.video_processing_qwen3_vl:Qwen3VLVideoProcessor"),
    "glm4v": ("glm_vl", "glm4v.video_processing_glm4v:Glm4vVideoProcessor"),
    "glm4v_moe": ("glm_vl", "glm4v.video_processing_glm4v:Glm4vVideoProcessor"),
    "glm46v": ("glm_vl", "glm46v.video_processing_glm46v:Glm46VVideoProcessor"),
    "glmga": ("glm_vl", "glmga.video_processing_glmga:GlmgaVideoProcessor"),
    "ernie4_5_vl_moe": ("baidu_vl", "ernie4_5_vl_moe.video_processing_ernie4_5_vl_moe:Ernie4_5_VLMoeVideoProcessor"),
    "video_llama_3": ("video_llama_3", "video_llama_3.video_processing_video_llama_3:VideoLlama3VideoProcessor"),
    "exaone4_5": ("exaone", "qwen2_vl.video_processing_qwen2_vl:Qwen2VLVideoProcessor"),
    "hyperclovax_vision_v2": ("exaone", "qwen2_vl.video_processing_qwen2_vl:Qwen2VLVideoProcessor"),
    "qwen2_5_omni_thinker": ("qwen_omni", "qwen2_vl.video_processing_qwen2_vl:Qwen2VLVideoProcessor"),
    "qwen3_omni_moe_thinker": ("qwen_omni", "qwen2_vl.video_processing_qwen2_vl:Qwen2VLVideoProcessor"),
    "lfm3_vl": ("lfm3_vl", "qwen3_vl.video_processing_qwen3_vl:Qwen3VLVideoProcessor"),
    "cosmos3_omni": ("cosmos", "qwen3_vl.video_processing_qwen3_vl:Qwen3VLVideoProcessor"),
    "cosmos3_edge": ("cosmos", "cosmos3_edge.video_processing_cosmos3_edge:Cosmos3EdgeVideoProcessor"),
    "cohere_compass": ("cohere_compass", "cohere_compass.video_processing_cohere_compass:CohereCompassVideoProcessor"),
}
VOLUME = {"shortest_edge": 8 * 64, "longest_edge": 50 * 64}
OPTIONS: dict[str, dict[str, Any]] = {
    "video_llama_3": {"temporal_patch_size": 1, "use_token_compression": False},
    "ernie4_5_vl_moe": {"draw_on_frames": False},
    "cosmos3_edge": {"temporal_patch_size": 1},
}


def merged_clips(model_type: str, **more: Any) -> Probe:
    """A family that merges patches 2 × 2, looking at clips."""
    module, path = MERGED_CLIPS[model_type]
    options = {**GRID, "size": VOLUME, **OPTIONS.get(model_type, {}), **more}
    processor = processor_class(path)(**options)
    features = encoded("pixel_values_videos", "video_grid_thw", "video_merge_sizes", kind="video")
    model = tiny(module, model_type)
    return Probe(
        with_processor(video_processor=processor), model, clips(processor), features, 8, pixels="pixel_values_videos"
    )


VIDEOS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "llava_next_video": (
        "llava_next",
        "llava_next_video.video_processing_llava_next_video:LlavaNextVideoVideoProcessor",
        12,
        CENTRE,
    ),
    "llava_onevision": (
        "llava_onevision",
        "llava_onevision.video_processing_llava_onevision:LlavaOnevisionVideoProcessor",
        4,
        {"size": {"height": 20, "width": 20}, **PLAIN},
    ),
    "video_llava": ("llava_towers", "video_llava.video_processing_video_llava:VideoLlavaVideoProcessor", 6, CENTRE),
    "internvl": (
        "internvl",
        "internvl.video_processing_internvl:InternVLVideoProcessor",
        12,
        {"size": {"height": 36, "width": 36}, **PLAIN},
    ),
    "perception_lm": (
        "timm_towers",
        "perception_lm.video_processing_perception_lm:PerceptionLMVideoProcessor",
        12,
        SQUARE,
    ),
    "gemma4": (
        "gemma4",
        "gemma4.video_processing_gemma4:Gemma4VideoProcessor",
        12,
        {"patch_size": 4, "pooling_kernel_size": 3, "max_soft_tokens": 70, **PLAIN},
    ),
    "smolvlm": ("smolvlm", "smolvlm.video_processing_smolvlm:SmolVLMVideoProcessor", 8, SPLIT),
}
"""Families that look at each frame once: specimen, video processor, pixels along one side of a token, settings."""


def frames(model_type: str) -> Probe:
    """A family that looks at each frame once, looking at clips."""
    module, path, cell, settings = VIDEOS[model_type]
    processor = processor_class(path)(**settings)
    outer = with_processor(video_processor=processor, num_additional_image_tokens=1, patch_size=6)
    pixels = "pixel_values" if model_type == "smolvlm" else "pixel_values_videos"

    def features(model: Any, inputs: dict[str, Any]) -> Tensor:
        base = model.base_model
        if model_type in ("internvl", "perception_lm"):
            frames = inputs[pixels].flatten(0, 1) if model_type == "internvl" else inputs[pixels]
            return joined(base.get_image_features(pixel_values=frames, return_dict=True).pooler_output)
        names = {
            "smolvlm": ("pixel_values", "pixel_attention_mask"),
            "gemma4": (pixels, "video_position_ids", "num_frames_per_video"),
        }.get(model_type, (pixels,))
        return encoded(*names, kind="image" if model_type == "smolvlm" else "video")(model, inputs)

    reach = 1.0 if model_type == "llava_onevision" else 0.0
    return Probe(outer, tiny(module, model_type), clips(processor), features, cell, pixels, reach)


ONLY: dict[str, Case] = {
    "cohere2_vision": Case(
        ("cohere", "cohere2_vision", ""),
        "cohere2_vision.image_processing_cohere2_vision:Cohere2VisionImageProcessor",
        {**SQUARE, **CROPS},
        cell=8,
    ),
    "llama4": Case(
        ("llama4", "llama4", ""),
        "llama4.image_processing_llama4:Llama4ImageProcessor",
        {**SQUARE, "max_patches": 6},
        cell=8,
    ),
    "llama4, largest canvas": Case(
        ("llama4", "llama4", ""),
        "llama4.image_processing_llama4:Llama4ImageProcessor",
        {**SQUARE, "max_patches": 6, "resize_to_max_canvas": True},
        cell=8,
    ),
    "perception_lm": Case(
        ("timm_towers", "perception_lm", ""),
        "perception_lm.image_processing_perception_lm:PerceptionLMImageProcessor",
        {"tile_size": 24, "max_num_tiles": 4, **PLAIN},
        cell=12,
        outer={"patch_size": 6},
    ),
    "perception_lm, one look": Case(
        ("timm_towers", "perception_lm", ""),
        "perception_lm.image_processing_perception_lm:PerceptionLMImageProcessor",
        {"tile_size": 24, "vision_input_type": "vanilla", **PLAIN},
        cell=12,
        outer={"patch_size": 6},
    ),
    "lfm2_vl": Case(
        ("lfm2_vl", "lfm2_vl", ""),
        "lfm2_vl.image_processing_lfm2_vl:Lfm2VlImageProcessor",
        {
            "encoder_patch_size": 4,
            "tile_size": 16,
            "downsample_factor": 2,
            "min_image_tokens": 4,
            "max_image_tokens": 9,
            "min_tiles": 2,
            "max_tiles": 6,
            **PLAIN,
        },
        cell=8,
        inputs=("pixel_values", "spatial_shapes", "pixel_attention_mask"),
    ),
    "kimi_k25": Case(
        ("kimi", "kimi_k25", ""),
        "kimi_k25.image_processing_kimi_k25:Kimi_K25ImageProcessor",
        {"patch_size": 4, "merge_size": 2, "max_patches": 60, "size": {"max_height": 12, "max_width": 12}, **PLAIN},
        cell=8,
        inputs=("pixel_values", "image_grid_thw"),
    ),
    "minimax_m3_vl": Case(
        ("minimax", "minimax_m3_vl", ""),
        "minimax_m3_vl.image_processing_minimax_m3_vl:MiniMaxM3VLImageProcessor",
        GRID,
        cell=8,
        inputs=("pixel_values", "image_grid_thw"),
    ),
    "internvl": replace(PICTURES["internvl"], processor="got_ocr2.image_processing_got_ocr2:GotOcr2ImageProcessor"),
    "ovis2": replace(PICTURES["ovis2"], processor="ovis2.image_processing_ovis2:Ovis2ImageProcessor"),
    "smolvlm": replace(PICTURES["smolvlm"], processor="smolvlm.image_processing_smolvlm:SmolVLMImageProcessor"),
    "gemma3, pan and scan": replace(
        PICTURES["gemma3, pan and scan"], processor="gemma3.image_processing_gemma3:Gemma3ImageProcessor"
    ),
    "vipllava, padded by the crop": replace(
        PICTURES["vipllava"],
        processor="clip.image_processing_clip:CLIPImageProcessor",
        settings={**CENTRE, "size": {"shortest_edge": 17}},
    ),
}
"""Families whose image processors need torchvision, and some that have a second one that does."""


def alone(name: str) -> Probe:
    """The probe of a case of `ONLY`."""
    probe = pictured(ONLY[name])
    if name.startswith("llama4"):
        tower = without_attention(probe.model).get_image_features
        return replace(probe, features=lambda model, inputs: joined(tower(inputs["pixel_values"]).last_hidden_state))
    return probe


def cases() -> Iterator[tuple[str, Callable[[], Probe], list[Size]]]:
    """(name, probe, prompt) of every case."""
    for model_type in (*MERGED_CLIPS, *VIDEOS):
        make = merged_clips if model_type in MERGED_CLIPS else frames
        for prompt in CLIPS:
            yield f"{model_type}, clips {prompt}", partial(make, model_type), prompt
    for model_type in ("qwen2_vl", "qwen3_vl", "cohere_compass"):
        capped = {"cap_pixels_per_frame": True, "max_video_tokens": 9}
        yield f"{model_type}, capped", partial(merged_clips, model_type, **capped), CLIPS[0]
    for name in ONLY:
        for sizes in PROMPTS:
            if "perception" not in name or len(sizes) == 1:
                yield f"{name}, {sizes}", partial(alone, name), sizes


def case_names() -> list[str]:
    """Names of all cases; nothing is built."""
    return [name for name, _, _ in cases()]


def main() -> None:
    """Print what came of each case."""
    for name, probe, prompt in cases():
        try:
            print(json.dumps({"case": name, "tokens": check(probe(), prompt)}), flush=True)
        except Exception:
            print(json.dumps({"case": name, "error": traceback.format_exc()[-1500:]}), flush=True)


if __name__ == "__main__":
    main()
