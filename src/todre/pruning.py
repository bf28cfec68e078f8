"""`prune`, `attach`, `detach`: a method on a given model, one at a time, and off again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.hf.versions import PreTrainedModel
from todre.hf.wrappers import inner_model
from todre.methods.base import Method, check_method
from todre.report import PruningReport
from todre.runtime.attachment import ATTRIBUTE, Attachment

_ATTACHING = threading.Lock()


@contextmanager
def prune(model: PreTrainedModel, method: Method) -> Iterator[PruningReport]:
    """Prune visual tokens in every forward and `generate` of `model` inside the block.

    Args:
        model: a vision-language model of transformers, also inside what PEFT, torch.compile, DistributedDataParallel or
            FSDP wrap around it; it does not matter whether the wrapper or the model is called.
        method: what to keep, for example `todre.ToDRE(retain=0.1)`.

    Yields:
        A report that describes the most recent forward that was not a step of decoding.

    Raises:
        UnsupportedModelError: the model's family is not supported.
        ContractError: the installed transformers is not as todre knows it.
        UnsupportedInputError: the model is already being pruned.
    """
    report = attach(model, method)
    try:
        yield report
    finally:
        detach(model)


def attach(model: PreTrainedModel, method: Method) -> PruningReport:
    """Prune `model` until `detach`, as for a served model; see `prune`.

    Of several threads that attach to one model one succeeds, and the others get the sentence. A forward that is under
    way in another thread may finish as if nobody had attached.
    """
    check_method(method)
    model = inner_model(model)
    with _ATTACHING:
        current = getattr(model, ATTRIBUTE, None)
        if current is not None:
            raise UnsupportedInputError(
                f"This model is already being pruned by {current.method.describe()}; "
                "leave that block, or call todre.detach(model), before pruning it again."
            )
        attachment = Attachment(model, method)
    return attachment.report


def detach(model: PreTrainedModel) -> None:
    """Undo `attach`: the model is as it was. Waits for forwards that are under way in other threads.

    Raises:
        InvalidValueError: the model is not being pruned.
    """
    model = inner_model(model)
    with _ATTACHING:
        attachment = getattr(model, ATTRIBUTE, None)
        if attachment is None or attachment.leaving:
            raise InvalidValueError("This model is not being pruned; call todre.attach(model, method) first.")
        attachment.leaving = True
    attachment.forwards.close()
    with _ATTACHING:
        attachment.remove()
