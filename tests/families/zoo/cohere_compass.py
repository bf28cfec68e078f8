"""Cohere Compass: Qwen3's tower with deepstack before a decoder with sliding layers; positions by type of layer."""

from __future__ import annotations

from collections.abc import Callable

from families.zoo.llava import text_settings
from families.zoo.qwen_vl import IDS, build, deep_tower, mrope, specimen
from transformers import CohereCompassConfig, CohereCompassForConditionalGeneration

MIXED = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
FULL = ["full_attention"] * 4
WINDOW = 8


def config(layer_types: list[str]) -> Callable[[], CohereCompassConfig]:
    """Sliding layers rotate; full ones do so only where there are no others."""
    rope = mrope(mrope_interleaved=True)
    by_type = {"sliding_attention": rope, "full_attention": rope if layer_types == FULL else None}
    settings = {key: value for key, value in text_settings().items() if key != "rms_norm_eps"}
    return lambda: CohereCompassConfig(
        text_config={
            **settings,
            "layer_types": layer_types,
            "sliding_window": WINDOW,
            "rope_parameters": {kind: by_type[kind] for kind in dict.fromkeys(layer_types)},
            "logit_scale": 0.5,
            "tie_word_embeddings": False,
        },
        vision_config=deep_tower(),
        **IDS,
    )


SPECIMENS = [
    specimen("cohere_compass", build(config(MIXED), CohereCompassForConditionalGeneration)),
    specimen("cohere_compass", build(config(FULL), CohereCompassForConditionalGeneration), variant="full"),
]
