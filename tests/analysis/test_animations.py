"""What frames show: the order by brute force from the picture's own tokens, answers and counts as elsewhere."""

import contextlib
from itertools import pairwise

import numpy as np
import pytest
import torch

import todre
from todre.analysis.animations import coverage_radii, falling_budget, heard, order_of_choosing, passing_layers
from todre.errors import InvalidValueError, UnsupportedInputError
from todre.hf.decoder import decoder_of
from todre.hf.greedy_decoding import greedy_settings
from todre.hf.keywords import EMBEDS, IDS
from todre.loading.model import load
from todre.methods import registry
from todre.running import Settings, answer, build_inputs
from todre.scenes import make_scene

QUESTION = "Is there a blue triangle in the picture?"
SHORT = Settings(max_new_tokens=2)


@pytest.fixture(scope="module")
def loaded():
    return load(None, device="cpu")


@pytest.fixture(scope="module")
def picture():
    return make_scene(3, "val").image.resize((120, 80))


@pytest.fixture(scope="module")
def tokens(loaded, picture):
    """The picture's visual tokens as they enter the unpruned decoder, (n, d) float64."""
    inputs, _ = build_inputs(loaded, [picture], QUESTION)
    seen = []
    handle = decoder_of(loaded.model).module.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs[EMBEDS]), with_kwargs=True
    )
    with contextlib.closing(type("Closing", (), {"close": staticmethod(handle.remove)})), torch.inference_mode():
        loaded.model.generate(**inputs, **greedy_settings(1))
    return seen[0][0, inputs[IDS][0] == loaded.model.config.image_token_id].double().numpy()


def cosines(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


def radius(table, kept):
    """Coverage radius by its words."""
    left = [token for token in range(len(table)) if token not in set(kept)]
    return max((min(1 - table[token, other] for other in kept) for token in left), default=0.0)


@pytest.mark.parametrize("name", ["divprune", "todre", "todre-v1"])
def test_the_order_is_that_of_the_pictures_own_tokens(loaded, picture, tokens, name):
    shown = order_of_choosing(loaded, picture, QUESTION, registry.create(name, retain=0.15), SHORT, 400)
    assert len(shown.boxes) == len(tokens)
    assert len(shown.frames) == round(0.15 * len(tokens))
    order = list(shown.frames[-1].kept)
    table = cosines(tokens)
    fold = np.sum if name == "todre" else np.max
    if name == "divprune":
        nearest = (table - 9 * np.eye(len(table))).max(axis=1)
        assert nearest[order[0]] <= nearest.min() + 1e-6
    for count in range(1, len(order)):
        values = fold(table[:, order[:count]], axis=1)
        values[order[:count]] = np.inf
        assert values[order[count]] <= values.min() + 1e-5
    for number, frame in enumerate(shown.frames, 1):
        assert (list(frame.kept), frame.fresh) == (order[:number], 1)
        assert frame.radius == pytest.approx(radius(table, order[:number]), abs=1e-5)


def test_what_is_heard_is_what_enters_the_decoder(loaded, picture, tokens):
    visual = heard(loaded, picture, QUESTION, todre.ToDRE(), 0)
    np.testing.assert_allclose(visual.embeddings.double().numpy(), tokens, rtol=0, atol=1e-6)
    assert visual.known


def test_few_frames_add_several_tokens_and_end_with_all(loaded, picture):
    whole = order_of_choosing(loaded, picture, QUESTION, todre.DivPrune(retain=23), SHORT, 400).frames
    few = order_of_choosing(loaded, picture, QUESTION, todre.DivPrune(retain=23), SHORT, 5).frames
    assert len(few) == 5
    assert sum(frame.fresh for frame in few) == len(few[-1].kept) == 23
    assert all(abs(frame.fresh - 23 / 5) < 1 for frame in few)
    assert [frame.radius for frame in few] == [whole[len(frame.kept) - 1].radius for frame in few]


def test_an_automatic_budget_has_its_own_number_of_frames(loaded, picture):
    method = todre.ToDRE(retain="auto-energy-0.9")
    shown = order_of_choosing(loaded, picture, QUESTION, method, SHORT, 400)
    kept = answer(loaded, [picture], QUESTION, method, SHORT).report.kept[0]
    assert 1 < len(shown.frames) == len(kept)
    assert sorted(shown.frames[-1].kept) == kept


def test_an_order_that_does_not_lead_to_what_was_kept_is_refused(loaded, picture, monkeypatch):
    monkeypatch.setattr(todre.DivPrune, "order", lambda self, visual: torch.arange(5))
    monkeypatch.setattr(todre.DivPrune, "select", lambda self, visual: torch.arange(len(visual)) >= len(visual) - 5)
    with pytest.raises(UnsupportedInputError, match="no single order"):
        order_of_choosing(loaded, picture, QUESTION, todre.DivPrune(retain=5), SHORT, 400)


def test_what_keeps_everything_has_no_order(loaded, picture):
    with pytest.raises(InvalidValueError, match="keeps all"):
        order_of_choosing(loaded, picture, QUESTION, todre.DivPrune(retain=1.0), SHORT, 400)
    with pytest.raises(UnsupportedInputError, match="order of choosing"):
        order_of_choosing(loaded, picture, QUESTION, todre.NoPruning(), SHORT, 400)


@pytest.mark.parametrize("seed", range(4))
def test_radii_are_those_of_a_brute_force(seed):
    """With twins, a zero token, and more columns than are held at once."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(300, 6, generator=generator)
    x[7] = x[3]
    x[11] = 0
    order = torch.randperm(300, generator=generator)[: 300 if seed == 0 else 40]
    wide = x.double().numpy()
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = wide / np.where(length > 0, length, 1)
    found = coverage_radii(x, order)
    assert len(found) == len(order)
    table = unit @ unit.T
    for count in (1, 2, 9, len(order) // 2, len(order)):
        assert found[count - 1] == pytest.approx(radius(table, order[:count].tolist()), abs=1e-5)
    assert all(later <= earlier for earlier, later in pairwise(found))


def test_answers_at_each_budget_are_those_of_a_run_of_its_own(loaded):
    scene = make_scene(3, "val").image
    methods = [(str(retain), todre.ToDRE(retain=retain)) for retain in (0.5, 0.1, 0.04, 0.02)]
    begun = []
    shown = falling_budget(loaded, scene, QUESTION, methods, SHORT, begun.append)
    assert begun == [frame.budget for frame in shown.frames] == ["0.5", "0.1", "0.04", "0.02"]
    answers = []
    for (_, method), frame in zip(methods, shown.frames, strict=True):
        alone = answer(loaded, [scene], QUESTION, method, SHORT)
        assert (frame.answer, list(frame.kept)) == (alone.text, alone.report.survivors(0))
        answers.append(alone.text)
    assert [frame.changed for frame in shown.frames] == [
        False, *(answers[place] != answers[place - 1] for place in range(1, 4))
    ]  # fmt: skip
    assert len(set(answers)) == 2


def test_no_budget_is_no_animation(loaded, picture):
    with pytest.raises(InvalidValueError, match="0 budgets"):
        falling_budget(loaded, picture, QUESTION, [], SHORT)


STAGE_2 = todre.ToDRE(retain=0.3, threshold=1.0, layers=(3,))


@pytest.mark.parametrize(
    "method",
    [registry.create("fastv"), registry.create("pyramiddrop"), STAGE_2, todre.NoPruning()],
    ids=["fastv", "pyramiddrop", "stage 2", "none"],
)
def test_layers_run_on_what_the_report_says(loaded, picture, method):
    shown = passing_layers(loaded, picture, QUESTION, method, SHORT)
    report = answer(loaded, [picture], QUESTION, method, SHORT).report
    first, *layers = shown.frames
    assert (first.layer, first.tokens, len(first.kept)) == (0, len(shown.boxes), len(shown.boxes))
    assert [frame.layer for frame in layers] == list(range(1, report.n_layers + 1))
    assert [frame.tokens for frame in layers] == report.visual_tokens_per_layer[0]
    assert [len(frame.kept) for frame in layers] == report.visual_tokens_per_layer[0]
    assert list(layers[0].kept) == report.kept[0]
    if method is STAGE_2:
        assert [frame.tokens for frame in layers[2:]] == [layers[0].tokens, *[0] * (report.n_layers - 3)]
