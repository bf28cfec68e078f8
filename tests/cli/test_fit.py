"""todre fit: numbers for a method, saved as a file that other commands take."""

import json

import pytest
from cli.sentences import one_line

from todre.methods import registry

FAST = ("--limit", "2", "--size", "96", "--batch-size", "2", "--device", "cpu", "-q")


def test_fitted_method_can_be_used(run, picture, tmp_path):
    file = tmp_path / "vtw.json"
    result = run("fit", "vtw", "--tolerance", "9", "--output", file, *FAST)
    assert result.code == 0
    assert "layer=1" in result.out
    assert registry.load(file).layer == 1
    answer = run("ask", picture, "Is there a circle?", "--method", file, "--max-new-tokens", "2", "--json", "-q")
    assert json.loads(answer.out)["method"]["layer"] == 1


def test_share_is_met(run, tmp_path):
    file = tmp_path / "p.json"
    result = run("fit", "p-sigmoid", "--share", "0.5", "--output", file, "--json", *FAST)
    assert json.loads(result.out) == registry.load(file).to_dict()
    assert registry.load(file).retain == 0.5


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("fit", "random", "--output", "a.json"), 2, "'random' is not fitted to a model"),
        (("fit", "vtw", "--output", "a.txt"), 2, "use .json"),
        (("fit", "vtw", "--output", "a.json", "--share", "2"), 2, "no fraction in"),
        (("fit", "vtw", "--output", "a.json", "--limit", "0"), 2, "--limit"),
        (("ask", "PICTURE", "Is it?", "--method", "missing.json"), 2, "missing.json does not exist"),
        (("compare", "PICTURE", "Is it?", "--methods", "none,missing.json"), 2, "missing.json does not exist"),
    ],
)
def test_bad_input(run, picture, tmp_path, monkeypatch, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    one_line(run(*[picture if one == "PICTURE" else one for one in arguments]), code, sentence)
    assert not list(tmp_path.glob("a.*"))
