"""Methods with a script for the vision tower, its features, and the tower run by hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from families.specimens import all_specimens
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from todre.hf.attention_tap import attention_modules
from todre.hf.families import family_of
from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.views.vision_tower import Merging, TowerContext
from todre.tensors.attention import AttentionInputs
from todre.tower.hooks import TowerReduction

CLS_MODELS = ("llava_next-mistral", "internvl-qwen2")
PACKED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@dataclass(frozen=True, kw_only=True)
class Scripted(Method):
    """Keeps `left` random tokens after each of `after`; the others go to the kept one before them, or nowhere."""

    after: tuple[int, ...] = (1, 2)
    left: tuple[int, ...] = (9, 5)
    proportional: bool = False
    changes: bool = True
    card: ClassVar[Card] = Card(acts=("tower",))

    def tower_after(self, n_layers):
        return self.after

    def merge(self, context):
        return self.scripted(context.layer, context.first, context.hidden)

    def scripted(self, layer, first, hidden):
        tiles, tokens = hidden.shape[:2]
        left = self.left[self.after.index(layer)]
        keep = torch.zeros(tiles, tokens, dtype=torch.bool)
        keep[:, :first] = True
        into = torch.full((tiles, tokens), -1)
        for tile in range(tiles):
            drawn = torch.randperm(tokens - first, generator=torch.Generator().manual_seed(layer))[:left] + first
            keep[tile, drawn] = True
            last = -1
            for token in range(tokens):
                last = token if keep[tile, token] and token >= first else last
                into[tile, token] = token if keep[tile, token] else last
        return Merging(keep, into, hidden * 1.5 if self.changes else None, self.proportional)


@dataclass(frozen=True, kw_only=True)
class LeaveOut(Method):
    """Leaves out random units before the tower; each takes the value of the first one that is kept."""

    share: float = 0.5
    card: ClassVar[Card] = Card(acts=("tower",), needs=("packed",))

    def tower_after(self, n_layers):
        return (0,)

    def leave_out(self, patches):
        units = len(patches.pixels)
        assert units == sum(frames * rows * columns for frames, rows, columns in patches.grids)
        drawn = torch.randperm(units, generator=torch.Generator().manual_seed(0))[: max(1, int(self.share * units))]
        kept = torch.zeros(units, dtype=torch.bool)
        kept[drawn] = True
        return torch.where(kept, torch.arange(units), int(drawn.min()))


@cache
def built(name, backend="sdpa"):
    """A specimen of the zoo and its model, built once."""
    found = next(one for one in all_specimens() if one.name == name)
    return found, found.build(backend)


def pixels(specimen, model, variants=(0, 1, 2), kind="image"):
    media = [specimen.media(model, kind, variant) for variant in variants]
    return specimen.collate(model, media)


@torch.no_grad()
def features(model, given, method=None):
    """Features of all pictures, one after the other, and the reduction's account of them."""
    kinds = {"pixel_values_videos": "get_video_features"}
    encode = getattr(model.base_model, next((kinds[name] for name in given if name in kinds), "get_image_features"))
    known = {name: value for name, value in given.items() if name != "second_per_grid_ts"}
    if method is None:
        output, alive = encode(**known, return_dict=True), None
    else:
        reduction = TowerReduction(model, family_of(model), method)
        try:
            with reduction.encoding():
                output = encode(**known, return_dict=True)
                alive = reduction.alive()
        finally:
            reduction.remove()
    entries = output.pooler_output
    deep = [part for level in getattr(output, "deepstack_features", None) or [] for part in level]
    return torch.cat([entry.reshape(-1, entry.shape[-1]) for entry in [*entries, *deep]]), alive


def recorded(tower, given):
    """What each layer of the untouched tower is called with: [(args, kwargs)]."""
    calls, handles = [], []
    stack = max((part for part in tower.modules() if isinstance(part, nn.ModuleList)), key=len)
    for layer in stack:
        handles.append(layer.register_forward_pre_hook(lambda m, a, k: calls.append((a, k)), with_kwargs=True))
    return stack, calls, handles


def by_hand(model, given, method, depth):
    """The tower's layers one by one on hand-shortened tensors, put back by lists; (tiles, full, d) and alive."""
    stack, calls, handles = recorded(model.base_model.vision_tower, given)
    features(model, given)
    for handle in handles:
        handle.remove()
    hidden = calls[0][0][0]
    tiles, full, width = hidden.shape
    seats = [list(range(full)) for _ in range(tiles)]
    goes = [{place: place for place in range(full)} for _ in range(tiles)]
    size = torch.ones(tiles, full)
    for index in range(depth):
        bias = size.log()[:, None, None, :].expand(-1, 1, size.shape[1], -1).to(hidden.dtype)
        weigh = method.proportional and size.shape[1] < full
        handle = attention_modules(stack[index])[0].register_forward_pre_hook(
            lambda m, a, k, bias=bias, weigh=weigh: (a, k | {"attention_mask": bias}) if weigh else (a, k),
            with_kwargs=True,
        )
        rest = calls[index][0][1:]
        with torch.no_grad():
            hidden = stack[index](hidden, *rest, **calls[index][1])
        handle.remove()
        if index + 1 not in method.after:
            continue
        merging = method.scripted(index + 1, 1, hidden)
        changed = merging.hidden if merging.hidden is not None else hidden
        rows, sizes = [], []
        for tile in range(tiles):
            kept = [token for token in range(len(seats[tile])) if merging.keep[tile, token]]
            target = [int(into) for into in merging.into[tile]]
            for place, token in goes[tile].items():
                went = target[token] if token >= 0 else -1
                goes[tile][place] = kept.index(went) if went >= 0 else -1
            sizes.append([sum(float(size[tile, i]) for i, t in enumerate(target) if t == token) for token in kept])
            seats[tile] = [seats[tile][token] for token in kept]
            rows.append(changed[tile, kept])
        hidden, size = torch.stack(rows), torch.tensor(sizes)
    whole = torch.zeros(tiles, full, width)
    alive = torch.zeros(tiles, full)
    for tile in range(tiles):
        for place in range(full):
            if goes[tile][place] >= 0:
                whole[tile, place] = hidden[tile, goes[tile][place]]
        alive[tile, seats[tile]] = 1
    return whole, alive[:, 1:]


def tower_features(model, given, method, depth):
    """`hidden_states[depth]` of the reduced tower."""
    found = {}
    handle = model.base_model.vision_tower.register_forward_hook(lambda m, a, output: found.update(output=output))
    _, alive = features(model, given | {"output_hidden_states": True}, method)
    handle.remove()
    return found["output"], alive


def state(model):
    """Everything that a reduction could leave behind."""
    hooks = {}
    for name, module in model.named_modules():
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_always_called"):
            hooks[name, kind] = len(getattr(module, kind))
        hooks[name, "attributes"] = sorted(vars(module))
    return hooks, dict(ALL_ATTENTION_FUNCTIONS._local_mapping), dict(type(ALL_ATTENTION_FUNCTIONS)._global_mapping)


def tower_context(
    tiles=2, patches=16, first=1, width=6, heads=2, channels=4, *, gone=0, layer=1, n_layers=1, seed=0, size=None
):
    """What a method sees after a layer, all random; `gone` of each tile's patches have left, at random places."""
    generator = torch.Generator().manual_seed(seed)
    tokens = first + patches - gone
    place = torch.full((tiles, tokens), -1)
    for tile in range(tiles):
        left = torch.randperm(patches, generator=generator)[: patches - gone]
        place[tile, first:] = left.sort().values
    query, key = (torch.randn(tiles, heads, tokens, channels, generator=generator) for _ in range(2))
    size = torch.randint(1, 5, (tiles, tokens), generator=generator).float() if size is None else size
    hidden = torch.randn(tiles, tokens, width, generator=generator)
    return TowerContext(layer, n_layers, patches, first, hidden, AttentionInputs(query, key, 0.5), size, place)


def consistent(merging, context):
    """What holds for every answer: as many kept in each tile, [CLS] among them, and everyone goes to a kept token."""
    assert bool(merging.keep[:, : context.first].all())
    assert merging.keep.sum(dim=1).unique().numel() == 1
    for tile in range(len(merging.keep)):
        for token, into in enumerate(merging.into[tile].tolist()):
            assert merging.keep[tile, token] == (into == token)
            assert into == -1 or bool(merging.keep[tile, into])
