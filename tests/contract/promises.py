"""What the runtime takes for granted of every family's modelling file, one sentence and one check each.

A check looks at what an untouched model did (`recording`). One that fails says which sentence is no longer true, and of
which family; the room of `src/todre` that relies on it is in brackets.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from contract.recording import STEPS, Call, Recording
from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer
from upstream import CACHE

from todre.errors import UnsupportedModelError
from todre.flops.config_shapes import shape_of
from todre.hf import clip_layouts, visual_layouts
from todre.hf.anyres import anyres
from todre.hf.attention_tap import attention_modules

Promise = Callable[[Recording], None]

GRIDS = ("image_grid_thw", "video_grid_thw", "image_grid_hws", "grid_thw", "grid_thws")
FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"


def encoded_once(seen: Recording) -> None:
    """Media are encoded once, by the get_…_features that the base model's instance has [tower/capture.py]."""
    (call,) = seen.encoded
    given = arguments(call)
    assert any(name.startswith("pixel_values") for name in given)


def handed_over(seen: Recording) -> None:
    """What was encoded before the forward is handed over as the very object that came back [tower/capture.py]."""
    (call,) = seen.encoded
    for calls in (seen.model_calls, seen.base_calls):
        received = calls[0].kwargs.get("mm_encoder_outputs") or {}
        assert not received or any(media is call.output for media in received.values())
        assert not calls[1].kwargs.get("mm_encoder_outputs")


def entries_known(seen: Recording) -> None:
    """Encoded media are entries (pictures, tiles, clips) of (…, d), as many tokens as marked columns [families.py].

    Where the family's row names an argument that says which tokens stay, the others are left out of the prompt.
    """
    (call,) = seen.encoded
    entries = getattr(call.output, seen.family.features)
    tokens = sum(entry.shape[:-1].numel() for entry in entries)
    stays = seen.base_calls[0].kwargs.get(seen.family.stays)
    assert (tokens if stays is None else int(stays.sum())) == int(marked(seen).sum())
    assert stays is None or stays.numel() == tokens


def sizes_named(seen: Recording) -> None:
    """The encoder gets sizes by the names that the family's layout reads, a row for each entry [visual_layouts.py]."""
    (call,) = seen.encoded
    given, layout = arguments(call), seen.family.layout(seen.kind)
    entries = len(getattr(call.output, seen.family.features))
    if layout is visual_layouts.packed_sequence:
        assert any(name in given and len(given[name]) == entries for name in GRIDS)
    if layout in (anyres, visual_layouts.rasters):
        assert len(given["image_sizes"]) == entries
    if layout in (clip_layouts.frames, clip_layouts.frames_with_newline, clip_layouts.frames_with_cls):
        assert given["pixel_values_videos"].ndim == 5


def attributes_stay(seen: Recording) -> None:
    """An attribute that is set on encoded media stays there [tower/capture.py]."""
    (call,) = seen.encoded
    call.output.todre_probe = 7
    assert call.output.todre_probe == 7
    del call.output.todre_probe


def ids_given(seen: Recording) -> None:
    """The base model runs once a step, with ids first or by name, and all else by name [attachment.py]."""
    assert len(seen.base_calls) == len(seen.model_calls) == STEPS
    for call, length in zip(seen.base_calls, lengths(seen), strict=True):
        ids = call.args[0] if call.args else call.kwargs["input_ids"]
        assert ids.shape[1] == length
        assert len(call.args) <= 1


def last_logits(seen: Recording) -> None:
    """generate() asks for the logits of the last column alone, as logits_to_keep, or says nothing [attachment.py]."""
    assert seen.model_calls[0].kwargs.get("logits_to_keep", 1) == 1


def decoder_called(seen: Recording) -> None:
    """The decoder is given embeddings, mask, positions and cache by name, embeddings as (b, q, d) [attachment.py]."""
    for call, length in zip(seen.decoder_calls, lengths(seen), strict=True):
        assert call.args == ()
        assert call.kwargs["inputs_embeds"].shape[:2] == (1, length)
        assert {"attention_mask", "position_ids", CACHE} <= set(call.kwargs)
        assert call.kwargs["position_ids"] is None or call.kwargs["position_ids"].shape[-1] == length


def decoder_answers(seen: Recording) -> None:
    """The decoder answers with an object whose last_hidden_state, (b, q, d), can be replaced [step.py]."""
    for call, length in zip(seen.decoder_calls, lengths(seen), strict=True):
        states = call.output.last_hidden_state
        assert states.shape[:2] == (1, length)
        call.output.last_hidden_state = states


def layers_in_order(seen: Recording) -> None:
    """Layers are an nn.ModuleList, and each runs once a step, in its order [decoder.py]."""
    assert isinstance(seen.decoder.layers, nn.ModuleList)
    assert [call.of for call in seen.layer_calls] == [*seen.decoder.layers] * STEPS


def layers_given(seen: Recording) -> None:
    """Each layer is given hidden states (b, q, d) first, and its mask by name [step.py]."""
    for call, length in layer_calls(seen):
        assert call.args[0].shape[:2] == (1, length)
        assert "attention_mask" in call.kwargs


def angles_given(seen: Recording) -> None:
    """Rotary angles go to layers as position_embeddings: the column is the last dimension but one [layer_calls.py]."""
    for call, length in layer_calls(seen):
        for leaf in leaves(call.kwargs.get("position_embeddings")):
            assert leaf.shape[-2] == length


def columns_second(seen: Recording) -> None:
    """What else has one entry for each column is a keyword with the column as dimension 1 [layer_calls.py]."""
    own_rule = {"attention_mask", "position_ids", "position_embeddings"}
    layers = len(seen.decoder.layers)
    for call in (seen.decoder_calls[0], *seen.layer_calls[:layers]):
        length = seen.columns
        for name, value in call.kwargs.items():
            if isinstance(value, Tensor) and length in value.shape and name not in own_rule:
                assert value.ndim >= 2, name
                assert value.shape[1] == length, name


def tokens_first(seen: Recording) -> None:
    """What has one entry for each visual token is called deepstack_visual_embeds, token first [layer_calls.py]."""
    count = int(marked(seen).sum())
    for name, value in seen.decoder_calls[0].kwargs.items():
        if name == "deepstack_visual_embeds":
            assert all(leaf.shape[0] == count for leaf in leaves(value))
        elif name not in (CACHE, "attention_mask"):
            assert all(count not in leaf.shape[:2] for leaf in leaves(value)), name


def rotary_called(seen: Recording) -> None:
    """The decoder's child called …rotary… is given positions second or as position_ids, (…, q) [attachment.py]."""
    assert seen.rotary_calls
    asked = dict.fromkeys(lengths(seen), 0)
    for call in seen.rotary_calls:
        given = call.kwargs["position_ids"] if "position_ids" in call.kwargs else call.args[1]
        assert given.ndim in (2, 3)
        asked[given.shape[-1]] += 1
    assert len(set(asked.values())) == 1


def cache_typed(seen: Recording) -> None:
    """The cache has a layer for each of config.layer_types, of the class that belongs to the type [cache.py]."""
    expected = {FULL: DynamicLayer, SLIDING: DynamicSlidingWindowLayer, CHUNKED: DynamicSlidingWindowLayer}
    layers = seen.decoder.layers
    window = getattr(seen.text, "sliding_window", None)
    types = getattr(seen.text, "layer_types", None) or [SLIDING if window else FULL] * len(layers)
    for kind, layer in zip(types, seen.cache.layers, strict=True):
        assert type(layer) is expected.get(kind, LinearAttentionLayer), kind
        if kind in (SLIDING, CHUNKED):
            size = seen.text.sliding_window if kind == SLIDING else seen.text.attention_chunk_size
            assert layer.is_sliding
            assert layer.sliding_window == size


def attention_called(seen: Recording) -> None:
    """A layer's one attention module calls what stands under its backend's name, itself first [attention_tap.py]."""
    backend = seen.text._attn_implementation
    own = [attention_modules(layer) for layer in seen.decoder.layers]
    assert all(len(modules) <= 1 for modules in own)
    mine = {id(modules[0]): 0 for modules in own if modules}
    for call in seen.attention:
        if id(call.args[0]) not in mine:
            continue
        module, query, key, value, *_ = call.args
        assert module.config._attn_implementation == backend
        assert query.shape[2] == lengths(seen)[mine[id(module)]]
        assert query.shape[1] % key.shape[1] == 0
        assert key.shape[2] == value.shape[2]
        assert isinstance(call.kwargs["scaling"], float)
        mine[id(module)] += 1
    assert set(mine.values()) == {STEPS}


def tower_seen(seen: Recording) -> None:
    """Towers whose saliency is read have the names in the family's row, and call it likewise [tower/capture.py]."""
    if not seen.family.saliency:
        return
    towers = [getattr(seen.model.base_model, name) for name in seen.family.towers]
    last = [attention_modules(tower)[-1] for tower in towers]
    calls = [call for call in seen.attention if any(call.args[0] is module for module in last)]
    assert calls
    for call in calls:
        _, query, key, value, *_ = call.args
        assert query.ndim == key.ndim == value.ndim == 4
        assert query.shape[2] == key.shape[2]


def shape_read(seen: Recording) -> None:
    """The config says layers, widths and heads by names that are read, where they are counted [flops/reading.py]."""
    config = seen.model.config
    try:
        shape = shape_of(config)
    except UnsupportedModelError:
        return
    assert shape.decoder.layers == len(seen.decoder.layers)
    assert shape.decoder.width == seen.decoder_calls[0].kwargs["inputs_embeds"].shape[-1]
    assert shape.decoder.heads == seen.text.num_attention_heads
    if shape.vision is not None:
        tower = getattr(seen.model.base_model, seen.family.towers[0])
        stacks = [len(part) for part in tower.modules() if isinstance(part, nn.ModuleList)]
        assert shape.vision.stack.layers in stacks


PROMISES: tuple[Promise, ...] = (
    encoded_once,
    handed_over,
    entries_known,
    sizes_named,
    attributes_stay,
    ids_given,
    last_logits,
    decoder_called,
    decoder_answers,
    layers_in_order,
    layers_given,
    angles_given,
    columns_second,
    tokens_first,
    rotary_called,
    cache_typed,
    attention_called,
    tower_seen,
    shape_read,
)


def arguments(call: Call) -> dict[str, Any]:
    """What a function was called with, by name."""
    given = dict(inspect.signature(call.of).bind(*call.args, **call.kwargs).arguments)
    return given | given.pop("kwargs", {})


def marked(seen: Recording) -> Tensor:
    """(b, q) bool, the columns of visual tokens."""
    family, config = seen.family, seen.model.config
    tokens = {family.token_id(config, kind) for kind in ("image", "video")} - {None}
    return torch.isin(seen.inputs["input_ids"], torch.tensor(sorted(tokens)))


def lengths(seen: Recording) -> list[int]:
    """Columns of each step."""
    return [seen.columns] + [1] * (STEPS - 1)


def layer_calls(seen: Recording) -> list[tuple[Any, int]]:
    """Every call of a layer, and the columns of its step."""
    layers = len(seen.decoder.layers)
    return [(call, lengths(seen)[index // layers]) for index, call in enumerate(seen.layer_calls)]


def leaves(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from leaves(one)
