"""The inputs of a layout: the processor's settings, the config and the sizes.

No layout reads a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from todre.errors import UnsupportedModelError
from todre.geometry.boxes import ClipShape, Media, Picture, TokenBox, View
from todre.geometry.sizes import Size, scaled_sizes
from todre.hf.picture_rules import default_arguments


@dataclass(frozen=True)
class Settings:
    """An image or video processor's settings.

    Settings that the model's whole processor always passes on take precedence.
    """

    part: Any
    overrides: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return self.overrides[name] if name in self.overrides else getattr(self.part, name)

    def get(self, name: str, default: Any = None) -> Any:
        """A setting; `default` if the processor lacks it or has None."""
        value = getattr(self, name, None)
        return default if value is None else value


@dataclass(frozen=True)
class Source:
    """One picture or clip of a prompt, and all that its tokens' places depend on.

    Attributes:
        processor: the model's processor.
        config: the model's config.
        prompt: sizes of all pictures and clips of the prompt, in order.
        index: index (from 0) of this picture or clip in `prompt`.
    """

    processor: Any
    config: Any
    prompt: Sequence[Media]
    index: int

    @property
    def view(self) -> View:
        """The picture or frame as it is, before any processing."""
        return View.plain(self.index, self.prompt[self.index])

    @property
    def pictures(self) -> int:
        """Number of pictures in the prompt; clips do not count."""
        return sum(isinstance(media, Picture) for media in self.prompt)

    @property
    def images(self) -> Settings:
        """Settings of the image processor."""
        return self._settings("image_processor", "images_kwargs")

    @property
    def videos(self) -> Settings:
        """Settings of the video processor."""
        if getattr(self.processor, "video_processor", None) is None:
            raise UnsupportedModelError(
                f"This processor of {self.config.model_type!r} has no settings for clips (no video_processor), "
                "so a clip's visual tokens cannot be placed; load the whole processor, or give pictures."
            )
        return self._settings("video_processor", "videos_kwargs")

    def _settings(self, part: str, kind: str) -> Settings:
        overrides = {**(getattr(self.processor, kind, None) or {}), **default_arguments(self.processor, kind)}
        return Settings(getattr(self.processor, part), overrides)


class Layout:
    """How a family's visual tokens lie over a picture or a clip.

    The rows of `todre.geometry.table` are instances.
    """

    def picture(self, source: Source, picture: Picture) -> list[TokenBox]:
        """Boxes of the picture's visual tokens, in sequence order."""
        raise UnsupportedModelError(
            f"Models of type {source.config.model_type!r} read clips only; give a clip, or leave the picture out."
        )

    def clip(self, source: Source, clip: ClipShape) -> list[TokenBox]:
        """Boxes of the clip's visual tokens, in sequence order."""
        raise UnsupportedModelError(
            f"Models of type {source.config.model_type!r} read pictures only; give single frames as pictures."
        )

    def tokens(self, source: Source, picture: Picture) -> int:
        """Number of the boxes that `picture` gives; layouts count it without making boxes."""
        return len(self.picture(source, picture))

    def smaller(self, source: Source, picture: Picture) -> Iterator[Size]:
        """Sizes that the picture can be resized to for fewer visual tokens.

        Without another rule, these are sizes of about the picture's own ratio of sides.
        """
        return scaled_sizes(picture.width, picture.height)

    def count(self, source: Source) -> tuple[int, int]:
        """(visual tokens, tiles) of one picture, for families whose config suffices.

        `source.processor` may be None.
        """
        raise UnsupportedModelError(
            f"How many visual tokens a picture becomes depends on the settings of the processor of "
            f"{source.config.model_type!r}, not on its config alone; give the number of visual tokens."
        )
