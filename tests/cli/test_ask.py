"""todre ask: the answer on stdout, one JSON document, and a clear sentence for everything that cannot work."""

import json
import shutil

import pytest
from cli.sentences import one_line
from PIL import Image

from todre.tiny import checkpoint_path

QUESTION = "Is there a red square in the picture?"
SHORT = ("--max-new-tokens", "4", "--device", "cpu")


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """One --json run, looked at by several tests."""
    import contextlib
    import io

    from todre.cli import main

    folder = tmp_path_factory.mktemp("ask")
    Image.new("RGB", (96, 48), (200, 30, 30)).save(folder / "a.png")
    out = io.StringIO()
    arguments = [
        "ask",
        folder / "a.png",
        QUESTION,
        "--json",
        "--overlay",
        folder / "kept.png",
        "--retain",
        "0.2",
        *SHORT,
    ]
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0
    return json.loads(out.getvalue()), folder


def test_answer_on_stdout_and_savings_on_stderr(run, picture):
    result = run("ask", picture, QUESTION, *SHORT)
    assert result.code == 0
    assert len(result.out.splitlines()) == 1
    assert "visual tokens" in result.err
    assert "→" in result.err


def test_shipped_model_is_called_a_toy_once(run, picture):
    for model in ((), ("-m", "todre-tiny-video")):
        result = run("ask", picture, QUESTION, *model, *SHORT)
        assert result.err.count("is a toy") == 1
        assert "about a hundred words" in result.err
        assert "-m." in result.err
    assert "toy" not in run("ask", picture, QUESTION, "--json", *SHORT).err


def test_another_model_is_not_called_a_toy(run, picture, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(checkpoint_path(), folder)
    assert "toy" not in run("ask", picture, QUESTION, "-m", folder, *SHORT).err


def test_quiet_leaves_stderr_empty(run, picture):
    result = run("ask", picture, QUESTION, "-q", *SHORT)
    assert (result.code, result.err) == (0, "")


def test_document_says_what_was_saved(document):
    facts, _ = document
    tokens = facts["visual_tokens"]
    assert 0 < tokens["after"] == len(facts["kept"]) < tokens["before"]
    assert tokens["after"] == round(0.2 * tokens["before"])
    assert len(tokens["per_layer"]) == facts["n_layers"]
    assert tokens["per_layer"][0] == tokens["after"]
    assert 0 < facts["kv_bytes"] < facts["kv_bytes_unpruned"]
    assert list(facts["attention_ratios"]) == ["7"]
    assert set(facts["attention_ratios"]["7"]) == {"text_to_visual", "visual_to_text"}
    assert facts["dropped_after_layer"] is None or facts["dropped_after_layer"] == 7
    assert facts["flops"]["total"] > facts["flops"]["encoder"] > 0


def test_document_says_under_which_conditions(document):
    facts, folder = document
    assert facts["question"] == QUESTION
    assert QUESTION in facts["prompt"]
    assert facts["model"] == "todre-tiny"
    assert facts["method"]["method"] == "todre"
    assert facts["method"]["retain"] == 0.2
    assert facts["method"]["threshold"] == 0.1
    assert (facts["device"], facts["dtype"], facts["attn_implementation"]) == ("cpu", "float32", "sdpa")
    assert facts["image_processor_backend"] == "pil"
    assert (facts["seed"], facts["mode"], facts["repeats"]) == (0, "drop", 1)
    assert {"python", "torch", "transformers", "todre"} <= set(facts["versions"])
    assert facts["images"][0]["size"] == [96, 48]
    assert len(facts["images"][0]["sha256"]) == 64
    assert facts["files"] == [str(folder / "a.png")]


def test_stages_add_up_to_the_total(document):
    times = document[0]["timings_ms"]
    parts = sum(times[stage] for stage in ("encode", "select", "prefill", "decode", "other"))
    assert parts == pytest.approx(times["total"], abs=0.01)
    assert 0 < times["first_token"] <= times["total"]
    assert all(times[stage] > 0 for stage in ("encode", "select", "prefill"))


def test_overlay_is_a_picture(document):
    facts, folder = document
    with Image.open(folder / "kept.png") as drawn:
        assert drawn.format == "PNG"
        assert drawn.width > 300
    assert facts["overlay"] == str(folder / "kept.png")


def test_several_images(run, picture, tmp_path):
    result = run("ask", picture, picture, QUESTION, "--json", "--overlay", tmp_path / "two.png", *SHORT)
    facts = json.loads(result.out)
    single = json.loads(run("ask", picture, QUESTION, "--json", *SHORT).out)
    assert facts["visual_tokens"]["before"] == 2 * single["visual_tokens"]["before"]
    assert (tmp_path / "two.png").stat().st_size > 0


def test_retain_as_a_count_and_each_method(run, picture):
    for method in ("todre-v1", "random", "cls-top-k"):
        facts = json.loads(run("ask", picture, QUESTION, "--method", method, "--retain", "20", "--json", *SHORT).out)
        assert facts["visual_tokens"]["after"] == 20
    facts = json.loads(run("ask", picture, QUESTION, "--method", "none", "--json", *SHORT).out)
    assert facts["visual_tokens"]["after"] == facts["visual_tokens"]["before"]


def test_model_from_a_folder_gives_the_same_answer(run, picture, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint_path(), folder)
    ours = json.loads(run("ask", picture, QUESTION, "--json", *SHORT).out)
    theirs = json.loads(run("ask", picture, QUESTION, "--json", "-m", folder, *SHORT).out)
    assert theirs["answer"] == ours["answer"]
    assert theirs["kept"] == ours["kept"]
    assert theirs["model"] == str(folder)


def test_unknown_words_are_named_on_stderr(run, picture):
    result = run("ask", picture, "Is there a zeppelin?", *SHORT)
    assert result.code == 0
    assert "warning: the model does not know: zeppelin?" in result.err


def test_animation_is_mentioned_on_stderr(run, tmp_path):
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    result = run("ask", tmp_path / "a.gif", QUESTION, *SHORT)
    assert result.code == 0
    assert "warning: " in result.err
    assert "several frames" in result.err


@pytest.mark.parametrize("size", [(1, 1), (20_000, 120)])
def test_extreme_sizes_work(run, tmp_path, size):
    Image.new("RGB", size, (9, 9, 9)).save(tmp_path / "a.png")
    result = run("ask", tmp_path / "a.png", QUESTION, "--json", *SHORT)
    assert result.code == 0
    assert json.loads(result.out)["images"][0]["size"] == list(size)


@pytest.mark.parametrize(
    ("retain", "word"),
    [("0", "not 0"), ("-3", "not -3"), ("1.5", "(0, 1]"), ("-0.1", "(0, 1]"), ("0.0", "(0, 1]"),
     ("nan", "nan"), ("inf", "inf"), ("True", "not a number"), ("ten", "not a number"), ("", "not a number")],
)  # fmt: skip
def test_bad_retain(run, picture, retain, word):
    one_line(run("ask", picture, QUESTION, f"--retain={retain}"), 2, "--retain", word)


def test_unknown_method_gets_a_suggestion(run, picture):
    one_line(run("ask", picture, QUESTION, "--method", "todrev1"), 2, "did you mean 'todre-v1'")


def test_none_with_retain_is_contradictory(run, picture):
    one_line(run("ask", picture, QUESTION, "--method", "none", "--retain", "0.5"), 2, "leave out --retain")


@pytest.mark.parametrize("question", ["", "   "])
def test_empty_question(run, picture, question):
    one_line(run("ask", picture, question), 2, "question is empty")


def test_question_forgotten_or_in_front(run, picture):
    one_line(run("ask", picture), 2, "image or video and a question")
    one_line(run("ask", QUESTION, picture), 2, "question last")


def test_placeholder_in_the_question(run, picture):
    one_line(run("ask", picture, "What is <image> here?", *SHORT), 1, "'<image>'", "leave it out")


def test_unusable_images(run, tmp_path):
    one_line(run("ask", tmp_path / "none.png", QUESTION), 1, "does not exist")
    one_line(run("ask", tmp_path, QUESTION), 1, "is a directory")
    (tmp_path / "text.png").write_text("hello")
    one_line(run("ask", tmp_path / "text.png", QUESTION), 1, "not an image")


def test_unusable_models(run, picture, tmp_path):
    one_line(run("ask", picture, QUESTION, "-m", tmp_path), 1, "no config.json")
    one_line(run("ask", picture, QUESTION, "-m", picture), 1, "is a file")
    one_line(run("ask", picture, QUESTION, "-m", tmp_path / "nowhere"), 1, "neither a folder nor a hub id")


def test_unusable_device_and_dtype(run, picture):
    one_line(run("ask", picture, QUESTION, "--device", "toaster"), 2, "'toaster'")
    one_line(run("ask", picture, QUESTION, "--dtype", "int3"), 2, "'int3'")
    one_line(run("ask", picture, QUESTION, "--attn-implementation", "magic"), 1, "'magic'")


@pytest.fixture
def no_model(monkeypatch):
    """The model must not be reached."""

    def refuse(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("todre.loading.model.load", refuse)


def test_output_is_checked_before_the_model_runs(run, picture, tmp_path, no_model):
    ask = ("ask", picture, QUESTION, "--overlay")
    one_line(run(*ask, tmp_path / "missing" / "a.png"), 1, "does not exist")
    one_line(run(*ask, tmp_path), 2, "suffix")
    (tmp_path / "dir.png").mkdir()
    one_line(run(*ask, tmp_path / "dir.png"), 1, "is a directory")
    one_line(run(*ask, "/proc/a.png"), 1, "Nothing can be written in /proc")
    one_line(run(*ask, tmp_path / "a.doc"), 2, ".png")


def test_matplotlib_is_checked_before_the_model_runs(run, picture, tmp_path, no_model, monkeypatch):
    monkeypatch.setattr("todre.plots.importlib.util.find_spec", lambda name: None)
    one_line(run("ask", picture, QUESTION, "--overlay", tmp_path / "a.png"), 1, "pip install 'todre[plots]'")


def test_nothing_half_written_when_drawing_fails(run, picture, tmp_path, monkeypatch):
    def fail(self, *_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    before = sorted(tmp_path.iterdir())
    result = run("ask", picture, QUESTION, "--overlay", tmp_path / "a.png", *SHORT)
    one_line(result, 1, "a.png cannot be written (disk full)")
    assert sorted(tmp_path.iterdir()) == before


def test_traceback_with_v_alone(run, picture, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("boom")

    monkeypatch.setattr("todre.running.answer", fail)
    one_line(run("ask", picture, QUESTION), 1, "unexpected RuntimeError (boom)", "-v")
    result = run("ask", picture, QUESTION, "-v")
    assert result.code == 1
    assert "Traceback" in result.err


def test_interrupt(run, picture, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("todre.running.answer", interrupt)
    result = run("ask", picture, QUESTION)
    assert (result.code, result.out, result.err.strip()) == (130, "", "interrupted")
