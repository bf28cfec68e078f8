"""The method of a request: the server's own settings go along, as far as the method has them."""

from __future__ import annotations

import pytest

import todre
from todre.serve.method_choice import MethodChoice
from todre.serve.refusals import RefusedError

CHOICE = MethodChoice(method=todre.ToDRE(retain=50, per="image"), retain=50, per="image", seed=7)


def test_a_named_method_gets_the_servers_settings():
    method = CHOICE.of({"method": "random"})
    assert (method.retain, method.per, method.seed) == (50, "image", 7)
    assert CHOICE.of({"method": "random", "per": "sample"}).per == "sample"
    assert CHOICE.of({"method": "fastv"}).retain == 50  # which divides no budget before the LLM
    assert MethodChoice(method=todre.ToDRE()).of({"method": "random"}).per == "sample"


@pytest.mark.parametrize("name", ["none", "fastv", "tome"])
def test_per_is_refused_where_it_would_change_nothing(name):
    with pytest.raises(RefusedError, match=f"todre.per would change nothing, because {name} has no per; leave it out"):
        CHOICE.of({"method": name, "per": "frame"})
