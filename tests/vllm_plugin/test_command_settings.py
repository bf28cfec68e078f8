"""What a command's options become for vLLM's plugin: the method that was named, or a sentence."""

from __future__ import annotations

import dataclasses
import json

import pytest

import todre
from todre.cli.vllm_args import server_settings
from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods import registry
from todre.methods.todre import STAGE_2
from todre.vllm.served_methods import create, name_and_options, served_names, why_not

SETTLED = {"per": "image", "positions": "original", "stages": (1,)}


@pytest.mark.parametrize("name", served_names())
def test_the_named_method_is_served_with_its_own_settings(name):
    settings = server_settings(name, 0.25, None)
    served = create(settings.method, settings.retain, "original", settings.options)
    fields = registry.entry(name).settings
    assert served == registry.create(name, retain=0.25, **{key: x for key, x in SETTLED.items() if key in fields})


@pytest.mark.parametrize("name", ["todre-v1", "todre-patches"])
def test_presets_are_not_their_base_method(name):
    settings = server_settings(name, 0.25, None)
    assert create(settings.method, 0.25, "original", settings.options) != create("todre", 0.25, "original", {})


def test_a_file_keeps_its_settings(tmp_path):
    path = tmp_path / "mine.json"
    registry.save(todre.ToDRE.v1(retain=0.2, newlines="last"), path)
    settings = server_settings(str(path), None, None)
    served = create(settings.method, settings.retain, "original", settings.options)
    assert (served.diversity, served.newlines, served.retain) == ("k_center", "last", 0.2)


def test_a_budget_for_each_frame_is_refused(tmp_path):
    method = todre.ToDRE(per="frame", stages=(1,))
    with pytest.raises(UnsupportedInputError, match="per='frame', and vLLM gives each picture and each clip one"):
        name_and_options(method)
    path = tmp_path / "frames.json"
    path.write_text(json.dumps(method.to_dict()))
    with pytest.raises(UnsupportedInputError, match="per='frame'"):
        server_settings(str(path), None, None)


def test_a_history_is_refused():
    assert "divides one budget over several pictures" in why_not("history")


@pytest.mark.parametrize("name", [name for name in registry.names() if registry.entry(name).cls is todre.ToDRE])
def test_what_differs_in_stage_2_alone_is_no_other_method(name):
    """vLLM runs stage 1 alone, so two names for one stage 1 would promise what it does not do."""
    reason = why_not(name)
    if name in ("todre", "todre-v1", "todre-patches"):
        assert reason is None
    elif name != "todre-stage-2":
        assert reason == "it differs from 'todre-v1' inside the LLM alone, where vLLM lets no token drop out"


@pytest.mark.parametrize(
    "option", [{"threshold": 0.2}, {"layers": [3]}, {"floor": 4}, {"ahead": "layers"}, {"horizon": 0.8}]
)
def test_an_option_of_stage_2_is_refused(option):
    with pytest.raises(InvalidValueError, match="is for stage 2, which vLLM does not run; leave it out"):
        create("todre-v1", 0.25, "original", option)


def test_every_field_of_todre_belongs_to_a_stage():
    """A new field has to be told apart, or vLLM would take it without doing what it says."""
    stage_1 = {"retain", "per", "positions", "diversity", "pivot", "newlines", "seed", "stages"}
    assert {field.name for field in dataclasses.fields(todre.ToDRE)} == stage_1 | set(STAGE_2)
