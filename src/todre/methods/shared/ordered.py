"""Methods that choose one token after another, and so have an order of choosing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from todre.errors import UnsupportedInputError

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.base import Method
    from todre.methods.views.visual_tokens import VisualTokens


@runtime_checkable
class Ordered(Protocol):
    """A method whose `select` keeps what `order` chose."""

    def order(self, visual: VisualTokens) -> Tensor:
        """The tokens that `select` keeps, in the order of choosing.

        Returns:
            (k,) int64 indices on the tokens' device. Tokens that are kept without being chosen come first, in the order
            of the sequence.
        """
        ...


def ordered(method: Method, called: str = "") -> Ordered:
    """The method, if it chooses one token after another.

    Args:
        method: any method.
        called: what a message calls it; without it, the method's own name.

    Raises:
        UnsupportedInputError: it does not.
    """
    if method.selects and isinstance(method, Ordered):
        return method
    raise UnsupportedInputError(
        f"{called or method.name} does not choose one token of the picture after another, so it has no order of "
        "choosing; use a method that does, such as todre, todre-v1, divprune or mmr."
    )
