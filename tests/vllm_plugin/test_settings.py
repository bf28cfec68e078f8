"""A server's settings and a request's budget, without vLLM."""

from types import SimpleNamespace

import pytest
import torch

import todre
from todre.errors import InvalidValueError, UnsupportedInputError, UnsupportedModelError
from todre.methods import registry
from todre.methods.base import budget
from todre.vllm.budget_field import packed_retain, unpacked_retains
from todre.vllm.families import FAMILIES, MediumInputs, family_of
from todre.vllm.medium_inputs import groups, part_of, unit_counts
from todre.vllm.served_methods import create, name_and_options, served_names, why_not
from todre.vllm.settings import ServerSettings

BUDGETS = (0.1, 0.25, 1.0, 1, 20, 2 / 3, 288)


def settings(**values):
    return ServerSettings.of(SimpleNamespace(todre=values))


@pytest.mark.parametrize(
    "given",
    [
        *({"retian": 0.1}, {"retain": 0}, {"retain": 1.5}, {"max_retain": "most"}, {"options": 3}, {"max_retain": 1}),
        *({"retain": 0.5, "max_retain": 0.2}, {"retain": 50, "max_retain": 20}),
    ],
)
def test_bad_settings_are_one_sentence(given):
    with pytest.raises(InvalidValueError) as caught:
        settings(**given)
    assert str(caught.value).count("\n") == 0


def test_a_config_without_settings_has_the_defaults():
    assert ServerSettings.of(SimpleNamespace()) == ServerSettings()


@pytest.mark.parametrize(
    "arguments",
    [
        {"todre_retian": 0.1},
        {"images_kwargs": {"todre_retain": 0.2}},
        *({"todre_retain": value} for value in (0, -1, 1.2, True, "much", None, [0.1], float("nan"), 1)),
    ],
)
def test_bad_requests_are_refused(arguments):
    with pytest.raises(InvalidValueError):
        settings(retain=0.3).requested(arguments)


@pytest.mark.parametrize(
    ("arguments", "retain"),
    [({}, 0.3), ({"todre_retain": 0.5}, 0.5), ({"todre_retain": 7}, 7), ({"todre_retain": "all"}, 1.0)],
)
def test_a_request_may_name_its_budget(arguments, retain):
    found = settings(retain=0.3).requested({**arguments, "min_pixels": 4})
    assert (found, type(found)) == (retain, type(retain))


@pytest.mark.parametrize("retain", BUDGETS)
@pytest.mark.parametrize("entries", [[576], [256] * 5, [3, 1]])
def test_kept_counts_each_entry(retain, entries):
    method = create("divprune", retain, "compact", {})
    assert settings().kept(method, retain, entries) == sum(budget(retain, n) for n in entries)


def test_more_than_the_server_allows_is_refused_with_both_numbers():
    method = create("divprune", 0.5, "compact", {})
    with pytest.raises(
        InvalidValueError, match=r"keeps 50 of 100 visual tokens, and this server allows 20 \(max_retain=0.2\)"
    ):
        settings(max_retain=0.2).kept(method, 0.5, [100])


def test_budgets_travel_exactly():
    packed = [packed_retain(each) for each in BUDGETS]
    for field in (torch.cat(packed), packed, torch.stack(packed)):
        found = unpacked_retains(field)
        assert found == list(BUDGETS)
        assert [type(each) for each in found] == [type(each) for each in BUDGETS]
    assert packed[0].dtype == torch.int64


def test_identities_differ_with_whatever_changes_the_kept_tokens():
    one = settings(method="divprune")
    others = [one.identity(0.1), one.identity(0.2), one.identity(1), settings(method="mmr").identity(0.1)]
    others.append(settings(method="divprune", options={"a": 1}).identity(0.1))
    assert len({str(each) for each in others}) == len(others)
    assert todre.__version__ in str(one.identity(0.1))


def test_every_registered_method_is_served_or_has_a_reason():
    names = served_names()
    assert {"todre", "todre-v1", "todre-patches", "divprune", "mmr", "cls-top-k", "random"} <= set(names)
    for name in registry.names():
        reason = why_not(name)
        assert (reason is None) == (name in names)
        if reason is None:
            made = create(name, 0.2, "compact", {})
            assert made.kept_of(100) == 20
            assert (made.per, made.positions, made.in_tower, made.reducers(8)) == ("image", "compact", False, {})
        else:
            with pytest.raises(UnsupportedInputError, match="cannot be served by vLLM"):
                create(name, 0.2, "compact", {})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"retain": 0.1}, "beside 'options'"),
        ({"per": "sample"}, "'per' of method 'todre' is settled in vLLM, as 'image'"),
        ({"positions": "original"}, "settled in vLLM, as 'compact'"),
        ({"stages": [1, 2]}, r"settled in vLLM, as \(1,\)"),
        ({"pivto": "cls"}, "did you mean 'pivot'"),
        ({"newlines": "keep"}, "ends vLLM's engine"),
        ({"pivot": "middle"}, "pivot"),
    ],
)
def test_options_that_cannot_be_set(options, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        create("todre", 0.1, "compact", options)


def test_a_method_becomes_settings_and_back():
    method = todre.ToDRE(retain=0.3, pivot="center", diversity="k_center")
    name, retain, options = name_and_options(method)
    made = create(name, retain, "compact", options)
    assert made == todre.ToDRE(
        retain=0.3, pivot="center", diversity="k_center", stages=(1,), per="image", positions="compact"
    )


def test_families_are_found_by_their_type():
    for family in FAMILIES:
        assert family_of(family.model_type) is family
    with pytest.raises(UnsupportedModelError, match="Models of type 'aria' are not pruned in vLLM"):
        family_of("aria")


@pytest.mark.parametrize(
    ("tokens", "most", "expected"),
    [
        ([5, 5, 5], 10, [(0, 2), (2, 3)]),
        ([50, 5, 5], 10, [(0, 1), (1, 3)]),
        ([5, 50, 5], 10, [(0, 1), (1, 2), (2, 3)]),
        ([5], 1, [(0, 1)]),
        ([], 1, []),
    ],
)
def test_pictures_are_encoded_in_bounded_groups(tokens, most, expected):
    assert groups(tokens, most) == expected


def test_clips_of_one_group_have_equally_many_frames():
    assert groups([4, 4, 3, 3, 4], 100, alike=True) == [(0, 2), (2, 4), (4, 5)]
    assert groups([4, 4, 4], 8, alike=True) == [(0, 2), (2, 3)]


def test_parts_of_a_call():
    tiles = [torch.zeros(3, 3, 2, 2), torch.ones(1, 3, 2, 2), torch.full((2, 3, 2, 2), 2.0)]
    sizes = torch.tensor([[1, 2], [3, 4], [5, 6]])
    medium = MediumInputs("image", "pixels", facts=("sizes",))
    inputs = {"pixels": tiles, "sizes": sizes}
    units = unit_counts(medium, inputs)
    assert units == [3, 1, 2]
    part = part_of(medium, inputs, units, 1, 3)
    assert [len(each) for each in part["pixels"]] == [1, 2]
    assert part["sizes"].tolist() == [[3, 4], [5, 6]]
    flat = MediumInputs("image", "pixels", counts="grid", shared=("id",))
    inputs = {"pixels": torch.arange(14)[:, None], "grid": torch.tensor([[1, 2, 3], [2, 2, 2]]), "id": torch.tensor(7)}
    units = unit_counts(flat, inputs)
    assert units == [6, 8]
    part = part_of(flat, inputs, units, 1, 2)
    assert part["pixels"].flatten().tolist() == list(range(6, 14))
    assert (part["grid"].tolist(), int(part["id"])) == ([[2, 2, 2]], 7)
