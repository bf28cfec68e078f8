"""Before a tower that packs its pictures into one sequence: patches go, and what comes after sees the whole grid."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from towers import (
    PACKED,
    LeaveOut,
    built,
    features,
    pixels,
    recorded,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from todre.errors import InvalidValueError
from todre.hf.attention_tap import attention_modules, watch
from todre.hf.families import family_of
from todre.methods.pixelprune import PixelPrune
from todre.tensors.attention import received_attention
from todre.tensors.token_facts import ALIVE, Signal
from todre.tower.hooks import TowerReduction


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("name", PACKED)
def test_leaving_out_nothing_changes_no_bit(name, kind):
    specimen, model = built(name)
    given = pixels(specimen, model, kind=kind)
    expected, _ = features(model, given)
    for method in (PixelPrune(), LeaveOut(share=1.0)):
        got, alive = features(model, given, method)
        assert torch.equal(got, expected)
        assert bool(alive[0].all())


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_packed_blocks_run_on_hand_shortened_tensors(name, backend, kind):
    specimen, model = built(name, backend)
    given = pixels(specimen, model, kind=kind)
    tower = model.base_model.visual
    stack, calls, handles = recorded(tower, given)
    embedded = []
    handles.append(tower.patch_embed.register_forward_hook(lambda m, a, out: embedded.append(out)))
    features(model, given)
    for handle in handles:
        handle.remove()
    full = calls[0][0][0]
    grids = given["image_grid_thw" if kind == "image" else "video_grid_thw"].tolist()
    method = LeaveOut()
    units = [(t, h // 2, w // 2) for t, h, w in grids]
    source = method.leave_out(Made(torch.zeros(sum(t * h * w for t, h, w in units), 1), units))
    order = window_order(full, embedded[0], name)
    kept = [row for row in range(len(full)) if int(source[order[row] // 4]) == order[row] // 4]
    hidden = full[kept]
    where = {order[row]: place for place, row in enumerate(kept)}
    back = [where[int(source[order[row] // 4]) * 4 + order[row] % 4] for row in range(len(full))]
    deep = []
    for index, block in enumerate(stack[: len(tower.blocks)]):
        arguments_for = calls[index][1]
        bounds = [sum(row < end for row in kept) for end in arguments_for["cu_seqlens"].tolist()]
        bounds = sorted(set(bounds))
        positions = tuple(part[kept] for part in arguments_for["position_embeddings"])
        with torch.no_grad():
            hidden = block(hidden, cu_seqlens=torch.tensor(bounds, dtype=torch.int32), position_embeddings=positions)
            if index in getattr(tower, "deepstack_visual_indexes", []):
                deep.append(tower.deepstack_merger_list[tower.deepstack_visual_indexes.index(index)](hidden[back]))
    with torch.no_grad():
        merged = tower.merger(hidden[back])
    merged = merged[torch.tensor([order[row] // 4 for row in range(0, len(full), 4)]).argsort()]
    got, alive = features(model, given, method)
    torch.testing.assert_close(got, torch.cat([merged, *deep]), atol=1e-5, rtol=0)
    assert torch.equal(alive[0].nonzero()[:, 1], torch.tensor(kept))


@dataclass
class Made:
    """Enough of `Patches` for `LeaveOut`."""

    pixels: torch.Tensor
    grids: list


def window_order(entering, embedded, name):
    """For each row that enters the first block, its patch: told by its value, unless positions were added to it."""
    if name == "qwen3_vl":
        return list(range(len(entering)))
    away = (entering[:, None] - embedded[None]).abs().amax(dim=2)
    assert float(away.min(dim=1).values.max()) == 0
    return away.argmin(dim=1).tolist()


@pytest.mark.parametrize("name", PACKED)
def test_packed_pictures_equal_their_singles(name):
    specimen, model = built(name)
    method = PixelPrune(tau=1.0, metric="rms", std=(0.5, 0.5, 0.5))
    together, alive = features(model, pixels(specimen, model), method)
    parts = [features(model, pixels(specimen, model, (variant,)), method) for variant in range(3)]
    assert alive[0].mean() < 1
    assert torch.equal(alive[0], torch.cat([part[1][0] for part in parts], dim=1))
    if name == "qwen3_vl":
        return  # features of the deepstack come level by level
    torch.testing.assert_close(together, torch.cat([part[0] for part in parts]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_signals_of_packed_layers_come_back_at_full_length(name):
    specimen, model = built(name)
    given = pixels(specimen, model)
    modules = attention_modules(model.base_model.visual)
    reduction = TowerReduction(model, family_of(model), LeaveOut())
    seen = {Signal("received", 0): [], Signal("received", 2): []}
    handles = []
    for request in seen:
        note = lambda each, request=request: seen[request].append(received_attention(each)[..., None])  # noqa: E731
        handles += watch(modules[request.layer], note, when=lambda: True)
    with torch.no_grad(), reduction.encoding():
        model.base_model.get_image_features(**given)
        full, alive = reduction.complete(seen), reduction.alive()
    for handle in handles:
        handle.remove()
    reduction.remove()
    for request, parts in seen.items():
        assert len(full[request]) == len(full[ALIVE]) == 1
        assert full[request][0].shape == full[ALIVE][0].shape
        assert torch.equal(full[request][0][0, alive[0][0] > 0], torch.cat(parts, dim=1)[0])


@contextmanager
def packed_flash(model, longest):
    """FlashAttention's rules for packed sequences, on a CPU; `longest` takes down what it is told of their lengths."""

    def attend(module, query, key, value, attention_mask, scaling, cu_seq_lens_q, max_length_q, **kwargs):
        ends = cu_seq_lens_q.tolist()
        assert ends[0] == 0
        assert ends[-1] == query.shape[2]
        lengths = [end - start for start, end in pairwise(ends)]
        longest.append((int(max_length_q), max(lengths)))
        parts = [part.split(lengths, dim=2) for part in (query, key, value)]
        out = [torch.softmax(q @ k.transpose(2, 3) * scaling, dim=-1) @ v for q, k, v in zip(*parts, strict=True)]
        return torch.cat(out, dim=2).transpose(1, 2), None

    config = model.config.vision_config
    before = config._attn_implementation
    ALL_ATTENTION_FUNCTIONS["flash_attention_2"] = attend
    config._attn_implementation = "flash_attention_2"
    try:
        yield
    finally:
        config._attn_implementation = before
        del ALL_ATTENTION_FUNCTIONS["flash_attention_2"]


@pytest.mark.parametrize("name", PACKED)
def test_flash_attention_is_told_the_new_lengths(name):
    specimen, model = built(name)
    given = pixels(specimen, model)
    expected, _ = features(model, given, LeaveOut())
    longest = []
    with packed_flash(model, longest):
        got, _ = features(model, given, LeaveOut())
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert all(reported == real for reported, real in longest)


def test_units_without_a_kept_one_are_refused():
    specimen, model = built("qwen2_vl")

    @dataclass(frozen=True, kw_only=True)
    class Astray(LeaveOut):
        def leave_out(self, patches):
            return torch.arange(len(patches.pixels)).roll(1)

    with pytest.raises(InvalidValueError, match="left out"):
        features(model, pixels(specimen, model), Astray())
