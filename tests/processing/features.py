"""What the tiny models make of a processor's inputs: one row for each visual token."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def _rows(encode: Any, inputs: dict[str, Any]) -> Tensor:
    accepted = inspect.signature(inspect.unwrap(encode)).parameters
    found = encode(**{name: value for name, value in inputs.items() if name in accepted}, return_dict=True)
    pooled = found.pooler_output
    parts = list(pooled) if isinstance(pooled, (list, tuple)) else [pooled]
    return torch.cat([part.flatten(0, -2) for part in parts])


def picture_features(model: Any, inputs: Any) -> Tensor:
    """(visual tokens, d) of all pictures; Video-LLaVA's processor has an older name for them than its model."""
    named = dict(inputs)
    if "pixel_values_images" in named:
        named["pixel_values"] = named["pixel_values_images"]
    return _rows(model.base_model.get_image_features, named)


def clip_features(model: Any, inputs: Any) -> Tensor:
    """(visual tokens, d) of all clips; some models read frames as pictures."""
    if "pixel_values_videos" in inputs:
        return _rows(model.base_model.get_video_features, dict(inputs))
    return picture_features(model, inputs)


def count_columns(model: Any, ids: Tensor, kind: str = "image") -> int:
    """Columns of the prompt that stand for visual tokens."""
    token = getattr(model.config, f"{kind}_token_id", None) or model.config.image_token_id
    return int((ids == token).sum())
