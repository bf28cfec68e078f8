"""One forward over a prompt: against the untouched model, shortened tensors, and the mask oracle."""

from __future__ import annotations

import oracles
import pytest
import tinymodels as tm
import torch
from upstream import CACHE

import todre

KINDS = ["next-llama", "next-mistral", "llava"]
METHODS = {
    "todre": todre.ToDRE(retain=0.2, threshold=1.0),
    "todre-v1": todre.ToDRE.v1(retain=0.3, threshold=1.0),
    "stage-1": todre.ToDRE(retain=7, stages=(1,)),
    "stage-2": todre.ToDRE(stages=(2,), threshold=1.0, layers=(3,)),
    "random": todre.RandomTokens(retain=0.1, seed=5),
    "cls-top-k": todre.CLSTopK(retain=0.25),
}
ALL = [
    todre.RandomTokens(retain=1.0),
    todre.ToDRE(retain=1.0, threshold=0.0),
    todre.ToDRE(retain=10_000, stages=(1,)),
    todre.CLSTopK(retain=1.0),
    todre.NoPruning(),
]


def visual_of(model, inputs):
    return inputs["input_ids"] == model.config.image_token_id


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_keeping_everything_changes_no_bit(models, kind, backend, side):
    model = models(kind, backend)
    inputs = tm.ragged(model, side)
    places = tm.positions(inputs["attention_mask"])
    expected = model(**inputs, position_ids=places, use_cache=True)
    for method in ALL:
        with todre.prune(model, method) as report:
            got = model(**inputs, position_ids=places, use_cache=True)
        assert torch.equal(expected.logits, got.logits), method
        assert report.visual_tokens_after == report.visual_tokens_before == visual_of(model, inputs).sum(1).tolist()
        assert getattr(got, CACHE).get_seq_length() == inputs["input_ids"].shape[1]


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_single_prompt_equals_shortened_tensors(models, kind, backend, name):
    model = models(kind, backend)
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0], tm.SIZES[1]], 8, seed=4)])
    with todre.prune(model, METHODS[name]) as report:
        got = model(**inputs).logits
    visual = visual_of(model, inputs)[0]
    expected = oracles.hand_run(model, inputs, report.kept[0], report.dropped_after_layer[0])
    torch.testing.assert_close(got[0, ~visual], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_compact_positions_equal_a_prompt_that_never_had_the_tokens(models, kind, backend):
    model = models(kind, backend)
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)])
    with todre.prune(model, todre.ToDRE(retain=0.2, stages=(1,), positions="compact")) as report:
        got = model(**inputs).logits
    visual = visual_of(model, inputs)[0]
    embeds = oracles.prompt_embeddings(model, inputs)
    stay = ~visual
    stay[visual.nonzero().flatten()[report.kept[0]]] = True
    expected = model.lm_head(model.get_decoder()(inputs_embeds=embeds[:, stay]).last_hidden_state)
    assert torch.equal(got[0, stay], expected[0])


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_ragged_batch_equals_the_mask_oracle(models, kind, backend, side, use_cache, name):
    model = models(kind, backend)
    inputs = tm.ragged(model, side)
    places = tm.positions(inputs["attention_mask"])
    with todre.prune(model, METHODS[name]) as report:
        got = model(**inputs, position_ids=places, use_cache=use_cache).logits
    gone = oracles.from_report(report, visual_of(model, inputs), model.config.text_config.num_hidden_layers)
    assert gone.any()
    with oracles.mask_oracle(model, gone, inputs["attention_mask"]):
        expected = model(**inputs, position_ids=places, use_cache=use_cache).logits
    text = (inputs["attention_mask"] == 1) & ~visual_of(model, inputs)
    torch.testing.assert_close(got[text], expected[text], atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", ["original", "compact"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_batch_equals_its_singles(models, kind, name, positions):
    model = models(kind)
    method = type(METHODS[name]).from_dict(METHODS[name].to_dict() | {"positions": positions})
    samples = [
        tm.sample(model, 7, [tm.SIZES[0]], 6, seed=1),
        tm.sample(model, 4, [tm.SIZES[2], tm.SIZES[4]], 9, seed=2),
        tm.sample(model, 12, [], 5, seed=3),
        tm.sample(model, 2, [tm.SIZES[3]] * 3, 1, seed=6),
    ]
    inputs = tm.batch(model, samples)
    with todre.prune(model, method) as report:
        together = model(**inputs, position_ids=tm.positions(inputs["attention_mask"])).logits
        rows = (report.kept, report.dropped_after_layer, report.visual_tokens_per_layer, report.attention_ratios)
        for row, sample in enumerate(samples):
            single = tm.batch(model, [sample])
            alone = model(**single).logits[0]
            text = ~visual_of(model, single)[0]
            length = single["input_ids"].shape[1]
            torch.testing.assert_close(together[row, -length:][text], alone[text], atol=1e-5, rtol=0)
            if sample.pictures:
                assert report.kept[0] == rows[0][row]
                assert report.dropped_after_layer[0] == rows[1][row]
                assert report.visual_tokens_per_layer[0] == rows[2][row]
                for layer, ratios in report.attention_ratios[0].items():
                    for one, many in zip(ratios, rows[3][row][layer], strict=True):
                        assert (one is None) == (many is None)
                        assert one is None or one == pytest.approx(many, abs=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_loss_and_gradients_flow_through_a_right_padded_batch(models, side):
    model = models("next-llama")
    inputs = tm.ragged(model, side)
    places = tm.positions(inputs["attention_mask"])
    visual = visual_of(model, inputs)
    labels = inputs["input_ids"].masked_fill((inputs["attention_mask"] == 0) | visual, -100)
    undefined = visual | (inputs["attention_mask"] == 0)
    labels[:, 1:][undefined[:, :-1]] = -100  # what padding or a dropped visual column would predict is not defined
    with todre.prune(model, todre.ToDRE(retain=0.2, threshold=1.0)) as report:
        out = model(**inputs, position_ids=places, labels=labels, use_cache=False)
        out.loss.backward()
    gradient = model.get_decoder().layers[-1].mlp.up_proj.weight.grad
    assert gradient.abs().sum() > 0
    model.zero_grad(set_to_none=True)
    gone = oracles.from_report(report, visual, 8)
    with oracles.mask_oracle(model, gone, inputs["attention_mask"]), torch.no_grad():
        expected = model(**inputs, position_ids=places, labels=labels, use_cache=False).loss
    assert out.loss.item() == pytest.approx(expected.item(), abs=1e-5)


@torch.no_grad()
def test_hidden_states_come_back_at_the_length_that_went_in(models):
    model = models("next-llama")
    inputs = tm.ragged(model)
    places = tm.positions(inputs["attention_mask"])
    with todre.prune(model, todre.ToDRE(retain=0.2, threshold=1.0, layers=(5,))) as report:
        got = model(**inputs, position_ids=places, output_hidden_states=True).hidden_states
    gone = oracles.from_report(report, visual_of(model, inputs), 8)
    with oracles.mask_oracle(model, gone, inputs["attention_mask"]):
        expected = model(**inputs, position_ids=places, output_hidden_states=True).hidden_states
    text = (inputs["attention_mask"] == 1) & ~visual_of(model, inputs)
    assert len(got) == len(expected) == 9
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == theirs.shape
        torch.testing.assert_close(mine[text], theirs[text], atol=1e-5, rtol=0)


@torch.no_grad()
def test_each_layer_of_the_cache_is_really_shorter(models):
    model = models("next-llama")
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)])
    with todre.prune(model, todre.ToDRE(retain=10, threshold=1.0, layers=(5,))) as report:
        cache = getattr(model(**inputs, use_cache=True), CACHE)
    assert [layer.keys.shape[-2] for layer in cache.layers] == [14 + 10] * 5 + [14] * 3
    assert [layer.get_seq_length() for layer in cache.layers] == [inputs["input_ids"].shape[1]] * 8
    per_slot = 2 * 2 * 8 * 4
    assert report.kv_bytes == [(24 * 5 + 14 * 3) * per_slot]
    assert report.kv_bytes_unpruned == [inputs["input_ids"].shape[1] * 8 * per_slot]
    assert report.visual_tokens_per_layer == [[10] * 5 + [0] * 3]
