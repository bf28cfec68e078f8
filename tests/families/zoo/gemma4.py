"""Gemma 4: per-layer inputs and shared keys and values, or experts and pictures that attend both ways."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import pad_to, stir
from families.zoo.specimen import FIRST_WORD, VOCAB, Media, Specimen, finish, generator
from torch import Tensor
from transformers import Gemma4Config, Gemma4ForConditionalGeneration, Gemma4TextConfig, Gemma4VisionConfig

IMAGE, VIDEO, START, END, AUDIO = 3, 4, 5, 6, 7
PATCH, POOL, SOFT = 4, 3, 9
SIZES = [(2, 3), (1, 4), (3, 3)]
"""Rows and columns of visual tokens; at most SOFT of them, as the processor pads every picture to that many."""
FRAMES = [2, 3, 1]
LAYERS = {
    "": ["sliding_attention", "full_attention"] * 2,
    "moe": ["sliding_attention", "full_attention"] * 2,
    "full": ["full_attention"] * 4,
}
EXTRAS: dict[str, dict[str, Any]] = {
    "": {
        "hidden_size_per_layer_input": 12,
        "vocab_size_per_layer_input": VOCAB,
        "num_kv_shared_layers": 2,
        "use_double_wide_mlp": True,
    },
    "moe": {
        "hidden_size_per_layer_input": 0,
        "attention_k_eq_v": True,
        "num_global_key_value_heads": 1,
        "use_bidirectional_attention": "vision",
        "enable_moe_block": True,
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 24,
    },
    "full": {"hidden_size_per_layer_input": 12, "vocab_size_per_layer_input": VOCAB},
}


def build(backend: str, variant: str = "") -> Gemma4ForConditionalGeneration:
    """As the small checkpoints by default (no bidirectional blocks), as the 26B-A4B with `moe`."""
    torch.manual_seed(0)
    text = Gemma4TextConfig(
        **text_settings(),
        head_dim=8,
        global_head_dim=16,
        sliding_window=8,
        layer_types=list(LAYERS[variant]),
        final_logit_softcapping=3.0,
        **EXTRAS[variant],
    )
    vision = Gemma4VisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=8,
        patch_size=PATCH,
        pooling_kernel_size=POOL,
        position_embedding_size=16,
        standardize=True,
        initializer_range=0.12,
    )
    config = Gemma4Config(
        text_config=text,
        vision_config=vision,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        boi_token_id=START,
        eoi_token_id=END,
        audio_token_id=AUDIO,
        attn_implementation=backend,
    )
    model = Gemma4ForConditionalGeneration(config)
    stir(model)
    tower = model.model.vision_tower
    random = generator(23)
    torch.nn.init.normal_(tower.patch_embedder.position_embedding_table, std=0.5, generator=random)
    tower.std_bias.normal_(std=0.5, generator=random)
    tower.std_scale.uniform_(0.5, 1.5, generator=random)
    for layer in model.model.language_model.layers:
        layer.layer_scalar.uniform_(0.7, 1.2, generator=random)
        layer.self_attn.q_norm.weight.data.mul_(0.3)
    return finish(model)


def patches(rows: int, columns: int, frames: int, merged: bool, *seed: int) -> dict[str, Tensor]:
    """Flat patches in raster order, 9 for each visual token or one of 9 times the pixels, and where they lie (x, y)."""
    down, across, side = (rows, columns, PATCH * POOL) if merged else (rows * POOL, columns * POOL, PATCH)
    pixels = torch.rand(frames, down * across, 3 * side**2, generator=generator(*seed))
    grid = torch.meshgrid(torch.arange(across), torch.arange(down), indexing="xy")
    places = torch.stack(grid, dim=-1).reshape(1, down * across, 2).expand(frames, -1, -1)
    return {"pixels": pixels, "places": places}


def media(model: Any, kind: str, variant: int, merged: bool = False) -> Media:
    """A picture between its start and end; a clip as timestamped frames, each between start and end."""
    rows, columns = SIZES[variant]
    if kind == "image":
        ids = [START, *[IMAGE] * (rows * columns), END]
        return Media(kind, torch.tensor(ids), patches(rows, columns, 1, merged, 7, variant))
    stamp = [[FIRST_WORD + 5, FIRST_WORD + frame] for frame in range(FRAMES[variant])]
    ids = [token for time in stamp for token in [*time, START, *[VIDEO] * (rows * columns), END]]
    return Media(kind, torch.tensor(ids), patches(rows, columns, FRAMES[variant], merged, 9, variant))


def collate(model: Any, media: list[Media], merged: bool = False) -> dict[str, Tensor]:
    """Pictures, and the frames of all clips, padded to SOFT visual tokens; padding lies at (-1, -1)."""
    inputs: dict[str, Tensor] = {}
    for kind, suffix in (("image", ""), ("video", "_videos")):
        some = [one.inputs for one in media if one.kind == kind]
        if some:
            longest = torch.zeros(SOFT if merged else SOFT * POOL**2, 1)
            pixels = [frame for one in some for frame in one["pixels"]]
            places = [frame + 1 for one in some for frame in one["places"]]
            inputs[f"pixel_values{suffix}"] = pad_to([*pixels, longest.expand(-1, pixels[0].shape[1])])[:-1]
            inputs[f"{kind}_position_ids"] = pad_to([*places, longest.expand(-1, 2).long()])[:-1] - 1
            if kind == "video":
                inputs |= frame_counts(model, inputs, [len(one["pixels"]) for one in some])
    return inputs


def frame_counts(model: Any, inputs: dict[str, Tensor], counts: list[int]) -> dict[str, Tensor]:
    """How many frames each clip has; before transformers 5.19 clips are stacked, padded with frames at (-1, -1)."""
    if "num_frames_per_video" in inspect.signature(model.base_model.get_video_features).parameters:
        return {"num_frames_per_video": torch.tensor(counts)}
    pixels, places = (list(inputs[name].split(counts)) for name in ("pixel_values_videos", "video_position_ids"))
    return {"pixel_values_videos": pad_to(pixels), "video_position_ids": pad_to([one + 1 for one in places]) - 1}


def token_types(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """1 at tokens of pictures, 2 at tokens of clips."""
    return {"mm_token_type_ids": (ids == IMAGE).long() + 2 * (ids == VIDEO).long()}


SPECIMENS = [
    Specimen("gemma4", partial(build, variant=name), media, collate, columns=token_types, video=True, variant=name)
    for name in LAYERS
]
