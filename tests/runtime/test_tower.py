"""Inside the vision tower: later layers run on fewer tokens, everything else sees the whole grid, nothing remains."""

from __future__ import annotations

import threading

import pytest
import tinymodels as tm
import torch
from families.prompts import batch, ragged
from towers import (
    CLS_MODELS,
    PACKED,
    LeaveOut,
    Scripted,
    built,
    by_hand,
    features,
    pixels,
    state,
    tower_features,
)

from todre.hf.attention_tap import attention_modules, watch
from todre.hf.families import family_of
from todre.methods.evit import EViT
from todre.methods.ficoco_v import FiCoCoV
from todre.methods.tome import ToMe
from todre.tensors.attention import AttentionInputs, cls_attention, received_attention
from todre.tensors.token_facts import ALIVE, Signal
from todre.tower.hooks import TowerReduction

WHOLE = [ToMe(retain=1.0), EViT(retain=1.0), FiCoCoV(retain=1.0)]
HALF = [ToMe(retain=0.5), EViT(retain=0.5), FiCoCoV(retain=0.5, start=0.0), EViT(retain=0.5, fused="none")]


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("name", CLS_MODELS)
@pytest.mark.parametrize("method", WHOLE, ids=lambda method: method.name)
def test_reducing_nothing_changes_no_bit(name, backend, method):
    specimen, model = built(name, backend)
    given = pixels(specimen, model)
    expected, _ = features(model, given)
    got, alive = features(model, given, method)
    assert torch.equal(got, expected)
    assert all(bool(part.all()) for part in alive)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("name", CLS_MODELS)
@pytest.mark.parametrize("proportional", [False, True])
@pytest.mark.parametrize("after", [(1,), (2,), (1, 2)])
def test_layers_run_on_hand_shortened_tensors(name, backend, proportional, after):
    specimen, model = built(name, backend)
    given = pixels(specimen, model)
    depth = 2 if name.startswith("llava") else 3
    method = Scripted(after=after, left=(9, 5)[: len(after)], proportional=proportional)
    whole, alive = by_hand(model, given, method, depth)
    output, reported = tower_features(model, given, method, depth)
    torch.testing.assert_close(output.hidden_states[depth], whole, atol=1e-5, rtol=0)
    assert torch.equal(torch.cat(reported), alive)
    assert all(states.shape[1] == whole.shape[1] for states in output.hidden_states)
    assert int(alive.sum(dim=1)[0]) == method.left[len(after) - 1]


def test_a_reduction_after_the_last_layer_reaches_the_features():
    specimen, model = built("internvl-qwen2")
    given = pixels(specimen, model)
    method = Scripted(after=(3,), left=(4,))
    whole, alive = by_hand(model, given, method, 3)
    output, reported = tower_features(model, given, method, 3)
    normed = model.base_model.vision_tower.layernorm(whole)
    torch.testing.assert_close(output.last_hidden_state, normed, atol=1e-5, rtol=0)
    assert torch.equal(torch.cat(reported), alive)


@pytest.mark.parametrize("hooked_before", [False, True])
def test_recorded_states_are_whole_whenever_recording_began(hooked_before):
    model = tm.build()
    given = tm.encode(model, tm.sample(model, 3, [tm.SIZES[0]], 3).pictures)
    if not hooked_before:
        tower = model.base_model.vision_tower
        for module in tower.modules():
            assert not module._forward_hooks
    else:
        features(model, given)
    output, _ = tower_features(model, given, Scripted(), 2)
    assert {states.shape[1] for states in output.hidden_states} == {17}


@pytest.mark.parametrize("name", CLS_MODELS)
@pytest.mark.parametrize("method", HALF, ids=lambda method: f"{method.name}-{getattr(method, 'fused', '')}")
def test_layers_really_run_on_fewer_tokens(name, method):
    specimen, model = built(name)
    given = pixels(specimen, model)
    widths = []
    attention = attention_modules(model.base_model.vision_tower)[-1]
    handle = attention.register_forward_hook(
        lambda m, args, kwargs, out: widths.append(out[0].shape[1]), with_kwargs=True
    )
    try:
        _, alive = features(model, given, method)
        features(model, given)
    finally:
        handle.remove()
    full = alive[0].shape[1]
    tower_depth_is_full = name.startswith("internvl")
    assert widths[1] == full + 1
    assert widths[0] < full + 1
    assert torch.equal(alive[0].sum(dim=1), torch.full((len(alive[0]),), float(full // 2)))
    if not tower_depth_is_full:
        assert widths[0] == full // 2 + 1


@pytest.mark.parametrize("name", CLS_MODELS)
@pytest.mark.parametrize("method", HALF, ids=lambda method: f"{method.name}-{getattr(method, 'fused', '')}")
def test_a_batch_of_pictures_equals_its_singles(name, method):
    specimen, model = built(name)
    together, _ = features(model, pixels(specimen, model), method)
    apart = [features(model, pixels(specimen, model, (variant,)), method)[0] for variant in range(3)]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=0)


def test_signals_of_reduced_layers_come_back_at_full_length():
    specimen, model = built("llava_next-mistral")
    given = pixels(specimen, model)
    method = Scripted(after=(1,), left=(5,))
    tower = model.base_model.vision_tower
    last, request = attention_modules(tower)[1], Signal("received", 1)
    whole_request = Signal("received", 0)
    reduction = TowerReduction(model, family_of(model), method)
    seen = {request: [], whole_request: []}
    note = lambda name: lambda each: seen[name].append(received_attention(each)[:, 1:, None])  # noqa: E731
    handles = watch(last, note(request), when=lambda: True)
    handles += watch(attention_modules(tower)[0], note(whole_request), when=lambda: True)
    with torch.no_grad(), reduction.encoding():
        model.base_model.get_image_features(**given)
        full = reduction.complete(seen)
        alive = reduction.alive()
    for handle in handles:
        handle.remove()
    reduction.remove()
    assert [part.shape[1] for part in seen[request]] == [5]
    assert full[request][0].shape == full[whole_request][0].shape == full[ALIVE][0].shape == (*alive[0].shape, 1)
    assert torch.equal(full[whole_request][0], seen[whole_request][0])
    for tile in range(len(alive[0])):
        assert torch.equal(full[request][0][tile, alive[0][tile] > 0], seen[request][0][tile])
        first = int(alive[0][tile].nonzero()[0])
        assert bool((full[request][0][tile, :first] == 0).all())


def fail(*args):
    raise RuntimeError("on purpose")


@pytest.mark.parametrize("name", ["llava_next-mistral", "qwen2_5_vl"])
@pytest.mark.parametrize("where", ["nowhere", "attention", "method"])
def test_the_model_is_left_as_it_was(name, where, monkeypatch):
    specimen, model = built(name)
    given = pixels(specimen, model)
    expected, _ = features(model, given)
    before = state(model)
    packed = name == "qwen2_5_vl"
    method = LeaveOut() if packed else Scripted()
    tower = model.base_model.visual if packed else model.base_model.vision_tower
    handle = attention_modules(tower)[1].register_forward_pre_hook(fail) if where == "attention" else None
    if where == "method":
        monkeypatch.setattr(type(method), "leave_out" if packed else "merge", fail)
    if where == "nowhere":
        features(model, given, method)
    else:
        with pytest.raises(RuntimeError, match="on purpose"):
            features(model, given, method)
    if handle is not None:
        handle.remove()
    assert state(model) == before
    assert torch.equal(features(model, given)[0], expected)


def test_outside_the_encoding_the_tower_runs_as_ever():
    specimen, model = built("llava_next-mistral")
    given = pixels(specimen, model)
    expected, _ = features(model, given)
    reduction = TowerReduction(model, family_of(model), ToMe(retain=0.5))
    try:
        assert torch.equal(features(model, given)[0], expected)
    finally:
        reduction.remove()


def test_after_a_failed_call_the_next_one_is_right():
    specimen, model = built("llava_next-mistral")
    given = pixels(specimen, model)
    expected, _ = features(model, given, ToMe(retain=0.5))
    reduction = TowerReduction(model, family_of(model), ToMe(retain=0.5))
    attention = attention_modules(model.base_model.vision_tower)[1]
    handle = attention.register_forward_pre_hook(fail)
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="on purpose"), reduction.encoding():
            model.base_model.get_image_features(**given)
        handle.remove()
        with reduction.encoding():
            output = model.base_model.get_image_features(**given)
            assert len(reduction.alive()) == 1
    reduction.remove()
    assert torch.equal(torch.cat(list(output.pooler_output)), expected)


def test_gradients_flow_through_merged_tokens():
    model = tm.build()
    given = tm.encode(model, tm.sample(model, 3, [tm.SIZES[0]], 3).pictures)
    reduction = TowerReduction(model, family_of(model), ToMe(retain=0.5))
    with reduction.encoding():
        output = model.base_model.get_image_features(**given)
    reduction.remove()
    torch.cat(list(output.pooler_output)).sum().backward()
    embedding = model.base_model.vision_tower.embeddings.patch_embedding.weight
    assert bool(embedding.grad.abs().sum() > 0)


@pytest.mark.parametrize("name", ["llava_next-mistral", "internvl-qwen2", "qwen2_5_vl", "qwen3_vl"])
def test_a_whole_forward_goes_through(name):
    specimen, model = built(name)
    inputs = batch(specimen, model, ragged(specimen, model))
    method = LeaveOut() if name in PACKED else ToMe(retain=0.5)
    reduction = TowerReduction(model, family_of(model), method)
    with torch.no_grad():
        expected = model(**inputs).logits
        with reduction.encoding():
            got = model(**inputs).logits
    reduction.remove()
    assert got.shape == expected.shape
    assert bool(got.isfinite().all())
    text_only = inputs["attention_mask"][2].bool()
    torch.testing.assert_close(got[2, text_only], expected[2, text_only], atol=1e-5, rtol=0)
    assert not torch.allclose(got[0, -1], expected[0, -1], atol=1e-3)


def test_attention_of_merged_tokens_counts_them_as_often_as_they_are_large():
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 3, 7, 4, generator=generator) for _ in range(2))
    size = torch.randint(1, 6, (2, 7), generator=generator).float()
    seen = AttentionInputs(query, key, 0.5, mask=size.log()[:, None, None])
    logits = query.double() @ key.double().transpose(2, 3) * 0.5
    expected = (logits.exp() * size.double()[:, None, None]).div(logits.exp() @ size.double()[:, None, :, None])
    torch.testing.assert_close(cls_attention(seen).double(), expected.mean(dim=1)[:, 0, 1:], atol=1e-6, rtol=0)
    torch.testing.assert_close(received_attention(seen).double(), expected.mean(dim=(1, 2)), atol=1e-6, rtol=0)


def test_attention_of_hidden_tokens_is_that_without_them():
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 3, 7, 4, generator=generator) for _ in range(2))
    stay = torch.tensor([0, 1, 3, 4, 6])
    mask = torch.full((7,), -torch.inf)
    mask[stay] = 0.0
    seen = AttentionInputs(query, key, 0.5, mask=mask.expand(2, 1, 1, 7))
    shorter = AttentionInputs(query[:, :, stay], key[:, :, stay], 0.5)
    got = cls_attention(seen)
    torch.testing.assert_close(got[:, stay[1:] - 1], cls_attention(shorter))
    assert float(got[:, [1, 4]].abs().max()) == 0.0


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
def test_half_precision_takes_the_weights_of_merged_tokens(backend, how):
    model = tm.build(backend=backend)
    given = tm.encode(model, tm.sample(model, 3, [tm.SIZES[0]], 3).pictures)
    exact, _ = features(model, given, Scripted(proportional=True))
    if how == "bfloat16":
        model = model.bfloat16()
        given |= {"pixel_values": given["pixel_values"].bfloat16()}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=how == "autocast"):
        got, _ = features(model, given, Scripted(proportional=True))
    assert got.dtype == torch.bfloat16
    assert float((got.float() - exact).norm() / exact.norm()) < 0.05


def test_threads_do_not_share_what_is_left():
    specimen, model = built("llava_next-llama")
    given = [pixels(specimen, model, (variant,)) for variant in range(3)]
    method = ToMe(retain=0.5)
    expected = [features(model, each, method)[0] for each in given]
    reduction = TowerReduction(model, family_of(model), method)
    got = {}

    def work(index):
        for _ in range(5):
            with torch.no_grad(), reduction.encoding():
                output = model.base_model.get_image_features(**given[index])
            got.setdefault(index, []).append(torch.cat(list(output.pooler_output)))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reduction.remove()
    for index, whole in enumerate(expected):
        assert len(got[index]) == 5
        for each in got[index]:
            assert torch.equal(each, whole)
