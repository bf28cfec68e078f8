"""Stand-ins for transformers' video processors, with PIL alone.

Transformers' own video processors all need torchvision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers.image_processing_utils import BatchFeature
from transformers.utils import PushToHubMixin
from transformers.video_utils import make_batched_metadata, make_batched_videos

from todre.errors import InvalidValueError, TodreError, UnsupportedInputError
from todre.processing.families import VideoFamily
from todre.processing.frames import pixels


class VideoProcessorStandIn(PushToHubMixin):
    """The parts of a video processor that a stock processor needs.

    They are the settings as attributes, `to_dict` and the names of inputs.
    """

    _auto_class = None
    model_input_names: tuple[str, ...] = ()

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)

    def __getattr__(self, name: str) -> Any:
        settings = self.__dict__.get("settings", {})
        if name in settings:
            return settings[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings})"

    def to_dict(self) -> dict[str, Any]:
        """The settings, as transformers writes them into processor_config.json."""
        return dict(self.settings)


class NoVideo(VideoProcessorStandIn):
    """Stand-in where clips cannot be prepared; a call raises the reason."""

    def __init__(self, settings: Mapping[str, Any], reason: TodreError) -> None:
        super().__init__({"num_frames": None, "fps": None, **settings})  # stock chat templates look these two up
        self.reason = reason

    def __call__(self, videos: Any, **kwargs: Any) -> Any:
        """Raise the reason why clips cannot be prepared."""
        raise self.reason


_SIDES = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}
"""Other names of the parts of `size` (Qwen-VL)."""
_IDLE = ("return_tensors", "device", "input_data_format", "data_format", "disable_grouping", "use_fast")
"""Arguments of transformers' processors that change no value here.

Tensors are torch's, on the CPU, channels first.
"""


class PilVideoProcessor(VideoProcessorStandIn):
    """A family's video processor by PIL, for frames that were already sampled.

    Args:
        settings: complete settings of the family (`todre.processing.settings.complete`).
        family: the family's row of facts.
    """

    backend = "pil"

    def __init__(self, settings: Mapping[str, Any], family: VideoFamily) -> None:
        super().__init__(settings)
        self.family = family
        self.model_input_names = family.input_names

    def __call__(
        self,
        videos: Any,
        *,
        video_metadata: Any = None,
        do_sample_frames: bool | None = None,
        return_metadata: bool | None = None,
        **overrides: Any,
    ) -> Any:
        """Prepare clips whose frames are already sampled.

        Args:
            videos: one clip or a (nested) list of them; a clip is a list of PIL pictures of one size, or a uint8 array
                (frames, h, w, 3).
            video_metadata: transformers' metadata of each clip (fps, indices, duration); made up if left out.
            do_sample_frames: must not be true; frames come sampled.
            return_metadata: put the metadata beside the tensors, which processors that write timestamps need.
            overrides: values that replace the family's settings in this call.

        Returns:
            A `BatchFeature` of torch tensors under the family's names, float32 and int64.

        Raises:
            UnsupportedInputError: frames were to be sampled, or clips differ in length where the model stacks them.
            InvalidValueError: a clip that is not frames of RGB pixels.
        """
        if do_sample_frames:
            raise UnsupportedInputError(
                "Without torchvision, frames come already sampled; sample them and leave do_sample_frames off."
            )
        batch = [_as_array(video) for video in make_batched_videos(videos)]
        metadata = make_batched_metadata(batch, video_metadata=video_metadata)
        settings = self.settings | self._overridden(overrides)
        prepared = []
        for clip in batch:
            n_frames, height, width, _ = clip.shape
            chosen = self.family.fit(settings, n_frames, height, width) if settings["do_resize"] else []
            prepared.append(pixels(clip, chosen, settings))
        data: dict[str, Any] = dict(self.family.arrange(prepared, settings))
        if return_metadata:
            data["video_metadata"] = metadata
        return BatchFeature(data)

    def _overridden(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that a call replaces.

        Raises:
            UnsupportedInputError: an argument is none of the family's settings, and would change something.
        """
        values = {name: value for name, value in given.items() if value is not None and name not in _IDLE}
        size = {of: values.pop(name) for name, of in _SIDES.items() if name in values}
        if size:
            values["size"] = dict(values.get("size") or self.settings.get("size") or {}) | size
        unknown = next((name for name in values if name not in self.settings), None)
        if unknown is not None:
            raise UnsupportedInputError(
                f"Without torchvision, clips have no setting {unknown!r}; leave it out, or use some of "
                f"{', '.join(sorted(self.settings))}."
            )
        return values


def _as_array(video: Any) -> np.ndarray:
    """One clip as a uint8 array (frames, h, w, 3)."""
    if isinstance(video, str):
        raise UnsupportedInputError(f"{video} is a file, and frames are needed here; open it as a clip first.")
    if isinstance(video, torch.Tensor):
        video = video.cpu().numpy()
    array = np.asarray(video)
    if array.ndim == 4 and array.shape[-1] != 3 and array.shape[1] == 3:
        array = np.moveaxis(array, 1, -1)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3 or array.size == 0:
        raise InvalidValueError(
            f"A clip has shape {array.shape} of {array.dtype}, and RGB frames (frames, height, width, 3) of uint8 are "
            "needed; convert its frames with image.convert('RGB')."
        )
    return np.ascontiguousarray(array)
