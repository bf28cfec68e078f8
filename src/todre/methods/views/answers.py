"""Checks of the answers that methods give, before the runtime acts on them.

Types and shapes are always checked. Values are checked only if they are on the CPU: reading them from an
accelerator would mean to wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from todre.errors import InvalidValueError
from todre.fields import fitted, short_repr
from todre.fields.kinds import Natural
from todre.methods.base import Method
from todre.methods.views.decoder_layer import ReduceContext
from todre.methods.views.reduction import Reduction
from todre.tensors.columns import PAD, VISUAL
from todre.tensors.transfer import known_places

if TYPE_CHECKING:
    from todre.methods.views.visual_tokens import VisualTokens


def kept_index(method: Method, answer: Any, n: int) -> Tensor:
    """Indices of the tokens that an answer of `select` keeps.

    Args:
        method: the method that answered.
        answer: its answer.
        n: number of tokens that the method was shown.

    Returns:
        (k,) int64, ascending. Nothing is read from the device if `method.kept_of` gives the count.

    Raises:
        InvalidValueError: the answer is neither (n,) bool nor (k,) int64; or the number of
            kept tokens, where known without waiting, is not the declared count; or, if checked, the indices do not
            ascend.
    """
    count = method.kept_of(n)
    if isinstance(answer, Tensor) and answer.ndim == 1 and answer.dtype == torch.int64:
        _check_places(method, answer, n)
        index = answer
    elif not isinstance(answer, Tensor) or answer.dtype != torch.bool or tuple(answer.shape) != (n,):
        raise InvalidValueError(
            f"{method.name} answered select with {_named(answer)}; "
            f"answer with ({n},) bool, or with the (k,) int64 indices of what is kept, ascending."
        )
    elif count is not None and answer.device.type != "cpu":
        return known_places(answer, count)
    else:
        index = answer.nonzero().flatten()
    if count is not None and len(index) != count:
        raise InvalidValueError(
            f"{method.name} is declared exact, so it must keep {count} of {n} visual tokens, but it kept {len(index)}; "
            "keep that many, or set exact = False."
        )
    return index


def selection_embeddings(method: Method, answer: Any, sample: VisualTokens) -> Tensor:
    """Embeddings of a `Selection`, checked.

    Raises:
        InvalidValueError: their shape is not that of the embeddings that the method was shown, or their dtype is not
            floating.
    """
    return _like(method, "select", "embeddings", answer, sample.embeddings)


def check_reduction(method: Method, answer: Any, context: ReduceContext) -> Reduction:
    """An answer of `reduce`, checked.

    Raises:
        InvalidValueError: the answer is no `Reduction`, or a part has the wrong shape; or, where the values are on the
            CPU, it drops tokens that are not visual, or its counts differ from the number of kept tokens.
    """
    if not isinstance(answer, Reduction):
        raise InvalidValueError(f"{method.name} answered reduce with {_named(answer)}; answer with a Reduction.")
    keep, rows = answer.keep, len(context.kinds)
    if not isinstance(keep, Tensor) or keep.dtype != torch.bool or keep.shape != context.kinds.shape:
        raise InvalidValueError(
            f"{method.name} answered reduce with {_named(keep)} as keep; it must be {tuple(context.kinds.shape)} bool."
        )
    if answer.hidden is not None:
        _like(method, "reduce", "hidden", answer.hidden, context.hidden)
    for name in ("text_to_visual", "visual_to_text"):
        ratio = getattr(answer, name)
        if ratio is not None and (not isinstance(ratio, Tensor) or tuple(ratio.shape) != (rows,)):
            raise InvalidValueError(
                f"{method.name} answered reduce with {_named(ratio)} as {name}; it must be ({rows},)."
            )
    said = answer.faded
    if said is not None and (not isinstance(said, Tensor) or said.dtype != torch.bool or tuple(said.shape) != (rows,)):
        raise InvalidValueError(
            f"{method.name} answered reduce with {_named(said)} as faded; it must be ({rows},) bool."
        )
    for name, present in (("left", context.present), ("earlier", context.earlier)):
        _check_counts(method, name, getattr(answer, name), present, rows)
    if keep.device.type == context.kinds.device.type == "cpu":
        _check_kept(method, answer, context)
    return answer


def _check_places(method: Method, places: Tensor, n: int) -> None:
    wrong = len(places) > n
    if places.device.type == "cpu" and len(places) and not wrong:
        wrong = bool(places[0] < 0) or bool(places[-1] >= n) or not bool((places[1:] > places[:-1]).all())
    if wrong:
        raise InvalidValueError(
            f"{method.name} answered select with the indices {short_repr(places.tolist())} of {n} visual tokens; "
            f"answer with indices from 0 to {n - 1}, each once, ascending."
        )


def _check_counts(method: Method, name: str, counts: Any, present: Sequence[int] | None, rows: int) -> None:
    if counts is None:
        return
    values = fitted(f"Reduction.{name} of {method.name}", counts, tuple[Natural, ...])
    if len(values) != rows or (
        present is not None and any(one > most for one, most in zip(values, present, strict=True))
    ):
        most = "" if present is None else f", at most {list(present)}"
        raise InvalidValueError(
            f"{method.name} answered reduce with {name}={list(values)}; "
            f"it must be a count for each of {rows} rows{most}."
        )


def _check_kept(method: Method, answer: Reduction, context: ReduceContext) -> None:
    keep, visual, fresh = answer.keep, context.visual, context.fresh
    if bool((~keep & ~visual & (context.kinds != PAD)).any()):
        raise InvalidValueError(
            f"{method.name} answered reduce with a keep that drops what is not visual; "
            f"only slots whose kind is {VISUAL} (visual) may be dropped, as in context.visual."
        )
    if answer.left is None:
        return
    earlier = visual & ~fresh
    held = earlier.sum(dim=1).tolist() if answer.earlier is None else list(answer.earlier)
    for name, stated, there in (("left", list(answer.left), fresh), ("earlier", held, earlier)):
        stay = (keep & there).sum(dim=1).tolist()
        if stay != stated:
            raise InvalidValueError(
                f"{method.name} answered reduce with {name}={getattr(answer, name)}, but its keep leaves {stay}; "
                "say what it leaves, or leave that out."
            )


def _like(method: Method, hook: str, name: str, answer: Any, shape: Tensor) -> Tensor:
    if isinstance(answer, Tensor) and answer.shape == shape.shape and answer.is_floating_point():
        return answer
    raise InvalidValueError(
        f"{method.name} answered {hook} with {_named(answer)} as {name}; "
        f"it must be {tuple(shape.shape)} and of a floating dtype, as what it was shown."
    )


def _named(answer: Any) -> str:
    return (
        f"a {answer.dtype} tensor of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else short_repr(answer)
    )
