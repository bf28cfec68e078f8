"""Prune embeddings that the caller has merged, outside `todre.prune`.

For callers that run a decoder or an engine themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.fields import fitted, short_repr
from todre.fields.kinds import Count
from todre.hf.keywords import MASK, POSITIONS
from todre.methods.base import Method
from todre.methods.method_checks import check_method, check_prunes
from todre.runtime.samples import Media, visual_tokens
from todre.runtime.selection import select_batch
from todre.tensors.columns import TEXT, Compaction, compact, token_kinds
from todre.tensors.token_facts import Place, Signal, TokenFacts
from todre.tensors.transfer import fetch, upload

Grid = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class PrunedEmbeddings:
    """A batch of embeddings without the visual tokens that a method left out.

    Rows are padded at the left, so that they end together.

    Attributes:
        embeddings: (b, m, d), in the dtype and on the device of the input; the values at padding are arbitrary.
        attention_mask: (b, m) int64, 0 at padding.
        position_ids: (b, m) or (axes, b, m) int64, of the tokens that stay; 0 at padding.
        columns: (b, m) int64, the input column (from 0) of each token, -1 at padding.
        kept: for each row, the visual tokens (0..n-1) that stay, ascending.
    """

    embeddings: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    columns: Tensor
    kept: list[list[int]]


def prune_embeddings(
    method: Method,
    embeddings: Tensor,
    visual: Tensor,
    *,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    saliency: Tensor | None = None,
    grids: Sequence[Grid] | None = None,
) -> PrunedEmbeddings:
    """Leave visual tokens out of merged embeddings, as `prune` does inside a model.

    The result can go into a decoder, into `generate` or into an engine, outside `todre.prune`. Gradients flow through
    the tokens that stay.

    Args:
        method: a method that chooses before the decoder, such as `todre.ToDRE(retain=0.1, stages=(1,))`.
        embeddings: (b, q, d), the input embeddings of a batch, the embeddings of pictures already in their places.
        visual: (b, q) bool, the columns of visual tokens. Columns that follow each other are one picture, unless
            `grids` says where pictures end.
        attention_mask: (b, q), 0 at padding, which is left out; None where nothing is padding.
        position_ids: (b or 1, q) or (axes, b or 1, q) int64; None: positions count the columns that are no padding.
        saliency: (b, q), one number for each visual token, such as [CLS] attention; read at visual columns alone. Only
            methods that ask for a signal of the vision tower need it.
        grids: (rows, columns) of each picture's raster, in the order of the batch. Only methods that ask where tokens
            lie need them.

    Raises:
        InvalidValueError: shapes or dtypes that do not fit each other.
        UnsupportedInputError: the method acts inside the decoder or the vision tower, needs an argument that is
            missing, or renumbers positions that say more than order.
    """
    _check_types(method, embeddings, visual, attention_mask, position_ids, saliency)
    _check(method, embeddings, visual, attention_mask, position_ids, saliency)
    if grids is not None:
        grids = fitted("grids", grids, tuple[tuple[Count, Count], ...])
    here, valid, scores = _on_host(visual, attention_mask, saliency)
    if bool((here & ~valid).any()):
        raise InvalidValueError(f"Some columns are visual and padding at once; make {MASK} 1 at visual tokens.")
    if scores is not None and bool(scores[here].isnan().any()):
        raise InvalidValueError("saliency is NaN at some visual columns; give a number for each visual token.")
    spans = _pictures(here, grids)
    facts = [_facts(method, span, scores, grid) for span, grid in spans]
    none = torch.zeros(len(here), dtype=torch.bool, device="cpu")
    kinds = token_kinds(here, valid, none, 0)
    samples = visual_tokens(embeddings, [Media(here, facts)], kinds == TEXT)
    where = upload(here, embeddings.device)
    selected = select_batch(method, samples, where, embeddings)
    if selected.embeddings is not None:
        embeddings = selected.embeddings
    staying = (selected.keep | ~where) & upload(valid, embeddings.device)
    text = (valid & ~here).sum(dim=1).tolist()
    packed = compact(staying, [count + kept for count, kept in zip(text, selected.counts, strict=True)])
    positions = _positions(method, position_ids, valid, where & ~selected.keep, packed)
    return PrunedEmbeddings(
        embeddings=packed.take(embeddings),
        attention_mask=packed.valid.long(),
        position_ids=positions,
        columns=packed.index.masked_fill(~packed.valid, -1),
        kept=[
            list(range(count)) if kept is None else kept.tolist()
            for kept, count in zip(selected.rows, selected.offered, strict=True)
        ],
    )


def _on_host(visual: Tensor, mask: Tensor | None, saliency: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Visual columns, columns that are no padding, and saliency, on the CPU.

    They are (b, q), in bool, bool and float32.
    """
    fetched = iter(fetch([visual, *(x for x in (mask, saliency) if x is not None)]))
    here = next(fetched)
    valid = torch.ones_like(here) if mask is None else next(fetched).bool()
    return here, valid, None if saliency is None else next(fetched).float()


def _check_types(method: Any, embeddings: Any, visual: Any, mask: Any, positions: Any, saliency: Any) -> None:
    check_method(method)
    arguments = {
        "embeddings": embeddings,
        "visual": visual,
        MASK: mask,
        POSITIONS: positions,
        "saliency": saliency,
    }
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            if value.device.type == "meta":
                raise InvalidValueError(f"{name} is on the meta device, where it holds no values; give real ones.")
        elif value is not None or name in ("embeddings", "visual"):
            raise InvalidValueError(f"{name} must be a torch.Tensor, not {short_repr(value)}.")


def _check(
    method: Method,
    embeddings: Tensor,
    visual: Tensor,
    mask: Tensor | None,
    positions: Tensor | None,
    saliency: Tensor | None,
) -> None:
    if embeddings.ndim != 3 or not embeddings.is_floating_point() or not embeddings.numel():
        raise InvalidValueError(
            "embeddings must be (b, q, d) floating point, none of them 0, not "
            f"{tuple(embeddings.shape)} {embeddings.dtype}."
        )
    shape = tuple(embeddings.shape[:2])
    if visual.dtype != torch.bool or tuple(visual.shape) != shape:
        raise InvalidValueError(f"visual must be {shape} bool, not {tuple(visual.shape)} {visual.dtype}.")
    for name, values in ((MASK, mask), ("saliency", saliency)):
        if values is not None and tuple(values.shape) != shape:
            raise InvalidValueError(f"{name} must be {shape}, one entry for each column, not {tuple(values.shape)}.")
    if positions is not None:
        if positions.dtype not in (torch.int64, torch.int32):
            raise InvalidValueError(f"{POSITIONS} must be int64, not {positions.dtype}.")
        fits = positions.ndim in (2, 3) and positions.shape[-1] == shape[1] and positions.shape[-2] in (1, shape[0])
        if not fits:
            raise InvalidValueError(
                f"{POSITIONS} must be (b or 1, q) or (axes, b or 1, q) for embeddings of {shape}, not "
                f"{tuple(positions.shape)}."
            )
    check_prunes(method)
    if not method.selects and not method.selectors():
        raise UnsupportedInputError(
            f"{method.name} does not choose before the decoder, so embeddings would stay as they are; use a method "
            "that does, such as todre.ToDRE(stages=(1,))."
        )
    if method.tower() is not None or method.reducers(1 << 16):
        raise UnsupportedInputError(
            f"{method.describe()} acts in the vision tower or inside the decoder as well, where merged embeddings are "
            "not; leave that part out, as todre.ToDRE(stages=(1,)) does, or use todre.prune."
        )


def _pictures(visual: Tensor, grids: Sequence[Grid] | None) -> list[tuple[Tensor, Grid | None]]:
    """Places and grid of each picture, in the order of the batch.

    Places (n,) count in the flat batch; the grid is None where it is not known.
    """
    places = visual.flatten().nonzero().flatten()
    if grids is None:
        length = visual.shape[1]
        follows = (places.diff() == 1) & (places[1:] % length != 0)
        cuts = [0, *((~follows).nonzero().flatten() + 1).tolist(), len(places)]
        return [(places[start:end], None) for start, end in itertools.pairwise(cuts) if end > start]
    sizes = [rows * columns for rows, columns in grids]
    if sum(sizes) != len(places):
        raise InvalidValueError(
            f"grids hold {sum(sizes)} tokens, but {len(places)} columns are visual; "
            "give (rows, columns) of each picture."
        )
    return list(zip(places.split(sizes), grids, strict=True))


def _facts(method: Method, places: Tensor, scores: Tensor | None, grid: Grid | None) -> TokenFacts:
    n = len(places)
    zero = torch.zeros(n, dtype=torch.int64, device="cpu")
    signals: dict[Signal, Tensor] = {}
    for request in dict.fromkeys(method.signals()):
        if request.kind == "grid":
            continue
        if (scores is None and request.kind != "auto") or request.kind == "keys":
            raise UnsupportedInputError(
                f"{method.describe()} asks for the signal {request.kind!r} of the vision tower; "
                + ("its keys cannot be given here, use todre.prune." if request.kind == "keys" else "give saliency=….")
            )
        nothing = torch.full((n,), torch.nan, dtype=torch.float32, device="cpu")
        signals[request] = nothing if scores is None else scores.flatten()[places]
    place = Place.unknown(n) if grid is None else Place.raster(*grid)
    return TokenFacts(signals, zero, zero, place, known=scores is not None)


def _positions(method: Method, positions: Tensor | None, valid: Tensor, gone: Tensor, packed: Compaction) -> Tensor:
    """Positions of the tokens that stay, 0 at padding.

    `positions='compact'` renumbers them without gaps.

    Args:
        method: says whether positions stay or are renumbered.
        positions: (b or 1, q) or (axes, b or 1, q) before pruning; None: they count the columns that are no padding.
        valid: (b, q) bool, False at padding; on the CPU.
        gone: (b, q) bool, visual tokens that the method left out.
        packed: which columns stay, and where they go.
    """
    device = packed.index.device
    if positions is None:
        counted = (valid.long().cumsum(dim=1) - 1).clamp(min=0)
        positions = upload(counted, device)
    if method.positions == "compact":
        if positions.ndim == 3:
            raise UnsupportedInputError(
                "positions='compact' would move the parts of pictures that these positions place in time, height and "
                "width; use positions='original'."
            )
        positions = positions - gone.long().cumsum(dim=1)
    taken = packed.take_positions(positions.to(device, torch.int64))
    return taken.masked_fill(~packed.valid, 0)
