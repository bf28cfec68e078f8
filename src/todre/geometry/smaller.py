"""The size at which a picture becomes as many visual tokens as a budget allows.

Nothing is resized here. The number of tokens at each size follows from the processor's rules, as everything in this
room does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.geometry.boxes import Picture
from todre.geometry.sizes import Size
from todre.geometry.source import Layout, Source
from todre.geometry.table import RESAMPLED, layout_of


@dataclass(frozen=True)
class Smaller:
    """A size of one picture, and its number of visual tokens.

    Attributes:
        size: (width, height) in pixels.
        tokens: visual tokens that the model makes of a picture of this size.
    """

    size: Size
    tokens: int


def counts(processor: Any, config: Any, sizes: Sequence[Size]) -> list[int]:
    """Number of visual tokens of each picture of a prompt.

    Args:
        processor: the model's processor.
        config: the model's config.
        sizes: (width, height) of each picture in pixels.

    Raises:
        UnsupportedModelError: no geometry is known for the model's family.
    """
    layout, prompt = _layout(config), [Picture(*size) for size in sizes]
    return [layout.tokens(Source(processor, config, prompt, index), each) for index, each in enumerate(prompt)]


def smaller(processor: Any, config: Any, sizes: Sequence[Size], index: int, most: int) -> Smaller:
    """The size at which a picture has the most visual tokens within a budget.

    Of sizes with equally many tokens, the one nearest to the picture's ratio of sides is taken (to a hundredth), and of
    those the largest. A picture that has no more tokens than that keeps its size.

    Args:
        processor, config, sizes: as for `counts`.
        index: index (from 0) of the picture in `sizes`.
        most: most visual tokens of this picture.

    Raises:
        UnsupportedModelError: the number of visual tokens does not depend on the picture's size, or is not known.
        UnsupportedInputError: no smaller size has so few visual tokens.
    """
    layout, prompt = _layout(config), [Picture(*size) for size in sizes]
    source, picture = Source(processor, config, prompt, index), prompt[index]
    whole = layout.tokens(source, picture)
    if whole <= most:
        return Smaller(sizes[index], whole)
    found = [each for size in layout.smaller(source, picture) if (each := _counted(layout, source, size)) is not None]
    fitting = [each for each in found if each.tokens <= most]
    if fitting:
        return max(fitting, key=lambda each: (each.tokens, *_preference(each.size, picture)))
    least = min((each.tokens for each in found), default=whole)
    shown = f"a picture of {picture.width} × {picture.height} pixels"
    if least >= whole:
        raise UnsupportedModelError(
            f"downsample cannot lower the number of visual tokens of {config.model_type!r}: its processor makes "
            f"{whole} of {shown} and no fewer of a smaller one; use pooling as the control for this model."
        )
    raise UnsupportedInputError(
        f"downsample cannot show {shown} to {config.model_type!r} with at most {most} of its {whole} visual tokens: "
        f"the fewest at any smaller size are {least}; give a retain of at least {_share(least, whole)}, or use pooling "
        "as the control."
    )


def _counted(layout: Layout, source: Source, size: Size) -> Smaller | None:
    """A size with its tokens; None if the processor cannot take such a picture."""
    picture = Picture(*size)
    prompt = [*source.prompt[: source.index], picture, *source.prompt[source.index + 1 :]]
    try:
        return Smaller(size, layout.tokens(replace(source, prompt=prompt), picture))
    except (UnsupportedInputError, ValueError, ZeroDivisionError):
        return None


def _preference(size: Size, picture: Picture) -> tuple[float, int, int]:
    """Sort key of sizes with equally many tokens; larger is better."""
    stretch = abs(math.log(size[0] * picture.height / (size[1] * picture.width)))
    return -round(stretch, 2), size[0] * size[1], size[0]


def _share(least: int, whole: int) -> str:
    """The least share of `whole` in thousandths that allows `least` tokens, as text."""
    return f"{math.ceil(1000 * least / whole) / 1000:g}"


def _layout(config: Any) -> Layout:
    if config.model_type in RESAMPLED:
        raise UnsupportedModelError(
            f"downsample cannot lower the number of visual tokens of {config.model_type!r}: a resampler makes equally "
            "many of every picture; use pooling as the control for this model."
        )
    try:
        return layout_of(config)
    except UnsupportedModelError:
        raise UnsupportedModelError(
            f"How many visual tokens {config.model_type!r} makes of a picture of which size is not known, so "
            "downsample cannot choose a size; use pooling as the control for this model."
        ) from None
