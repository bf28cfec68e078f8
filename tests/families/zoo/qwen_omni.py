"""The thinkers of Qwen2.5-Omni and Qwen3-Omni: pictures and clips without sound; the audio tower stays silent."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.qwen_vl import (
    END,
    GRIDS,
    IMAGE,
    MERGE,
    PATCH,
    START,
    VIDEO,
    build,
    collate,
    deep_tower,
    grid_media,
    moe,
    mrope,
    qwen3_text,
    text,
    tower,
    wrapped,
)
from families.zoo.specimen import Media, Specimen
from transformers import (
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
)

AUDIO, AUDIO_START, AUDIO_END = 7, 8, 9
HEARING: dict[str, Any] = {
    "num_mel_bins": 8,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "d_model": 16,
    "output_dim": 48,
    "n_window": 4,
    "max_source_positions": 16,
}
SETTINGS: dict[str, Any] = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "audio_token_id": AUDIO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
    "audio_start_token_id": AUDIO_START,
    "audio_end_token_id": AUDIO_END,
    "position_id_per_seconds": 3,
    "initializer_range": 0.12,
}


def config2() -> Qwen2_5OmniThinkerConfig:
    """Qwen2.5's tower with windows of 2 × 2 merged patches; the last block sees whole frames."""
    return Qwen2_5OmniThinkerConfig(
        text_config=text(rope_parameters=mrope()),
        vision_config=tower(window_size=2 * MERGE * PATCH, fullatt_block_indexes=[2]),
        audio_config=HEARING,
        **SETTINGS,
    )


def config3() -> Qwen3OmniMoeThinkerConfig:
    """Deepstack and experts."""
    return Qwen3OmniMoeThinkerConfig(
        text_config=qwen3_text(**moe()),
        vision_config=deep_tower(),
        audio_config={**HEARING, "downsample_hidden_size": 8},
        **SETTINGS,
    )


def timed_collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Patches and grids, with the seconds that one step in time of a clip takes."""
    inputs = collate(model, media)
    if "video_grid_thw" in inputs:
        steps = [1.0 + GRIDS["video"].index(one.inputs["grid"]) / 2 for one in media if one.kind == "video"]
        inputs["video_second_per_grid"] = torch.tensor(steps)
    return inputs


SPECIMENS = [
    Specimen(
        "qwen2_5_omni_thinker",
        build(config2, Qwen2_5OmniThinkerForConditionalGeneration),
        grid_media(wrapped),
        timed_collate,
        video=True,
    ),
    Specimen(
        "qwen3_omni_moe_thinker",
        build(config3, Qwen3OmniMoeThinkerForConditionalGeneration),
        grid_media(wrapped),
        timed_collate,
        video=True,
    ),
]
