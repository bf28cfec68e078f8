"""The command line of training: what it refuses before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from smol.toy_decoder import random_tensors

from todre.smol.base import Base
from todre.smol.part import read_part
from todre.smol.training import __main__ as command
from todre.smol.training.checkpoints import facts_of
from todre.smol.training.options import Options
from todre.tiny.runfiles import save_state


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("warm", "--processes", "2"),
            "--processes is for short, full, weak, counts and firsts, and the stage is warm; leave it out",
        ),
        (
            ("places", "--processes", "2"),
            "--processes is for short, full, weak, counts and firsts, and the stage is places; leave it out",
        ),
        (("warm", "--minutes", "5"), "--minutes is for short, full, weak, counts and firsts"),
        (("places", "--start", "part"), "--start is for short, full, weak, counts and firsts"),
        (("short", "--output", "part"), "--output is for export, and the stage is short; leave it out"),
        (("full", "--source", "short"), "--source is for export"),
        (
            ("export", "--output", "part", "--seed", "0"),
            "--seed is for warm, short, places, full, weak, counts and firsts",
        ),
        (
            ("export", "--output", "part", "--base", "folder"),
            "--base is for warm, short, places, full, weak, counts and firsts",
        ),
        (("export",), "export needs --output"),
    ],
    ids=" ".join,
)
def test_an_option_that_would_have_no_effect_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.parse([*words, "--run", str(tmp_path)])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_what_is_not_given_is_what_the_options_say(tmp_path: Path, base: Base) -> None:
    given = ["short", "--run", str(tmp_path), "--lr", "5e-4"]
    assert command.options_of(command.parse(given)) == Options("short", base.folder, tmp_path, lr=5e-4)


def test_exporting_takes_seed_and_weights_from_the_run(tmp_path: Path, base: Base) -> None:
    facts = facts_of(Options("firsts", base.folder, tmp_path, rank=2, seed=5))
    save_state(tmp_path / "firsts.pt", {"trained": random_tensors(2), "facts": facts})
    target = tmp_path / "part.safetensors"
    assert command.main(["export", "--run", str(tmp_path), "--output", str(target)]) == 0
    assert (read_part(target).seed, read_part(target).base_sha256) == (5, base.origin.sha256)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_of_another_seed_is_refused_in_one_sentence_before_processes_start(
    tmp_path: Path,
    base: Base,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("this should not be called")

    monkeypatch.setattr(command, "spawn", refuse)
    facts = facts_of(Options("short", base.folder, tmp_path, seed=1, processes=processes))
    save_state(tmp_path / "short.pt", {"facts": facts})
    assert command.main(["short", "--run", str(tmp_path), "--processes", str(processes)]) == 1
    said = capsys.readouterr().err.split("\n")
    assert said[1:] == [""]
    assert said[0].startswith("error: ")
    assert "was trained with seed 1, not 0" in said[0]
