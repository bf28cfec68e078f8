"""What an untouched model does when it generates: every call between its parts that the runtime hooks into."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from families.checks import generate
from families.prompts import batch, prompt
from families.zoo.specimen import Specimen
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from upstream import CACHE

from todre.hf.families import FAMILIES, Family
from todre.hf.versions import eager_function

KINDS = ("image", "video")
STEPS = 2
"""Forwards: one with the pictures, and one for the token after it."""


@dataclass(frozen=True)
class Call:
    """One call of a module or a function."""

    of: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any = None


@dataclass
class Recording:
    """The calls of one `generate` of `STEPS` tokens about one picture or clip, in order.

    Attributes:
        specimen: what was built.
        model: the untouched model.
        kind: "image" or "video".
        inputs: what `generate` was given.
        model_calls, base_calls, decoder_calls, rotary_calls, layer_calls: of the model, its base model, its decoder,
            the decoder's rotary embeddings and its layers.
        encoded: of `get_image_features` or `get_video_features`.
        attention: of the function that stands under the backend's name, by any module.
        cache: the cache that came back.
    """

    specimen: Specimen
    model: Any
    kind: str
    inputs: dict[str, Any]
    model_calls: list[Call] = field(default_factory=list)
    base_calls: list[Call] = field(default_factory=list)
    decoder_calls: list[Call] = field(default_factory=list)
    rotary_calls: list[Call] = field(default_factory=list)
    layer_calls: list[Call] = field(default_factory=list)
    encoded: list[Call] = field(default_factory=list)
    attention: list[Call] = field(default_factory=list)
    cache: Any = None

    @property
    def family(self) -> Family:
        """The facts that the runtime goes by."""
        return FAMILIES[self.specimen.model_type]

    @property
    def decoder(self) -> Any:
        """The module with the layers."""
        return decoder_of(self.model)

    @property
    def text(self) -> Any:
        """The decoder's config."""
        return self.model.config.get_text_config(decoder=True)

    @property
    def columns(self) -> int:
        """Columns of the prompt."""
        return int(self.inputs["input_ids"].shape[1])


def decoder_of(model: Any) -> Any:
    """The module with the layers; Llama 4 answers with the causal language model around it."""
    decoder = model.get_decoder()
    return decoder if hasattr(decoder, "layers") else decoder.model


def record(specimen: Specimen, kind: str = "image", backend: str = "sdpa", steps: int = STEPS) -> Recording:
    """Build the model and generate once."""
    model = specimen.build(backend)
    question = prompt(5, [specimen.media(model, kind, 0)], 6, seed=4)
    recording = Recording(specimen, model, kind, batch(specimen, model, [question]))
    with _listening(recording):
        recording.cache = getattr(generate(model, recording.inputs, max_new_tokens=steps), CACHE)
    return recording


@contextmanager
def _listening(recording: Recording) -> Iterator[None]:
    model, decoder = recording.model, recording.decoder
    rotary = [part for name, part in decoder.named_children() if "rotary" in name]
    places = [
        ([model], recording.model_calls),
        ([model.base_model], recording.base_calls),
        ([decoder], recording.decoder_calls),
        (rotary, recording.rotary_calls),
        (list(decoder.layers), recording.layer_calls),
    ]
    handles = [
        module.register_forward_hook(_into(calls), with_kwargs=True) for modules, calls in places for module in modules
    ]
    encoders = {f"get_{kind}_features" for kind in KINDS if hasattr(model.base_model, f"get_{kind}_features")}
    inside: list[bool] = []
    for name in encoders:
        setattr(model.base_model, name, _watched(getattr(model.base_model, name), recording.encoded, inside))
    configs = [part.config for part in model.modules() if hasattr(part, "config")]
    backends = {getattr(config, "_attn_implementation", None) for config in configs} - {None}
    for backend in backends:
        ALL_ATTENTION_FUNCTIONS[backend] = _watched(_function(backend), recording.attention)
    try:
        yield
    finally:
        for backend in backends:
            del ALL_ATTENTION_FUNCTIONS[backend]
        for name in encoders:
            delattr(model.base_model, name)
        for handle in handles:
            handle.remove()


def _into(calls: list[Call]) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.append(Call(module, args, dict(kwargs), output))

    return hook


def _function(backend: str) -> Any:
    """What is called under the backend's name; eager attention is looked up in the file of the module that calls."""
    if backend != "eager":
        return ALL_ATTENTION_FUNCTIONS[backend]
    return lambda module, *args, **kwargs: eager_function(module)(module, *args, **kwargs)


def _watched(function: Any, calls: list[Call], inside: list[bool] | None = None) -> Any:
    """`function`, its calls written down; of functions that share `inside` the outermost alone."""
    inside = [] if inside is None else inside

    @functools.wraps(function)
    def passed(*args: Any, **kwargs: Any) -> Any:
        if inside:
            return function(*args, **kwargs)
        inside.append(True)
        try:
            output = function(*args, **kwargs)
        finally:
            inside.pop()
        calls.append(Call(function, args, dict(kwargs), output))
        return output

    return passed
