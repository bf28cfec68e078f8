"""Probabilities equal those of the untouched model with the dropped columns masked; horizons follow from them."""

import dataclasses

import numpy as np
import oracles
import pytest
import torch
from lively import LAYERS

from todre.analysis import horizon
from todre.analysis.horizon import Probe, first_within, horizons_of, without_windows
from todre.analysis.prompts import first_answer_token, prompts_of
from todre.analysis.results import Job, Measured
from todre.analysis.retention_probe import Prober
from todre.analysis.windows import windows_of
from todre.errors import InvalidValueError, UnsupportedInputError
from todre.geometry import TokenBox, visual_token_boxes
from todre.tensors.columns import VISUAL

KEPT = [(), (0,), (3, 4, 150, 299), tuple(range(40, 90)), (299,)]


@pytest.fixture(scope="module")
def asked(loaded):
    from todre.analysis.questions import Source

    return Source(limit=3, split="val", size=96).questions()[2]


@pytest.fixture(scope="module")
def prompts(loaded, asked):
    return prompts_of(loaded, [asked])


@torch.no_grad()
def masked(loaded, prompts, token, kept, layer):
    """The probability by the mask oracle, which uses none of todre's runtime."""
    visual = prompts.kinds == VISUAL
    gone = torch.zeros(1, LAYERS, visual.shape[1], dtype=torch.bool)
    lost = visual[0].clone()
    lost[visual[0].nonzero().flatten()[list(kept)]] = False
    gone[0, layer:, lost] = True
    with oracles.mask_oracle(loaded.model, gone):
        logits = loaded.model(**prompts.inputs).logits[0, -1]
    return float(logits.softmax(dim=-1)[token])


@pytest.mark.parametrize("early", [1, None])
def test_probabilities_equal_the_mask_oracle(loaded, prompts, early):
    with torch.no_grad():
        token = int(loaded.model(**prompts.inputs).logits[0, -1].argmax())
    prober = Prober(loaded, prompts, token, rows=2)
    seen = set()
    for layer in (1, 2, 3):
        found = prober.after(layer, layer if early is None else early, KEPT)
        expected = [masked(loaded, prompts, token, kept, layer) for kept in KEPT]
        np.testing.assert_allclose(found, expected, atol=2e-6)
        seen.update(round(p, 4) for p in found)
    assert len(seen) > 10, "what is left matters in this model"
    everything = tuple(range(int((prompts.kinds == VISUAL).sum())))
    assert prober.after(2, 1, [everything]) == pytest.approx([prober.full], abs=1e-6)
    assert prober.full == pytest.approx(masked(loaded, prompts, token, everything, 1), abs=1e-6)


def test_the_number_of_rows_changes_nothing(loaded, prompts):
    one, many = (Prober(loaded, prompts, 7, rows).after(3, 1, KEPT) for rows in (1, 5))
    assert one == pytest.approx(many, rel=1e-4, abs=1e-7)


def test_the_token_is_the_first_of_the_answer_in_the_template(loaded, asked):
    token = first_answer_token(loaded, asked)
    assert loaded.processor.tokenizer.decode([token]).strip() == asked.question.answer.split()[0]
    blank = dataclasses.replace(asked, question=dataclasses.replace(asked.question, answer=" "))
    with pytest.raises(UnsupportedInputError, match="no true answer"):
        first_answer_token(loaded, blank)


@pytest.mark.parametrize("side", [1, 2, 3, 50])
def test_windows_cut_every_raster_into_squares(loaded, side):
    boxes = visual_token_boxes(loaded.processor, loaded.model.config, [(192, 128)])
    windows = windows_of(boxes, side)
    assert sorted(index for window in windows for index in window) == list(range(len(boxes)))
    for window in windows:
        (kind,) = {boxes[index].kind for index in window}
        if kind == "newline":
            continue
        assert len(window) <= side * side
        left, right = min(boxes[i].left for i in window), max(boxes[i].right for i in window)
        top, bottom = min(boxes[i].top for i in window), max(boxes[i].bottom for i in window)
        inside = [i for i, b in enumerate(boxes) if b.kind == kind and left <= (b.left + b.right) / 2 < right]
        inside = [i for i in inside if top <= (boxes[i].top + boxes[i].bottom) / 2 < bottom]
        assert inside == sorted(window), "nobody between neighbours is left out"


def test_frames_and_pictures_have_windows_of_their_own():
    boxes = [
        TokenBox(image, "grid", 10.0 * c, 10.0 * r, 10.0 * c + 10, 10.0 * r + 10, frame)
        for image, frame in ((0, 0), (0, 1), (1, None))
        for r in range(2)
        for c in range(2)
    ]
    assert sorted(windows_of(boxes, 2)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    with pytest.raises(InvalidValueError, match="side of at least 1"):
        windows_of(boxes, 0)


def test_horizons():
    probe = Probe(layers=(2, 4, 6), tolerance=0.01)
    assert first_within([0.5, 0.01, 0.0], probe) == 4
    assert first_within([0.0, 0.5, 0.0], probe) == 6, "information that comes back counts"
    assert first_within([0.0, 0.0, 0.02], probe) is None
    assert first_within([-0.01, 0.01, 0.0], probe) == 2
    largest = {2: np.array([0.0, 0.3, 0.3]), 4: np.array([0.0, 0.0, 0.3]), 6: np.array([0.0, 0.0, 0.2])}
    assert horizons_of(largest, np.array([True, True, True]), probe).tolist() == [2, 4, np.inf]
    assert horizons_of(largest, np.array([False, True, False]), probe).tolist() == [4]


def test_document_by_hand():
    def record(picture, task, values):
        layers = {str(layer): {"p_text": text, "information": each} for layer, text, each in values}
        return without_windows({"picture": picture, "task": task, "p_full": 0.9, "layers": layers})

    records = [
        record("1", "colour", [(1, 0.1, [0.5, -0.7]), (2, 0.9, [0.001, -0.004])]),
        record("2", "digit", [(1, 0.2, [0.2, 0.0]), (2, 0.5, [0.1, 0.3])]),
    ]
    found = horizon.document(Measured(records, {}), Probe(layers=(1, 2), tolerance=0.01), "todre")
    colour, digit = found["tasks"]["colour"], found["tasks"]["digit"]
    assert [point["mean"] for point in colour["largest"]] == [0.7, 0.004]
    assert [point["mean"] for point in digit["all_together"]] == [0.7, 0.4]
    assert (colour["horizon"], digit["horizon"]) == (2, None)
    assert (colour["horizon_all_together"], digit["horizon_all_together"]) == (2, None)
    assert found["tasks"]["all"]["horizon_all_together"] is None
    assert found["tasks"]["all"]["questions_beyond_layer"] == {"1": 1.0, "2": 0.5}
    assert found["records"][0]["layers"]["1"] == {"p_text": 0.1, "largest": 0.5, "smallest": -0.7, "spread": 0.6}


def test_a_run(loaded, source, tmp_path):
    probe = Probe.checked(loaded.model, None, window=6)
    assert probe.layers == (1, 2, 3)
    job = Job("horizon", {}, loaded, dataclasses.replace(source, limit=1), tmp_path / "h.json", 1)
    found = horizon.horizon(job, probe)
    assert found["records"][0]["windows"] == 4 + 4 + 1
    assert found["tasks"]["all"]["questions"] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": [4]}, "after the last nothing is left"),
        ({"layers": [0, 1]}, "outside 1 to 3"),
        ({"layers": None, "tolerance": 0.0}, "tolerance"),
        ({"layers": None, "window": 0}, "window must be"),
        ({"layers": None, "rows": True}, "rows must be"),
    ],
)
def test_refusals(loaded, values, message):
    with pytest.raises(InvalidValueError, match=message):
        Probe.checked(loaded.model, **values)
