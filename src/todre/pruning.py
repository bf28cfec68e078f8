"""Prune a model: `prune` inside a block, or from `attach` until `detach`.

A model has one method at a time.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from todre.errors import GuardWarning, InvalidValueError, UnsupportedInputError
from todre.hf.versions import PreTrainedModel
from todre.hf.wrappers import inner_model
from todre.methods.base import Method
from todre.methods.guard import OFF, Guard, GuardName
from todre.methods.method_checks import check_method, check_prunes
from todre.report import PruningReport
from todre.runtime.attachment import ATTRIBUTE, Attachment

_ATTACHING = threading.Lock()
"""Lock that is held while a method is attached to a model or detached from it."""


@contextmanager
def prune(model: PreTrainedModel, method: Method, *, guard: Guard | GuardName = "off") -> Iterator[PruningReport]:
    """Prune visual tokens in every forward and `generate` of `model` in the block.

    Args:
        model: a vision-language model of transformers, also inside a wrapper of PEFT, torch.compile,
            DistributedDataParallel or FSDP; the wrapper and the model may both be called.
        method: the tokens to keep, for example `todre.ToDRE(retain=0.1)`.
        guard: looks at each picture before the LLM runs, for signals that foretell harm: `warn` warns, `refuse` leaves
            such a picture whole, `off` does not look; or a `Guard` with thresholds of its own.

    Yields:
        A report on the most recent forward that was not a decoding step.

    Raises:
        UnsupportedModelError: the model's family is not supported.
        ContractError: the installed transformers is not understood.
        UnsupportedInputError: the model is already being pruned.
        InvalidValueError: `method` is no method, or the guard cannot watch it.
    """
    report = attach(model, method, guard=guard)
    try:
        yield report
    finally:
        detach(model)


@contextmanager
def prune_reported(model: PreTrainedModel, method: Method, guard: Guard | None) -> Iterator[PruningReport]:
    """`prune` without the guard's warnings, for callers who pass the report on.

    Args:
        model, method: see `prune`.
        guard: looks at each picture; None for nothing.

    Yields:
        See `prune`, also for what is raised.
    """
    with prune(model, method, guard=guard or OFF) as report, warnings.catch_warnings():
        warnings.simplefilter("ignore", GuardWarning)
        yield report


def attach(model: PreTrainedModel, method: Method, *, guard: Guard | GuardName = "off") -> PruningReport:
    """Prune `model` until `detach`, as for a served model.

    If several threads attach to one model, one succeeds and the others get an error. A forward that is running in
    another thread finishes unpruned.

    Args:
        model: see `prune`.
        method: see `prune`.
        guard: see `prune`.

    Returns:
        A report on the most recent forward that was not a decoding step.

    Raises:
        UnsupportedModelError: the model's family is not supported.
        ContractError: the installed transformers is not understood.
        UnsupportedInputError: the model is already being pruned, or the method acts on pictures before the processor.
        InvalidValueError: `method` is no method, or the guard cannot watch it.
    """
    check_method(method)
    check_prunes(method)
    watching = Guard.watching(guard, method)
    model = inner_model(model)
    with _ATTACHING:
        current = getattr(model, ATTRIBUTE, None)
        if current is not None:
            raise UnsupportedInputError(
                f"This model is already being pruned by {current.method.describe()}; "
                "leave that block, or call todre.detach(model), before pruning it again."
            )
        attachment = Attachment(model, method, watching)
    return attachment.report


def detach(model: PreTrainedModel) -> None:
    """Take the method off `model` again.

    Forwards that are running in other threads are waited for.

    Raises:
        InvalidValueError: the model is not being pruned.
    """
    model = inner_model(model)
    with _ATTACHING:
        attachment = getattr(model, ATTRIBUTE, None)
        if attachment is None or attachment.leaving:
            raise InvalidValueError("This model is not being pruned; call todre.attach(model, method) first.")
        attachment.leaving = True
    try:
        attachment.forwards.close()
    except BaseException:  # such as Ctrl-C while it waits: the model stays attached, and may be detached again
        attachment.leaving = False
        raise
    with _ATTACHING:
        attachment.remove()
