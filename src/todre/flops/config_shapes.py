"""Read a `ModelShape` from a Hugging Face config, without weights or a model."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from todre.errors import InvalidValueError, UnsupportedModelError
from todre.flops.shape import PRESETS, ModelShape, Projector, Stack, VisionTower
from todre.hf.checkpoint_facts import feature_layers, layer_kinds
from todre.hf.leading_tokens import Leading, leading_of

# A SiLU activation means a gated FFN; these model types gate an FFN with another activation.
_GATED_TYPES = ("gemma", "pixtral")
_GATED_ACTIVATIONS = ("silu", "swish")
_DENSE_LAYERS = ("full_attention", "sliding_attention", "chunked_attention")
_FFN_WIDTHS = ("intermediate_size", "ffn_dim", "n_inner")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


def shape_of(model: ModelShape | str | Any) -> ModelShape:
    """A model's shape: given as it is, by a preset's name, or by a config.

    Raises:
        InvalidValueError: no preset has that name.
    """
    if isinstance(model, ModelShape):
        return model
    if not isinstance(model, str):
        return from_config(model)
    if model not in PRESETS:
        close = difflib.get_close_matches(model, PRESETS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "pass a config instead."
        raise InvalidValueError(f"no preset is named {model!r} (there are {', '.join(PRESETS)}); {hint}")
    return PRESETS[model]


def from_config(config: Any) -> ModelShape:
    """Read the shape of a vision-language or language model from its config.

    Raises:
        UnsupportedModelError: the decoder has experts or latent or linear attention, or the projector is not known.
        InvalidValueError: the object is no transformers config.
    """
    if not hasattr(config, "get_text_config"):
        raise InvalidValueError(f"a transformers config is needed, got {type(config).__name__}; pass model.config.")
    text = config.get_text_config(decoder=True)
    name = config.model_type
    _refuse_what_is_not_counted(name, text)
    decoder = _stack(text)
    vision_config = getattr(config, "vision_config", None)
    if vision_config is None:
        return ModelShape(name, decoder, text.vocab_size)
    if name not in _PROJECTORS:
        raise UnsupportedModelError(
            f"the projector of model type {name!r} is not known to todre.flops (known: {', '.join(_PROJECTORS)}); "
            "describe the model with a ModelShape."
        )
    tower = _tower(vision_config)
    return ModelShape(name, decoder, text.vocab_size, tower, _PROJECTORS[name](config, tower, decoder.width))


def _refuse_what_is_not_counted(name: str, text: Any) -> None:
    kinds = layer_kinds(text)
    reason = None
    if getattr(text, "is_heterogeneous", False):  # reading one number for all layers raises in such a config
        reason = "has layers of different shapes"
    elif any((getattr(text, field, None) or 0) > 1 for field in _EXPERTS):
        reason = "mixes experts"
    elif getattr(text, "kv_lora_rank", None):
        reason = "has latent attention"
    elif not kinds <= set(_DENSE_LAYERS):
        reason = f"has layers of type {', '.join(sorted(kinds - set(_DENSE_LAYERS)))}"
    if reason:
        raise UnsupportedModelError(
            f"the decoder of model type {name!r} {reason}, which todre.flops does not count; "
            "describe a dense model with a ModelShape."
        )


def _stack(config: Any) -> Stack:
    # embed_dim first: Qwen2-VL's tower calls the width of its output hidden_size.
    width: int = getattr(config, "embed_dim", None) or config.hidden_size
    heads = config.num_attention_heads
    ffn = next((getattr(config, name) for name in _FFN_WIDTHS if getattr(config, name, None)), None)
    activation = str(getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None))
    return Stack(
        layers=getattr(config, "num_hidden_layers", None) or config.depth,  # older releases' name in Qwen's towers
        width=width,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or width // heads,
        ffn=ffn or int(width * getattr(config, "mlp_ratio", 4)),
        gated=activation in _GATED_ACTIVATIONS or config.model_type.startswith(_GATED_TYPES),
    )


def _tower(config: Any) -> VisionTower:
    height, width = _pair(config.patch_size)
    channels: int = getattr(config, "num_channels", None) or config.in_channels
    values = channels * height * width * getattr(config, "temporal_patch_size", 1)
    any_size = getattr(config, "image_size", None) is None or config.model_type == "pixtral"
    patches = None if any_size else (_pair(config.image_size)[0] // height) * (_pair(config.image_size)[1] // width)
    extra = (leading_of(config) or Leading()).count
    full = getattr(config, "fullatt_block_indexes", None)
    window = None if full is None else (config.window_size // height) ** 2
    return VisionTower(_stack(config), values, patches, extra, window, 0 if full is None else len(full))


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _llava(config: Any, tower: VisionTower, width: int) -> Projector:
    read = len(feature_layers(config))
    dropped = int(getattr(config, "vision_feature_select_strategy", "default") != "full")
    matrices = ((tower.stack.width * read, width), (width, width))
    return Projector(matrices, extra_tokens=max(tower.extra_tokens - dropped, 0))


def _mistral(config: Any, tower: VisionTower, width: int) -> Projector:
    merge = config.spatial_merge_size**2
    first, second = _llava(config, tower, width).matrices
    return Projector(((tower.stack.width * merge, tower.stack.width), first, second), merge)


def _internvl(config: Any, tower: VisionTower, width: int) -> Projector:
    merge = int(1 / config.downsample_ratio) ** 2
    return Projector(((tower.stack.width * merge, width), (width, width)), merge)


def _idefics(config: Any, tower: VisionTower, width: int) -> Projector:
    merge = config.scale_factor**2
    return Projector(((tower.stack.width * merge, width),), merge)


def _qwen(config: Any, tower: VisionTower, width: int) -> Projector:
    merge = config.vision_config.spatial_merge_size**2
    inner = tower.stack.width * merge
    mergers = 1 + len(getattr(config.vision_config, "deepstack_visual_indexes", None) or ())
    return Projector(((inner, inner), (inner, width)) * mergers, merge)


def _gemma(config: Any, tower: VisionTower, width: int) -> Projector:
    kept = getattr(config, "mm_tokens_per_image", None) or tower.patches
    return Projector(((tower.stack.width, width),), (tower.patches or 1) // (kept or 1))


_PROJECTORS: dict[str, Callable[[Any, VisionTower, int], Projector]] = {
    "llava": _llava,
    "llava_next": _llava,
    "llava_next_video": _llava,
    "llava_onevision": _llava,
    "vipllava": _llava,
    "mistral3": _mistral,
    "internvl": _internvl,
    "idefics3": _idefics,
    "smolvlm": _idefics,
    "qwen2_vl": _qwen,
    "qwen2_5_vl": _qwen,
    "qwen3_vl": _qwen,
    "paligemma": _gemma,
    "gemma3": _gemma,
}
