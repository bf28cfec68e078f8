"""Parts of a model, its configuration and its outputs, by functions: their attributes are spelled here alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def decoder_module(model: Any) -> Any:
    """The text decoder inside a vision-language model, as `get_decoder` finds it."""
    return model.get_decoder()


def base_module(model: Any) -> Any:
    """The model without its language-model head, which encodes pictures and calls the decoder."""
    return model.base_model


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder's layers, in the order in which they run."""
    layers: nn.ModuleList = model.get_decoder().layers
    return layers


def decoder_depth(model: Any) -> int:
    """How many layers the decoder has."""
    return int(model.get_decoder().config.num_hidden_layers)


def attention_backend(config: Any) -> str:
    """The attention function that a configuration names: `sdpa`, `eager`, `flash_attention_2`, ..."""
    return str(config._attn_implementation)


def config_caches(config: Any) -> bool:
    """True if a model of this configuration makes a cache when nobody says."""
    return bool(config.use_cache)


def text_config(model: Any) -> Any:
    """The configuration of a model's text decoder."""
    return model.config.get_text_config(decoder=True)


def last_states(output: Any) -> Tensor:
    """(b, q, d) hidden states after the last layer and the final norm."""
    states: Tensor = output.last_hidden_state
    return states


def all_states(output: Any) -> tuple[Tensor, ...] | None:
    """Hidden states before each layer and after the last, (b, q, d) each; None where nobody asked for them."""
    states: tuple[Tensor, ...] | None = getattr(output, "hidden_states", None)
    return states


def media_features(output: Any) -> Any:
    """What `get_image_features` or `get_video_features` returns of each picture or clip, in the LLM's space."""
    return output.pooler_output


def replace_states(output: Any, last: Tensor, every: tuple[Tensor, ...] | None) -> Any:
    """The same output with other hidden states.

    Args:
        output: what a decoder returned, changed in place.
        last: (b, q, d), in place of those after the last layer.
        every: in place of `all_states`; None leaves them.
    """
    output.last_hidden_state = last
    if every is not None:
        output.hidden_states = every
    return output


def entries_of(encoded: Any) -> Any:
    """The features of each encoded picture or clip, or None if `encoded` is no output of an encoding method."""
    return getattr(encoded, "pooler_output", None)
