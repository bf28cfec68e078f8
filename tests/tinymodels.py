"""Tiny random models and ragged batches for exactness tests; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MistralConfig,
)

IMAGE, PAD, BOS, EOS, VOCAB = 3, 0, 1, 2, 97
TILE, PATCH = 24, 6
SIZES = [(48, 48), (40, 48), (24, 48), (48, 24), (30, 44)]


def build(kind: str = "next-llama", backend: str = "sdpa", layers: int = 8, seed: int = 0):
    """A random model in float32: `next-llama`, `next-mistral` or `llava`."""
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=TILE,
        patch_size=PATCH,
    )
    text = {
        "vocab_size": VOCAB,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": layers,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "max_position_embeddings": 2048,
        "initializer_range": 0.12,
    }
    decoder = MistralConfig(**text, sliding_window=None) if kind == "next-mistral" else LlamaConfig(**text)
    shared = {"vision_config": vision, "text_config": decoder, "image_token_id": IMAGE, "attn_implementation": backend}
    if kind == "llava":
        model = LlavaForConditionalGeneration(LlavaConfig(**shared))
    else:
        pinpoints = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
        model = LlavaNextForConditionalGeneration(LlavaNextConfig(**shared, image_grid_pinpoints=pinpoints))
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = PAD
    return model.eval()


@dataclass
class Sample:
    """Text with None where a picture goes, and the pictures' sizes."""

    parts: list[Tensor | int]
    pictures: list[tuple[Tensor, tuple[int, int]]] = field(default_factory=list)


def sample(model, before: int, sizes: list[tuple[int, int]], after: int, between: int = 3, seed: int = 0) -> Sample:
    """A prompt: `before` text tokens, pictures with `between` tokens between them, `after` text tokens."""
    generator = torch.Generator().manual_seed(seed)
    words = lambda n: torch.randint(5, VOCAB, (n,), generator=generator)  # noqa: E731
    parts: list[Tensor | int] = [words(before)]
    pictures = []
    for index, size in enumerate(sizes):
        if index:
            parts.append(words(between))
        pictures.append((picture(model, size, generator), size))
        parts.append(-1)
    parts.append(words(after))
    return Sample(parts, pictures)


def picture(model, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Random tiles for a picture of `size`, (tiles, 3, TILE, TILE), or (3, TILE, TILE) for LLaVA-1.5."""
    if model.config.model_type == "llava":
        return torch.randn(3, TILE, TILE, generator=generator)
    from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

    tiles = image_size_to_num_patches(size, model.config.image_grid_pinpoints, TILE)
    return torch.randn(tiles, 3, TILE, TILE, generator=generator)


def encode(model, pictures) -> dict[str, Tensor]:
    """`pixel_values` (padded with zero tiles) and `image_sizes`."""
    if not pictures:
        return {}
    if model.config.model_type == "llava":
        return {"pixel_values": torch.stack([pixels for pixels, _ in pictures])}
    most = max(pixels.shape[0] for pixels, _ in pictures)
    padded = [torch.cat([p, p.new_zeros(most - p.shape[0], *p.shape[1:])]) for p, _ in pictures]
    return {"pixel_values": torch.stack(padded), "image_sizes": torch.tensor([size for _, size in pictures])}


@torch.no_grad()
def lengths(model, pictures) -> list[int]:
    """Visual tokens of each picture, from the untouched model."""
    if not pictures:
        return []
    return [len(f) for f in model.get_image_features(**encode(model, pictures), return_dict=True).pooler_output]


def token_ids(model, sample: Sample) -> Tensor:
    """The prompt with one image token per visual token."""
    counts = iter(lengths(model, sample.pictures))
    parts = [torch.full((next(counts),), IMAGE) if isinstance(part, int) else part for part in sample.parts]
    return torch.cat(parts)


def batch(model, samples: list[Sample], side: str = "left") -> dict[str, Tensor]:
    """Inputs for a padded batch."""
    rows = [token_ids(model, sample) for sample in samples]
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), PAD)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        place = slice(longest - len(row), None) if side == "left" else slice(0, len(row))
        ids[index, place], mask[index, place] = row, 1
    pictures = [picture for sample in samples for picture in sample.pictures]
    return {"input_ids": ids, "attention_mask": mask, **encode(model, pictures)}


def positions(mask: Tensor) -> Tensor:
    """Position ids as `generate` makes them."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def ragged(model, side: str = "left") -> dict[str, Tensor]:
    """Different picture sizes and counts, and a row without any."""
    return batch(
        model,
        [
            sample(model, 7, [SIZES[0]], 6, seed=1),
            sample(model, 4, [SIZES[2], SIZES[4]], 9, seed=2),
            sample(model, 12, [], 5, seed=3),
        ],
        side,
    )
