"""A step of decoding runs the untouched model's operations and no others.

Time alone cannot show this: on a machine with company, medians of steps vary by a few per cent from run to run.
"""

from collections import Counter

import pytest
import tinymodels as tm
from torch.utils._python_dispatch import TorchDispatchMode

import todre

METHODS = {
    "none": todre.NoPruning(),
    "stage-1": todre.ToDRE(retain=0.2, stages=(1,)),
    "both-stages": todre.ToDRE(retain=0.2, threshold=1.0, layers=(5,)),
    "stage-2": todre.ToDRE(stages=(2,), threshold=1.0, layers=(4,)),
    "after-layer-2": todre.FastV(retain=0.3, layer=2),
}


class Operations(TorchDispatchMode):
    """Counts the operations that run inside the block, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def counted(model, inputs, new):
    with Operations() as operations:
        model.generate(**inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False)
    return operations.counts


def a_step(model, inputs):
    """Operations of one step more."""
    fewer, more = counted(model, inputs, 6), counted(model, inputs, 7)
    more.subtract(fewer)
    return +more


def even(model):
    """Two rows of equal length, so that neither needs padding."""
    return tm.batch(model, [tm.sample(model, 4, [tm.SIZES[0]], 5, seed=seed) for seed in (1, 2)])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["next-llama", "next-mistral", "llava"])
def test_without_padding_a_step_is_the_untouched_models(models, kind, name):
    model = models(kind)
    inputs = even(model)
    expected = a_step(model, inputs)
    assert sum(expected.values()) > 100
    with todre.prune(model, METHODS[name]):
        assert a_step(model, inputs) == expected


@pytest.mark.parametrize("name", METHODS)
def test_padding_costs_operations_for_masks_that_do_not_grow_with_depth(name):
    extra = []
    for layers in (8, 12):
        model = tm.build(layers=layers)
        inputs = tm.ragged(model)
        expected = a_step(model, inputs)
        with todre.prune(model, METHODS[name]):
            got = a_step(model, inputs)
        assert not expected - got
        extra.append(got - expected)
    assert extra[0] == extra[1]
    assert bool(extra[0]) == (name != "none")
