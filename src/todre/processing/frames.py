"""Prepare the frames of a clip with PIL, in the layouts that models read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.keywords import PIXELS, VIDEO_GRIDS, VIDEO_PIXELS
from todre.processing.sizes import Size

PIXEL_MASK = "pixel_attention_mask"
"""Name of SmolVLM's mask, which marks the pixels that are no padding."""


def pixels(frames: np.ndarray, sizes: Sequence[Size], settings: Mapping[str, Any]) -> Tensor:
    """Resize, crop, rescale and normalise the frames of one clip.

    Args:
        frames: (f, h, w, 3) uint8.
        sizes: the sizes each frame is brought to, one after the other.
        settings: the family's `resample`, `do_center_crop`, `crop_size`, and what `normalise` reads.

    Returns:
        (f, 3, h', w') float32.
    """
    crop = settings["crop_size"] if settings.get("do_center_crop") else None
    resample = Image.Resampling(settings["resample"])
    prepared = []
    for frame in frames:
        image = Image.fromarray(frame)
        for height, width in sizes:
            # Columns first, as torchvision does it. PIL alone would choose the cheaper order of the two passes, and
            # the rounding between them would differ.
            image = image.resize((width, image.height), resample).resize((width, height), resample)
        if crop is not None:
            image = _center_crop(image, crop["height"], crop["width"])
        prepared.append(np.asarray(image))
    return normalise(torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2), settings)


def normalise(values: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Rescale and normalise (f, 3, h, w) uint8 pixels to float32.

    Rescaling is folded into mean and deviation, as torchvision's processors do it.
    """
    values = values.to(torch.float32)
    scale = settings["rescale_factor"] if settings["do_rescale"] else 1.0
    if not settings["do_normalize"]:
        return values * scale
    mean, deviation = (
        torch.tensor(settings[name], dtype=torch.float32, device="cpu") * (1.0 / scale)
        for name in ("image_mean", "image_std")
    )
    return (values - mean[:, None, None]) / deviation[:, None, None]


def _center_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """The middle of the picture, with black around it where it is smaller."""
    # int() rounds towards zero: the smaller half of an odd margin is before the picture, in cropping and in padding.
    left, top = int((image.width - width) / 2), int((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def stack_clips(clips: Sequence[Tensor], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Pixels of clips of equal length, stacked to (clips, f, 3, h, w) float32."""
    check_equal_lengths([len(clip) for clip in clips])
    return {VIDEO_PIXELS: torch.stack(list(clips))}


def check_equal_lengths(lengths: Sequence[int]) -> None:
    """Raise unless all clips have the same number of frames.

    Raises:
        UnsupportedInputError: the numbers differ.
    """
    if len(set(lengths)) > 1:
        raise UnsupportedInputError(
            f"Clips of {', '.join(map(str, lengths))} frames cannot go into one batch of this model; "
            "sample the same number of frames from each."
        )


def pad_clips(clips: Sequence[Tensor], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Pixels of clips, and a mask of the pixels that are no padding.

    Shorter clips get frames of zeros at their ends. The model finds such frames by their values and throws them away,
    so the mask, as in the family's own processor, concerns pixels alone.

    Args:
        clips: (f, 3, h, w) float32 each.
        settings: with `do_pad` off there is no mask, and all clips must have one length.

    Returns:
        Pixels (clips, f, 3, h, w) float32, and mask (clips, f, h, w) int64.
    """
    if not settings.get("do_pad"):
        check_equal_lengths([len(clip) for clip in clips])
        return {PIXELS: torch.stack(list(clips))}
    frames, height, width = (max(clip.shape[axis] for clip in clips) for axis in (0, 2, 3))
    values = torch.zeros(len(clips), frames, 3, height, width, dtype=torch.float32, device="cpu")
    mask = torch.zeros(len(clips), frames, height, width, dtype=torch.int64, device="cpu")
    for row, clip in enumerate(clips):
        n, _, h, w = clip.shape
        values[row, :n, :, :h, :w] = clip
        mask[row, :, :h, :w] = 1
    return {PIXELS: values, PIXEL_MASK: mask}


def cut_patches(clips: Sequence[Tensor], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Patches of all clips, and each clip's grid.

    `step` frames make one patch in time; the last frame is repeated until the patch is full. Patches that the
    model merges into one token (`merge_size` squared) are neighbours in the row.

    Args:
        clips: (f, 3, h, w) float32 each.
        settings: `temporal_patch_size` (step), `patch_size` (side) and `merge_size`.

    Returns:
        Patches (n, 3 · step · side · side) float32, and grids (clips, 3) int64: time, height and width in patches.
    """
    step, side, merge = (settings[name] for name in ("temporal_patch_size", "patch_size", "merge_size"))
    rows, grids = [], []
    for clip in clips:
        missing = -len(clip) % step
        clip = torch.cat([clip, clip[-1:].expand(missing, -1, -1, -1)])
        time, height, width = len(clip) // step, clip.shape[2] // side, clip.shape[3] // side
        cells = clip.reshape(time, step, 3, height // merge, merge, side, width // merge, merge, side)
        # time, row and column of the merged token, row and column in it; then channel, frame, row, column of pixels
        rows.append(cells.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(time * height * width, -1))
        grids.append([time, height, width])
    return {
        VIDEO_PIXELS: torch.cat(rows),
        VIDEO_GRIDS: torch.tensor(grids, dtype=torch.int64, device="cpu"),
    }
