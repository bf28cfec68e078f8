"""Probes: methods that observe or drop by a fixed rule, and layer deletion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from todre.errors import InvalidValueError
from todre.hf.model_parts import decoder_module
from todre.methods.base import Method

if TYPE_CHECKING:
    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction


@dataclass(frozen=True, kw_only=True)
class ObserveAttention(Method):
    """Keep everything, and measure ToDRE's two ratios (eq. 7) after every layer."""

    name: ClassVar[str] = "observe-attention"

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Every layer, so that all ratios are measured."""
        return tuple(range(1, n_layers + 1))

    def reduce(self, context: ReduceContext) -> Reduction:
        """Keep all visual tokens, and report the ratios."""
        import torch

        from todre.methods.views.reduction import Reduction

        keep = torch.ones_like(context.visual)
        return Reduction(keep, context.text_to_visual(), context.visual_to_text())


@dataclass(frozen=True, kw_only=True)
class DropAfter(Method):
    """Drop every visual token after a fixed count of layers, whatever the question.

    Where text follows the picture, `ToDRE(stages=(2,), layers=(layer,), threshold=1.0)` drops the same tokens. This
    method does not measure ToDRE's ratios, so questions can share the prefix of the prompt.

    Args:
        layer: count of decoder layers that see the picture.
    """

    layer: int

    name: ClassVar[str] = "drop-after"

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """The one layer after which the visual tokens are dropped."""
        return (self.layer,)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Drop all visual tokens."""
        from todre.methods.views.reduction import Reduction

        return Reduction(~context.visual)


@contextmanager
def first_layers(model: Any, count: int | None) -> Iterator[None]:
    """Run only the first `count` decoder layers of `model` inside the block.

    None leaves the model as it is.

    Raises:
        InvalidValueError: the decoder does not have that many layers.
    """
    config = decoder_module(model).config
    depth = config.num_hidden_layers
    if count is None:
        yield
        return
    if not 1 <= count <= depth:
        raise InvalidValueError(f"first_layers={count} is outside 1..{depth}, the layers of this decoder.")
    config.num_hidden_layers = count
    try:
        yield
    finally:
        config.num_hidden_layers = depth
