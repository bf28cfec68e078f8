"""FlexAttention as torch defines it, uncompiled: its own block masks and its own mathematics, on any machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import transformers.integrations.flex_attention as integration
import transformers.masking_utils as masking
from torch.nn.attention.flex_attention import create_block_mask, flex_attention


def _block_mask(*args: Any, _compile: bool = False, **kwargs: Any) -> Any:
    return create_block_mask(*args, **kwargs)


class _Uncompiled:
    def __init__(self, training: bool) -> None:
        pass

    def __call__(self) -> Callable[..., Any]:
        return flex_attention


@contextmanager
def uncompiled_flex(monkeypatch):
    """Inside the block, transformers' flex backend runs as torch's definition of it."""
    with monkeypatch.context() as patch:
        patch.setattr(integration, "WrappedFlexAttention", _Uncompiled)
        patch.setattr(masking, "create_block_mask", _block_mask)
        yield
