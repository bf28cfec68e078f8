"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL, and what all towers have in common that read packed patches and a grid.

Such a tower gets the patches of all pictures in one long row, (patches, channels · frames · side · side), with a grid
(t, h, w) in patches for each picture or clip, and merges 2×2 neighbours, which are stored next to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.specimen import FIRST_WORD, Media, Specimen, finish, generator
from torch import Tensor
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

IMAGE, VIDEO, START, END = 3, 4, 5, 6
PATCH, FRAMES, MERGE = 4, 2, 2
GRIDS: dict[str, Sequence[tuple[int, int, int]]] = {
    "image": [(1, 6, 8), (1, 6, 10), (1, 10, 4)],
    "video": [(2, 4, 6), (3, 6, 4), (2, 8, 6)],
}
"""Patches in time, height and width of the variants."""
IDS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
}


def patches(kind: str, variant: int, grid: tuple[int, int, int], frames: int = FRAMES, patch: int = PATCH) -> Tensor:
    """Random patches of one picture or clip, (t·h·w, 3 · frames · patch · patch)."""
    time, height, width = grid
    seeded = generator(11, variant, int(kind == "video"))
    return torch.randn(time * height * width, 3 * frames * patch * patch, generator=seeded)


def wrapped(kind: str, grid: tuple[int, int, int]) -> Tensor:
    """Start, one placeholder for each merged patch, end."""
    time, height, width = grid
    count = time * height * width // MERGE**2
    return torch.tensor([START, *[VIDEO if kind == "video" else IMAGE] * count, END])


def stamped(kind: str, grid: tuple[int, int, int]) -> Tensor:
    """As `wrapped`, but each frame of a clip is wrapped by itself, after text that tells its time."""
    if kind == "image":
        return wrapped(kind, grid)
    time, height, width = grid
    frame = wrapped(kind, (1, height, width)).tolist()
    ids = [token for index in range(time) for token in (FIRST_WORD + 50, FIRST_WORD + 60 + index, *frame)]
    return torch.tensor(ids)


def grid_media(layout: Callable[[str, tuple[int, int, int]], Tensor]) -> Callable[[Any, str, int], Media]:
    """`Specimen.media` with the ids that `layout` gives."""

    def media(model: Any, kind: str, variant: int) -> Media:
        grid = GRIDS[kind][variant]
        return Media(kind, layout(kind, grid), {"pixels": patches(kind, variant, grid), "grid": grid})

    return media


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Patches of pictures and of clips, each in one row, with their grids."""
    inputs: dict[str, Any] = {}
    for kind, pixels, grid in (
        ("image", "pixel_values", "image_grid_thw"),
        ("video", "pixel_values_videos", "video_grid_thw"),
    ):
        chosen = [one for one in media if one.kind == kind]
        if chosen:
            inputs[pixels] = torch.cat([one.inputs["pixels"] for one in chosen])
            inputs[grid] = torch.tensor([one.inputs["grid"] for one in chosen])
    return inputs


def timed_collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """As `collate`, with the seconds that one step in time of a clip takes."""
    inputs = collate(model, media)
    if "video_grid_thw" in inputs:
        steps = [1.0 + len(one.inputs["pixels"]) % 5 / 4 for one in media if one.kind == "video"]
        inputs["second_per_grid_ts"] = torch.tensor(steps)
    return inputs


def token_types(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """1 where a picture's placeholder is, 2 where a clip's is, (b, q)."""
    return {"mm_token_type_ids": ((ids == IMAGE) + 2 * (ids == VIDEO)).int()}


def mrope(**more: Any) -> dict[str, Any]:
    """Rotary settings for heads of 8 dimensions: one frequency for time, one for height, two for width."""
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1], **more}


def text(**more: Any) -> dict[str, Any]:
    """Settings of the decoders here."""
    return {**text_settings(), "rope_parameters": mrope(), **more}


def qwen3_text(**more: Any) -> dict[str, Any]:
    """With norms of queries and keys, and rotary dimensions interleaved."""
    return text(head_dim=8, rope_parameters=mrope(mrope_interleaved=True), **more)


def tower(**more: Any) -> dict[str, Any]:
    """Three blocks over patches of 4 × 4, two frames deep."""
    return {
        "depth": 3,
        "hidden_size": 32,
        "num_heads": 4,
        "intermediate_size": 40,
        "out_hidden_size": 48,
        "patch_size": PATCH,
        "temporal_patch_size": FRAMES,
        "spatial_merge_size": MERGE,
        "initializer_range": 0.12,
        **more,
    }


def deep_tower(**more: Any) -> dict[str, Any]:
    """Qwen3's: learned positions, and two more blocks whose features the decoder's first layers get."""
    return tower(num_position_embeddings=36, deepstack_visual_indexes=[0, 1], **more)


def moe(**more: Any) -> dict[str, Any]:
    """Four experts, two for each token."""
    return {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, **more}


def build(config: Callable[[], Any], model_class: Any) -> Callable[[str], Any]:
    """`Specimen.build`: the same weights for every backend."""

    def make(backend: str) -> Any:
        torch.manual_seed(0)
        model = model_class._from_config(config(), attn_implementation=backend)
        stir(model)
        return finish(model)

    return make


@torch.no_grad()
def stir(model: Any) -> None:
    """Make parameters that start out all zero or all one (biases, norms, gates) differ from that and within."""
    seeded = generator(13)
    for parameter in model.parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded))


def qwen2_config() -> Qwen2VLConfig:
    """The tower's width goes by another name here."""
    vision = {"depth": 3, "embed_dim": 32, "hidden_size": 48, "num_heads": 4, "mlp_ratio": 2, "patch_size": PATCH}
    return Qwen2VLConfig(text_config=text(), vision_config={**vision, "initializer_range": 0.12}, **IDS)


def qwen2_5_config() -> Qwen2_5_VLConfig:
    """Windows of 2 × 2 merged patches, so that the grids above are cut and reordered; the last block sees all."""
    vision = tower(window_size=2 * MERGE * PATCH, fullatt_block_indexes=[2], tokens_per_second=2)
    return Qwen2_5_VLConfig(text_config=text(), vision_config=vision, **IDS)


def qwen3_config() -> Qwen3VLConfig:
    """Deepstack."""
    return Qwen3VLConfig(text_config=qwen3_text(), vision_config=deep_tower(), **IDS)


def qwen3_moe_config() -> Qwen3VLMoeConfig:
    """Deepstack and experts."""
    return Qwen3VLMoeConfig(text_config=qwen3_text(**moe()), vision_config=deep_tower(), **IDS)


def specimen(model_type: str, make: Callable[[str], Any], layout: Any = stamped, **more: Any) -> Specimen:
    """A specimen for pictures and clips."""
    return Specimen(
        model_type, make, grid_media(layout), **{"collate": collate, **more}, columns=token_types, video=True
    )


SPECIMENS = [
    specimen("qwen2_vl", build(qwen2_config, Qwen2VLForConditionalGeneration), wrapped),
    specimen("qwen2_5_vl", build(qwen2_5_config, Qwen2_5_VLForConditionalGeneration), wrapped, collate=timed_collate),
    specimen("qwen3_vl", build(qwen3_config, Qwen3VLForConditionalGeneration)),
    specimen("qwen3_vl_moe", build(qwen3_moe_config, Qwen3VLMoeForConditionalGeneration)),
]
