"""The decoder of a model: layer types, windows and rotary embeddings.

These facts are read once, at attach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from todre.errors import UnsupportedModelError
from todre.hf.model_parts import attention_backend
from todre.hf.versions import PreTrainedModel
from todre.hf.wrappers import bare

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
RECURRENT = frozenset({"linear_attention", "conv"})
"""Layer types with a state in place of keys and values; no positions, no slots."""

_KNOWN = frozenset({FULL, SLIDING, CHUNKED}) | RECURRENT
"""Layer types that can be shortened exactly."""


@dataclass(frozen=True)
class Decoder:
    """A decoder and the facts that the runtime needs.

    Attributes:
        module: the module whose `layers` run in order.
        config: the text config.
        layer_kinds: the type of each layer, one of `_KNOWN`.
        window: columns that a sliding layer sees, its own included; 0 without sliding layers.
        chunk: columns of a chunk in chunked layers; 0 without chunked layers.
        rotary: the modules that turn positions into angles.
    """

    module: nn.Module
    config: Any
    layer_kinds: tuple[str, ...]
    window: int
    chunk: int
    rotary: tuple[nn.Module, ...]

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, in the order in which they run."""
        layers = self.module.layers
        assert isinstance(layers, nn.ModuleList)  # for mypy: checked by `decoder_of`
        return layers

    @property
    def recomputes(self) -> bool:
        """True if layers run again in the backward pass, so that nothing is cached.

        This is so with gradient checkpointing in training mode.
        """
        return bool(getattr(self.module, "gradient_checkpointing", False)) and self.module.training

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.layer_kinds)

    @property
    def shows_positions(self) -> bool:
        """True if layers may be given positions with gaps.

        They may with SDPA and eager attention. Other backends may take gaps for packed samples.
        """
        # Flash attention's integration takes gaps in positions for packed samples (`_is_packed_sequence`, 5.24).
        return attention_backend(self.config) in ("sdpa", "eager")

    @property
    def uniform(self) -> bool:
        """True if every layer has full causal attention."""
        return all(kind == FULL for kind in self.layer_kinds)

    @property
    def sees_all(self) -> bool:
        """True if no layer has a window, only full causal attention or a state."""
        return all(kind == FULL or kind in RECURRENT for kind in self.layer_kinds)

    @property
    def text_first(self) -> bool:
        """True if positions of four axes begin with one that counts tokens (M-RoPE).

        The other three are time, height and width.
        """
        rope = getattr(self.config, "rope_parameters", None) or getattr(self.config, "rope_scaling", None) or {}
        sections = rope.get("mrope_section") if isinstance(rope, dict) else None
        return sections is not None and len(sections) == 3

    def attends(self, layer: int) -> bool:
        """True if the layer with index `layer` (from 0) has keys and values."""
        return self.layer_kinds[layer] not in RECURRENT

    @property
    def full_layers(self) -> tuple[int, ...]:
        """The layers (1-based) with full attention."""
        return tuple(index + 1 for index, kind in enumerate(self.layer_kinds) if kind == FULL)

    def readable_layer(self, layer: int) -> int:
        """The last layer with full attention at or before layer `layer` (both 1-based).

        Only full attention sees the whole prompt, so only it can show that vision has faded. If no such layer comes
        before, the first one after is returned.

        Raises:
            UnsupportedModelError: no layer has full attention.
        """
        full = self.full_layers
        if not full:
            raise UnsupportedModelError(
                f"No layer of {type(self.module).__name__} has full attention, so stage 2 cannot tell whether vision "
                "has faded; use stages=(1,)."
            )
        return max((count for count in full if count <= layer), default=full[0])


def decoder_of(model: PreTrainedModel) -> Decoder:
    """The decoder of `model`.

    Raises:
        UnsupportedModelError: it is not a list of decoder layers with rotary positions, or has layers of a type that
            is not known, or layers that share keys and values.
    """
    module = bare(model.get_decoder())
    if not hasattr(module, "layers") and isinstance(getattr(module, "model", None), nn.Module):
        module = bare(module.model)  # Llama 4's `get_decoder` returns the causal LM (5.24)
    config = model.config.get_text_config(decoder=True)
    layers = getattr(module, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise UnsupportedModelError(
            f"The decoder {type(module).__name__} has no list of layers, which pruning needs; "
            "use a model with a Llama-like decoder."
        )
    # No common attribute names them, but each family's name contains the word; tests/contract looks at each.
    rotary = tuple(child for name, child in module.named_children() if "rotary" in name)
    if not rotary:
        raise UnsupportedModelError(
            f"The decoder {type(module).__name__} has no rotary positions, and other kinds cannot be kept when "
            "tokens leave; use a model with a Llama-like decoder."
        )
    shared = getattr(config, "num_kv_shared_layers", 0) or 0
    if shared:
        raise UnsupportedModelError(
            f"The last {shared} layers of {type(module).__name__} read the keys and values of earlier layers, "
            "for which shortening is not known to be exact."
        )
    types = layer_types(config, len(layers))
    unknown = sorted(set(types) - _KNOWN)
    if unknown:
        raise UnsupportedModelError(
            f"The decoder {type(module).__name__} has layers of type {unknown[0]!r}, "
            "for which shortening is not known to be exact."
        )
    return Decoder(
        module=module,
        config=config,
        layer_kinds=types,
        window=int(getattr(config, "sliding_window", None) or 0) if SLIDING in types else 0,
        chunk=int(getattr(config, "attention_chunk_size", None) or 0) if CHUNKED in types else 0,
        rotary=rotary,
    )


def layer_types(config: Any, n_layers: int) -> tuple[str, ...]:
    """The type of each of `n_layers` layers.

    A config that names no types has sliding layers if it has a window, and full ones otherwise.
    """
    named = getattr(config, "layer_types", None)
    if named:
        return tuple(named)[:n_layers]
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return ((SLIDING if window else FULL),) * n_layers
