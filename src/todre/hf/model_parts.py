"""Parts of a model, its config and its outputs, as functions.

Attribute names of transformers are spelled here and nowhere outside `hf/`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def decoder_module(model: Any) -> Any:
    """The text decoder inside a vision-language model."""
    return model.get_decoder()


def base_module(model: Any) -> Any:
    """The part that encodes pictures and calls the decoder: all but the LM head."""
    return model.base_model


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder's layers, in the order in which they run."""
    layers: nn.ModuleList = model.get_decoder().layers
    return layers


def decoder_depth(model: Any) -> int:
    """Number of decoder layers."""
    return int(model.get_decoder().config.num_hidden_layers)


def attention_backend(config: Any) -> str:
    """The attention function that a config names, such as `sdpa` or `eager`."""
    return str(config._attn_implementation)


def config_caches(config: Any) -> bool:
    """True if a model of this config makes a cache unless its caller says otherwise."""
    return bool(config.use_cache)


def text_config(model: Any) -> Any:
    """The config of a model's text decoder."""
    return model.config.get_text_config(decoder=True)


def context_length(model: Any) -> int | None:
    """Most tokens of a prompt and its answer that the text decoder has positions for.

    None if its config does not say.
    """
    length = getattr(text_config(model), "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else None


def last_states(output: Any) -> Tensor:
    """Hidden states after the last layer and the final norm, (b, q, d)."""
    states: Tensor = output.last_hidden_state
    return states


def all_states(output: Any) -> tuple[Tensor, ...] | None:
    """Hidden states before each layer and after the last, (b, q, d) each, or None.

    The result is None where the caller did not ask for these states.
    """
    states: tuple[Tensor, ...] | None = getattr(output, "hidden_states", None)
    return states


def has_attention_maps(output: Any) -> bool:
    """True if the caller asked for attention maps."""
    return getattr(output, "attentions", None) is not None


def has_router_logits(output: Any) -> bool:
    """True if the caller asked for the logits of routers (mixtures of experts)."""
    return getattr(output, "router_logits", None) is not None


def media_features(output: Any) -> Any:
    """LLM-space features of each picture or clip, from an encoding method's output."""
    return output.pooler_output


def replace_states(output: Any, last: Tensor, every: tuple[Tensor, ...] | None) -> Any:
    """The decoder's output with other hidden states.

    Args:
        output: the decoder's output, changed in place.
        last: (b, q, d), in place of the states after the last layer.
        every: tensors in place of `all_states`; None leaves the output's own.
    """
    output.last_hidden_state = last
    if every is not None:
        output.hidden_states = every
    return output


def entries_of(output: Any) -> Any:
    """Features of each encoded picture or clip; None for any other object."""
    return getattr(output, "pooler_output", None)
