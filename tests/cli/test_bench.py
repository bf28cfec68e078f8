"""todre bench: tables, documents, figures from a document, and one sentence for what cannot be measured."""

import json

import pytest
from cli.sentences import one_line
from PIL import Image

from todre.bench.published import NAMES, table
from todre.methods import registry

TINY = ("bench", "--random-weights", "tiny", "--device", "cpu", "--rounds", "1", "--warm-up", "0", "--threads", "1")


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """A document of two budgets, whose figures have something to show."""
    from todre.cli import main

    file = tmp_path_factory.mktemp("bench") / "b.json"
    with pytest.raises(SystemExit) as ended:
        main([*TINY, "--methods", "todre:stages=1", "--retain", "0.1,0.5", "--new-tokens", "2", "--output", str(file)])
    assert ended.value.code == 0
    return file


def test_document_says_under_which_conditions(measured):
    document = json.loads(measured.read_text())
    conditions = document["conditions"]
    assert conditions["model"]["name"] == "tiny"
    assert conditions["model"]["weights"] == "random"
    assert conditions["machine"]["device"] == "cpu"
    assert conditions["machine"]["versions"]["torch"]
    assert conditions["subjects"][0]["stages"] == [1]
    assert document["command"].startswith("todre")
    assert len(document["rows"]) == 5


def test_document_is_shown_and_drawn_without_measuring(run, measured, tmp_path):
    figures = tmp_path / "figures"
    result = run("bench", "--from", measured, "--plots", figures)
    assert result.code == 0
    assert "todre:stages=1@0.1" in result.out
    assert "its oracle" in result.out
    drawn = sorted(figures.iterdir())
    assert [file.name for file in drawn] == [f"bench-{name}.png" for name in ("breakdown", "length", "memory",
                                                                             "speed-up")]  # fmt: skip
    for file in drawn:
        assert len(Image.open(file).convert("RGB").getcolors(1 << 20)) > 20
    assert json.loads(run("bench", "--from", measured, "--json").out) == json.loads(measured.read_text())


def test_finished_document_is_not_measured_again(run, measured, monkeypatch):
    before = measured.read_text()
    commit = json.loads(before)["conditions"]["machine"]["commit"]
    monkeypatch.setattr("todre.bench.conditions.commit", lambda: commit)
    monkeypatch.setattr("todre.bench.run.measure", lambda *rest: pytest.fail("measured again"))
    choices = ("--methods", "todre:stages=1", "--retain", "0.1,0.5", "--new-tokens", "2")
    assert run(*TINY, *choices, "--output", measured, "--resume").code == 0
    assert measured.read_text() == before


def test_table_puts_published_beside_measured(run):
    result = run(*TINY, "--table", "v1-table4", "--no-oracle", "--no-memory", "--new-tokens", "1", "-q")
    assert result.code == 0
    assert "published" in result.out
    assert "1.77e+03 (0.38×)" in result.out
    for row in table("v1-table4").rows:
        assert row.label in result.out


@pytest.mark.parametrize("name", NAMES)
def test_tables_rows_are_methods_with_the_printed_budgets(name):
    rows = table(name).rows
    assert rows[0].method is None
    for row in rows[1:]:
        subject = row.subject(certain=True)
        assert subject.method.name in registry.names()
        assert row.retain is None or subject.method.retain == row.retain


def test_shipped_model_is_measured_by_its_processor(run):
    result = run("bench", "--device", "cpu", "--rounds", "1", "--warm-up", "0", "--new-tokens", "1", "--no-oracle",
               "--no-memory", "--methods", "random", "--retain", "9", "--json", "-q")  # fmt: skip
    document = json.loads(result.out)
    assert document["conditions"]["model"]["weights"] == "checkpoint"
    assert document["rows"][1]["visual_tokens"]["entered"] == 9


def test_a_longer_template_is_measured_unless_a_length_was_asked_for(run, monkeypatch):
    monkeypatch.setattr("todre.bench.prompts.QUESTION", "What is red " * 20)
    once = ("bench", "--device", "cpu", "--rounds", "1", "--warm-up", "0", "--new-tokens", "1", "--no-oracle",
            "--no-memory", "--methods", "random", "--json", "-q")  # fmt: skip
    row = json.loads(run(*once).out)["rows"][0]
    assert row["asked"]["text_tokens"] == 40
    assert row["cell"]["text_tokens"] > 60
    one_line(run(*once, "--text-tokens", "40"), 1, f"give at least {row['cell']['text_tokens']}")


def test_the_seed_is_that_of_the_methods_of_a_table(run, monkeypatch):
    found = []

    def stop(source, specs, *rest, **more):
        found.extend(spec.method.seed for spec in specs if hasattr(spec.method, "seed"))
        raise KeyboardInterrupt

    monkeypatch.setattr("todre.bench.run.run", stop)
    run(*TINY, "--table", "v1-table4", "--seed", "5", "-q")
    assert found
    assert set(found) == {5}


def test_check_passes_on_the_cpu(run, tmp_path):
    result = run("bench", "--check", "--random-weights", "tiny", "--device", "cpu", "--backends",
               "sdpa,eager,flash_attention_2", "--output", tmp_path / "c.json", "-q")  # fmt: skip
    assert result.code == 0
    checks = {row["name"]: row for row in json.loads((tmp_path / "c.json").read_text())["checks"]}
    assert json.loads((tmp_path / "c.json").read_text())["machine"]["device"] == "cpu"
    assert checks["sdpa/float32"]["ok"]
    assert checks["eager/bfloat16"]["ok"]
    assert "cannot be used here" in checks["flash_attention_2/bfloat16"]["left_out"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--random-weights", "llava-next-7"), 2, "did you mean 'llava-next-7b'"),
        (("--methods", "vtw:depth=3"), 2, "is no setting of vtw"),
        (("--batch", "0"), 2, "no list of whole numbers"),
        (("--retain", "0.1,2.5"), 2, "2.5"),
        (("--suite", "gpu"), 2, "is not one of cpu"),
        (("--resume",), 2, "give --output too"),
        (("--output", "b.txt"), 2, "use .json"),
        (("--new-tokens", "2,2"), 2, "names 2 twice; name each once"),
        (("--from", "missing.json"), 1, "does not exist"),
        (("--random-weights", "tiny", "-m", "elsewhere"), 2, "are two models"),
        (("--random-weights", "tiny", "--device", "cpu", "--backends", "magic"), 1, "use sdpa or eager"),
        (("--random-weights", "tiny", "--device", "cpu", "--text-tokens", "1"), 1, "leaves no word"),
        (
            ("--device", "cpu", "--text-tokens", "10,90"),
            1,
            "A prompt of 10 text tokens is shorter than the template of",
        ),
        (("--table", "v1-table4", "--methods", "vtw"), 2, "--table leaves nothing for --methods to do; leave that out"),
        (("--table", "v1-table4", "--retain", "0.5"), 2, "--table leaves nothing for --retain to do; leave that out"),
    ],
)
def test_bad_input(run, tmp_path, monkeypatch, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    one_line(run("bench", *arguments), code, sentence)
    assert not list(tmp_path.iterdir())
