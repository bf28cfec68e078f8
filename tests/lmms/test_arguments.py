"""The arguments of the model, as lmms-eval hands them over."""

import pytest

import todre
from todre.errors import InvalidValueError, UnknownMethodError
from todre.lmms.arguments import Arguments, parse
from todre.methods import registry


def test_defaults():
    assert parse({}) == Arguments(todre.ToDRE())


def test_a_method_with_its_fields():
    given = {"pretrained": "a/b", "method": "todre-v1", "retain": 288, "threshold": 0.05, "layers": "[0.5,0.75]"}
    assert parse(given) == Arguments(todre.ToDRE.v1(retain=288, threshold=0.05, layers=(0.5, 0.75)), pretrained="a/b")


def test_a_method_from_python():
    method = todre.ToDRE(retain=7)
    assert parse({"method": method}).method is method
    with pytest.raises(InvalidValueError, match="would change it"):
        parse({"method": method, "retain": 8})


def test_the_shipped_model_has_a_name():
    assert parse({"pretrained": "todre-tiny", "method": "none"}).pretrained is None


def test_options():
    given = {
        "method": "none", "revision": "main", "device": "cpu", "dtype": "float32", "attn_implementation": "eager",
        "trust_remote_code": True, "batch_size": "4", "frames": 16, "group_size": 2,
    }  # fmt: skip
    expected = Arguments(
        method=todre.NoPruning(),
        revision="main",
        device="cpu",
        dtype="float32",
        attn_implementation="eager",
        trust_remote_code=True,
        batch_size=4,
        frames=16,
        group_size=2,
    )
    assert parse(given) == expected


def test_what_is_not_given_stays_as_it_is():
    assert parse({"device": None, "retain": None}) == parse({})


def test_a_fitted_method(tmp_path):
    file = tmp_path / "mine.json"
    registry.save(todre.ToDRE(retain=0.3, threshold=0.2), file)
    assert parse({"method": str(file)}).method == todre.ToDRE(retain=0.3, threshold=0.2)
    with pytest.raises(InvalidValueError, match="would change it"):
        parse({"method": str(file), "retain": 0.1})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"pretraind": "a/b"}, "no argument 'pretraind'; did you mean 'pretrained'"),
        ({"method": "none", "retain": 0.1}, "no argument 'retain'"),
        ({"retain": 0}, "a whole number of tokens from 1, .* not 0"),
        ({"retain": "much"}, "must be .*a fraction .* not 'much'"),
        ({"layers": "[0.5"}, "no JSON"),
        ({"batch_size": "auto"}, "batch_size must be a whole number"),
        ({"frames": True}, "frames must be a whole number"),
        ({"group_size": 0}, "group_size must be a whole number"),
        ({"trust_remote_code": "yes"}, "must be True or False"),
        ({"method": "missing.json"}, "missing.json does not exist"),
        ({"revision": 2.1}, "revision came as 2.1: lmms-eval reads what looks like a number"),
        ({"pretrained": 7}, "pretrained came as 7"),
    ],
)
def test_bad_values_are_one_sentence(given, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        parse(given)


def test_an_unknown_method():
    with pytest.raises(UnknownMethodError, match="did you mean 'todre'"):
        parse({"method": "tordre"})


def test_no_method_has_a_field_that_is_an_option():
    from todre.lmms.arguments import OPTIONS

    fields = {field for name in registry.names() for field in registry.entry(name).settings}
    assert not fields & set(OPTIONS)
