"""Facts about each visual token, read while a picture is encoded: saliency, tile, newline.

`get_image_features` is called by `forward` or, before prefill, by `generate`, which may then repeat its result for
beams. So the facts are tied to the feature tensors themselves: they stay right wherever those tensors go.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from todre.attention import attention_modules, cls_attention, received_attention, watch
from todre.compat import PreTrainedModel
from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.families import Family, has_cls

_ATTRIBUTE = "todre_facts"


@dataclass(frozen=True)
class TokenFacts:
    """Per visual token of one picture, in sequence order.

    Attributes:
        saliency: (n,) float32, higher is more salient; NaN at newline tokens and where none was asked for.
        tile: (n,) int64, 0 for the thumbnail or the only tile, 1.. for crops; -1 at newline tokens.
    """

    saliency: Tensor
    tile: Tensor

    @property
    def newline(self) -> Tensor:
        """(n,) bool."""
        return self.tile < 0


@dataclass(frozen=True)
class SaliencyRequest:
    """Which saliency a method wants: `kind` is `cls` or `received`; `layer` indexes the tower's layers (-1: last)."""

    kind: str
    layer: int = -1


def facts_of(features: Tensor) -> TokenFacts | None:
    """The facts tied to a picture's features, or None."""
    return getattr(features, _ATTRIBUTE, None)


class SaliencyCapture:
    """Ties `TokenFacts` to every picture that `model` encodes, until `remove`."""

    def __init__(self, model: PreTrainedModel, family: Family, request: SaliencyRequest | None) -> None:
        self.base = model.base_model
        self.config = model.config
        self.family = family
        self.request = request
        self.local = threading.local()
        self.cls_first = has_cls(model)
        self.handles: list[RemovableHandle] = []
        if request is not None:
            self.handles = watch(self._watched(request), self._listen, when=lambda: True)
        self.original: Callable[..., Any] = self.base.get_image_features

        @functools.wraps(self.original)
        def get_image_features(*args: Any, **kwargs: Any) -> Any:
            return self._encode(*args, **kwargs)

        self.base.get_image_features = get_image_features

    def remove(self) -> None:
        """Leave the model as it was."""
        for handle in self.handles:
            handle.remove()
        del self.base.get_image_features

    def begin(self, encoded: Any) -> None:
        """A forward starts; `encoded` are pictures encoded before it, or None if it will encode its own."""
        self.local.features = None if encoded is None else list(encoded.pooler_output)

    def current(self) -> list[Tensor]:
        """The features of the pictures of this thread's forward, one tensor each."""
        return getattr(self.local, "features", None) or []

    def end(self) -> None:
        """The forward is over."""
        self.local.features = None

    def _watched(self, request: SaliencyRequest) -> nn.Module:
        if request.kind == "cls" and not self.cls_first:
            raise UnsupportedModelError(
                f"The vision tower '{self.config.vision_config.model_type}' has no [CLS] token; "
                "use pivot='received' or pivot='random'."
            )
        return attention_modules(self.base.vision_tower)[request.layer]

    def _listen(self, query: Tensor, key: Tensor, scaling: float) -> None:
        if self.request is not None and self.request.kind == "cls":
            self.local.saliency = cls_attention(query, key, scaling)
        else:
            received = received_attention(query, key, scaling)
            self.local.saliency = received[:, 1:] if self.cls_first else received

    def _encode(self, *args: Any, **kwargs: Any) -> Any:
        self.local.saliency = None
        output = self.original(*args, **kwargs)
        encoded = getattr(output, "pooler_output", None)
        if encoded is None:
            return output
        features: list[Tensor] = list(encoded)
        if not isinstance(encoded, list | tuple):
            output.pooler_output = features
        call = inspect.signature(self.original).bind(*args, **kwargs)
        sizes = call.arguments.get("image_sizes")
        strategy = call.arguments.get("vision_feature_select_strategy") or self.config.vision_feature_select_strategy
        facts = self._facts(features, sizes, strategy)
        for picture, fact in zip(features, facts, strict=True):
            setattr(picture, _ATTRIBUTE, fact)
        self.local.saliency = None
        self.local.features = features
        return output

    def _facts(self, features: list[Tensor], sizes: Tensor | None, strategy: str) -> list[TokenFacts]:
        """Lay the tower's saliency and tile numbers out as the model lays out its features."""
        vision = self.config.vision_config
        grid = (vision.image_size // vision.patch_size) ** 2
        extra = 1 if strategy == "full" and self.cls_first else 0
        flat = self.family.packing == "flat"
        tiles = [1] * len(features) if flat else _tiles_per_picture(self.config, sizes)
        device = features[0].device
        saliency: Tensor | None = getattr(self.local, "saliency", None)
        if saliency is None:
            saliency = torch.full((sum(tiles), grid), torch.nan, device=device)
        number = torch.cat([torch.arange(count, device=device) for count in tiles])
        marks = torch.stack([saliency.to(device), number[:, None].expand_as(saliency).float()], dim=-1)
        if extra:
            cls_mark = torch.stack([torch.full_like(number, torch.nan, dtype=torch.float), number.float()], dim=-1)
            marks = torch.cat([cls_mark[:, None], marks], dim=1)
        per_picture = list(torch.split(marks, tiles))
        if flat:
            packed = [mark[0] for mark in per_picture]
        else:
            newline = torch.tensor([torch.nan, -1.0], device=device)
            packed, _ = self.base.pack_image_features(
                per_picture, sizes, vision_feature_select_strategy=strategy, image_newline=newline
            )
        for mark, picture in zip(packed, features, strict=True):
            if mark.shape[0] != picture.shape[0]:
                raise UnsupportedInputError(
                    f"A picture has {picture.shape[0]} visual tokens but its layout gives {mark.shape[0]}; "
                    "this way of encoding pictures is not supported."
                )
        return [TokenFacts(mark[:, 0].contiguous(), mark[:, 1].long()) for mark in packed]


def _tiles_per_picture(config: Any, sizes: Any) -> list[int]:
    from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

    return [
        int(image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size))
        for size in sizes
    ]
