"""The guard inside the model: what it sees, what it warns of, and what it leaves whole."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import tinymodels as tm
import torch
from methods import matrix
from methods.examples import anyres, pictures

import todre
from todre.errors import GuardWarning, InvalidValueError
from todre.methods import guard as guards
from todre.methods.auto_budget import AutoBudget
from todre.methods.views.visual_tokens import Selection
from todre.runtime.guarded import look, watch
from todre.runtime.selection import choose
from todre.tensors.token_facts import Signal

METHOD = todre.ToDRE(retain=0.1, stages=(1,))
NEVER = todre.Guard(radius=2.0, rank=1e300, text=1.0, entropy=1.0)
ALWAYS = todre.Guard(action="refuse", radius=0.0, rank=None, text=None)


def inputs_of(model):
    """A row of one picture, a row of two, and a row without any."""
    return tm.ragged(model)


def forward(model, inputs, method, guard="off"):
    with torch.no_grad(), todre.prune(model, method, guard=guard) as report:
        return model(**inputs).logits, report


@pytest.mark.parametrize("kind", ["next-llama", "llava"])
def test_a_guard_that_never_fires_changes_no_bit(models, kind):
    model = models(kind)
    inputs = inputs_of(model)
    expected, plain = forward(model, inputs, METHOD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got, report = forward(model, inputs, METHOD, NEVER)
    assert torch.equal(got, expected)
    assert report.kept == plain.kept
    assert (plain.guard, plain.guarded) == (None, [[], [], []])
    assert report.guard == NEVER.to_dict()
    assert [[seen.picture for seen in row] for row in report.guarded] == [[0], [0, 1], []]
    assert report.notes == []


@pytest.mark.parametrize("kind", ["next-llama", "llava"])
def test_a_refused_picture_is_bit_equal_to_the_untouched_model(models, kind):
    model = models(kind)
    inputs = inputs_of(model)
    with torch.no_grad():
        expected = model(**inputs, position_ids=tm.positions(inputs["attention_mask"])).logits
    with torch.no_grad(), todre.prune(model, METHOD, guard=ALWAYS) as report:
        got = model(**inputs, position_ids=tm.positions(inputs["attention_mask"])).logits
    assert torch.equal(got, expected)
    assert report.visual_tokens_after == report.visual_tokens_before
    seen = report.guarded[1][1]
    assert seen.above == ("radius",)
    assert seen.kept < seen.left == seen.tokens
    assert len(report.notes) == 3
    assert f"in picture 1 in row 1, of which {seen.left} of {seen.tokens} visual tokens entered" in report.notes[2]


def test_one_picture_of_a_row_is_left_whole_and_the_other_pruned(models):
    model = models("next-llama")
    inputs = inputs_of(model)
    _, plain = forward(model, inputs, METHOD, NEVER)
    first, second = (seen.radius for seen in plain.guarded[1])
    guard = todre.Guard(action="refuse", radius=(first + second) / 2, rank=None, text=None)
    _, report = forward(model, inputs, METHOD, guard)
    whole, pruned = (0, 1) if first > second else (1, 0)
    found = report.guarded[1]
    assert found[whole].left == found[whole].tokens > found[whole].kept
    assert found[pruned].left == found[pruned].kept < found[pruned].tokens
    bounds = np.cumsum([0, *(seen.tokens for seen in found)])
    kept = report.kept[1]
    assert set(range(bounds[whole], bounds[whole + 1])) <= set(kept)
    inside = [token for token in plain.kept[1] if bounds[pruned] <= token < bounds[pruned + 1]]
    assert [token for token in kept if bounds[pruned] <= token < bounds[pruned + 1]] == inside


def test_a_row_is_guarded_alone_as_in_a_batch(models):
    model = models("next-llama")
    samples = [
        tm.sample(model, 7, [tm.SIZES[0]], 6, seed=1),
        tm.sample(model, 4, [tm.SIZES[2], tm.SIZES[4]], 9, seed=2),
    ]
    _, together = forward(model, tm.batch(model, samples), METHOD, ALWAYS)
    for row, sample in enumerate(samples):
        _, alone = forward(model, tm.batch(model, [sample]), METHOD, ALWAYS)
        assert alone.kept == [together.kept[row]]
        for one, other in zip(alone.guarded[0], together.guarded[row], strict=True):
            assert (one.tokens, one.kept, one.left, one.above) == (other.tokens, other.kept, other.left, other.above)
            assert one.radius == pytest.approx(other.radius, abs=1e-5)


@pytest.mark.parametrize(("floor", "share"), [(0.5, 0.5), (20, None)])
def test_a_guarded_picture_gets_its_floor(models, floor, share):
    model = models("next-llama")
    inputs = inputs_of(model)
    plain = todre.ToDRE(retain=AutoBudget(ceiling=0.1, text=None), stages=(1,))
    for method in (METHOD, plain, todre.ToDRE(retain=0.1, per="image", stages=(1,))):
        _, report = forward(
            model, inputs, method, todre.Guard(action="refuse", radius=0.0, rank=None, text=None, floor=floor)
        )
        assert any(seen.left > seen.kept for row in report.guarded for seen in row)
        for row in report.guarded:
            for seen in row:
                least = round(share * seen.tokens) if share else min(floor, seen.tokens)
                assert seen.left == max(seen.kept, least)


def test_a_picture_above_its_floor_stays_as_it_is(models):
    model = models("next-llama")
    inputs = inputs_of(model)
    expected, plain = forward(model, inputs, METHOD)
    got, report = forward(
        model, inputs, METHOD, todre.Guard(action="refuse", radius=0.0, rank=None, text=None, floor=1)
    )
    assert torch.equal(got, expected)
    assert report.kept == plain.kept
    assert all(seen.above and seen.left == seen.kept for row in report.guarded for seen in row)


def test_a_warning_is_one_sentence_and_the_answer_that_of_no_guard(models):
    model = models("next-llama")
    inputs = inputs_of(model)
    expected, _ = forward(model, inputs, METHOD)
    with pytest.warns(GuardWarning) as warned:
        got, report = forward(model, inputs, METHOD, todre.Guard(radius=0.0, rank=None, text=None))
    assert torch.equal(got, expected)
    (one,) = warned
    seen = report.guarded[0][0]
    assert str(one.message) == (
        f"Pruning may harm the answer about picture 0 of row 0 (and 2 more), which keeps {seen.kept} of {seen.tokens} "
        f"visual tokens with radius {seen.radius:.3g} above 0; keep more, or use guard='refuse'."
    )
    assert len(report.notes) == 3
    assert str(report).count("The guard saw radius") == 3
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    model_alone = tm.batch(model, [tm.sample(model, 4, [], 3)])
    with torch.no_grad(), todre.prune(model, METHOD, guard="warn") as report:
        model(**model_alone)
    assert (report.guarded, report.auto_budgets, report.notes) == ([[]], [[]], [])


def test_words_choose_the_action():
    for word in ("warn", "refuse"):
        assert guards.Guard.of(word) == todre.Guard(action=word)
    assert guards.Guard.of("off") is None
    assert guards.Guard.of(NEVER) is NEVER


def test_signals_are_those_of_the_formulas():
    saliency = Signal("auto")
    visual = anyres(seed=3, signals={saliency: None}, d=6)
    chosen = torch.zeros(len(visual), dtype=torch.bool)
    chosen[::7] = True
    seen = look(NEVER, visual, chosen, 4)
    content = (~visual.newline).nonzero().flatten().tolist()
    rows = visual.embeddings.double().numpy()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    kept = [token for token in content if chosen[token]]
    worst = max(1 - (unit[token] @ unit[kept].T).max() for token in content if not chosen[token])
    sigma = np.linalg.svd(rows[content], compute_uv=False)
    share = sigma / sigma.sum()
    attention = visual.signals[saliency].double().numpy()[content]
    attention = attention / attention.sum()
    assert seen.radius == pytest.approx(worst, abs=1e-6)
    assert seen.rank == pytest.approx(np.exp(-(share * np.log(share)).sum()) / len(kept), rel=1e-6)
    assert seen.entropy == pytest.approx(-(attention * np.log(attention)).sum() / np.log(len(content)), rel=1e-6)
    assert (seen.picture, seen.tokens, seen.kept, seen.above) == (4, len(visual), int(chosen.sum()), ())
    assert look(NEVER, visual, torch.ones_like(chosen), 0).radius is None
    assert look(todre.Guard(radius=None, rank=1.0), visual, chosen, 0).radius is None
    assert look(NEVER, anyres(seed=3), chosen, 0).entropy is None  # the method reads no saliency


def test_a_merged_picture_gets_its_own_embeddings_back():
    sample = pictures(d=8, sizes=((4, 4), (3, 3)))
    merged = torch.zeros_like(sample.embeddings)
    kept = torch.tensor([0, 20])
    found = watch(ALWAYS, METHOD, sample, None, kept, merged, lambda *_: (None, None))
    assert found.keep is None
    assert torch.equal(found.embeddings, sample.embeddings)
    assert not merged.any()
    half = torch.cat([torch.arange(16), torch.tensor([20])])  # the first picture is whole already
    found = watch(ALWAYS, METHOD, sample, None, half, merged, lambda *_: (None, None))
    assert torch.equal(found.embeddings[:16], merged[:16])
    assert torch.equal(found.embeddings[16:], sample.embeddings[16:])


def test_a_floor_asks_a_merging_method_again():
    sample = pictures(d=8, sizes=((6, 6),))

    class Doubling(todre.RandomTokens):
        def select(self, visual):
            return Selection(super().select(visual), visual.embeddings * 2)

    guard = todre.Guard(action="refuse", radius=0.0, rank=None, text=None, floor=12)
    found = choose(Doubling(retain=3), sample, guard)
    assert len(found.keep) == 12
    assert torch.equal(found.embeddings[found.keep], 2 * sample.embeddings[found.keep])


@pytest.mark.parametrize("name", ["fastv", "tome", "vtw", "todre-stage-2"])
def test_methods_that_do_not_choose_before_the_llm_are_refused(models, name):
    with pytest.raises(InvalidValueError, match=r"does not choose before the LLM, where the guard looks; .*\.$"):
        todre.attach(models("next-llama"), matrix.method_of(name), guard="warn")
    assert not hasattr(models("next-llama"), "todre_attachment")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: todre.Guard(radius=None, rank=None, text=None),
            r"A Guard without radius, rank, text and entropy sees nothing; .*",
        ),
        (lambda: todre.Guard(floor=0.5), r"Guard\.floor=0\.5 would change nothing with action='warn'; .*"),
        (lambda: todre.Guard(radius=3), r"Guard\.radius must be a distance .* 2.*, not 3"),
        (lambda: todre.Guard(action="stop"), r"Guard\.action must be one of warn, refuse, not 'stop'"),
        (lambda: guards.Guard.of("on"), r"guard must be one of warn, refuse, off, not 'on'"),
        (lambda: guards.Guard.of(None), r"guard must be one of warn, refuse, off, not None"),
        (lambda: guards.Guard.from_dict({"radios": 1}), r"Guard has no field 'radios'; did you mean 'radius'\? .*"),
        (
            lambda: todre.Guard(action="refuse", floor=3).check(todre.Compose(METHOD, todre.DivPrune())),
            r"Guard\.floor=3 needs one method with a budget that it can raise, which compose is not; .*",
        ),
    ],
)
def test_what_is_no_guard_is_one_sentence(make, sentence):
    with pytest.raises(InvalidValueError, match=rf"^{sentence}\.$"):
        make()


def test_a_guard_is_kept_in_a_file(tmp_path):
    guard = todre.Guard(action="refuse", radius=0.25, rank=None, text=None, floor=0.5)
    guards.save(guard, tmp_path / "guard.json")
    assert guards.load(tmp_path / "guard.json") == guard
    (tmp_path / "wrong.json").write_text('{"radius": "far"}')
    with pytest.raises(InvalidValueError, match=r"Guard\.radius must be a distance"):
        guards.load(tmp_path / "wrong.json")
