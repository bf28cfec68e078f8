"""What vLLM does not say of a family: one row for each.

Light: vLLM's API process, its workers and the command line all read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from todre.errors import UnsupportedModelError
from todre.hf.keywords import IMAGE_GRIDS, PIXELS, SIZES, VIDEO_GRIDS, VIDEO_PIXELS


@dataclass(frozen=True)
class MediumInputs:
    """How one kind of medium reaches a model of vLLM, by names of the model's inputs.

    Attributes:
        kind: `image` or `video`, vLLM's modality.
        pixels: the pixels: one entry for each medium, or the units (tiles, patches) of all media in one.
        counts: the input that tells how many units each medium has: numbers, or grids whose product counts; None if
            `pixels` has one entry for each medium.
        facts: inputs that the layout reads, such as sizes.
        shared: inputs that are the same for all media of a call.
    """

    kind: Literal["image", "video"]
    pixels: str
    counts: str | None = None
    facts: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    @property
    def retain(self) -> str:
        """Name of the input that carries each medium's budget."""
        return f"todre_retain_{self.kind}"


@dataclass(frozen=True)
class ServedFamily:
    """A family whose pictures are pruned in vLLM.

    Attributes:
        architecture: name in checkpoints and in vLLM.
        model_type: the row of `todre.hf.families` with the same facts, layouts among them.
        target: module and name of the class, `module:Class`.
        layers: where the model has the layers of its vision tower, as a dotted path.
        attention: where such a layer has the module that is called with queries and keys.
        positions: the positions that kept tokens get: `compact` with one-dimensional RoPE, as vLLM numbers a prompt by
            its columns; `original` where the model's own positions have rows and columns.
        media: what is pruned.
        towers: types of vision towers that are laid out like this.
        tiles_apart: whether the tiles of one picture are entries with a budget each, as `todre.prune` sees them.
    """

    architecture: str
    model_type: str
    target: str
    layers: str
    attention: str
    positions: Literal["compact", "original"]
    media: tuple[MediumInputs, ...]
    towers: tuple[str, ...]
    tiles_apart: bool = False

    @property
    def pruned(self) -> str:
        """Name under which the pruned architecture is registered."""
        return f"Todre{self.architecture}"


_CLIP_LAYERS = "vision_tower.vision_model.encoder.layers"
_TOWERS = ("clip_vision_model", "siglip_vision_model")
_SIZED = MediumInputs("image", PIXELS, facts=(SIZES,))
_PATCHES = MediumInputs("image", PIXELS, counts=IMAGE_GRIDS, facts=(IMAGE_GRIDS,))
_CLIP_PATCHES = MediumInputs("video", VIDEO_PIXELS, counts=VIDEO_GRIDS, facts=(VIDEO_GRIDS,))


def _qwen(architecture: str, model_type: str, name: str) -> ServedFamily:
    """The row of a family with packed patches and three axes of RoPE."""
    return ServedFamily(
        architecture=architecture,
        model_type=model_type,
        target=f"todre.vllm.qwen:{name}",
        layers="visual.blocks",
        attention="attn.attn",
        positions="original",
        media=(_PATCHES, _CLIP_PATCHES),
        towers=(model_type, f"{model_type}_vision"),
    )


FAMILIES: tuple[ServedFamily, ...] = (
    ServedFamily(
        architecture="LlavaForConditionalGeneration",
        model_type="llava",
        target="todre.vllm.llava:TodreLlava",
        layers=_CLIP_LAYERS,
        attention="self_attn.attn",
        positions="compact",
        media=(MediumInputs("image", PIXELS),),
        towers=_TOWERS,
    ),
    ServedFamily(
        architecture="LlavaNextForConditionalGeneration",
        model_type="llava_next",
        target="todre.vllm.llava:TodreLlavaNext",
        layers=_CLIP_LAYERS,
        attention="self_attn.attn",
        positions="compact",
        media=(_SIZED,),
        towers=_TOWERS,
    ),
    ServedFamily(
        architecture="LlavaOnevisionForConditionalGeneration",
        model_type="llava_onevision",
        target="todre.vllm.llava:TodreLlavaOnevision",
        layers=_CLIP_LAYERS,
        attention="self_attn.attn",
        positions="compact",
        media=(_SIZED, MediumInputs("video", VIDEO_PIXELS)),
        towers=_TOWERS,
    ),
    ServedFamily(
        architecture="InternVLForConditionalGeneration",
        model_type="internvl",
        target="todre.vllm.internvl:TodreInternVL",
        layers="vision_tower.encoder.layer",
        attention="attention.attn",
        positions="compact",
        media=(MediumInputs("image", PIXELS, counts="image_num_patches", shared=("image_token_id",)),),
        towers=("internvl_vision",),
        tiles_apart=True,
    ),
    _qwen("Qwen2VLForConditionalGeneration", "qwen2_vl", "TodreQwen2VL"),
    _qwen("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", "TodreQwen2_5VL"),
    _qwen("Qwen3VLForConditionalGeneration", "qwen3_vl", "TodreQwen3VL"),
)


def family_of(model_type: str) -> ServedFamily:
    """The row of a checkpoint.

    Args:
        model_type: as the checkpoint's config has it.

    Raises:
        UnsupportedModelError: pictures of this family are not pruned in vLLM.
    """
    for family in FAMILIES:
        if family.model_type == model_type:
            return family
    known = ", ".join(sorted(family.model_type for family in FAMILIES))
    raise UnsupportedModelError(
        f"Models of type '{model_type}' are not pruned in vLLM, those of these types are: {known}; "
        "`todre serve` serves every model that `todre models` lists."
    )
