"""What is said of a layer and a threshold is what the runtime does with them; the choice is that of brute force."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch

import todre
from todre.analysis import calibrate
from todre.analysis.calibrate import best, choice, halves, highest_ratio, thresholds
from todre.analysis.drop_records import Goal, answers_of
from todre.analysis.prompts import prompts_of
from todre.analysis.questions import PictureQuestion, Source
from todre.analysis.results import Job
from todre.analysis.summary import Table
from todre.errors import InvalidValueError
from todre.hf.greedy_decoding import greedy_settings
from todre.methods import registry

STEPS = 3
METHOD = todre.ToDRE(retain=0.2)


@pytest.fixture(scope="module")
def goal(loaded):
    return Goal.checked(loaded.model, METHOD, 0.1, None, max_new_tokens=STEPS)


@pytest.fixture(scope="module")
def asked():
    return Source(limit=6, split="val", size=96, tasks=("presence", "count")).questions()


@pytest.fixture(scope="module")
def records(loaded, asked, goal):
    return answers_of(loaded, asked, goal)


def reply(loaded, asked, method):
    """What the model says under `method`, and which rows dropped, straight from the runtime."""
    prompts = prompts_of(loaded, asked)
    with todre.prune(loaded.model, method) as report, torch.no_grad():
        tokens = loaded.model.generate(**prompts.inputs, **greedy_settings(STEPS))
    new = tokens[:, prompts.kinds.shape[1] :]
    return loaded.processor.tokenizer.batch_decode(new, skip_special_tokens=True), report


def test_a_threshold_fires_where_the_runtime_fires(loaded, asked, goal, records):
    for layer in goal.layers:
        ratios = sorted(highest_ratio(record["drop"][str(layer)]) for record in records)
        threshold = (ratios[2] + ratios[3]) / 2
        _, report = reply(loaded, asked, dataclasses.replace(METHOD, layers=(layer,), threshold=threshold))
        made = choice(records, layer, threshold, depth=4)
        assert made.fired.tolist() == [after is not None for after in report.dropped_after_layer]
        assert made.fired.sum() == 3
        assert made.saved == pytest.approx(0.5 * (4 - layer) / 4)


def test_what_a_floor_keeps_is_not_saved(loaded, asked):
    """Layers after the drop still run on the tokens of the floor, as the runtime counts them."""
    method = dataclasses.replace(METHOD, floor=7, layers=(2,), threshold=1.0)
    goal = Goal.checked(loaded.model, method, 0.1, [2], max_new_tokens=STEPS)
    made = choice(answers_of(loaded, asked, goal), 2, 1.0, depth=4)
    _, report = reply(loaded, asked, method)
    run, whole = (sum(map(sum, report.visual_tokens_per_layer)), 4 * sum(report.visual_tokens_after))
    assert made.fired.all()
    assert made.saved == pytest.approx(1 - run / whole)


def test_answers_are_those_of_the_runtime(loaded, asked, goal, records, monkeypatch):
    """Every answer counts as another score, so that a mix-up of answers cannot hide."""
    monkeypatch.setattr(PictureQuestion, "mark", lambda self, text: float(sum(text.encode()) % 997))
    marked = answers_of(loaded, asked, goal)
    for key, method in (("none", todre.NoPruning()), ("kept", dataclasses.replace(METHOD, stages=(1,)))):
        texts, _ = reply(loaded, asked, method)
        assert [record[key] for record in marked] == [float(sum(text.strip().encode()) % 997) for text in texts]
    layer = 2
    threshold = float(np.median([highest_ratio(record["drop"][str(layer)]) for record in records]))
    texts, _ = reply(loaded, asked, dataclasses.replace(METHOD, layers=(layer,), threshold=threshold))
    made = choice(marked, layer, threshold, depth=4)
    base = np.array([record["kept"] for record in marked])
    assert (base + made.difference).tolist() == [float(sum(text.strip().encode()) % 997) for text in texts]


def invented(seed, pictures=12):
    """Records of questions whose answers get worse where ratios are high."""
    rng = np.random.default_rng(seed)
    records = []
    for number, picture in itertools.product(range(2), range(pictures)):
        drop = {}
        for layer in (1, 2, 3):
            ratio = float(rng.uniform())
            wrong = rng.uniform() < ratio * (4 - layer) / 3
            drop[str(layer)] = {"score": float(not wrong), "dropped": True, "text_to_visual": ratio}
            drop[str(layer)]["left"] = float(rng.choice([0.0, 0.25]))
            drop[str(layer)]["visual_to_text"] = None if rng.uniform() < 0.7 else float(rng.uniform())
        if rng.uniform() < 0.1:
            drop["2"] |= {"dropped": False, "text_to_visual": None}
        record = {"picture": str(picture), "task": f"t{number}", "kept": float(rng.uniform() < 0.9), "none": 1.0}
        records.append(record | {"drop": drop})
    return records


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("loss", [0.0, 0.1, 0.4])
def test_the_choice_is_that_of_brute_force(seed, loss):
    records, goal = invented(seed), Goal(METHOD, loss, (1, 2, 3))
    table, most = Table.of(records), 0.0
    for layer in goal.layers:
        for threshold in thresholds(records, layer):
            saved, difference = 0.0, []
            for record in records:
                drop = record["drop"][str(layer)]
                ratios = [r for r in (drop["text_to_visual"], drop["visual_to_text"]) if r is not None]
                fires = drop["dropped"] and all(ratio < threshold for ratio in ratios)
                saved += (1 - drop["left"]) * (4 - layer) / 4 / len(records) if fires else 0.0
                difference.append(drop["score"] - record["kept"] if fires else 0.0)
            if table.mean(difference)["low"] >= -loss:
                most = max(most, saved)
    found = best(records, goal, depth=4)
    assert (found.saved if found else 0.0) == pytest.approx(most)
    if found:
        assert table.mean(found.difference)["low"] >= -loss


def test_thresholds_lie_between_the_ratios_and_never_above_one(monkeypatch):
    records = invented(1)
    ratios = sorted({highest_ratio(record["drop"]["2"]) for record in records} - {float("inf")})
    found = thresholds(records, 2)
    assert len(found) == len(ratios)
    for threshold, below, above in zip(found, ratios, [*ratios[1:], 2.0], strict=True):
        assert below < threshold + 1e-4
        assert threshold < above + 1e-4
    assert found[-1] <= 1.0
    monkeypatch.setattr(calibrate, "_MOST_THRESHOLDS", 5)
    assert len(thresholds(records, 2)) <= 5
    assert thresholds(records, 2)[-1] == found[-1]


def test_halves_share_no_picture():
    first, second = halves(invented(0))
    assert not {r["picture"] for r in first} & {r["picture"] for r in second}
    assert len(first) == len(second) == 12
    alternating = [{"picture": str(number), "task": f"t{number % 2}"} for number in range(8)]
    assert [sorted(record["task"] for record in half) for half in halves(alternating)] == [["t0", "t0", "t1", "t1"]] * 2
    with pytest.raises(InvalidValueError, match=r"at least four pictures.* not 3;"):
        halves(invented(0, pictures=3))


def test_where_nothing_is_good_enough_stage_2_stays_off():
    records = invented(2)
    for record in records:
        record["kept"] = 1.0
        for drop in record["drop"].values():
            drop["score"] = 0.0
    found = calibrate.document(records, Goal(METHOD, 0.0, (1, 2, 3)), 4)
    assert not found["found"]
    assert found["method"]["stages"] == [1]
    assert found["checked_on"]["difference"] is None
    assert not found["confirmed"]


@pytest.mark.parametrize("spoiled", [False, True])
def test_a_choice_is_confirmed_by_the_other_half_alone(spoiled):
    records = invented(3, pictures=40)
    for record in records:
        record["kept"] = 1.0
        for drop in record["drop"].values():
            drop["score"] = 1.0
    if spoiled:
        for record in halves(records)[1][::3]:
            record["drop"]["1"]["score"] = 0.0
    found = calibrate.document(records, Goal(METHOD, 0.05, (1, 2, 3)), 4)
    assert found["method"]["layers"] == [1]
    assert found["confirmed"] is not spoiled


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(6))
def test_the_horizon_is_that_of_brute_force(seed, loss):
    """A task is past its horizon where every later layer, too, is safe; the method waits for the slowest task."""
    records, v1 = invented(seed, pictures=60), todre.ToDRE.v1(layers=(1, 2, 3))
    if seed % 2:
        for record in records:  # one task recovers at layer 2 and is lost again at 3: a dip, as in real decoders
            for layer, score in (("1", 0.0), ("2", record["kept"]), ("3", 0.0 if record["task"] == "t1" else 1.0)):
                record["drop"][layer]["score"] = score
    found = calibrate.document(records, Goal(v1, loss, (1, 2, 3)), 4)["horizon"]
    table, horizons = Table.of(records), []
    for task in ("all", "t0", "t1"):
        safe = []
        for layer in (1, 2, 3):
            change = [
                np.nan
                if task not in ("all", one["task"])
                else one["drop"][str(layer)]["score"] - one["kept"]
                if one["drop"][str(layer)]["dropped"] and one["drop"][str(layer)]["text_to_visual"] is not None
                else 0.0
                for one in records
            ]
            safe.append(table.mean(change)["low"] >= -loss)
        passed = [layer for layer in (1, 2, 3) if all(safe[layer - 1 :])]
        assert found["tasks"][task]["horizon"] == (passed[0] if passed else None)
        horizons.append(passed[0] if passed else 9)
    worst = max(horizons)
    method = todre.ToDRE.from_dict(found["method"])
    assert found["horizon"] == (None if worst == 9 else worst)
    assert found["left"] == [layer for layer in (1, 2, 3) if layer >= worst]
    assert list(method.reduce_after(4)) == found["left"]
    assert (method.threshold, method.diversity, method.layers) == (v1.threshold, v1.diversity, v1.layers)


def test_a_horizon_beyond_all_candidates_is_the_only_one():
    records = invented(0)
    for record in records:
        record["kept"] = 1.0
        for layer, drop in record["drop"].items():
            drop["score"] = float(layer == "3")
    found = calibrate.document(records, Goal(todre.ToDRE.v1(layers=(1, 2)), 0.0, (1, 2, 3)), 4)["horizon"]
    assert (found["horizon"], found["candidates"], found["left"]) == (3, [1, 2], [3])


def test_records_do_not_depend_on_what_a_calibration_replaces(loaded, asked, goal, records):
    guarded = dataclasses.replace(METHOD, layers=(3,), horizon=3, ahead="layers", threshold=0.0)
    other = Goal.checked(loaded.model, guarded, 0.1, None, max_new_tokens=STEPS)
    assert other.parameters() == goal.parameters()
    assert answers_of(loaded, asked, other) == records


def test_a_run_saves_a_method_that_loads(loaded, goal, tmp_path):
    source = Source(limit=8, split="val", size=96, tasks=("presence", "count"))
    job = Job("calibrate", goal.parameters(), loaded, source, tmp_path / "c.json", 4)
    found = calibrate.calibrate(job, dataclasses.replace(goal, loss=0.99))
    path = calibrate.save_method(found, job.output)
    method = todre.ToDRE.from_dict(json.loads(path.read_text()))
    assert method.to_dict() == found["method"]
    assert method.retain == 0.2
    assert found["found"]
    assert method.layers == (1,), "with any loss allowed, the first layer saves most"
    calibrate.save_method(found, job.output, "horizon")
    assert registry.load(path).to_dict() == found["horizon"]["method"]
    assert found["chosen_on"]["questions"] + found["checked_on"]["questions"] == 8
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": registry.create("random")}, "no stage 2"),
        ({"loss": 1.5}, "loss must be a share"),
        ({"layers": [4]}, "outside 1 to 3"),
        ({"max_new_tokens": 0}, "at least 1"),
    ],
)
def test_refusals(loaded, values, message):
    with pytest.raises(InvalidValueError, match=message):
        Goal.checked(loaded.model, **({"method": METHOD, "loss": 0.1, "layers": None} | values))
