"""Tensor functions of torchvision, by torch alone."""

import torch

from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import pil_to_tensor

__all__ = ["InterpolationMode", "crop", "grayscale_to_rgb", "normalize", "pad", "pil_to_tensor", "resize", "to_dtype"]


def resize(image, size, interpolation=InterpolationMode.BILINEAR, antialias=True, **ignored):
    """Scale the last two dimensions; uint8 stays uint8."""
    mode = {2: "bilinear", 3: "bicubic"}[int(interpolation)] if isinstance(interpolation, int) else interpolation.value
    flat = image.reshape(-1, *image.shape[-3:]).float()
    smooth = {"antialias": antialias, "align_corners": False} if mode in ("bilinear", "bicubic") else {}
    scaled = torch.nn.functional.interpolate(flat, size=tuple(int(side) for side in size), mode=mode, **smooth)
    if image.dtype == torch.uint8:
        scaled = scaled.round().clamp(0, 255).to(torch.uint8)
    return scaled.reshape(*image.shape[:-2], *scaled.shape[-2:])


def pad(image, padding, fill=0, **ignored):
    """Pad by left, top, right, bottom."""
    left, top, right, bottom = padding if len(padding) == 4 else (*padding, *padding)
    fills = fill if isinstance(fill, list | tuple) else [fill]
    result = image.new_empty(*image.shape[:-2], image.shape[-2] + top + bottom, image.shape[-1] + left + right)
    result[:] = torch.tensor(fills).to(image.dtype)[:, None, None]
    result[..., top : top + image.shape[-2], left : left + image.shape[-1]] = image
    return result


def crop(image, top, left, height, width):
    """Cut out a rectangle."""
    return image[..., top : top + height, left : left + width]


def normalize(image, mean, std, inplace=False):
    """Subtract the mean, divide by the deviation."""
    mean, std = (torch.as_tensor(one, dtype=image.dtype)[:, None, None] for one in (mean, std))
    return (image - mean) / std


def to_dtype(image, dtype, scale=False):
    """Change the type."""
    return image.to(dtype) / 255 if scale else image.to(dtype)


def grayscale_to_rgb(image):
    """Three equal channels."""
    return image if image.shape[-3] == 3 else image.expand(*image.shape[:-3], 3, *image.shape[-2:])
