"""Methods as attributes of the package: found by class name, and misspelt ones hinted at."""

import pytest

import todre
from todre.methods import registry


@pytest.mark.parametrize("name", sorted(registry.classes()))
def test_every_method_is_an_attribute(name):
    assert getattr(todre, name) is registry.classes()[name]


@pytest.mark.parametrize(("name", "hint"), [("Todre", "'ToDRE'"), ("DivPrun", "'DivPrune'"), ("FastVee", "'FastV'")])
def test_a_misspelt_method_is_hinted_at(name, hint):
    with pytest.raises(AttributeError, match=rf"^todre has no method '{name}'; did you mean .*{hint}.*lists all$"):
        getattr(todre, name)


def test_a_name_like_no_method_gets_no_hint():
    with pytest.raises(AttributeError, match=r"^todre has no method 'Xyzzy'; `todre methods` lists all$"):
        todre.Xyzzy  # noqa: B018
