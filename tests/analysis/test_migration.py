"""Attention masses equal sums over the maps that eager attention returns, in prefill and in decode."""

import numpy as np
import pytest
import tinymodels as tm
import torch

from todre.analysis import migration
from todre.analysis.layer_attention import watching
from todre.analysis.prompts import prompts_of
from todre.analysis.results import Job
from todre.hf.greedy_decoding import greedy_settings
from todre.tensors.columns import SYSTEM, TEXT, VISUAL, token_kinds

STEPS = 3
CLASSES = (SYSTEM, VISUAL, TEXT)


def masses(maps, kinds):
    """By layer, (3, 3) mean mass between classes, by loops over (heads, q, s) maps of one prompt, in float64."""
    found = []
    for attention in maps:
        mean = attention.double().mean(dim=0).numpy()
        table = np.full((3, 3), np.nan)
        for i, asking in enumerate(CLASSES):
            rows = [q for q in range(len(kinds)) if kinds[q] == asking]
            for j, asked in enumerate(CLASSES):
                keys = [k for k in range(len(kinds)) if kinds[k] == asked]
                if rows:
                    table[i, j] = np.mean([sum(mean[q, k] for k in keys) for q in rows])
        found.append(table)
    return found


def floats(values):
    return np.array([[np.nan if value is None else value for value in row] for row in values])


@pytest.fixture
def asked(source):
    return source.questions()


def test_a_batch_equals_the_maps_of_its_single_prompts(loaded, eager, asked):
    records = migration.attention_of(loaded, asked, STEPS)
    assert len({record["tokens"]["text"] for record in records}) > 1, "the prompts need padding"
    for one, record in zip(asked, records, strict=True):
        prompts = prompts_of(eager, [one])
        out = eager.model.generate(
            **prompts.inputs, **greedy_settings(STEPS), output_attentions=True, return_dict_in_generate=True
        )
        kinds = prompts.kinds[0].tolist()
        expected = masses([attention[0] for attention in out.attentions[0]], kinds)
        for layer, table in enumerate(expected, start=1):
            np.testing.assert_allclose(floats(record["prefill"][str(layer)]), table, atol=2e-6)
        read = record["tokens"]["generated_and_read"]
        assert read == len(out.attentions) - 1
        for layer in range(len(expected)):
            steps = []
            for step in range(1, read + 1):
                mean = out.attentions[step][layer][0].double().mean(dim=0)[-1].numpy()
                whole = [*kinds, *[-1] * step]
                steps.append([sum(m for m, k in zip(mean, whole, strict=True) if k == c) for c in (*CLASSES, -1)])
            np.testing.assert_allclose(record["decode"][str(layer + 1)], np.mean(steps, axis=0), atol=2e-6)


def test_a_picture_before_the_question_sees_none_of_it(loaded, asked):
    """Visual queries come before all text: the causal mask leaves exactly nothing, in every layer."""
    for record in migration.attention_of(loaded, asked, 1):
        for table in record["prefill"].values():
            assert table[1][2] == 0.0
            assert table[0][1] == table[0][2] == 0.0
            assert sum(table[2]) == pytest.approx(1.0, abs=1e-5)
        assert record["decode"] == {}


def test_uniform_is_the_share_of_visible_keys(loaded, asked):
    (record,) = migration.attention_of(loaded, asked[:1], 1)
    kinds = prompts_of(loaded, asked[:1]).kinds[0].tolist()
    n = len(kinds)
    causal = torch.tril(torch.ones(n, n)) / torch.arange(1, n + 1)[:, None]
    (expected,) = masses([causal[None]], kinds)
    np.testing.assert_allclose(floats(record["uniform"]), expected, atol=2e-6)


def test_a_second_picture_sees_the_text_between():
    model = tm.build("next-llama", layers=2, backend="eager")
    inputs = tm.batch(model, [tm.sample(model, 5, [tm.SIZES[2], tm.SIZES[0]], 4), tm.sample(model, 3, [], 9)])
    visual = inputs["input_ids"] == tm.IMAGE
    kinds = token_kinds(visual, inputs["attention_mask"].bool(), torch.zeros(2, dtype=torch.bool), 0)
    log = migration.AttentionLog(kinds)
    with watching(model, log), torch.no_grad():
        out = model(**inputs, position_ids=tm.positions(inputs["attention_mask"]), output_attentions=True)
    for layer in (1, 2):
        (expected,) = masses([out.attentions[layer - 1][0]], kinds[0].tolist())
        assert expected[1, 2] > 0.01
        np.testing.assert_allclose(log.prefill[layer][0].numpy(), expected, atol=2e-6)
        assert log.prefill[layer][1, 1].isnan().all(), "a row of text alone has no visual query"


def test_the_model_is_left_as_it_was(loaded, asked):
    hooks = lambda: [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules()]  # noqa: E731
    inputs = prompts_of(loaded, asked[:1]).inputs
    loaded.model.generate(**inputs, **greedy_settings(1))  # transformers leaves something behind in its first call
    before = hooks()
    with pytest.raises(ZeroDivisionError), watching(loaded.model, lambda layer, seen: 1 / 0):
        loaded.model.generate(**inputs, **greedy_settings(1))
    assert hooks() == before


@pytest.mark.parametrize(("row", "read"), [([5, 6, 7], 2), ([5, 2, 0], 1), ([2, 0, 0], 0), ([5, 6, 2], 2)])
def test_tokens_that_were_read(loaded, row, read, monkeypatch):
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", 2)
    assert migration.tokens_read(loaded.model, torch.tensor([row])) == [read]


def test_document(loaded, source, tmp_path):
    ticks = []
    job = Job("migration", {}, loaded, source, tmp_path / "m.json", 3, "todre", lambda *at: ticks.append(at))
    document = migration.migration(job, STEPS)
    assert ticks == [(0, 4), (3, 4), (4, 4)]
    records = document["records"]
    for row in document["layers"]:
        values = [record["prefill"][str(row["layer"])][2][1] for record in records]
        assert row["prefill"]["text_to_visual"]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
        assert row["prefill"]["text_to_visual"]["low"] < np.mean(values) < row["prefill"]["text_to_visual"]["high"]
        assert sum(each["mean"] for each in row["decode"].values()) == pytest.approx(1.0, abs=1e-5)
    assert [row["layer"] for row in document["layers"]] == [1, 2, 3, 4]
    assert document["conditions"]["questions"]["pictures"] == 4
