"""The docs page on writing a method: its example works, also as an entry point."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import tinymodels as tm
import torch

import todre
from todre.errors import InvalidValueError
from todre.methods import registry

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"
CODE = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1]


def test_example_runs_as_it_stands():
    model = tm.build("llava")
    inputs = tm.batch(model, [tm.sample(model, 4, [tm.SIZES[0]], 5)])
    names = {"model": model, "inputs": inputs}
    exec(compile(CODE, str(PAGE), "exec"), names)
    report = names["report"]
    assert report.visual_tokens_after == [max(1, round(0.1 * report.visual_tokens_before[0]))]
    features = model.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output
    norms = torch.cat(list(features)).norm(dim=-1)
    assert report.kept[0] == sorted(norms.topk(len(report.kept[0])).indices.tolist())


def test_a_method_that_is_not_as_exact_as_it_says_is_told():
    model = tm.build("llava")
    inputs = tm.batch(model, [tm.sample(model, 4, [tm.SIZES[0]], 5)])
    names = {}
    exec(compile(CODE[: CODE.index("with todre.prune")], str(PAGE), "exec"), names)
    hasty = type("Hasty", (names["LongestTokens"],), {"exact": True, "select": lambda self, visual: ~visual.newline})
    with (
        todre.prune(model, hasty(retain=0.1)),
        pytest.raises(InvalidValueError, match=r"longest is declared exact, so it must keep \d+ of (\d+) .* kept \1;"),
    ):
        model(**inputs)


def test_example_takes_ten_lines():
    body = CODE[CODE.index("class LongestTokens") : CODE.index("with todre.prune")]
    assert len([line for line in body.splitlines() if line.strip()]) <= 10


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Factory of an installed package, from the lines of its entry points."""

    def install(entries):
        definition = CODE[: CODE.index("with todre.prune")]
        (tmp_path / "brought_in.py").write_text(definition, encoding="utf-8")
        facts = tmp_path / "brought_in-1.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: brought-in\nVersion: 1\n", encoding="utf-8")
        (facts / "entry_points.txt").write_text(f"[todre.methods]\n{entries}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        registry._entries.cache_clear()

    yield install
    registry._entries.cache_clear()
    sys.modules.pop("brought_in", None)


def test_entry_point_brings_a_method_in(package):
    package("longest = brought_in:LongestTokens")
    assert "longest" in registry.names()
    method = registry.create("longest", retain=5)
    assert registry.from_dict(method.to_dict()) == method


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("longest = brought_in:Missing", "cannot be loaded"),
        ("longest = brought_in:budget", "no class derived from Method"),
        ("random = todre.methods.random:RandomTokens", "which exists; rename it"),
    ],
)
def test_bad_entry_points_are_named(package, entry, sentence):
    package(entry)
    with pytest.raises(InvalidValueError, match=sentence):
        registry.names()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([1], "described by a mapping"),
        ({"retain": 1}, "under 'method'"),
        ({"method": "random", "share": 1}, "no field 'share'"),
        ({"method": "compose", "methods": [{"method": "random"}], "x": 1}, "Compose has no field 'x'"),
    ],
)
def test_bad_descriptions_are_refused(values, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        registry.from_dict(values)


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(InvalidValueError, match=r"missing\.json does not exist"):
        registry.load(tmp_path / "missing.json")
    (tmp_path / "half.json").write_text('{"method": "ran', encoding="utf-8")
    with pytest.raises(InvalidValueError, match=r"half\.json is no JSON .*line 1, column 12\); give a file"):
        registry.load(tmp_path / "half.json")


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ((), "a list of at least one, each a method such as"),
        (("random",), r"Compose.methods\[0\] must be a method such as todre.ToDRE\(retain=0.1\), not 'random'"),
        ((todre.Compose(todre.RandomTokens()),), "one after the other"),
        ((registry.create("tome"), registry.create("evit")), "Only one method can act in the vision tower"),
    ],
)
def test_what_cannot_be_composed_is_refused(methods, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        todre.Compose(*methods)


def test_a_method_that_lets_tokens_come_back_stands_alone_inside():
    both = todre.Compose(registry.create("swiftvlm", layers=(1, 3)), registry.create("vtw", layer=3))
    with pytest.raises(InvalidValueError, match="lets tokens come back"), todre.prune(tm.build("llava"), both):
        pass
