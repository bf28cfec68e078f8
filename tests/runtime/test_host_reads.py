"""How often prefill waits for the device: before it has work, and then only for a decision that needs it."""

from __future__ import annotations

import loaded
import pytest
import tinymodels as tm
import torch
from hostreads import HostReads
from pseudodevices import put

import todre
from todre.methods import registry

STATIC = {
    "random": {},
    "cls-top-k": {},
    "todre": {"stages": (1,)},
    "todre-v1": {"stages": (1,), "newlines": "keep"},
    "fastv": {},
    "vtw": {"layer": 2},
    "pyramiddrop": {},
    "random-deep": {"layer": 2},
    "dart": {},
    "scope": {},
    "mmtok": {},
    "p-sigmoid": {"retain": 0.6},
    "vscan": {},
    "ivc-prune": {},
}
"""Methods whose budgets say how many tokens stay."""


@pytest.fixture(scope="module")
def away():
    """A model and a ragged batch on a device that can be waited for."""
    model = tm.build(layers=loaded.LAYERS)
    inputs = tm.ragged(model)
    for tensor in [*model.parameters(), *model.buffers()]:
        put(tensor, "cuda:0")
    return model, inputs


def reads(away, method):
    """What todre waits for in one prefill, as a list of files, and the report of it."""
    model, inputs = away
    given = {name: put(value.clone(), "cuda:0") for name, value in inputs.items()}
    with HostReads() as seen, todre.prune(model, method) as report, torch.no_grad():
        model(**given)
        lines = list(seen.lines)
        dropped, kept = report.dropped_after_layer, report.kept
    return lines, dropped, kept


@pytest.mark.parametrize("name", STATIC)
def test_static_budgets_wait_for_nothing(away, name):
    """One read of the prompt, one of the sizes of the pictures, both before the device has any work."""
    lines, _, kept = reads(away, registry.create(name, **STATIC[name]))
    assert [(file, what) for file, _, what in lines] == [("tensors/transfer.py", "to")] * 2
    assert any(kept)


def test_a_decision_is_read_once_for_each_candidate_layer(away):
    never = todre.ToDRE(retain=0.5, layers=(1, 2, 3), threshold=0.0)
    lines, dropped, _ = reads(away, never)
    assert (len(lines), set(dropped)) == (2 + 3, {None})
    at_once = todre.ToDRE(retain=0.5, layers=(1, 2, 3), threshold=1.0)
    lines, dropped, _ = reads(away, at_once)
    assert (len(lines), set(dropped)) == (2 + 1, {1, None})  # one row is text alone


def test_a_curve_of_its_own_for_each_sample_is_read_once(away):
    lines, _, _ = reads(away, todre.AutoPrune(retain=0.6))
    assert len(lines) == 2 + 1


def test_a_look_ahead_costs_one_more_read_where_the_picture_would_leave(away):
    for ahead in ("candidates", "layers"):
        guarded = todre.ToDRE(retain=0.5, layers=(1, 2, 3), threshold=1.0, ratio_over="last", ahead=ahead)
        lines, dropped, _ = reads(away, guarded)
        assert (len(lines), set(dropped)) == (2 + 2, {1, None})
    floor = todre.ToDRE(retain=0.5, layers=(1, 2, 3), threshold=1.0, floor=3)
    lines, dropped, _ = reads(away, floor)
    assert (len(lines), set(dropped)) == (2 + 3, {None})  # some tokens are left, and each layer asks again


def test_reads_are_noticed():
    """The instrument itself can fail; what is not a line of todre is not counted."""
    from todre.tensors.columns import compact

    keep = put(torch.tensor([[True, False, True]]), "cuda:0")
    with HostReads() as seen:
        assert int(keep.sum()) == 2
        assert not seen.lines
        compact(keep, [2])
        assert not seen.lines
        compact(keep)
    assert [what for _, _, what in seen.lines] == ["to"]
