"""What is said of a guard is what the runtime does with it; the choice is that of brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import todre
from todre.analysis import guard_fit
from todre.analysis.calibrate import halves
from todre.analysis.guard_fit import SIGNALS, GuardGoal, answers_of, best, document, effect, guard_of, thresholds
from todre.analysis.prompts import prompts_of
from todre.analysis.questions import PictureQuestion, Source
from todre.analysis.summary import Table
from todre.errors import InvalidValueError
from todre.hf.greedy_decoding import greedy_settings
from todre.methods.guard import Guard, load

STEPS = 3
METHOD = todre.ToDRE(retain=0.1)
GOAL = GuardGoal(METHOD, 0.1, STEPS)


@pytest.fixture(scope="module")
def asked():
    return Source(limit=6, split="val", size=96, tasks=("presence", "count")).questions()


def reply(loaded, asked, method, guard="off"):
    """What the model says, straight from the runtime."""
    prompts = prompts_of(loaded, asked)
    with todre.prune(loaded.model, method, guard=guard) as report, torch.no_grad():
        tokens = loaded.model.generate(**prompts.inputs, **greedy_settings(STEPS))
    new = tokens[:, prompts.kinds.shape[1] :]
    return loaded.processor.tokenizer.batch_decode(new, skip_special_tokens=True), report


def made_up(seed, count=24):
    """Records in which only the radius foretells harm."""
    draw = np.random.default_rng(seed)
    records = []
    for number in range(count):
        radius = float(draw.random())
        records.append(
            {"picture": str(number), "task": "a" if number % 2 else "b", "none": 1.0, "kept": 0.1}
            | {
                "pruned": float(radius < 0.6),
                "radius": radius,
                "rank": float(draw.random()),
                "text": None,
                "entropy": None,
            }
        )
    return records


def test_a_record_is_what_the_runtime_says(loaded, asked, monkeypatch):
    """Every answer counts as another score, so that a mix-up of answers cannot hide."""
    monkeypatch.setattr(PictureQuestion, "mark", lambda self, text: float(sum(text.encode()) % 997))
    records = answers_of(loaded, asked, GOAL)
    for key, method in (("none", todre.NoPruning()), ("pruned", METHOD)):
        texts, _ = reply(loaded, asked, method)
        assert [record[key] for record in records] == [float(sum(text.strip().encode()) % 997) for text in texts]
    threshold = float(np.median([record["radius"] for record in records]))
    texts, report = reply(loaded, asked, METHOD, guard_of("radius", threshold))
    whole = [record["radius"] > threshold for record in records]
    assert sum(whole) == 3
    assert [bool(row[0].above) for row in report.guarded] == whole
    kept = [
        after / before for after, before in zip(report.visual_tokens_after, report.visual_tokens_before, strict=True)
    ]
    named = [{**one.facts(), **record} for one, record in zip(asked, records, strict=True)]
    expected = effect(named, "radius", threshold)
    assert expected["kept"] == pytest.approx(np.mean(kept), abs=1e-6)
    assert expected["whole"] == 0.5


def test_the_choice_is_that_of_brute_force():
    for seed in range(4):
        records, loss = made_up(seed), 0.1
        table, options = Table.of(records), []
        for place, signal in enumerate(SIGNALS):
            values = [record[signal] for record in records if record[signal] is not None]
            for threshold in [min(values) / 2, *values] if values else []:
                whole = [record[signal] > threshold for record in records]
                change = [0.0 if stays else r["pruned"] - r["none"] for r, stays in zip(records, whole, strict=True)]
                if table.mean(change)["low"] >= -loss:
                    options.append((sum(whole), place, threshold))
        _, place, threshold = min(options)
        assert best(records, loss) == (SIGNALS[place], threshold)


def test_a_signal_that_foretells_harm_is_found_and_another_is_not():
    found = document(made_up(1, 200), GuardGoal(METHOD, 0.05))
    assert found["signal"] == "radius"
    assert 0.5 < found["guard"]["radius"] < 0.7
    assert found["confirmed"]
    assert found["signals"]["radius"]["correlation"]["low"] > 0.5
    assert found["signals"]["rank"]["correlation"]["low"] < 0 < found["signals"]["rank"]["correlation"]["high"]
    assert found["signals"]["entropy"] == {"known": 0, "correlation": None, "points": []}
    assert found["checked_on"]["unguarded"]["mean"] < -0.3
    chosen, checked = halves(found["records"])
    assert found["chosen_on"] == effect(chosen, "radius", found["guard"]["radius"])
    assert found["checked_on"]["questions"] == len(checked)


def test_thresholds_go_from_all_pictures_whole_to_none():
    records = made_up(2)
    shares = [effect(records, "radius", threshold)["whole"] for threshold in thresholds(records, "radius")]
    assert shares == sorted(shares, reverse=True)
    assert (shares[0], shares[-1]) == (1.0, 0.0)
    assert thresholds(records, "entropy") == []


def test_a_guard_is_written_beside_the_document(tmp_path):
    found = document(made_up(1, 40), GuardGoal(METHOD, 0.1))
    path = guard_fit.save_guard(found, tmp_path / "found.json")
    assert path == tmp_path / "found.guard.json"
    assert load(path) == Guard.from_dict(found["guard"])
    assert load(path).action == "refuse"


def test_a_method_that_chooses_later_is_refused():
    with pytest.raises(InvalidValueError, match="does not choose before the LLM"):
        GuardGoal(todre.FastV())
