"""What a run of benchmarks/third_party takes up, and what it refuses."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("place", "words"), [("missing/x.json", "missing is no folder"), ("", "is a folder"), ("x.json", "there already")]
)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_installed(
    part, monkeypatch, tmp_path, capsys, place, words
):
    run = part("run")
    monkeypatch.setattr(run, "environment", lambda folder: pytest.fail("an environment was made"))
    (tmp_path / "x.json").write_text("{}", encoding="utf-8")
    given = ["--work", str(tmp_path / "work"), "--output", str(tmp_path / place)]
    assert run.main(given if place == "x.json" else [*given, "--force"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1
