"""todre animate: films whose frames, decoded, show what the other commands say; a sentence for what cannot be shown."""

import json

import numpy as np
import pytest
from cli.sentences import one_line
from PIL import Image

from todre.clips import open_clip
from todre.geometry import visual_token_boxes
from todre.loading.model import load
from todre.methods import registry
from todre.plots.marks import LIGHT

QUESTION = "Is there a blue triangle in the picture?"
SHORT = ("--max-new-tokens", "2", "--device", "cpu")


@pytest.fixture
def scene(tmp_path):
    """The scene of `todre demo`, in a file."""
    from todre.cli.demo import exhibits

    path = tmp_path / "scene.png"
    exhibits()["scene"].picture.save(path)
    return path


@pytest.fixture
def dark(tmp_path):
    """A picture of few dark colours, in which the fade of a token can be read back."""
    pixels = np.random.default_rng(0).integers(0, 30, (8, 12), dtype=np.uint8)
    path = tmp_path / "dark.png"
    Image.fromarray(np.kron(pixels, np.ones((8, 8), dtype=np.uint8))).convert("RGB").save(path)
    return path


def strengths(boxes, size):
    """How strongly each pixel of the picture shows, if these are the kept tokens' boxes."""
    table = np.full(size[::-1], LIGHT["dropped"])
    for kind in ("thumbnail", "crop"):
        for box in boxes:
            if box.kind == kind:
                table[round(box.top) : round(box.bottom), round(box.left) : round(box.right)] = LIGHT[kind]
    return table


def clear(boxes, x, y):
    """Whether no frame of a token runs near a point of the picture."""
    return not any(
        (min(abs(x - box.left), abs(x - box.right)) < 0.8 and box.top - 1 < y < box.bottom + 1)
        or (min(abs(y - box.top), abs(y - box.bottom)) < 0.8 and box.left - 1 < x < box.right + 1)
        for box in boxes
    )  # fmt: skip


def film(path):
    with Image.open(path) as opened:
        for number in range(opened.n_frames):
            opened.seek(number)
            yield np.asarray(opened.convert("L"), dtype=float)


def test_frame_i_shows_the_first_i_tokens(run, dark, tmp_path):
    """At the middle of each place of the picture, the decoded fade is that of the strongest token chosen so far."""
    target = tmp_path / "order.gif"
    result = run(
        "animate", dark, QUESTION, "--method", "divprune", "--retain", "9", "--output", target, "--json", *SHORT
    )
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    loaded = load(None, device="cpu")
    boxes = visual_token_boxes(loaded.processor, loaded.model.config, [(96, 64)])
    order = document["frames"][-1]["kept"]
    frames = list(film(target))
    assert len(frames) == len(order) == 9
    pale = np.min(frames, axis=0)[:, : frames[0].shape[1] // 2] < 235
    rows = np.flatnonzero(pale.mean(axis=1) > 0.9)
    columns = np.flatnonzero(pale[rows].mean(axis=0) > 0.9)
    looked = 0
    for count, pixels in enumerate(frames, 1):
        part = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        kept = [boxes[token] for token in order[:count]]
        expected = strengths(kept, (96, 64))
        down, across = part.shape[0] / 64, part.shape[1] / 96
        for y in range(1, 64, 2):
            for x in range(1, 96, 2):
                if clear(kept, x + 0.5, y + 0.5):
                    looked += 1
                    seen = 1 - part[int((y + 0.5) * down), int((x + 0.5) * across)] / 255
                    assert seen == pytest.approx(expected[y, x], abs=0.13), (count, x, y)
    assert looked > 10_000


def test_answers_at_budgets_are_those_of_ask(run, scene, tmp_path):
    target = tmp_path / "budget.webp"
    budgets = ("0.5", "74", "0.05", "0.02")
    result = run(
        "animate", scene, QUESTION, "--show", "budget", "--retain", ",".join(budgets), "--output", target, *SHORT
    )
    assert result.code == 0
    alone = [run("ask", scene, QUESTION, "--retain", budget, "-q", *SHORT).out.strip() for budget in budgets]
    assert result.out.splitlines() == [
        f"{budget}: {answer}" for budget, answer in zip(("50 %", "74", "5 %", "2 %"), alone, strict=True)
    ]
    assert len(set(alone)) == 2
    assert len(list(film(target))) == 4
    assert f"wrote {target} (4 frames" in result.err


def test_layers_are_those_that_ask_reports(run, scene, tmp_path):
    target = tmp_path / "layers.mp4"
    words = (scene, QUESTION, "--method", "pyramiddrop", *SHORT, "--json")
    document = json.loads(run("animate", *words, "--show", "layers", "--output", target).out)
    told = json.loads(run("ask", *words).out)
    assert [frame["tokens"] for frame in document["frames"]] == [
        told["visual_tokens"]["before"], *told["visual_tokens"]["per_layer"]
    ]  # fmt: skip
    assert document["answer"] == told["answer"]
    assert document["method"] == told["method"]
    with pytest.warns(UserWarning, match="frames"):
        assert len(open_clip(target, 1000).frames) == told["n_layers"] + 1


@pytest.mark.parametrize("show", ["order", "budget", "layers"])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_the_shipped_scene_takes_less_than_a_megabyte(run, scene, tmp_path, show, suffix):
    target = tmp_path / f"{show}{suffix}"
    result = run("animate", scene, QUESTION, "--show", show, "--output", target)
    assert result.code == 0
    assert 5_000 < target.stat().st_size < 1_000_000
    frames = {"order": 74, "budget": 21, "layers": 9}[show]
    if suffix != ".mp4":
        with Image.open(target) as opened:
            assert (opened.n_frames, opened.width) == (frames, 640)
        return
    with pytest.warns(UserWarning, match="frames"):
        assert len(open_clip(target, 1000).frames) == frames


def test_the_answer_goes_to_stdout_and_quiet_is_quiet(run, dark, tmp_path):
    words = ("animate", dark, QUESTION, "--retain", "3", "--output", tmp_path / "a.gif", *SHORT)
    first = run(*words)
    assert first.code == 0
    assert first.out.strip() == run("ask", dark, QUESTION, "--retain", "3", "-q", *SHORT).out.strip()
    assert "is a toy" in first.err
    second = run(*words, "-q", "--force")
    assert (second.code, second.out, second.err) == (0, first.out, "")


@pytest.mark.parametrize("show", ["order", "budget", "layers"])
def test_an_unknown_word_is_told_once(run, dark, tmp_path, show):
    words = ("--show", show, "--retain", "5,4,3" if show == "budget" else "5", *SHORT)
    result = run("animate", dark, "Is there a xylophone?", "--output", tmp_path / "a.gif", *words)
    assert result.code == 0
    assert result.err.count("does not know") == 1


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--output", "a.png"), 2, ("a.png", ".gif, .webp, .mp4")),
        (("--output", "a"), 2, ("a has no suffix",)),
        (("--output", "there.gif"), 1, ("there.gif is there already", "--force")),
        (("--output", "none/a.gif"), 1, ("none does not exist",)),
        (("--output", "a.gif", "--frames", "0"), 2, ("--frames",)),
        (("--output", "a.gif", "--frames", "3", "--show", "layers"), 2, ("--frames would change nothing",)),
        (("--output", "a.gif", "--duration", "25"), 2, ("--duration 25", "multiple of 10")),
        (("--output", "a.gif", "--width", "100"), 2, ("--width",)),
        (("--output", "a.gif", "--show", "tokens"), 2, ("'tokens'", "order, budget, layers")),
        (("--output", "a.gif", "--retain", "0.5,0.1"), 2, ("--show order takes one budget", "names 2")),
        (("--output", "a.gif", "--show", "budget", "--retain", "0.5,0.5"), 2, ("0.5 twice",)),
        (
            ("--output", "a.gif", "--show", "budget", "--method", "vtw"),
            2,
            ("needs a method that takes --retain", "vtw"),
        ),
        (("--output", "a.gif", "--show", "budget", "--method", "none"), 2, ("needs a method", "none")),
        (("--output", "a.gif", "--show", "layers", "--method", "vtw", "--retain", "0.1"), 2, ("vtw has no retain",)),
        (("--output", "a.gif", "--method", "random"), 1, ("random does not choose one token", "divprune")),
        (("--output", "a.gif", "--method", "todre-stage-2"), 1, ("todre-stage-2 does not choose",)),
        (("--output", "a.gif", "--show", "layers", "--method", "downsample"), 1, ("downsample resizes pictures",)),
    ],
)
def test_what_cannot_be_animated_is_one_sentence_before_any_work(
    run, picture, tmp_path, monkeypatch, words, code, told
):
    def refuse(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("todre.loading.model.load", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.gif").write_bytes(b"GIF")
    one_line(run("animate", picture, QUESTION, *words), code, *told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["picture.png", "there.gif"]
    assert (tmp_path / "there.gif").read_bytes() == b"GIF"


def test_pictures_that_cannot_be_read_are_one_sentence(run, picture, tmp_path):
    target = tmp_path / "a.gif"
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:60])
    (tmp_path / "text.png").write_text("no picture")
    for name in ("empty.png", "cut.png", "text.png", "nowhere.png", "."):
        one_line(run("animate", tmp_path / name, QUESTION, "--output", target), 1)
    one_line(run("animate", picture, " ", "--output", target), 2, "question is empty")
    assert not target.exists()


def test_a_picture_is_never_written_over(run, tmp_path):
    source = tmp_path / "a.gif"
    Image.new("RGB", (64, 64), "red").save(source)
    before = source.read_bytes()
    one_line(run("animate", source, QUESTION, "--output", source, "--force"), 1, "is a file that this reads")
    assert source.read_bytes() == before


def test_what_keeps_everything_has_no_order_to_show(run, picture, tmp_path):
    target = tmp_path / "a.gif"
    result = run("animate", picture, QUESTION, "--retain", "1.0", "--output", target, *SHORT)
    one_line(result, 1, "todre keeps all", "keep fewer")
    assert not target.exists()


@pytest.mark.parametrize(("missing", "target"), [("matplotlib", "a.gif"), ("av", "a.mp4")])
def test_without_a_package_one_sentence_says_what_to_install(run, picture, tmp_path, monkeypatch, missing, target):
    from importlib.util import find_spec

    import todre.clips.source
    import todre.plots

    absent = type("Absent", (), {"find_spec": staticmethod(lambda name: None if name == missing else find_spec(name))})
    for module in (todre.plots, todre.clips.source):
        monkeypatch.setattr(module.importlib, "util", absent)
    extra = {"matplotlib": "plots", "av": "video"}[missing]
    one_line(run("animate", picture, QUESTION, "--output", tmp_path / target), 1, f"pip install 'todre[{extra}]'")


def test_a_method_of_a_file_is_used_as_it_is(run, picture, tmp_path):
    file = tmp_path / "mine.json"
    registry.save(registry.create("divprune", retain=4), file)
    words = ("animate", picture, QUESTION, "--method", file, "--json", *SHORT)
    document = json.loads(run(*words, "--output", tmp_path / "a.gif").out)
    assert len(document["frames"]) == 4
    one_line(run(*words, "--output", tmp_path / "b.gif", "--retain", "3"), 2, "used as its file has it")
    one_line(run(*words, "--output", tmp_path / "b.gif", "--show", "budget"), 2, "needs a method that takes --retain")
