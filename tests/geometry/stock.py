"""Families whose own processors need torchvision, and all clips: one process with the stand-in for torchvision.

Run by `test_stock.py` as `python -m geometry.stock`; prints one line of JSON for each case.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from geometry.oracle import Probe, Size, check
from geometry.probes import GRID, encoded, processor_class, tiny, with_processor

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


def cases() -> Iterator[tuple[str, Callable[[], Probe], list[Size]]]:
    """(name, probe, prompt) of every case."""
    for model_type in MERGED_CLIPS:
        for number, prompt in enumerate(CLIPS):
            yield f"{model_type} clips {number}", lambda model_type=model_type: merged_clips(model_type), prompt
    for model_type in ("qwen2_vl", "qwen3_vl", "cohere_compass"):
        capped = {"cap_pixels_per_frame": True, "max_video_tokens": 9}
        yield f"{model_type} capped", lambda name=model_type, capped=capped: merged_clips(name, **capped), CLIPS[0]


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
