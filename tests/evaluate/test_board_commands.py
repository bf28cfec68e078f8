"""Commands that measure the committed boards: their words are taken, up to the model that is not there."""

import budget_boards
import pytest
import smol_evidence

from todre.cli import main

BOARDS = {name: step for module in (smol_evidence, budget_boards) for name, step in module.STEPS.items()
          if step.words[:3] == ("-m", "todre", "eval")}  # fmt: skip


@pytest.mark.parametrize("name", BOARDS)
def test_every_option_of_a_board_is_taken(name, tmp_path, monkeypatch, capsys):
    words = [word.replace("WORK", str(tmp_path)) for word in BOARDS[name].words[2:]]
    words[words.index("-m") + 1] = "./nowhere"
    monkeypatch.chdir(budget_boards.ROOT)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    assert "nowhere" in capsys.readouterr().err
