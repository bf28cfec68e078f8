"""The oracle is the prompt that pruning leaves: same length, same logits, same drops between layers."""

import pytest
import torch

from todre.bench.cell import Cell, Rounds, measure
from todre.bench.kv import measured_bytes
from todre.bench.method_specs import specs_of
from todre.bench.oracle import NoOracleError, oracle_of, shorten
from todre.bench.replay import replaying
from todre.bench.workloads import Pruned, exact_length, generate
from todre.methods import registry
from todre.methods.todre import ToDRE
from todre.pruning import prune

SELECTING = {
    "todre": ToDRE(retain=0.1, stages=(1,), positions="compact"),
    "divprune": registry.create("divprune", retain=9, positions="compact"),
    "prumerge": registry.create("prumerge", positions="compact"),
    "visionzip": registry.create("visionzip", retain=12, positions="compact"),
}
DROPPING = {
    "vtw": registry.create("vtw", layer=3),
    "fastv": registry.create("fastv", retain=0.2),
    "pyramiddrop": registry.create("pyramiddrop", retain=0.3),
    "both stages": ToDRE(retain=0.2, threshold=1.0, layers=(2,)),
}


@torch.inference_mode()
def logits(model, **inputs):
    return model(**inputs, logits_to_keep=1).logits


@pytest.mark.parametrize("name", SELECTING)
def test_hand_shortened_prompt_is_the_pruned_one(tiny, prompt, name):
    method = SELECTING[name]
    short = shorten(Pruned(tiny, prompt, name, method))
    with prune(tiny, method) as report:
        pruned = logits(tiny, **prompt.inputs)
    assert short.mask.sum(dim=1).tolist() == [20 + kept for kept in report.visual_tokens_after]
    by_hand = logits(tiny, inputs_embeds=short.embeds, attention_mask=short.mask)
    torch.testing.assert_close(by_hand, pruned, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", DROPPING)
def test_replayed_drops_give_the_same_logits_and_cache(tiny, prompt, name):
    method = DROPPING[name]
    short = shorten(Pruned(tiny, prompt, name, method))
    assert short.drops.places
    with exact_length(tiny):
        with prune(tiny, method) as report:
            cache = generate(tiny, 3, **prompt.inputs)
        with replaying(tiny, short.drops):
            replayed = generate(tiny, 3, inputs_embeds=short.embeds, attention_mask=short.mask)
    layers = report.visual_tokens_per_layer[0]
    assert [layer.keys.shape[-2] for layer in replayed.layers] == [20 + 2 + count for count in layers]
    assert measured_bytes(replayed) == measured_bytes(cache)
    if not method.selects:  # nothing was renumbered, so that all keys and values are the same
        for one, other in zip(cache.layers, replayed.layers, strict=True):
            torch.testing.assert_close(one.keys, other.keys, rtol=0, atol=2e-6)
            torch.testing.assert_close(one.values, other.values, rtol=0, atol=2e-6)


def test_hooks_of_the_replay_are_gone_afterwards(tiny, prompt):
    drops = shorten(Pruned(tiny, prompt, "vtw", DROPPING["vtw"])).drops
    before = [len(layer._forward_pre_hooks) for layer in tiny.get_decoder().layers]
    with pytest.raises(ZeroDivisionError), replaying(tiny, drops):
        raise ZeroDivisionError
    assert [len(layer._forward_pre_hooks) for layer in tiny.get_decoder().layers] == before


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (registry.create("evit"), "encodes pictures otherwise"),
        (registry.create("swiftvlm", layers=(2, 4, 6)), "come back"),
        (registry.create("todre-stage-2"), "nothing is dropped"),
    ],
    ids=["tower", "rejoin", "nothing"],
)
def test_where_there_is_no_oracle_it_says_why(tiny, prompt, method, reason):
    with pytest.raises(NoOracleError, match=reason):
        oracle_of(Pruned(tiny, prompt, method.name, method))


def test_rows_are_complete_and_consistent(tiny, prompt):
    methods = specs_of(["todre:stages=1", "vtw:layer=3"], [0.1, 1.0])
    rows = measure(tiny, prompt, methods, Cell(2, 20, 3, None, 1), Rounds(warm_up=0, rounds=2))
    assert [row["subject"] for row in rows] == [
        "none", "todre:stages=1@0.1", "todre:stages=1@0.1 oracle", "todre:stages=1@1", "vtw:layer=3",
        "vtw:layer=3 oracle",
    ]  # fmt: skip
    by_name = {row["subject"]: row for row in rows}
    for row in rows:
        assert row["kv_bytes"]["measured"] == row["kv_bytes"]["predicted"] > 0
        assert row["peak_bytes"]["above"] > row["kv_bytes"]["measured"]
        assert row["flops"]["first_token"] < row["flops"]["total"]
        assert list(row["ms_after_tokens"]) == ["1", "2", "3"]
        assert row["rounds"] == len(row["samples_ms"]["total"]) == 2
        assert row["ms"]["first_token"]["p50"] < row["ms"]["total"]["p50"]
        assert row["cell"]["threads"] == 1
        assert row["cell"]["backend"] == "sdpa"
        stages = sum(row["ms"][key]["p50"] for key in ("encode", "select", "prefill"))
        assert 0 < stages <= 1.05 * row["ms"]["first_token"]["p80"]
    pruned = by_name["todre:stages=1@0.1"]
    assert pruned["bound"] == "todre:stages=1@0.1 oracle"
    pairs = zip(pruned["samples_ms"]["total"], by_name["todre:stages=1@0.1 oracle"]["samples_ms"]["total"], strict=True)
    ratios = sorted(mine / other for mine, other in pairs)
    assert pruned["ratio_to_oracle"]["total"]["p50"] == pytest.approx(sum(ratios) / 2)
    assert by_name["todre:stages=1@1"]["bound"] == "none"
    assert by_name["vtw:layer=3"]["visual_tokens"]["per_layer"] == [192] * 3 + [0] * 5
    assert by_name["none"]["ratio_to_oracle"] is None
    assert 0 < by_name["none"]["peak_bytes"]["before_decoder"] < by_name["none"]["peak_bytes"]["above"]
    assert pruned["memory_ratio_to_oracle"]["floor"] <= pruned["memory_ratio_to_oracle"]["above"]


def test_answers_have_the_exact_length_and_the_model_keeps_its_settings(tiny, prompt):
    own = tiny.generation_config
    with exact_length(tiny):
        cache = generate(tiny, 5, **prompt.inputs)
    assert cache.get_seq_length() == prompt.visual.shape[1] + 4
    assert tiny.generation_config is own
