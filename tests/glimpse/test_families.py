"""GlimpsePrune on other families.

The shipped weights are refused, and weights of the family's own pass the common checks.
"""

import pytest
from families.prompts import batch, ragged
from families.specimens import model_of
from glimpse.making import trained_for
from methods import matrix

import todre
from todre.errors import UnsupportedModelError
from todre.methods.glimpse.weights import save_trained
from todre.methods.glimpseprune import GlimpsePrune


@pytest.mark.parametrize("family", matrix.FAMILIES)
def test_other_models_are_refused(family):
    specimen, model = matrix.specimen_of(family), model_of(family, "sdpa")
    inputs = batch(specimen, model, ragged(specimen, model))
    matrix.generate(model, inputs, max_new_tokens=1)
    refused = pytest.raises(UnsupportedModelError, match="weights=PATH")
    with matrix.untouched_after(model), refused, todre.prune(model, GlimpsePrune()):
        matrix.generate(model, inputs, max_new_tokens=1)


@pytest.mark.parametrize("family", matrix.FAMILIES)
def test_weights_of_its_own_pass_the_common_checks(tmp_path, family):
    specimen, model = matrix.specimen_of(family), model_of(family, "sdpa")
    path = tmp_path / "w.safetensors"
    save_trained(path, trained_for(model))
    inputs = batch(specimen, model, ragged(specimen, model))
    matrix.keeps_all(model, inputs, GlimpsePrune(least=10**6, weights=str(path)))
    method = GlimpsePrune(cap=0.3, least=2, threshold=0.4, weights=str(path))
    inputs, report, got = matrix.agrees_with_itself(specimen, model, method)
    counts = [(layers[1], layers[-1]) for layers in report.visual_tokens_per_layer]
    assert any(
        after < before for before, after in zip(report.visual_tokens_before, [c[1] for c in counts], strict=True)
    )
    matrix.hides_what_it_dropped(specimen, matrix.eager_of(family), inputs, report, got)
    matrix.decodes_as_it_recomputes(specimen, model, method)
