"""Pictures resized before the processor, for fewer visual tokens.

Methods that act on pixels (`todre.methods.downsample`) say how many tokens each picture may become; the size follows
from the processor's rules, and the picture is resampled once. What prepares a prompt for such a method calls `Shower`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor

from todre.errors import ContractError, InvalidValueError, UnsupportedInputError
from todre.fields import fitted, short_repr
from todre.fields.kinds import Retain
from todre.geometry.sizes import Size
from todre.geometry.smaller import Smaller, counts, smaller
from todre.images import as_rgb
from todre.methods.base import Method, NoPruning
from todre.methods.downsample import Downsample


@dataclass(frozen=True)
class Downsampled:
    """A picture that was resized for fewer visual tokens.

    Attributes:
        image: the picture to give to the processor, in RGB.
        visual_tokens: number of visual tokens that the model makes of it.
        visual_tokens_before: number that it makes of the picture as it was.
    """

    image: Image.Image
    visual_tokens: int
    visual_tokens_before: int


def downsample(image: Image.Image, processor: Any, model: Any, *, retain: float) -> Downsampled:
    """Resize a picture until the model itself makes few enough visual tokens.

    The size is the one with the most tokens within the budget, near the picture's own ratio of sides. The picture is
    resampled once, with the processor's filter. A picture within the budget stays as it is.

    Args:
        image: the picture.
        processor: the model's processor.
        model: the model, or its config.
        retain: visual tokens kept at most, a fraction of the picture's tokens or a count.

    Raises:
        InvalidValueError: `image` is no picture, or `retain` no budget.
        UnsupportedModelError: the model makes equally many tokens of every picture, or how many is not known.
        UnsupportedInputError: no smaller size has so few tokens.
    """
    if not isinstance(image, Image.Image):
        raise InvalidValueError(f"image must be a PIL picture, not {short_repr(image)}; open the file with PIL first.")
    method = Downsample(retain=fitted("retain", retain, Retain))
    shower = Shower(processor, getattr(model, "config", model))
    shown = shower.show(method, [image])
    return Downsampled(
        image=shown.pictures[0], visual_tokens=shown.visual_tokens[0], visual_tokens_before=shown.before[0]
    )


@dataclass(frozen=True)
class Shown:
    """What a method shows of a prompt's pictures, and what the runtime is to run.

    Attributes:
        pictures: the pictures for the processor; also clips, where the method does not act on pixels.
        method: the method for the runtime.
        visual_tokens: number of visual tokens of each picture; empty where the method does not act on pixels.
        before: the same of the pictures as they were.
    """

    pictures: tuple[Any, ...]
    method: Method
    visual_tokens: tuple[int, ...] = ()
    before: tuple[int, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """A sentence that says what was shown, if the method acts on pixels."""
        if not self.visual_tokens:
            return []
        sizes = ", ".join(f"{width} × {height}" for width, height in self.sizes)
        return [f"shown as {sizes} pixels: {sum(self.visual_tokens)} of {sum(self.before)} visual tokens"]

    def facts(self) -> dict[str, Any]:
        """What a result records if the method acts on pixels, ready for JSON."""
        if not self.visual_tokens:
            return {}
        rows = zip(self.sizes, self.visual_tokens, self.before, strict=True)
        return {"shown": [{"size": list(size), "visual_tokens": now, "before": then} for size, now, then in rows]}

    @property
    def sizes(self) -> tuple[Size, ...]:
        """(width, height) of each picture for the processor."""
        return tuple(picture.size for picture in self.pictures)


def check_shown(config: Any, shown: Shown, prompts: Sequence[Tensor]) -> None:
    """Raise unless prompts about resized pictures have the promised visual tokens.

    Args:
        config: the model's config.
        shown: what was shown; nothing is checked where the method does not act on pixels.
        prompts: token ids of each prompt about these pictures, (n_i,).

    Raises:
        ContractError: a prompt has more or fewer.
    """
    if not shown.visual_tokens:
        return
    from todre.hf.families import FAMILIES

    family = FAMILIES.get(config.model_type)
    if family is None:  # refused by whoever runs the model
        return
    mark, promised = family.token_id(config, "image"), sum(shown.visual_tokens)
    found = [int(ids.eq(-1 if mark is None else mark).sum()) for ids in prompts]
    wrong = next((count for count in found if count != promised), None)
    if wrong is not None:
        sizes = ", ".join(f"{width} × {height}" for width, height in shown.sizes)
        raise ContractError(
            f"A prompt with pictures of {sizes} pixels has {wrong} visual tokens, and {promised} were expected when "
            "these sizes were chosen; use the model's own processor and a release of transformers that todre knows."
        )


@dataclass(frozen=True)
class Shower:
    """Shows pictures as methods want them; sizes that were found once are kept.

    Attributes:
        processor: the model's processor.
        config: the model's config.
        found: the sizes that were found, by all sizes of a prompt, index and budget.
    """

    processor: Any
    config: Any
    found: dict[tuple[tuple[Size, ...], int, int], Smaller] = field(default_factory=dict, repr=False, compare=False)

    def show(self, method: Method, pictures: Sequence[Any]) -> Shown:
        """The pictures of one prompt as `method` shows them.

        Methods that do not act on pixels change nothing, and take clips as well.

        Raises:
            UnsupportedModelError: the number of tokens cannot be lowered, or is not known.
            UnsupportedInputError: no smaller size has so few tokens, or there is a clip.
        """
        if not method.in_pixels:
            return Shown(tuple(pictures), method)
        if not all(isinstance(picture, Image.Image) for picture in pictures):
            raise UnsupportedInputError(
                f"{method.name} resizes pictures and not clips; ask about pictures, or use uniform as the control."
            )
        sizes = tuple(picture.size for picture in pictures)
        before = counts(self.processor, self.config, sizes)
        chosen = [self._smaller(sizes, index, most) for index, most in enumerate(method.most_tokens(before))]
        return Shown(
            pictures=tuple(self._resized(each, one.size) for each, one in zip(pictures, chosen, strict=True)),
            method=NoPruning(),
            visual_tokens=tuple(one.tokens for one in chosen),
            before=tuple(before),
        )

    def _smaller(self, sizes: tuple[Size, ...], index: int, most: int) -> Smaller:
        key = sizes, index, most
        if key not in self.found:
            self.found[key] = smaller(self.processor, self.config, sizes, index, most)
        return self.found[key]

    def _resized(self, picture: Image.Image, size: Size) -> Image.Image:
        """The picture in RGB, resampled by the processor's filter, or a bicubic one."""
        picture = as_rgb(picture)
        if picture.size == size:
            return picture
        named = getattr(getattr(self.processor, "image_processor", None), "resample", None)
        return picture.resize(size, Image.Resampling.BICUBIC if named is None else Image.Resampling(int(named)))
