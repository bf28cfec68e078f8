"""Attention by layer, and what stage 2 does with it, are those of the real runtime, question by question."""

import numpy as np
import pytest
import torch
from played import ASKED

import todre
from todre.evaluate.conditions import Condition
from todre.evaluate.engine import grouped
from todre.evaluate.group_answers import Asker
from todre.evaluate.probes import ObserveAttention
from todre.evaluate.stage2.measure import Measurer
from todre.evaluate.stage2.plan import WHOLE, Part, Plan, stage1_name
from todre.evaluate.stage2.rules import fired, layers_of
from todre.evaluate.stage2.scores import Scores
from todre.evaluate.stage2.working import Done
from todre.evaluate.tasks import Item
from todre.methods.shared.layers import resolve_layers

DEPTH = 4


@pytest.fixture(scope="module")
def groups():
    items = [item for item in ASKED.items() if item.metric == "exact"]
    return [[items[place] for place in places] for places in grouped(items, 3)]


@pytest.fixture(scope="module")
def measurer(loaded, groups):
    return Measurer(loaded, groups, 8)


def prompt(loaded, item):
    talk = [{"type": "image", "image": item.media[0]()}, {"type": "text", "text": item.question}]
    return loaded.processor.apply_chat_template(
        [{"role": "user", "content": talk}], tokenize=True, return_dict=True, return_tensors="pt",
        add_generation_prompt=True,
    )  # fmt: skip


@pytest.mark.parametrize("retain", [1.0, 0.2])
def test_ratios_are_those_of_equation_seven(loaded, groups, measurer, retain):
    stage1 = todre.NoPruning() if retain == 1.0 else todre.ToDRE(retain=retain, stages=(1,))
    records = measurer.measure((0, Part("p", stage1))).records
    method = ObserveAttention() if retain == 1.0 else todre.Compose(stage1, ObserveAttention())
    for item, record in zip(groups[0], records, strict=True):
        with todre.prune(loaded.model, method) as report:
            loaded.model(**prompt(loaded, item))
        ratios = report.attention_ratios[0]
        found = [ratios[layer].text_to_visual for layer in sorted(ratios)]
        assert record["attention"]["text"][: len(found)] == pytest.approx(found, abs=2e-6)
        assert all(pair.visual_to_text is None for pair in ratios.values())
        assert len(found) >= DEPTH - 1


def test_attention_of_single_tokens_is_that_of_whole_maps(loaded, groups, measurer):
    """The last text token, the first slot and generated tokens, from eager attention's maps of every layer."""
    records = measurer.measure((0, Part("p", todre.NoPruning()))).records
    loaded.model.set_attn_implementation("eager")
    try:
        for item, record in zip(groups[0][:4], records[:4], strict=True):
            inputs = prompt(loaded, item)
            visual = inputs["input_ids"][0] == loaded.model.config.image_token_id
            begin = int(visual.nonzero().max()) + 1
            with torch.no_grad():
                tokens = loaded.model.generate(
                    **inputs, max_new_tokens=item.new_tokens, do_sample=False, output_attentions=True,
                    return_dict_in_generate=True,
                )  # fmt: skip
            prefill, *steps = [[layer[0].mean(dim=0) for layer in step] for step in tokens.attentions]
            attention = record["attention"]
            for layer in range(DEPTH):
                text = prefill[layer][begin:]
                assert attention["last"][layer] == pytest.approx(float(text[-1, visual].sum()), abs=2e-6)
                assert attention["first_slot"][layer] == pytest.approx(float(text[:, 0].mean()), abs=2e-6)
                seen = [float(step[layer][0, : len(visual)][visual].sum()) for step in steps]
                if seen:
                    assert attention["generated"][layer] == pytest.approx(np.mean(seen), abs=2e-6)
                else:
                    assert attention["generated"] is None
    finally:
        loaded.model.set_attn_implementation("sdpa")


@pytest.mark.parametrize("version", ["todre-v1", "todre"])
@pytest.mark.parametrize("retain", [None, 0.2])
def test_rules_answer_as_the_real_stage_two(loaded, groups, measurer, version, retain):
    plan = Plan(depth=DEPTH, retains=(0.2,), thresholds=(0.3, 0.5, 0.8))
    parts = [part for part in plan.parts() if part.layered]
    done = [measurer.measure((number, part)) for number in range(len(groups)) for part in parts]
    scores = Scores(groups, done)
    name = WHOLE if retain is None else stage1_name(version, retain)
    part = next(part for part in parts if part.name == name)
    rows = [row for row in fired(scores, plan) if (row.version, row.retain) == (version, retain)]
    rows = [row for row in rows if row.rule == "printed"]
    own = plan.versions[version].threshold
    assert [row.threshold for row in rows] == sorted({0.3, 0.5, 0.8, own})
    assert [row.threshold for row in rows if row.printed] == [own]
    seen = set()
    for row in rows:
        make = todre.ToDRE.v1 if version == "todre-v1" else todre.ToDRE
        fields = {"stages": (2,)} if retain is None else {"retain": retain}
        method = make(threshold=row.threshold, **fields)
        asker = Asker(loaded, groups, 8)
        replies = [reply for number in range(len(groups)) for reply in asker.answer(number, Condition("c", method))[0]]
        expected = [np.nan if reply[3] is None else reply[3] for reply in replies]
        assert np.array_equal(row.layers, expected, equal_nan=True)
        said = [record["said"] for record in scores.records(part)]
        names = ["whole" if np.isnan(layer) else f"drop-{layer:.0f}" for layer in row.layers]
        assert [one[name] for one, name in zip(said, names, strict=True)] == [reply[0] for reply in replies]
        marks = [float(reply[0] == item.references[0]) for reply, item in zip(replies, scores.items, strict=True)]
        assert row.marks.tolist() == marks
        seen |= set(row.layers[~np.isnan(row.layers)].tolist())
    assert seen <= set(resolve_layers(plan.versions[version].layers, DEPTH))
    assert seen


def test_other_rules_read_other_ratios():
    """The last token's attention; and the greatest ratio from a layer on, by a loop."""
    plan = Plan(depth=4, retains=(), thresholds=(0.3,))
    part = plan.parts()[0]
    drawn = np.random.default_rng(0).random((6, 2, 4)).round(7)
    items = [Item("t", str(n), str(n), (), "?", ("yes",), "exact") for n in range(6)]
    records = [
        {
            "said": dict.fromkeys(("whole", "drop-2", "drop-3"), "yes"),
            "tokens": {"visual": 9},
            "attention": {"text": text.tolist(), "last": last.tolist()},
        }
        for text, last in drawn
    ]
    scores = Scores([items], [Done(0, part.name, part.digest, 0.0, records)])
    found = {(row.rule, row.threshold): row.layers for row in fired(scores, plan) if row.version == "todre-v1"}
    fire = {}
    for rule, below in (
        ("printed", lambda text, last, n, tau: text[n] < tau),
        ("last", lambda text, last, n, tau: last[n] < tau),
        ("later", lambda text, last, n, tau: all(value < tau for value in text[n:])),
    ):
        for tau in (0.03, 0.3):
            expected = [next((n for n in (2, 3) if below(*one, n - 1, tau)), np.nan) for one in drawn]
            assert np.array_equal(found[rule, tau], expected, equal_nan=True)
            fire[rule] = expected
    assert fire["printed"] != fire["last"]


def test_the_first_layer_below_the_threshold_decides():
    ratios = np.array([[0.5, 0.02, 0.4, 0.01], [0.5, 0.5, 0.5, 0.03], [0.1, 0.1, 0.03, 0.1]])
    assert np.array_equal(layers_of(ratios, (2, 3, 4), 0.03), [2, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(layers_of(ratios, (3, 4), 0.2), [4, 4, 3], equal_nan=True)
