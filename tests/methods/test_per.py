"""`per` divides a budget before the LLM, or it is refused: no method takes it and goes on as if it were not there."""

from __future__ import annotations

import pytest
from methods.matrix import SETTINGS

import todre
from todre.errors import InvalidValueError
from todre.methods import registry

NAMES = [name for name in registry.names() if registry.entry(name).cls is not todre.Compose]
DIVIDE = [name for name in NAMES if {"select", "pixels"} & set(registry.entry(name).card.acts)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("per", ["image", "clip", "frame"])
def test_it_is_a_setting_where_it_divides_a_budget_alone(name, per):
    values = SETTINGS.get(name, {})
    assert ("per" in registry.entry(name).settings) == (name in DIVIDE and name != "todre-stage-2")
    method = registry.create(name, **values)
    again = method.to_dict()
    if method.selects or method.in_pixels:
        return
    with pytest.raises(InvalidValueError, match=rf"per='{per}' would change nothing, since .* leave per out\.$"):
        type(method).from_dict(again | {"per": per})
    if name not in DIVIDE:
        with pytest.raises(InvalidValueError, match="has no setting 'per'"):
            registry.create(name, **values, per=per)


def test_it_is_refused_without_the_stage_that_it_divides():
    with pytest.raises(InvalidValueError, match="per='image' would change nothing"):
        todre.ToDRE(stages=(2,), per="image")
    assert todre.ToDRE(stages=(1,), per="image").per == "image"
