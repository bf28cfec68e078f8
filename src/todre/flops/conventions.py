"""The papers' FLOP conventions by name, to reproduce the papers' FLOP columns.

No convention is the true count of `todre.flops.count`. Symbols: n: tokens per layer, d: width, m: FFN width, T: layers,
L: tokens generated. Columns of different papers follow different conventions and cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from todre.errors import InvalidValueError
from todre.flops.config_shapes import shape_of
from todre.flops.shape import ModelShape


def convention(
    name: str,
    model: ModelShape | str | Any,
    n: int | Sequence[int],
    *,
    text_tokens: int = 0,
    new_tokens: int | None = None,
    tiles: int | Sequence[int] = 5,
) -> float:
    """FLOPs of a model by a paper's convention.

    The conventions, with Σ over the decoder's layers:

    - `todre-eq1`: Σ(4nd² + 2n²d + 2ndm), ToDRE v1 eq. 1, also FastV's and DivPrune's. A multiply-add is one FLOP and
      the FFN has two matrices.
    - `todre-eq2`: T(4Ld² + 2Ldm + dL(2n + L - 1)), ToDRE v1 eq. 2: decode of `new_tokens` = L.
    - `sparsevlm`: Σ(4nd² + 2n²d + 3ndm), SparseVLM's code. The FFN is gated and a multiply-add is one FLOP.
    - `llm-viewer`: twice `sparsevlm`, used by GlobalCom².
    - `glimpse`: Σ(2n(2d² + 2d·d_kv) + 4n²d + 6ndm), GlimpsePrune, with grouped KV heads.
    - `profiler`: the tally behind ToDRE's Table 3 (31.4 → 6.0 T): `tiles` through the tower, the projector, and the
      language model's projections alone, without its n² term.

    Args:
        name: one of `CONVENTIONS`.
        model: a config, a `ModelShape` or a preset's name.
        n: number of visual tokens (or of all tokens, as the paper has it): one number for all decoder layers, or one
            for each.
        text_tokens: number of text tokens, added to n in every layer.
        new_tokens: number of tokens generated; needed by `todre-eq2` alone.
        tiles: tiles that the tower encodes; read by `profiler` alone.

    Raises:
        InvalidValueError: the name is unknown, or a number is out of range.
    """
    if name not in CONVENTIONS:
        raise InvalidValueError(f"no FLOP convention is named {name!r}; choose one of {', '.join(CONVENTIONS)}.")
    shape = shape_of(model)
    text = shape.per_layer(text_tokens, "text_tokens")
    tokens = [visual + t for visual, t in zip(shape.per_layer(n, "n"), text, strict=True)]
    if name == "todre-eq2":
        return _todre_eq2(shape, tokens, new_tokens)
    if name == "profiler":
        return _profiler(shape, tokens, tiles)
    return _LAYER_SUMS[name](shape, tokens)


def _multiply_adds(shape: ModelShape, tokens: list[int], ffn_matrices: int) -> float:
    d, m = shape.decoder.width, shape.decoder.ffn
    return float(sum(4 * n * d * d + 2 * n * n * d + ffn_matrices * n * d * m for n in tokens))


def _glimpse(shape: ModelShape, tokens: list[int]) -> float:
    d, m = shape.decoder.width, shape.decoder.ffn
    d_kv = shape.decoder.kv_heads * shape.decoder.head_dim
    return float(sum(2 * n * (2 * d * d + 2 * d * d_kv) + 4 * n * n * d + 6 * n * d * m for n in tokens))


def _todre_eq2(shape: ModelShape, tokens: list[int], new_tokens: int | None) -> float:
    if new_tokens is None or isinstance(new_tokens, bool) or not isinstance(new_tokens, int) or new_tokens < 0:
        raise InvalidValueError(f"todre-eq2 counts decode, but new_tokens is {new_tokens!r}; give a whole number.")
    d, m, steps = shape.decoder.width, shape.decoder.ffn, new_tokens
    return float(sum(4 * steps * d * d + 2 * steps * d * m + d * steps * (2 * n + steps - 1) for n in tokens))


def _profiler(shape: ModelShape, tokens: list[int], tiles: int | Sequence[int]) -> float:
    total = sum(shape.decoder.linear(n) for n in tokens)
    for patches in shape.tile_patches(tiles):
        if shape.vision is not None:
            stack, inside = shape.vision.stack, patches + shape.vision.extra_tokens
            total += stack.layers * (stack.linear(inside) + stack.attention(inside, inside))
        if shape.projector is not None:
            total += shape.projector.flops(patches)
    return float(total)


_LAYER_SUMS: dict[str, Callable[[ModelShape, list[int]], float]] = {
    "todre-eq1": lambda shape, tokens: _multiply_adds(shape, tokens, 2),
    "sparsevlm": lambda shape, tokens: _multiply_adds(shape, tokens, 3),
    "llm-viewer": lambda shape, tokens: 2 * _multiply_adds(shape, tokens, 3),
    "glimpse": _glimpse,
}

CONVENTIONS = ("todre-eq1", "todre-eq2", "sparsevlm", "llm-viewer", "glimpse", "profiler")
