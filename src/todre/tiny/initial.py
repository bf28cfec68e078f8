"""Initial weights of the tower and the decoder, chosen to make training fast.

Position embeddings start as sines, and some heads of the tower's first layers start by looking at neighbouring
patches. From random weights, attention heads of a vision transformer find local offsets only slowly; here the query of
such a head is the key's position code turned by an offset. Some heads of the decoder start by matching names and by
looking at recent words. All weights are trained afterwards.
"""

from __future__ import annotations

import math
from typing import Any

import torch

ROPE_THETA = 1e6
"""The decoder's rotary base.

The base is so high that half of each head hardly turns over a picture, and that half can match by content.
"""
POSITION_SCALE = 0.6
_CONTENT_SCALE = 0.4
_BUSY, _NOISE = 0.4, 0.01
_GAIN = 1.3
_MATCH_GAIN = 10.0
_RECENT_GAIN = 8.0
_READ_GAIN = 5.0
_WRITE_GAIN = 0.2
_OFFSETS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((0, 1), (0, -1), (1, 0), (-1, 0)),
    ((0, 1), (0, -1), (1, 0), (-1, 0)),
    ((0, 2), (0, -2), (1, 1), (-1, -1)),
)
"""Offsets (rows down, columns right): `_OFFSETS[i][j]` is for layer i, head j.

A listed head starts by looking at the patch at its offset; all other heads start random.
"""


def rates(bands: int) -> torch.Tensor:
    """Angles per patch of the sine position code in radians, slow to fast."""
    return math.pi * torch.logspace(-1.5, 0, bands, base=10.0, dtype=torch.float32, device="cpu")


def sine_positions(side: int, width: int) -> torch.Tensor:
    """(side², width) position code: sines and cosines of the row, then of the column.

    Row sines, row cosines, column sines and column cosines take a quarter of the width each.
    """
    angles = torch.arange(side, dtype=torch.int64, device="cpu")[:, None] * rates(width // 4)
    code = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.cat([code.repeat_interleave(side, 0), code.repeat(side, 1)], dim=1)


@torch.no_grad()
def start_tower(tower: Any, side: int, width: int, heads: int) -> None:
    """Give a CLIP vision tower its first weights, in place.

    These weights are the position embeddings, and the heads that look at neighbouring patches.

    Args:
        tower: the tower.
        side: patches along one side of a tile.
        width: width of the tower's hidden states.
        heads: number of attention heads in a layer.
    """
    tower.embeddings.position_embedding.weight.zero_()
    tower.embeddings.position_embedding.weight[1:] = POSITION_SCALE * sine_positions(side, width)
    size = width // heads
    for layer, offsets in zip(tower.encoder.layers, _OFFSETS, strict=False):
        for head, (down, right) in enumerate(offsets):
            rows = slice(head * size, (head + 1) * size)
            layer.self_attn.q_proj.weight[rows] = _GAIN * _turned_code(down, right, size, width)
            layer.self_attn.k_proj.weight[rows] = _GAIN * _turned_code(0, 0, size, width)


def _turned_code(down: int, right: int, size: int, width: int) -> torch.Tensor:
    """(size, width) map that reads the position code, turned by an offset.

    Args:
        down, right: offset in patches.
        size: number of coordinates of the code that are read.
        width: width of the code.
    """
    bands = width // 4
    chosen = torch.linspace(bands // 3, bands - 1, size // 4, dtype=torch.float32, device="cpu").round().long()
    out = torch.zeros(size, width, dtype=torch.float32, device="cpu")
    for part, shift in ((0, down), (1, right)):
        for place, band in enumerate(chosen.tolist()):
            turn = float(rates(bands)[band]) * shift
            sine, cosine = 2 * bands * part + band, 2 * bands * part + bands + band
            row = part * (size // 2) + 2 * place
            out[row, sine], out[row, cosine] = math.cos(turn), math.sin(turn)
            out[row + 1, cosine], out[row + 1, sine] = math.cos(turn), -math.sin(turn)
    return out


@torch.no_grad()
def whiten_patches(tower: Any, pixels: torch.Tensor, seed: int) -> None:
    """Start the patch embedding as a rotated whitening of real patches, in place.

    Edges then weigh as much as colours.

    Args:
        tower: a CLIP vision tower.
        pixels: (tiles, 3, side, side) training tiles as the image processor gives them.
        seed: seed of the random rotation.
    """
    weight = tower.embeddings.patch_embedding.weight
    size = weight.shape[-1]
    patches = pixels.unfold(2, size, size).unfold(3, size, size).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
    busy = patches[patches.std(dim=1) > _BUSY].double()
    values, vectors = torch.linalg.eigh(busy.T @ busy / len(busy))
    whitening = vectors / (values + _NOISE).sqrt()
    generator, size = torch.Generator().manual_seed(seed), weight.shape[0]
    random = torch.randn(size, size, generator=generator, dtype=torch.float32, device="cpu").double()
    rotation = torch.linalg.qr(random).Q[:, : whitening.shape[1]]
    filters = _CONTENT_SCALE * rotation @ whitening.T
    weight.copy_(filters.view_as(weight))


@torch.no_grad()
def start_decoder(
    decoder: Any, symbols: torch.Tensor, named: list[int], others: list[int], heads: int, seed: int
) -> None:
    """Give some heads of a Llama decoder a useful start, in place.

    Every layer starts alike, so that training alone decides what each depth does. Query and key of heads 1 and 2 read
    which of the labels `named` a token holds, in the rotary dimensions that turn slowest, and ignore words; head 1
    copies the labels in `others` (size, centre, row, column), head 2 the names. Head 3 looks one word back and copies
    names; heads 4 and 5 look three words back and copy names and the labels in `others`. This function also adds one
    vector to every word's embedding, which tells words from visual tokens.

    Args:
        decoder: a Llama model in which a word that names a label has that label's symbol as its embedding.
        symbols: (features, width) vectors of the labels.
        named: indices of the labels that questions name, fewer than half a head's width.
        others: indices of the labels that are no names: size, centre, row, column.
        heads: number of heads.
        seed: seed of the vector that marks words.
    """
    width = symbols.shape[1]
    size = width // heads
    generator = torch.Generator().manual_seed(seed)
    mark = torch.randn(1, width, generator=generator, dtype=torch.float32, device="cpu") * _unit(symbols)
    decoder.embed_tokens.weight.add_(mark)
    duals = torch.linalg.pinv(torch.cat([symbols, mark])).T * _unit(symbols)
    slowest = [pair + part for part in (0, size // 2) for pair in reversed(range(size // 4, size // 2))]
    slow, mark_place = slowest[: len(named)], slowest[len(named)]
    rates = ROPE_THETA ** (-torch.arange(0, size, 2, dtype=torch.float32, device="cpu") / size)
    for attention in (layer.self_attn for layer in decoder.layers):
        for head, copied in ((0, others), (1, named)):
            for matrix, sign in ((attention.q_proj.weight, 1.0), (attention.k_proj.weight, -1.0)):
                matrix[[head * size + place for place in slow]] = _MATCH_GAIN * duals[named]
                matrix[head * size + mark_place] = sign * _MATCH_GAIN * duals[-1]
            _set_copy(attention, head * size, duals[copied], symbols[copied])
        for head, back, copied in ((2, 1, named), (3, 3, named), (4, 3, others)):
            for pair in range(3) if back == 1 else range(1, 4):
                turn, place = float(rates[pair]) * back, head * size + pair
                attention.q_proj.weight[place] = _RECENT_GAIN * math.cos(turn) * duals[-1]
                attention.q_proj.weight[place + size // 2] = -_RECENT_GAIN * math.sin(turn) * duals[-1]
                attention.k_proj.weight[place] = _RECENT_GAIN * duals[-1]
            _set_copy(attention, head * size, duals[copied], symbols[copied])


def _set_copy(attention: Any, start: int, duals: torch.Tensor, symbols: torch.Tensor) -> None:
    """Make a head copy labels: values read labels, the output writes symbols."""
    attention.v_proj.weight[start : start + len(duals)] = _READ_GAIN * duals
    attention.o_proj.weight[:, start : start + len(duals)] = _WRITE_GAIN * symbols.T


def _unit(symbols: torch.Tensor) -> float:
    """Root mean square of a symbol's entries, by which the gains are scaled."""
    return float(symbols.square().mean().sqrt())
