"""Every family that `todre models` calls verified, picture and clip, on a tiny random model of each of its variants."""

from __future__ import annotations

import pytest
from families import checks
from families.prompts import batch, ragged
from families.specimens import all_specimens, refused_variants
from families.zoo import gemma3
from upstream import PICTURES

import todre
from todre.errors import TodreError, UnsupportedModelError
from todre.hf.families import FAMILIES

SPECIMENS = [one for one in all_specimens() if one.model_type in FAMILIES and one.name not in refused_variants()]
KINDS = ("image", "video")


class Built:
    """A specimen with its model on both backends; `first` of its family, which takes every method."""

    def __init__(self, specimen):
        self.specimen, self.sdpa, self.eager = specimen, specimen.build("sdpa"), specimen.build("eager")
        self.first = specimen is next(one for one in SPECIMENS if one.model_type == specimen.model_type)


def marked(specimens):
    """Specimens as parameters; where transformers itself fails, the tests say so."""
    for one in specimens:
        defect = PICTURES.get(one.model_type)
        yield pytest.param(one, id=one.name, marks=[] if defect is None else [defect.mark])


@pytest.fixture(scope="module", params=marked(SPECIMENS))
def built(request):
    return Built(request.param)


def kinds(built):
    return KINDS if built.specimen.video else KINDS[:1]


def test_keeping_everything_gives_the_same_bits(built):
    for kind in kinds(built):
        checks.keep_all(built.specimen, built.sdpa, kind)


def test_ragged_batches_equal_the_oracle(built):
    for kind in kinds(built):
        for name in built.specimen.methods if built.first else built.specimen.methods[:1]:
            checks.against_the_oracle(built.specimen, built.sdpa, built.eager, kind, name)


def test_a_batch_equals_its_singles(built):
    for kind in kinds(built):
        checks.batch_equals_singles(built.specimen, built.sdpa, kind, built.specimen.methods[0])


def test_a_look_ahead_equals_the_oracle(built):
    if "stage-2" in built.specimen.methods:
        for kind in kinds(built) if built.first else KINDS[:1]:
            checks.looks_ahead(built.specimen, built.sdpa, built.eager, kind)


def test_a_look_ahead_at_layers_with_other_angles_is_refused():
    """Molmo 2 of OLMo's kind scales the positions of its first and third layer."""
    specimen = next(one for one in SPECIMENS if one.name == "molmo2-olmo")
    model = specimen.build("sdpa")
    inputs = batch(specimen, model, ragged(specimen, model))
    refused = pytest.raises(UnsupportedModelError, match=r"Layers 1 and 4 .* so layer 4 cannot be looked at ahead")
    with refused, todre.prune(model, todre.ToDRE(stages=(2,), layers=(1,), threshold=1.0, ahead="layers")):
        checks.generate(model, inputs)


def test_a_look_ahead_passes_over_layers_with_a_window(monkeypatch):
    """Gemma 3's layers with a window have angles of their own; only those with full attention are looked at."""
    monkeypatch.setattr(gemma3, "LAYERS", ["full_attention", "sliding_attention", "full_attention", "full_attention"])
    specimen = next(one for one in SPECIMENS if one.name == "gemma3")
    report = checks.looks_ahead(specimen, specimen.build("sdpa"), specimen.build("eager"), "image")
    assert [{layer: list(found) for layer, found in row.items()} for row in report.ratios_ahead] == [
        {1: [3, 4]}, {1: [3, 4]}, {},
    ]  # fmt: skip


def test_a_second_turn_equals_the_oracle(built):
    for kind in kinds(built):
        checks.second_turn(built.specimen, built.sdpa, built.eager, kind, built.specimen.methods[0])


@pytest.mark.parametrize("name", sorted(refused_variants()))
def test_variants_that_cannot_be_pruned_say_so(name):
    """A verified family may have checkpoints with layers that are not understood."""
    model = next(one for one in all_specimens() if one.name == name).build("sdpa")
    with pytest.raises(TodreError, match=refused_variants()[name]) as caught:
        todre.attach(model, todre.ToDRE(stages=(1,)))
    assert "\n" not in str(caught.value)


def test_every_verified_family_has_a_specimen():
    assert {one.model_type for one in SPECIMENS} == set(FAMILIES)
    assert {one.model_type for one in SPECIMENS if one.video} == {name for name, one in FAMILIES.items() if one.clips}
