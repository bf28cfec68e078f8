"""The glimpse and its losses against float64 loops, and masks against the scene."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from glimpse.making import SMALL, lively, view_of

from todre.glimpse.labels import subject_places, token_mask, token_owners
from todre.glimpse.loss import dice_loss, mask_loss
from todre.scenes import Question, SceneObject, make_scene


def brute_force(glimpse, view, row):
    """Logits of one row, (n,) float64."""
    p = {name: value.double().numpy() for name, value in glimpse.state_dict().items()}
    query, key = view.query[row].double().numpy(), view.key[row].double().numpy()
    states, inputs = view.states[row].double().numpy(), view.inputs[row].double().numpy()
    text, tokens = int(view.text[row].sum()), int(view.visual[row].sum())
    heads, width = len(query), states.shape[1]

    def normed(vector):
        return vector / math.sqrt(sum(x * x for x in vector) / width + 1e-6)

    features = np.zeros((tokens, 0))
    for look in range(len(p["look"])):
        weights = np.array([math.exp(p["look"][look] @ normed(states[t]) / math.sqrt(width)) for t in range(text)])
        weights /= weights.sum()
        for head in range(heads):
            asked = sum(weights[t] * query[head, t] for t in range(text)) + p["offset"][look, head]
            logits = np.array([asked @ key[head * len(key) // heads, v] * view.scaling for v in range(tokens)])
            logs = logits - math.log(sum(math.exp(x) for x in logits)) + math.log(tokens)
            features = np.column_stack([features, np.maximum(logs, -20.0)])
    results = []
    for token in range(tokens):
        seen = p["condition.weight"] @ normed(inputs[token]) + p["condition.bias"]
        mixed = p["mix.weight"] @ np.concatenate([features[token], seen]) + p["mix.bias"]
        gelu = np.array([0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in mixed])
        results.append(float(p["out.weight"][0] @ gelu + p["out.bias"][0]))
    return np.array(results)


@pytest.mark.parametrize(("kv", "scale", "t", "n"), [(2, 1.0, 3, 7), (4, 1.0, 1, 1), (1, 5.0, 4, 9)])
def test_logits_equal_loops(kv, scale, t, n):
    glimpse, view = lively(), view_of(kv=kv, scale=scale, t=t, n=n)
    for row in range(2):
        np.testing.assert_allclose(glimpse(view)[row].numpy(), brute_force(glimpse, view, row), rtol=2e-4, atol=2e-4)


def test_padding_is_not_seen():
    glimpse, view = lively(), view_of(t=4, n=9)
    view.text[1, 3], view.visual[1, 6:] = False, False
    got = glimpse(view)
    np.testing.assert_allclose(got[1, :6].numpy(), brute_force(glimpse, view, 1), rtol=2e-4, atol=2e-4)
    wild = dataclasses.replace(view, states=view.states.clone(), key=view.key.clone())
    wild.states[1, 3], wild.key[1, :, 6:] = 1e4, -1e4
    assert torch.equal(glimpse(wild)[1, :6], got[1, :6])


def test_losses_equal_their_formulas():
    logits = torch.tensor([[0.3, -2.0, 5.0, 0.0], [-1.0, -9.0, 0.5, 2.0]])
    target = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    dice, total = [], 0.0
    for row in range(2):
        p = [1 / (1 + math.exp(-x)) for x in logits[row].tolist()]
        y = target[row].tolist()
        dice.append(1 - (2 * sum(a * b for a, b in zip(p, y, strict=True)) + 1) / (sum(p) + sum(y) + 1))
        entropy = -sum(b * math.log(a) + (1 - b) * math.log(1 - a) for a, b in zip(p, y, strict=True)) / 4
        total += (dice[-1] + 0.1 * entropy) / 2
    np.testing.assert_allclose(dice_loss(logits, target).numpy(), dice, rtol=1e-5)
    assert float(mask_loss(logits, target)) == pytest.approx(total, rel=1e-5)


def thing(colour, shape, size="small"):
    return SceneObject("shape", 0, 0, 7, 7, colour, shape, size)


THINGS = [
    thing("red", "star"),
    thing("red", "circle", "large"),
    thing("blue", "star", "large"),
    SceneObject("digit", 0, 0, 9, 9, text="4"),
    SceneObject("word", 0, 0, 9, 9, text="cat"),
    SceneObject("distractor", 0, 0, 9, 9, text="target"),
    thing("cyan", "cross"),
]


@pytest.mark.parametrize(
    ("task", "text", "places"),
    [
        ("presence", "Is there a red star in the picture?", [0]),
        ("presence", "Is there a blue circle in the picture?", []),
        ("colour", "What color is the large star?", [2]),
        ("colour", "What color is the cross?", [6]),
        ("shape", "What shape is the red object?", [0, 1]),
        ("shape", "What shape is the large red object?", [1]),
        ("size", "Is the red circle small or large?", [1]),
        ("count", "How many red shapes are there?", [0, 1]),
        ("count", "How many stars are there?", [0, 2]),
        ("count", "How many crosses are there?", [6]),
        ("relation", "Is the red star left of the cyan cross?", [0, 6]),
        ("quadrant", "Where is the blue star?", [2]),
        ("digit", "What digit is shown?", [3]),
        ("word", "What word is written?", [4]),
        ("caption", "Describe the picture.", [0, 1, 2, 6]),
    ],
)
def test_what_a_question_is_about(task, text, places):
    assert subject_places(Question(task, text, ""), THINGS) == places


@pytest.mark.parametrize("size", [(192, 192), (96, 192), (192, 144)])
def test_masks_lie_where_the_objects_are(size):
    scene = make_scene(3, "train", size)
    owners = token_owners(scene)
    width, height = size
    assert len(owners) == 144 + (height // 8) * (width // 8 + 1)
    fine = owners[144:].reshape(height // 8, width // 8 + 1)
    assert not fine[:, -1].any()
    for row, column in np.argwhere(fine):
        assert fine[row, column] in scene.owners[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
    digit = next(question for question in scene.questions if question.task == "digit")
    plate = next(place for place, one in enumerate(scene.objects) if one.kind == "digit")
    assert np.array_equal(token_mask(scene, digit), owners == plate + 1)
    assert token_mask(scene, digit).any()


def test_small_shape_is_what_tests_say():
    assert lively().shape == SMALL
