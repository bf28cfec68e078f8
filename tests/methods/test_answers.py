"""What a method of a user's own may answer, and the error for everything else."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
import tinymodels as tm
import torch
from methods import decoder_layers

import todre
from todre.errors import InvalidValueError
from todre.methods import registry
from todre.methods.base import Method
from todre.methods.views import answers
from todre.methods.views.reduction import Reduction
from todre.methods.views.visual_tokens import Selection
from todre.tensors.token_facts import Signal

N = 16


@dataclass(frozen=True, kw_only=True)
class Says(Method):
    """Answers `select` with a fixed answer."""

    answer: Any = None

    name = "says"
    selects = True

    def select(self, visual):
        return self.answer(visual) if callable(self.answer) else self.answer


@dataclass(frozen=True, kw_only=True)
class SaysInside(Method):
    """Answers `reduce` with a fixed answer."""

    answer: Any = None
    layers: Any = (2,)

    name = "says-inside"

    def reduce_after(self, n_layers):
        return self.layers

    def reduce(self, context):
        return self.answer(context) if callable(self.answer) else self.answer


def run(method):
    model = tm.build("llava")
    inputs = tm.batch(model, [tm.sample(model, 4, [tm.SIZES[0]], 5)])
    with todre.prune(model, method) as report:
        model(**inputs)
    return report


def places(*values, dtype=torch.long):
    return torch.tensor(values, dtype=dtype)


SELECTED = [
    (None, "with None"),
    ([0, 1], r"with \[0, 1\]"),
    ("all", "with 'all'"),
    (3, "with 3"),
    (places(0, 1, dtype=torch.int32), r"a torch\.int32 tensor of shape \(2,\)"),
    (places(0.0, 1.0, dtype=torch.float), r"a torch\.float32 tensor"),
    (torch.ones(3, dtype=torch.bool), r"a torch\.bool tensor of shape \(3,\); answer with \(16,\) bool"),
    (torch.ones(1, N, dtype=torch.bool), r"a torch\.bool tensor of shape \(1, 16\)"),
    (places(0, N), rf"the indices \[0, {N}\] of {N} visual tokens; answer with indices from 0 to {N - 1}, each once"),
    (places(-1, 2), r"the indices \[-1, 2\]"),
    (places(3, 3), r"the indices \[3, 3\]"),
    (places(5, 2), r"the indices \[5, 2\]"),
    (places(*range(N), N - 1), "the indices"),
    (lambda visual: Selection(None, visual.embeddings), "with None"),
    (lambda visual: Selection(places(1, 1), visual.embeddings), r"the indices \[1, 1\]"),
    (lambda visual: Selection(places(1), None), "with None as embeddings"),
    (
        lambda visual: Selection(places(1), visual.embeddings[:1]),
        r"shape \(1, \d+\) as embeddings; it must be \(16, \d+\)",
    ),
    (lambda visual: Selection(places(1), visual.embeddings.long()), r"a torch\.int64 tensor .* as embeddings"),
]


@pytest.mark.parametrize(("answer", "sentence"), SELECTED, ids=map(str, range(len(SELECTED))))
def test_answers_of_select_that_are_none(answer, sentence):
    with pytest.raises(InvalidValueError, match=sentence) as caught:
        run(Says(answer=answer))
    assert str(caught.value).startswith("says answered select with ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("answer", [places(2, 5), places(), torch.arange(N), torch.arange(N) > 3])
def test_answers_of_select_that_are_some(answer):
    expected = answer.nonzero().flatten() if answer.dtype == torch.bool else answer
    assert run(Says(answer=answer)).kept == [expected.tolist()]


def test_indices_are_counted_where_a_method_says_how_many():
    exact = type("Exact", (Says,), {"exact": True, "retain": 3})
    assert run(exact(answer=places(1, 2, 4))).kept == [[1, 2, 4]]
    with pytest.raises(
        InvalidValueError, match="says is declared exact, so it must keep 3 of 16 visual tokens, but it kept 2"
    ):
        run(exact(answer=places(1, 2)))


@pytest.mark.parametrize("kind", ["meta"])
def test_what_stands_on_an_accelerator_is_not_read(kind):
    """Tensors on the meta device have no values, so reading one raises.

    Shapes and counts are known all the same.
    """
    method = Says()
    there = torch.tensor([5, 2, 2], device=kind)
    assert answers.kept_index(method, there, N) is there
    with pytest.raises(InvalidValueError, match="answered select with"):
        answers.kept_index(method, torch.ones(3, dtype=torch.bool, device=kind), N)
    exact = type("Exact", (Says,), {"exact": True, "retain": 3})()
    assert answers.kept_index(exact, there, N) is there
    assert answers.kept_index(exact, torch.ones(N, dtype=torch.bool, device=kind), N).shape == (3,)
    with pytest.raises(InvalidValueError, match="kept 2"):
        answers.kept_index(exact, there[:2], N)
    context = decoder_layers.made(queries=7, seed=1)
    away = dataclasses.replace(context, kinds=context.kinds.to(kind), hidden=context.hidden.to(kind))
    nothing = Reduction(torch.zeros(away.kinds.shape, dtype=torch.bool, device=kind))
    assert answers.check_reduction(method, nothing, away) is nothing


def all_kept(context):
    return torch.ones_like(context.visual)


REDUCED = [
    (None, "with None; answer with a Reduction"),
    (all_kept, r"a torch\.bool tensor of shape \(1, \d+\); answer with a Reduction"),
    (lambda c: Reduction(None), "with None as keep"),
    (lambda c: Reduction(all_kept(c).float()), r"a torch\.float32 tensor .* as keep; it must be \(1, \d+\) bool"),
    (lambda c: Reduction(all_kept(c)[:, 1:]), "as keep; it must be"),
    (lambda c: Reduction(~all_kept(c)), "drops what is not visual"),
    (lambda c: Reduction(~c.visual, left=[1]), r"left=\[1\], but its keep leaves \[0\]"),
    (lambda c: Reduction(all_kept(c), left=[0]), r"left=\[0\], but its keep leaves \[16\]"),
    (lambda c: Reduction(~c.visual, left=[0, 0]), r"left=\[0, 0\]; it must be a count for each of 1 rows"),
    (lambda c: Reduction(~c.visual, left=[99]), r"left=\[99\]; it must be a count for each of 1 rows, at most \[16\]"),
    (lambda c: Reduction(~c.visual, left=["0"]), r"Reduction\.left of says-inside\[0\] must be a whole number"),
    (lambda c: Reduction(~c.visual, left=3), r"Reduction\.left of says-inside must be a list"),
    (lambda c: Reduction(all_kept(c), hidden=c.hidden[:, 1:]), r"as hidden; it must be \(1, \d+, \d+\)"),
    (lambda c: Reduction(all_kept(c), hidden="x"), "with 'x' as hidden"),
    (lambda c: Reduction(all_kept(c), text_to_visual=0.5), "with 0.5 as text_to_visual"),
    (lambda c: Reduction(all_kept(c), visual_to_text=torch.ones(2)), "as visual_to_text"),
]


@pytest.mark.parametrize(("answer", "sentence"), REDUCED, ids=map(str, range(len(REDUCED))))
def test_answers_of_reduce_that_are_none(answer, sentence):
    with pytest.raises(InvalidValueError, match=sentence) as caught:
        run(SaysInside(answer=answer))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("left", [None, [0], (0,), torch.tensor([0])])
def test_answers_of_reduce_that_are_some(left):
    report = run(SaysInside(answer=lambda context: Reduction(~context.visual, left=left)))
    assert report.dropped_after_layer == [2]


@pytest.mark.parametrize("layers", [None, 3, (0,), (99,), ("x",), (1.5,), (True,), [-1]])
def test_layers_that_there_are_not(layers):
    with pytest.raises(InvalidValueError, match=r"SaysInside\.reduce_after\(\d+\).* must be a .*, not "):
        run(SaysInside(layers=layers, answer=lambda context: Reduction(~context.visual)))


@pytest.mark.parametrize("signals", [None, "cls", 3, [("cls", -1)], ["cls"]])
def test_signals_that_there_are_not(signals):
    asks = type("Asks", (Says,), {"signals": lambda self: signals})
    with pytest.raises(InvalidValueError, match=r"What signals answers.* must be a "):
        run(asks(answer=places(1)))
    with pytest.raises(InvalidValueError, match=r"Signal\.kind must be one of cls, received, auto, keys, grid, alive"):
        Signal("attention")


def test_a_memo_is_shown_to_its_own_method_at_later_layers_of_the_same_forward():
    shown = {"one": [], "other": []}

    def telling(who, memos):
        def answer(context):
            shown[who].append(context.memo)
            return Reduction(context.kinds == context.kinds, memo=memos.get(context.layer))

        return SaysInside(answer=answer, layers=(1, 2, 3, 4))

    one = telling("one", {1: "a", 3: [0]})  # the second layer has none, and changes nothing
    both = todre.Compose(one, telling("other", {2: 0}))
    run(both)
    run(both)
    assert shown == {"one": [None, "a", "a", [0]] * 2, "other": [None, None, 0, 0] * 2}


@pytest.mark.parametrize("after", [None, 3, ["x"], (1.5,), (99,), (-1,), ()])
def test_layers_of_the_tower_that_there_are_not(after):
    merges = type("Merges", (todre.ToMe,), {"tower_after": lambda self, n_layers: after})
    with pytest.raises(InvalidValueError, match=r"Merges\.tower_after|acts after layers"):
        run(merges())


@pytest.mark.parametrize(
    "name", ["fastv", "vtw", "sparsevlm", "swiftvlm", "pyramiddrop", "dart", "mustdrop", "psigmoid", "autoprune"]
)
def test_methods_that_say_how_many_are_left_say_the_truth(name):
    """`check_reduction` compares counts with what is kept.

    The rows are with and without visual tokens, with earlier turns and padding.
    """
    method = registry.create({"psigmoid": "p-sigmoid"}.get(name, name))
    for queries, seed in ((7, 0), (11, 3)):
        context = decoder_layers.made(queries=queries, seed=seed)
        one = method.reduce(context)
        assert answers.check_reduction(method, one, context) is one
