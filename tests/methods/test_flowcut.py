"""FlowCut: scores and cuts by loops in float64, and a tower whose tiles are run one by one."""

from __future__ import annotations

import dataclasses
import math
from functools import cache

import flashlike
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import decoder_layers
from towers import consistent, features, recorded, tower_context, tower_features
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from todre.errors import InvalidValueError, UnsupportedInputError, UnsupportedModelError
from todre.hf.attention_tap import attention_modules, watching
from todre.methods import registry
from todre.methods.flowcut import FlowCut

DEPTH, PATCHES = 9, 64


def softmax(logits):
    weights = np.exp(logits - max(logits))
    return weights / weights.sum()


def score(query, key, value, scaling, first, present):
    """a / Σa and S of one tile's patches, from (heads, s, c) arrays; patches that have left get 0."""
    heads, tokens, _ = key.shape
    real = [token for token in range(tokens) if token < first or present[token - first]]
    a, b = np.zeros(tokens), np.zeros(tokens)
    for head in range(heads):
        a[real] += softmax(np.array([query[head, 0] @ key[head, token] * scaling for token in real])) / heads
        b[real] += softmax(np.array([value[head, 0] @ value[head, token] for token in real])) / heads
    a, b = a[first:] / a[first:].sum(), b[first:] / b[first:].sum()
    return a, np.array([(a[v] + b[v]) * np.abs(value[:, first + v].mean(axis=0)).sum() for v in range(tokens - first)])


def cut(a, n, wanted, ahead):
    """How many of n patches are left, and how far the rounding is from a tie."""
    if not ahead:
        return min(n, wanted), 1.0
    entropy = -sum(p * math.log(p) for p in a if p > 0)
    leaving = (n - wanted) / math.sqrt(ahead) * (1 - (entropy / math.log(n)) ** 2) if n > 1 else 0.0
    return max(n - round(leaving), min(n, wanted)), abs(leaving % 1 - 0.5)


def of_tile(inputs, tile):
    return tuple(each[tile].double().numpy() for each in (inputs.query, inputs.key, inputs.value))


def valued(context, seed, scale=1.0):
    """The context with random values, and with queries that make attention uneven."""
    seen = context.attention_inputs
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(seen.key.shape, generator=generator)
    return dataclasses.replace(
        context, attention_inputs=dataclasses.replace(seen, query=seen.query * scale, value=value)
    )


@settings(max_examples=40, deadline=None)
@given(
    patches=st.integers(4, 24),
    layer=st.integers(1, 7),
    scale=st.sampled_from([0.0, 1.0, 4.0]),
    uneven=st.booleans(),
    again=st.booleans(),
    seed=st.integers(0, 9999),
    data=st.data(),
)
def test_equals_the_brute_force(patches, layer, scale, uneven, again, seed, data):
    wanted = data.draw(st.integers(1, patches - 1))
    first = data.draw(st.sampled_from([1, 3]))
    context = valued(tower_context(3, patches, first, layer=layer, n_layers=8, seed=seed), seed, scale)
    generator = torch.Generator().manual_seed(seed)
    if again:
        carried = torch.rand(3, first + patches, generator=generator)
        context = dataclasses.replace(context, carried=carried)
    if uneven:
        absent = torch.zeros(3, first + patches, dtype=torch.bool)
        absent[1, first : first + patches - wanted] = True
        seen = context.attention_inputs
        mask = torch.zeros(absent.shape).masked_fill(absent, -math.inf)[:, None, None]
        context = dataclasses.replace(context, absent=absent, attention_inputs=dataclasses.replace(seen, mask=mask))
    merging = FlowCut(retain=wanted).merge(context)
    consistent(merging, context)
    ahead = 7 - layer
    for tile in range(3):
        present = np.ones(patches, dtype=bool) if context.absent is None else ~context.absent[tile, first:].numpy()
        query, key, value = of_tile(context.attention_inputs, tile)
        a, flow = score(query, key, value, 0.5, first, present)
        if again:
            flow = (context.carried[tile, first:].double().numpy() + flow) / 2
        torch.testing.assert_close(
            merging.carry[tile, first:].double()[torch.from_numpy(present)],
            torch.from_numpy(flow)[torch.from_numpy(present)], atol=1e-4, rtol=1e-4,
        )  # fmt: skip
        gone = ~merging.keep[tile] if merging.absent is None else ~merging.keep[tile] | merging.absent[tile]
        stays = set((~gone[first:]).nonzero().flatten().tolist())
        left = [v for v in range(patches) if present[v]]
        if ahead % 2:
            assert stays == set(left)
            continue
        count, clear = cut(a[present], len(left), wanted, ahead)
        if clear > 1e-4:
            assert stays == set(sorted(left, key=lambda v: (-merging.carry[tile, first + v].item(), v))[:count])


def test_ties_go_to_the_first_and_even_attention_waits():
    context = valued(tower_context(patches=9, layer=5, n_layers=8), 0, scale=0.0)
    seen = context.attention_inputs
    context = dataclasses.replace(
        context, attention_inputs=dataclasses.replace(seen, value=torch.ones_like(seen.value))
    )
    assert bool(FlowCut(retain=4).merge(context).keep.all())
    last = FlowCut(retain=4).merge(dataclasses.replace(context, layer=7))
    assert last.keep[0].tolist() == [True] * 5 + [False] * 5
    assert last.absent is None


def test_one_sharp_tile_does_not_cut_the_others():
    context = valued(tower_context(patches=16, layer=5, n_layers=8), 0)
    seen = context.attention_inputs
    query, key = torch.zeros_like(seen.query), seen.key.clone()
    query[1, :, 0], key[1, :, 3] = 20.0, 20.0
    context = dataclasses.replace(context, attention_inputs=dataclasses.replace(seen, query=query, key=key))
    merging = FlowCut(retain=4).merge(context)
    assert bool(merging.keep.all())
    assert int(merging.absent[0].sum()) == 0
    assert int(merging.absent[1].sum()) == round(12 / math.sqrt(2))
    assert not bool(merging.absent[1, :1])
    assert bool(merging.carry.isfinite().all())


def test_nothing_leaves_when_all_are_retained():
    merging = FlowCut(retain=1.0).merge(tower_context())
    assert merging.changes_nothing


@pytest.mark.parametrize(("n_layers", "last", "cuts"), [(23, 22, 11), (24, 23, 12), (2, 1, 1), (1, 1, 1)])
def test_where_it_acts(n_layers, last, cuts):
    layers = FlowCut().tower_after(n_layers)
    assert layers == tuple(range(1, last + 1))
    assert sum((last - layer) % 2 == 0 for layer in layers) == cuts


def test_values_must_be_known():
    with pytest.raises(UnsupportedInputError, match="values"):
        FlowCut().merge(tower_context())


@cache
def deep():
    """LLaVA with a tower of ten layers whose attention is uneven."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=DEPTH + 1, num_attention_heads=4, image_size=48,
        patch_size=6, initializer_range=0.5,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=97, hidden_size=48, intermediate_size=80, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=3, attn_implementation="sdpa")
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weight in model.base_model.vision_tower.named_parameters():
            weight.mul_(5.0 if name.endswith(("q_proj.weight", "k_proj.weight")) else 1.0)
    return model


def pictures(seed=0):
    """Four pictures; the last is one colour."""
    pixels = torch.randn(4, 3, 48, 48, generator=torch.Generator().manual_seed(seed))
    pixels[3] = 0.5
    return {"pixel_values": pixels}


@torch.no_grad()
def one_by_one(model, given, wanted):
    """Each tile by itself, cut for real; states of all tiles, which patches stay, and all counts."""
    stack, calls, handles = recorded(model.base_model.vision_tower, given)
    features(model, given)
    for handle in handles:
        handle.remove()
    entered = calls[0][0][0]
    whole, alive, counts = torch.zeros_like(entered), torch.zeros(len(entered), PATCHES), []
    for tile in range(len(entered)):
        hidden, seats, flow = entered[tile : tile + 1], list(range(PATCHES)), None
        for index in range(DEPTH):
            seen, mixed = [], []
            attention = attention_modules(stack[index])[0]
            handle = attention.out_proj.register_forward_pre_hook(lambda m, args, mixed=mixed: mixed.append(args[0]))
            with watching(attention, seen.append):
                hidden = stack[index](hidden, *calls[index][0][1:], **calls[index][1])
            handle.remove()
            query, key, value = of_tile(seen[0], 0)
            logits = torch.from_numpy(query @ key.transpose(0, 2, 1)) * seen[0].scaling
            by_value = (logits.softmax(dim=-1) @ torch.from_numpy(value)).transpose(0, 1).flatten(1)
            torch.testing.assert_close(by_value, mixed[0][0].double(), atol=1e-4, rtol=1e-4)
            if index + 1 > DEPTH - 1:
                continue
            a, new = score(query, key, value, seen[0].scaling, 1, [True] * len(seats))
            flow = new if flow is None else (flow + new) / 2
            ahead = DEPTH - 2 - index
            if ahead % 2 == 0:
                left, clear = cut(a, len(seats), wanted, ahead)
                assert clear > 1e-4
                stay = sorted(sorted(range(len(seats)), key=lambda v: (-flow[v], v))[:left])
                hidden = hidden[:, [0] + [v + 1 for v in stay]]
                flow, seats = flow[stay], [seats[v] for v in stay]
                counts.append(left)
        whole[tile, [0] + [seat + 1 for seat in seats]] = hidden[0]
        alive[tile, seats] = 1
    return whole, alive, np.array(counts).reshape(len(entered), -1)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_tiles_of_a_batch_are_cut_each_by_itself(backend):
    model, given = deep(), pictures()
    model.set_attn_implementation(backend)
    try:
        whole, alive, counts = one_by_one(model, given, 9)
        output, reported = tower_features(model, given, FlowCut(retain=9), DEPTH)
    finally:
        model.set_attn_implementation("sdpa")
    assert len({tuple(row) for row in counts.tolist()}) > 1
    assert (counts[:, -1] == 9).all()
    assert torch.equal(torch.cat(reported), alive)
    torch.testing.assert_close(output.hidden_states[DEPTH], whole, atol=1e-3, rtol=1e-3)


def test_a_batch_of_pictures_equals_its_singles():
    model, given = deep(), pictures(1)
    together, alive = features(model, given, FlowCut(retain=0.2))
    for tile in range(4):
        alone, mine = features(model, {"pixel_values": given["pixel_values"][tile : tile + 1]}, FlowCut(retain=0.2))
        rows = slice(tile * PATCHES, (tile + 1) * PATCHES)
        assert torch.equal(mine[0][0], alive[0][tile])
        torch.testing.assert_close(alone, together[rows], atol=1e-3, rtol=1e-3)


def test_flash_attention_cannot_hide_tokens():
    model, given = deep(), pictures()
    one = {"pixel_values": given["pixel_values"][:1]}
    expected, _ = features(model, one, FlowCut(retain=9))
    with flashlike.flash_attention(model, model.config.vision_config):
        with pytest.raises(UnsupportedModelError, match="hide a token"):
            features(model, given, FlowCut(retain=9))
        got, _ = features(model, one, FlowCut(retain=9))
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-3)


def test_half_precision_hides_tokens_too():
    model = deep().to(torch.bfloat16)
    try:
        got, alive = features(model, {"pixel_values": pictures()["pixel_values"].bfloat16()}, FlowCut(retain=9))
    finally:
        model.float()
        deep.cache_clear()
    assert bool(got.isfinite().all())
    assert alive[0].sum(dim=1).tolist() == [9.0] * 4


@settings(max_examples=30, deadline=None)
@given(retain=st.sampled_from([1, 2, 5, 0.3, 0.6, 1.0]), seed=st.integers(0, 999), early=st.integers(0, 6))
def test_the_second_cut_equals_the_brute_force(retain, seed, early):
    length = len(decoder_layers.ROWS[0])
    context = decoder_layers.made(queries=length - early, seed=seed, scale=2.0)
    offered = [2 * len(decoder_layers.fresh_of(context, row)) for row in range(len(decoder_layers.ROWS))]
    context = dataclasses.replace(context, offered=torch.tensor(offered))
    reduction = FlowCut(retain=retain, surplus=2.0, second=3).reduce(context)
    inputs = context.attention_inputs
    for row, n in enumerate(offered):
        fresh = decoder_layers.fresh_of(context, row)
        count = min(retain, n) if isinstance(retain, int) else min(n, max(1, round(retain * n)))
        if not fresh:
            assert decoder_layers.kept(context, reduction, row) == []
            continue
        query, key, value = of_tile(inputs, row)
        place = decoder_layers.last_of(context, row)
        a, b = np.zeros(len(fresh)), np.zeros(len(fresh))
        for head in range(6):
            logits = [query[head, place] @ key[head // 3, slot] * 0.5 for slot in fresh]
            a += softmax(np.array(logits)) / 6
            asking = value[head // 3, early + place]
            b += softmax(np.array([asking @ value[head // 3, slot] / math.sqrt(5) for slot in fresh])) / 6
        flow = {slot: (a[i] + b[i]) * np.abs(value[:, slot].mean(axis=0)).sum() for i, slot in enumerate(fresh)}
        assert decoder_layers.kept(context, reduction, row) == decoder_layers.top(fresh, flow, count)
        assert reduction.left[row] == min(count, len(fresh))


def test_rows_of_the_second_cut_do_not_see_each_other():
    context = decoder_layers.made(seed=5)
    method = FlowCut(retain=2, surplus=2.0, second=3)
    together = method.reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        single = method.reduce(decoder_layers.alone(context, row))
        assert torch.equal(single.keep[0], together.keep[row])


def test_the_tower_leaves_a_surplus_for_the_second_cut():
    assert FlowCut(retain=0.1).target(576) == 58
    assert FlowCut(retain=320 / 2880, surplus=2.5, second=2).target(576) == 160
    assert FlowCut(retain=320, surplus=0.5, second=2).target(576) == 160
    assert FlowCut(retain=0.8, surplus=2.5, second=2).target(576) == 576
    assert FlowCut().reduce_after(32) == ()
    assert registry.create("flowcut-anyres", retain=0.1).reduce_after(32) == (2,)
    assert registry.create("flowcut-anyres", retain=320 / 2880).target(576) == 160
    assert registry.create("flowcut-anyres", retain=320).target(576) == 160
    assert registry.create("flowcut-anyres", retain=320, surplus=1.0).target(576) == 320
    assert registry.create("flowcut-anyres").target(576) == 144


def test_settings():
    for wrong in ({"surplus": 2.0}, {"surplus": 0, "second": 2}, {"second": 0}, {"retain": 0}):
        with pytest.raises(InvalidValueError):
            FlowCut(**wrong)
    method = FlowCut(retain=0.2, surplus=2.5, second=0.1)
    assert FlowCut.from_dict(method.to_dict()) == method
