"""The exactness of every family that the installed release of transformers knows, in brief, for all but the newest.

The newest one gets all of `tests/families`. Here each specimen, pictures and clips apart, keeps everything bit for bit,
and with both stages, or as many as its decoder takes, equals the untouched model that does not see what left.
"""

from __future__ import annotations

import pytest
from families import checks
from families.specimens import all_specimens, refused_variants
from upstream import defect_of

from todre.hf.families import FAMILIES


def cases():
    for specimen in all_specimens():
        if specimen.model_type not in FAMILIES or specimen.name in refused_variants():
            continue
        for kind in ("image", "video") if specimen.video else ("image",):
            defect = defect_of(specimen.model_type, kind)
            marks = [defect.mark] if defect is not None else []
            yield pytest.param(specimen, kind, id=f"{specimen.name}-{kind}", marks=marks)


@pytest.mark.parametrize(("specimen", "kind"), cases())
def test_pruning_is_exact(specimen, kind):
    model, eager = specimen.build("sdpa"), specimen.build("eager")
    checks.keep_all(specimen, model, kind)
    checks.against_the_oracle(specimen, model, eager, kind, specimen.methods[0])
