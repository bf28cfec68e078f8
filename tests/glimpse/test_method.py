"""GlimpsePrune on the shipped model: the runtime's view, the rule, budgets."""

import numpy as np
import pytest
import torch

import todre
from todre.errors import InvalidValueError
from todre.evaluate.batch_answers import answer, encode, prepare
from todre.glimpse.gather import Gatherer
from todre.loading.model import Loaded, load
from todre.methods.glimpse.weights import load_trained
from todre.methods.glimpseprune import GlimpsePrune
from todre.scenes import make_scene
from todre.tiny import load as load_tiny


@pytest.fixture(scope="module")
def shipped() -> Loaded:
    return load(None, device="cpu", dtype="float32")


def kept_by(loaded, method, scene, questions):
    """Visual tokens left after the layer, for each question."""
    prepared = prepare(loaded, scene.image, questions)
    with torch.inference_mode(), todre.prune(loaded.model, method) as report:
        features = [encode(loaded.model, prepared.pixels)] * len(questions)
        answer(loaded, report, prepared.prompts, features, 1, share=False)
        return [layers.get(1, layers[0]) for layers in report.kept_from_layer]


@pytest.mark.parametrize("size", [(192, 192), (96, 192)])
def test_the_runtime_shows_what_training_showed(shipped, size):
    scene = make_scene(11, "val", size)
    glimpse = load_trained().glimpse
    asked = scene.questions[::2]
    probability = glimpse(Gatherer(*load_tiny(), 1).view(scene, asked)).sigmoid().numpy()
    assert np.abs(probability - 0.5).min() > 1e-5
    kept = kept_by(shipped, GlimpsePrune(), scene, asked)
    for row, places in enumerate(kept):
        marked = np.flatnonzero(probability[row] > 0.5)
        assert places == (marked.tolist() or [int(probability[row].argmax())])
    most = [np.sort(np.argsort(-row, kind="stable")[:9]).tolist() for row in probability]
    assert kept_by(shipped, GlimpsePrune(least=9, cap=9), scene, asked) == most


def test_budget(shipped):
    scene = make_scene(12, "val", 96)
    asked = scene.questions[:3]
    assert [len(places) for places in kept_by(shipped, GlimpsePrune(least=10**6), scene, asked)] == [300] * 3
    capped = kept_by(shipped, GlimpsePrune(least=10**6, cap=0.1), scene, asked)
    assert [len(places) for places in capped] == [30] * 3
    least = kept_by(shipped, GlimpsePrune(threshold=1 - 1e-7, least=5), scene, asked)
    assert [len(places) for places in least] == [5] * 3


def test_the_shipped_weights_find_more_than_chance(shipped):
    found, kept = [], []
    for seed in range(3):
        scene = make_scene(seed, "val")
        asked = [question for question in scene.questions if question.task in ("digit", "word", "quadrant")]
        masks = Gatherer.masks(None, scene, asked).bool().numpy()
        for mask, places in zip(masks, kept_by(shipped, GlimpsePrune(), scene, asked), strict=True):
            found.append(mask[places].sum() / mask.sum())
            kept.append(len(places) / len(mask))
    assert np.mean(found) > 0.6
    assert np.mean(kept) < 0.1


@pytest.mark.parametrize(
    "values",
    [{"threshold": 0.0}, {"threshold": 1}, {"threshold": "x"}, {"cap": 0.0}, {"cap": 0}, {"least": 0}, {"weights": 3}],
)
def test_bad_values_are_refused(values):
    with pytest.raises(InvalidValueError):
        GlimpsePrune(**values)


def test_config_round_trip():
    method = GlimpsePrune(cap=0.111, least=3, threshold=0.4, weights="w.safetensors")
    assert GlimpsePrune.from_dict(method.to_dict()) == method
