"""Fits on a random tiny model: what they promise, against the model itself and brute force."""

from __future__ import annotations

import numpy as np
import pytest
import tinymodels as tm
import torch

import todre
from todre.calibrate import fit_fitprune, fit_gsearch, fit_psigmoid, fit_vflowopt, fit_vtw
from todre.calibrate.answers import Reference
from todre.calibrate.fitprune import spared
from todre.errors import InvalidValueError
from todre.methods.gsearch import GSearch
from todre.methods.psigmoid import PSigmoid
from todre.methods.vflowopt import VFlowOpt
from todre.methods.vtw import VTW


@pytest.fixture(scope="module")
def model():
    return tm.build()


@pytest.fixture(scope="module")
def batches(model):
    return [tm.ragged(model), tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)])]


@torch.no_grad()
def brute_divergence(model, batches, method):
    """KL at each row's last real token, from plain forwards one by one."""
    found = []
    for batch in batches:
        full = model(**batch).logits.double()
        with todre.prune(model, method):
            now = model(**batch).logits.double()
        for row, mask in enumerate(batch["attention_mask"]):
            if not (batch["input_ids"][row] == tm.IMAGE).any():
                continue
            last = int(mask.nonzero()[-1])
            p, q = now[row, last].softmax(-1), full[row, last].softmax(-1)
            found.append(float((p * (p / q).log()).sum()))
    return sum(found) / len(found)


def test_divergence(model, batches):
    reference = Reference.of(model, batches)
    for method in (VTW(layer=3), PSigmoid(retain=0.4)):
        assert reference.divergence(method) == pytest.approx(brute_divergence(model, batches, method), rel=1e-3)
    assert reference.divergence(todre.NoPruning()) == pytest.approx(0.0, abs=1e-9)


def test_vtw_takes_the_first_layer_within_the_tolerance(model, batches):
    values = {layer: brute_divergence(model, batches, VTW(layer=layer)) for layer in range(4, 8)}
    steps = []
    for tolerance in (max(values.values()), sorted(values.values())[2] * 1.0001, min(values.values()) * 1.0001):
        found = fit_vtw(model, batches, tolerance=tolerance * 1.0001, first=4, progress=lambda *at: steps.append(at))
        assert found.layer == next(layer for layer, value in values.items() if value <= tolerance * 1.0001)
    assert steps[0] == (1, 4)
    with pytest.raises(InvalidValueError, match="raise tolerance"):
        fit_vtw(model, batches, tolerance=min(values.values()) / 2, first=4)
    with pytest.raises(InvalidValueError, match="first must be a count of layers from 1 to 7, not 8"):
        fit_vtw(model, batches, first=8)


def test_psigmoid_takes_the_best_slope(model, batches):
    slopes = (2.0, 16.0, 100.0)
    found = fit_psigmoid(model, batches, 0.4, slopes)
    values = [brute_divergence(model, batches, PSigmoid(retain=0.4, slope=slope)) for slope in slopes]
    assert found == PSigmoid(retain=0.4, slope=slopes[int(np.argmin(values))])


def test_gsearch_holds_the_tolerance_and_goes_no_higher_than_needed(model, batches):
    tolerance = brute_divergence(model, batches[1:], VTW(layer=3))
    found = fit_gsearch(model, batches[1:], tolerance=tolerance, steps=2)
    assert list(found.kept) == sorted(found.kept, reverse=True)
    assert found.kept[0] == 1.0
    reference = Reference.of(model, batches[1:])
    assert reference.divergence(found) <= tolerance
    layer = next(layer for layer in range(8) if found.kept[layer] < 1.0)
    lower = tuple(min(share, max(0.0, found.kept[layer] - 1 / 4)) for share in found.kept[layer:])
    flat = GSearch(kept=(*found.kept[:layer], *[lower[0]] * (8 - layer)))
    assert found.kept[layer] == 0.0 or reference.divergence(flat) > tolerance
    assert fit_gsearch(model, batches[1:], tolerance=tolerance, steps=2) == found


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_fitprune_meets_its_mean(model, batches, share):
    found = fit_fitprune(model, batches[1:], share)
    assert share > 0.5 or found == fit_fitprune(model, batches[1:], share)
    with todre.prune(model, found) as report, torch.no_grad():
        model(**batches[1])
    (counts,) = report.visual_tokens_per_layer
    assert sum(counts) / 8 / counts[0] == pytest.approx(share, abs=1.0 / counts[0])
    assert type(found).from_dict(found.to_dict()) == found


def test_what_a_layer_can_spare():
    generator = torch.Generator().manual_seed(0)
    scores, fresh = torch.rand(4, 9, generator=generator), torch.rand(4, 9, generator=generator) > 0.3
    whole = (scores * fresh).sum(1)
    for share in (0.0, 0.3, 0.9, 1.0):
        got = spared(scores, fresh, whole * (1 - share))
        for row in range(4):
            order = sorted(fresh[row].nonzero().flatten().tolist(), key=lambda slot: float(scores[row, slot]))
            want = max(
                count
                for count in range(len(order) + 1)
                if sum(float(scores[row, slot]) for slot in order[count:]) >= float(whole[row]) * (1 - share) - 1e-6
            )
            assert got[row].nonzero().flatten().tolist() == sorted(order[:want])


def test_vflowopt_spreads_the_same_mean(model, batches):
    start = VFlowOpt(attention="cls", layers=(2, 5))
    found = fit_vflowopt(model, batches[1:], 0.3, trials=4, method=start)
    first, second = found.ratios
    assert found.retain * (2 + 3 * first + 3 * first * second) / 8 == pytest.approx(0.3)
    assert found == fit_vflowopt(model, batches[1:], 0.3, trials=4, method=start)
    reference = Reference.of(model, batches[1:])
    plain = fit_vflowopt(model, batches[1:], 0.3, trials=1, method=start)
    assert plain.ratios == (1.0, 1.0)
    assert reference.divergence(found) <= reference.divergence(plain)


def test_bad_values(model, batches):
    for call, match in [
        (lambda: fit_vtw(model, batches, tolerance=-1), "tolerance must be a divergence of at least 0 nats"),
        (lambda: fit_gsearch(model, batches, steps=0), "steps must be a whole number from 1 to 30"),
        (lambda: fit_psigmoid(model, batches, 0.4, ()), "slopes must hold at least one candidate"),
        (lambda: fit_fitprune(model, batches, 0.1), "share must be a fraction from 1/8"),
        (lambda: fit_vflowopt(model, batches, 2), "share must be a fraction in"),
        (lambda: fit_vflowopt(model, batches, 0.5, trials=0), "trials must be a whole number of at least 1"),
        (lambda: fit_vtw(model, []), "none of the batches has one"),
    ]:
        with pytest.raises(InvalidValueError, match=match):
            call()
