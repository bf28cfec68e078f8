"""todre bench --serve: servers of a file, tables, figures, documents, and one sentence for what cannot be."""

import json
import sys
from pathlib import Path

import pytest
from cli.sentences import one_line
from PIL import Image

from todre.bench.load.client import Driven, Outcome
from todre.bench.load.round import Round
from todre.bench.load.rows import row_of
from todre.bench.load.settings import LoadCell
from todre.cli.bench_serve_tables import load_table

FAKE = str(Path(__file__).parents[1] / "bench" / "fake_server.py")
LOAD = (
    "--concurrency",
    "1,2",
    "--requests",
    "2",
    "--rounds",
    "1",
    "--warm-up",
    "1",
    "--new-tokens",
    "3",
    "--soak",
    "4",
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    file = tmp_path_factory.mktemp("servers") / "servers.json"
    command = [sys.executable, FAKE, "--port", "{port}"]
    entries = [{"name": "whole", "command": command}, {"name": "pruned", "command": command, "tower": "metrics"}]
    file.write_text(json.dumps(entries))
    return file


@pytest.fixture(scope="module")
def measured(servers, tmp_path_factory):
    from todre.cli import main

    file = tmp_path_factory.mktemp("measured") / "serve.json"
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--serve", "--servers", str(servers), "--random-weights", "tiny", "--device", "cpu", *LOAD,
              "--output", str(file), "-q"])  # fmt: skip
    assert ended.value.code == 0
    return file


def test_document_says_what_was_served(measured):
    document = json.loads(measured.read_text())
    model = document["conditions"]["model"]
    assert (model["name"], model["weights"], model["dtype"]) == ("tiny", "random", "bfloat16")
    assert model["visual_tokens"] == 36 + 12 * (12 + 1)
    assert document["conditions"]["engine"] == "servers"
    assert document["conditions"]["settings"]["new_tokens"] == 3
    assert document["conditions"]["settings"]["picture"] == [168, 168]
    assert document["conditions"]["machine"]["versions"]["torch"]
    assert document["command"].startswith("todre")
    assert [(row["cell"]["concurrency"], row["configuration"]) for row in document["rows"]] == [
        (1, "whole"), (1, "pruned"), (2, "whole"), (2, "pruned"), (8, "pruned"),
    ]  # fmt: skip
    assert sum(row["failed"] for row in document["rows"]) == 0


def test_document_is_shown_and_drawn(run, measured, tmp_path):
    result = run("bench", "--from", measured, "--plots", tmp_path / "figures")
    assert result.code == 0
    for words in ("2 clients, 4 requests a round, 3 new tokens", "pruned", "8 clients", "200 pictures in turn"):
        assert words in result.out
    drawn = list((tmp_path / "figures").iterdir())
    assert [file.name for file in drawn] == ["bench-serve.png"]
    assert len(Image.open(drawn[0]).convert("RGB").getcolors(1 << 20)) > 20
    assert json.loads(run("bench", "--from", measured, "--json").out) == json.loads(measured.read_text())


def test_finished_run_starts_no_server(run, measured, servers, monkeypatch):
    commit = json.loads(measured.read_text())["conditions"]["machine"]["commit"]
    monkeypatch.setattr("todre.bench.conditions.commit", lambda: commit)
    monkeypatch.setattr("todre.bench.load.run.running", lambda *rest: pytest.fail("started"))
    before = measured.read_text()
    result = run("bench", "--serve", "--servers", servers, "--random-weights", "tiny", "--device", "cpu", *LOAD,
                 "--output", measured, "--resume")  # fmt: skip
    assert result.code == 0, result.err
    assert measured.read_text() == before


def test_engines_servers_are_started_by_their_commands(run, monkeypatch, tmp_path):
    asked = []

    def pretend(configurations, requests, settings, model, conditions, **how):
        asked.append((configurations, settings, model, conditions))
        assert (Path(model) / "chat_template.jinja").exists()
        return {"format": "todre bench serve 1", "conditions": {**conditions, "settings": settings.to_dict()},
                "left_out": {}, "finished": [], "rows": []}  # fmt: skip

    monkeypatch.setattr("todre.bench.load.run.run", pretend)
    result = run("bench", "--serve", "--random-weights", "tiny", "--device", "cpu", "--retain", "0.5", "--threads", "2",
                 "--methods", "todre,divprune", "--server-options", "--queue '3 4'", "--dtype", "float32")  # fmt: skip
    assert result.code == 0, result.err
    configurations, settings, model, conditions = asked[0]
    assert [each.name for each in configurations] == ["none", "todre@0.5", "divprune@0.5"]
    assert configurations[2].command[-6:] == ("--queue", "3 4", "--method", "divprune", "--retain", "0.5")
    assert configurations[2].command[configurations[2].command.index("--dtype") + 1] == "float32"
    assert configurations[0].environment == {"OMP_NUM_THREADS": "2"}
    assert (conditions["engine"], settings.picture) == ("transformers", (168, 168))
    assert not Path(model).exists()
    assert run("bench", "--serve", "--engine", "vllm", "--methods", "none", "--random-weights", "tiny").code == 0
    assert "vllm.entrypoints.openai.api_server" in asked[1][0][0].command


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--engine", "vllm"), 2, "--engine is for servers; add --serve"),
        (("--soak", "9"), 2, "--soak is for servers; add --serve"),
        (("--serve", "--engine", "sglang"), 2, "not one of transformers, vllm"),
        (("--serve", "--batch", "2"), 2, "--serve leaves nothing for --batch to do"),
        (("--serve", "--suite", "tiny"), 2, "--serve leaves nothing for --suite to do"),
        (("--serve", "--servers", "x.json", "--retain", "0.5"), 2, "--servers leaves nothing for --retain to do"),
        (("--serve", "--servers", "missing.json"), 1, "does not exist"),
        (("--serve", "--new-tokens", "1,2"), 2, "--new-tokens takes one value"),
        (("--serve", "--threads", "1,2"), 2, "--threads takes one value"),
        (("--serve", "--methods", "all"), 2, "cannot be served"),
        (("--serve", "--methods", "todre:stages=1"), 2, "cannot be served"),
        (("--serve", "--one-server"), 2, "--one-server is for --engine vllm"),
        (("--serve", "--engine", "vllm", "--one-server", "--methods", "todre,divprune"), 1, "answers by one method"),
        (("--serve", "--server-options", "'"), 2, "--server-options"),
        (("--serve", "--random-weights", "qwen2.5-vl-small"), 1, "cannot be written"),
        (("--serve", "--random-weights", "tiny", "-m", "elsewhere"), 2, "are two models"),
        (("--serve", "--concurrency", "0"), 2, "no list of whole numbers"),
        (("--serve", "--concurrency", "2,2"), 2, "names 2 twice"),
        (("--serve", "--output", "b.txt"), 2, "use .json"),
    ],
)
def test_bad_input(run, tmp_path, monkeypatch, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    one_line(run("bench", "--device", "cpu", *arguments), code, sentence)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("tokens", "said"), [((64, 64), False), ((64, 65), False), ((64, 30), True), ((64, 0), False)])
def test_the_table_says_where_answers_differ_in_length(tokens, said):
    """Requests per second of answers that end by themselves are not of equal work."""
    cell = LoadCell(2, 4).to_dict()

    def row(name, each):
        done = Outcome(0.0, (1.0, 2.0), 2.0, each, None if each else "it broke")
        rounds = [Round(Driven([done, done], 4.0))]
        return row_of(name, cell, rounds, None, None)

    table = load_table([row("none", tokens[0]), row("todre", tokens[1])], {"new_tokens": 64})
    assert ("compare tokens/s" in table.caption) == said
    assert not said or "none 64, todre 30" in table.caption
