"""The true count of FLOPs of one prompt and its answer, part by part.

The number of visual tokens may change by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from todre.errors import InvalidValueError
from todre.flops.config_shapes import shape_of
from todre.flops.shape import ModelShape


@dataclass(frozen=True)
class PhaseFlops:
    """The language model's FLOPs in prefill or in decode.

    Attributes:
        linear: FLOPs of the projections of attention and of the feed-forward blocks.
        attention: FLOPs of attention's two products, queries by keys and weights by values.
        lm_head: FLOPs of the logits.
    """

    linear: int
    attention: int
    lm_head: int

    @property
    def total(self) -> int:
        """FLOPs of the whole phase."""
        return self.linear + self.attention + self.lm_head

    def to_dict(self) -> dict[str, int]:
        """The parts and their total, ready for JSON."""
        return {"linear": self.linear, "attention": self.attention, "lm_head": self.lm_head, "total": self.total}


@dataclass(frozen=True)
class FlopCount:
    """FLOPs of one sample by part, two per multiply-add.

    `todre.flops.shape` lists the operations that are counted.

    Attributes:
        encoder: FLOPs of the vision tower.
        projector: FLOPs of the projector between tower and language model.
        selection: FLOPs of choosing visual tokens before the decoder, of ToDRE's own rules; how other methods choose is
            not counted.
        prefill, decode: FLOPs of the language model in each phase.
    """

    encoder: int
    projector: int
    selection: int
    prefill: PhaseFlops
    decode: PhaseFlops

    @property
    def decoder_linear(self) -> int:
        """FLOPs of the language model's projections, in prefill and decode."""
        return self.prefill.linear + self.decode.linear

    @property
    def decoder_attention(self) -> int:
        """FLOPs of the language model's attention products, in prefill and decode."""
        return self.prefill.attention + self.decode.attention

    @property
    def lm_head(self) -> int:
        """FLOPs of the logits, in prefill and decode."""
        return self.prefill.lm_head + self.decode.lm_head

    @property
    def first_token(self) -> int:
        """FLOPs up to the first token: encoder, projector, selection and prefill."""
        return self.encoder + self.projector + self.selection + self.prefill.total

    @property
    def total(self) -> int:
        """FLOPs of the whole sample."""
        return self.first_token + self.decode.total

    def to_dict(self) -> dict[str, Any]:
        """Every part and sum, ready for JSON."""
        return {
            "encoder": self.encoder,
            "projector": self.projector,
            "selection": self.selection,
            "decoder_linear": self.decoder_linear,
            "decoder_attention": self.decoder_attention,
            "lm_head": self.lm_head,
            "first_token": self.first_token,
            "total": self.total,
            "prefill": self.prefill.to_dict(),
            "decode": self.decode.to_dict(),
        }


def count(
    model: ModelShape | str | Any,
    *,
    text_tokens: int,
    visual_tokens: int | Sequence[int],
    tiles: int | Sequence[int],
    new_tokens: int = 1,
    candidates: int | None = None,
    head_positions: int = 1,
    tower_tokens: Sequence[Sequence[tuple[int, int]]] = (),
) -> FlopCount:
    """Count the FLOPs of one sample: a prompt and its answer.

    Args:
        model: a transformers config, a `ModelShape`, or the name of a preset (`todre.flops.shape.PRESETS`).
        text_tokens: number of prompt tokens that are not visual, padding left out.
        visual_tokens: number of visual tokens in the language model: one number, or one for each decoder layer, as
            `PruningReport.visual_tokens_per_layer` has them.
        tiles: number of tiles that the tower encodes (LLaVA-NeXT: the thumbnail and the crops). For towers that take
            any size, the number of patches of each picture (Qwen: before merging).
        new_tokens: number of tokens generated. Prefill yields the first, so decode runs `new_tokens - 1` times. In
            each run, the new token attends in each layer to the tokens in that layer's cache and to itself.
        candidates: number of visual tokens that a diversity selection chose from; None without a selection.
        head_positions: number of prompt positions whose logits prefill computes: 1 in generation, all with a loss.
        tower_tokens: for methods that act in the vision tower, the tokens that each tower layer ran on, as in
            `PruningReport.tower_tokens`; empty if all layers ran on all tokens. Projectors run on the whole grid
            in any case.

    Raises:
        InvalidValueError: a number is out of range.
        UnsupportedModelError: the config's model cannot be counted.
    """
    shape = shape_of(model)
    visual = shape.per_layer(visual_tokens, "visual_tokens")
    text = shape.per_layer(text_tokens, "text_tokens")
    tokens = [t + v for t, v in zip(text, visual, strict=True)]
    _check_range("new_tokens", new_tokens, 1)
    _check_range("head_positions", head_positions, 0)
    patches = shape.tile_patches(tiles)
    return FlopCount(
        encoder=_encoder(shape, patches, tower_tokens),
        projector=sum(shape.projector.flops(p) for p in patches) if shape.projector else 0,
        selection=0 if candidates is None else selection_flops(candidates, visual[0], shape.decoder.width),
        prefill=_prefill(shape, tokens, head_positions),
        decode=_decode(shape, tokens, new_tokens - 1),
    )


def selection_flops(n: int, k: int, d: int) -> int:
    """FLOPs of choosing k of n tokens of width d by k-center or max-sum.

    The count is 3nd for normalising, and 2nd for each pick except the first: 3nd + 2(k-1)nd. It is 0 where k ≥ n, since
    all tokens stay. Blocks that are computed in advance and not used are not counted.
    """
    for name, value in (("n", n), ("k", k), ("d", d)):
        _check_range(name, value, 0)
    return 0 if k >= n or k == 0 else 3 * n * d + 2 * (k - 1) * n * d


def _encoder(shape: ModelShape, patches: list[int], ran: Sequence[Sequence[tuple[int, int]]]) -> int:
    if shape.vision is None:
        return 0
    return shape.vision.shortened(sum(patches), ran) if ran else sum(shape.vision.flops(p) for p in patches)


def _prefill(shape: ModelShape, tokens: list[int], head_positions: int) -> PhaseFlops:
    decoder = shape.decoder
    return PhaseFlops(
        linear=sum(decoder.linear(n) for n in tokens),
        attention=sum(decoder.attention(n, n) for n in tokens),
        lm_head=2 * decoder.width * shape.vocabulary * head_positions,
    )


def _decode(shape: ModelShape, tokens: list[int], steps: int) -> PhaseFlops:
    decoder = shape.decoder
    within = steps * (steps + 1) // 2  # step s attends to the s tokens generated up to it
    return PhaseFlops(
        linear=decoder.layers * decoder.linear(steps),
        attention=sum(decoder.attention(1, steps * n + within) for n in tokens),
        lm_head=2 * decoder.width * shape.vocabulary * steps,
    )


def _check_range(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidValueError(f"{name} must be a whole number of at least {least}, got {value!r}; change it.")
