"""Numbers of tokens left after each tower layer at which a method acts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from todre.errors import InvalidValueError


def constant(n: int, target: int, steps: int, most: Callable[[int], int]) -> list[int]:
    """Tokens left when each step removes the same number, down to `target`.

    The number is the smallest that reaches `target`; the last steps remove what remains.

    Args:
        n: tokens at the start.
        target: tokens at the end, at least 1.
        steps: number of steps.
        most: function from the number of tokens at a step to the largest number that the step may remove.

    Returns:
        Tokens left after each step.

    Raises:
        InvalidValueError: `target` cannot be reached.
    """
    least, counts = 0, _run(n, target, steps, most, n)
    if counts[-1] > target:
        raise InvalidValueError(
            f"retain asks for {target} of a tile's {n} tokens, but {steps} layers of the vision tower can only get "
            f"down to {counts[-1]}; retain at least that many, or select before the LLM after it."
        )
    enough = n
    while enough - least > 1:
        rate = (least + enough) // 2
        if _run(n, target, steps, most, rate)[-1] > target:
            least = rate
        else:
            enough = rate
    return _run(n, target, steps, most, enough)


def geometric(n: int, target: int, steps: int) -> list[int]:
    """Tokens left when each step removes the same share, ending at `target` exactly."""
    return [round(n * (target / n) ** ((step + 1) / steps)) for step in range(steps - 1)] + [target]


def left_after(layer: int, layers: Sequence[int], counts: Sequence[int]) -> int:
    """The entry of `counts` at the position of `layer` in `layers`."""
    return counts[list(layers).index(layer)]


def _run(n: int, target: int, steps: int, most: Callable[[int], int], rate: int) -> list[int]:
    counts = []
    for _ in range(steps):
        n -= min(rate, most(n), n - target)
        counts.append(n)
    return counts
