"""todre ask about a video: an MP4 of the renderer, random weights, and every number and rectangle checked by hand."""

import json

import numpy as np
import pytest
import torch
from cli.sentences import one_line
from clipfiles import number_of, patch_matrix, write, write_audio, write_no_frames
from PIL import Image
from processing.kits import KITS

from todre.clips import clip_sha256, open_clip
from todre.geometry import LAYOUTS
from todre.loading.model import load
from todre.plots.marks import LIGHT
from todre.processing import apply
from todre.scenes import make_clip, write_mp4

QUESTION = "what is this ?"
SHORT = ("--max-new-tokens", "3", "--device", "cpu")
FRAMES, SIZE = 8, (192, 144)

VISUAL = {
    "llava_next_video": 8 * 4,  # 24 px of 6 px patches: 4 × 4, pooled to 2 × 2
    "llava_onevision": 8 * 9 + 1,  # 5 × 5 patches, pooled to 3 × 3; one newline
    "video_llava": 8 * 17,  # 4 × 4 patches and a class token
    "internvl": 8 * 9,
    "smolvlm": 8 * 9,  # 6 × 6 patches of 4 px, shuffled to 3 × 3
    "qwen2_5_vl": 4 * 15,  # two frames a step; at most 20 patches of 64 px each give 5 × 3 merged ones
    "qwen3_vl": 4 * 6,  # 64 patches for all steps together
}
"""Visual tokens of eight frames of 192 × 144 pixels, counted by hand from the settings of each kit."""


@pytest.fixture(scope="module")
def scene():
    return make_clip(3, FRAMES, SIZE, event="moves")


@pytest.fixture(scope="module")
def video(scene, tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_mp4(scene.frames, path, fps=4)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """checkpoint("qwen3_vl") → a folder with random weights, a tiny tokenizer and a chat template."""
    root = tmp_path_factory.mktemp("checkpoints")
    kits = {kit.model_type: kit for kit in KITS}

    def at(model_type):
        folder = root / model_type
        if not folder.exists():
            kits[model_type].write(folder)
            kits[model_type].specimen.build("sdpa").save_pretrained(folder)
        return folder

    return at


@pytest.fixture
def ask(run, checkpoint):
    """ask("qwen3_vl", "a.mp4", "--frames", "4") → the JSON document."""

    def call(model_type, *arguments):
        result = run("ask", *arguments, QUESTION, "-m", checkpoint(model_type), "--json", *SHORT)
        assert result.code == 0, result.err
        return json.loads(result.out)

    return call


@pytest.mark.parametrize("model_type", VISUAL)
def test_every_family_answers_about_the_clip(ask, video, tmp_path, model_type):
    facts = ask(model_type, video, "--retain", "0.25", "--overlay", tmp_path / "kept.png")
    tokens = facts["visual_tokens"]
    assert tokens["before"] == VISUAL[model_type]
    assert tokens["after"] == len(facts["kept"]) == round(0.25 * tokens["before"])
    assert max(facts["kept"]) < tokens["before"]
    clip = open_clip(video, FRAMES)
    assert facts["clips"] == [
        {
            "sha256": clip_sha256(clip),
            "size": list(SIZE),
            "frames": FRAMES,
            "indices": list(range(FRAMES)),
            "timestamps": [0.25 * number for number in range(FRAMES)],
            "fps": 4.0,
            "duration": 2.0,
            "total_frames": FRAMES,
        }
    ]
    assert (facts["images"], facts["media"], facts["files"]) == ([], ["clip"], [str(video)])
    with Image.open(tmp_path / "kept.png") as drawn:
        assert (drawn.format, facts["overlay"]) == ("PNG", str(tmp_path / "kept.png"))
        assert drawn.width > 1000


def cell_of_next_video(token):
    """(frames, left, top, right, bottom): 32 × 24 px cropped to 24 × 24, so 24 px are lost on either side of 192."""
    frame, row, column = token // 4, token % 4 // 2, token % 2
    return [frame], 24 + 72 * column, 72 * row, 96 + 72 * column, 72 * row + 72


def cell_of_qwen(token):
    """Steps of two frames, each of three rows and five columns."""
    step, row, column = token // 15, token % 15 // 5, token % 5
    return [2 * step, 2 * step + 1], 38.4 * column, 48 * row, 38.4 * column + 38.4, 48 * row + 48


@pytest.mark.parametrize(
    ("model_type", "cell_of"), [("llava_next_video", cell_of_next_video), ("qwen2_5_vl", cell_of_qwen)]
)
def test_the_picture_is_bright_where_kept_tokens_looked(ask, video, tmp_path, monkeypatch, model_type, cell_of):
    """Each frame of the sheet against the clip's own frame, faded by hand outside the kept tokens' cells."""
    figures = []
    monkeypatch.setattr("todre.cli.overlay.save_figure", lambda figure, path: figures.append(figure))
    facts = ask(model_type, video, "--retain", "0.3", "--overlay", tmp_path / "kept.png")
    assert 0 < len(facts["kept"]) < VISUAL[model_type]
    strengths = np.full((FRAMES, SIZE[1], SIZE[0]), LIGHT["dropped"])
    for token in facts["kept"]:
        frames, left, top, right, bottom = cell_of(token)
        for frame in frames:
            strengths[frame, round(top) : round(bottom), round(left) : round(right)] = 1.0
    (axes,) = figures[0].axes
    assert len(axes.images) == FRAMES
    for image, frame, strength in zip(axes.images, open_clip(video).frames, strengths, strict=True):
        expected = 255 - (255 - np.asarray(frame, dtype=float)) * strength[..., None]
        assert np.abs(np.asarray(image.get_array(), dtype=float) - expected).max() <= 1
    times = [text.get_text() for text in axes.texts if text.get_text().endswith(" s")]
    assert times == [f"{0.25 * number:.2f} s" for number in range(FRAMES)]


def test_frames_are_spread_over_the_clip(ask, video):
    facts = ask("llava_next_video", video, "--frames", "5")
    assert facts["clips"][0]["indices"] == [0, 1, 3, 4, 6]
    assert facts["clips"][0]["timestamps"] == [0.0, 0.25, 0.75, 1.0, 1.5]
    assert facts["visual_tokens"]["before"] == 5 * 4


@pytest.mark.parametrize("model_type", ["llava_next_video", "qwen2_5_vl"])
def test_without_pruning_it_is_the_model_and_its_processor(ask, checkpoint, video, model_type):
    """The stock route, by hand: frames to the processor, generate on the untouched model."""
    loaded = load(checkpoint(model_type), device="cpu")
    content = [{"type": "video", "video": open_clip(video)}, {"type": "text", "text": QUESTION}]
    inputs, prompt = apply(loaded.processor, [{"role": "user", "content": content}])
    with torch.inference_mode():
        tokens = loaded.model.generate(**inputs, max_new_tokens=3, do_sample=False)
    expected = loaded.processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    for arguments in (("--method", "none"), ("--retain", "1.0")):
        facts = ask(model_type, video, *arguments)
        assert facts["answer"] == expected.strip()
        assert facts["prompt"] == prompt
        assert facts["visual_tokens"]["after"] == VISUAL[model_type]


def test_pictures_and_clips_stay_in_order(ask, scene, video, tmp_path):
    scene.frames[0].save(tmp_path / "a.png")
    picture_tokens = ask("qwen2_5_vl", tmp_path / "a.png")["visual_tokens"]["before"]
    for files in ((tmp_path / "a.png", video), (video, tmp_path / "a.png"), (video, tmp_path / "a.png", video)):
        facts = ask("qwen2_5_vl", *files, "--overlay", tmp_path / "kept.png", "--force")
        kinds = ["image" if file.suffix == ".png" else "clip" for file in files]
        assert facts["media"] == kinds
        assert len(facts["images"]) == 1
        assert len(facts["clips"]) == len(files) - 1
        assert facts["visual_tokens"]["before"] == picture_tokens + (len(files) - 1) * VISUAL["qwen2_5_vl"]
        marks = [word for word in facts["prompt"].replace("<", " <").split() if "pad|>" in word]
        assert [mark.split("_pad")[0] for mark in marks] == [
            {"image": "<|image", "clip": "<|video"}[kind] for kind in kinds
        ]


def test_a_video_is_known_by_its_bytes(ask, video, tmp_path):
    (tmp_path / "clip.png").write_bytes(video.read_bytes())
    assert ask("qwen3_vl", tmp_path / "clip.png")["media"] == ["clip"]


def test_frames_are_turned_before_they_are_asked_about(ask, tmp_path):
    path = patch_matrix(write(tmp_path / "a.mp4", 8, size=(96, 40)), 0, 1, -1, 0)
    assert ask("qwen3_vl", path)["clips"][0]["size"] == [40, 96]


def test_text_output_and_few_frames(run, checkpoint, tmp_path):
    result = run("ask", write(tmp_path / "a.mp4", 3), QUESTION, "-m", checkpoint("llava_next_video"), *SHORT)
    assert result.code == 0
    assert len(result.out.splitlines()) == 1
    assert "warning: " in result.err
    assert "has 3 frames, and 8 were asked for" in result.err
    assert "visual tokens 12 → " in result.err
    assert "decoding" not in result.err, "no bar where no terminal is"


def test_a_bar_on_a_terminal_and_none_with_q(run, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda self: True))
    path = write(tmp_path / "a.mp4", 20)
    loud = run("ask", path, QUESTION, "-m", checkpoint("llava_next_video"), *SHORT)
    assert "decoding a.mp4" in loud.err
    assert "20/20" in loud.err
    assert len(loud.out.splitlines()) == 1
    quiet = run("ask", path, QUESTION, "-m", checkpoint("llava_next_video"), "-q", *SHORT)
    assert (quiet.code, quiet.err) == (0, "")


@pytest.fixture
def no_model(monkeypatch):
    """The model must not be reached."""

    def refuse(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("todre.loading.model.load", refuse)


def test_files_that_are_no_clips(run, video, tmp_path, no_model):
    def refused(path, *words):
        one_line(run("ask", path, QUESTION), 1, *words)

    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[: video.stat().st_size * 2 // 3])
    refused(tmp_path / "cut.mp4", "is truncated", "get a complete copy")
    refused(write_audio(tmp_path / "sound.mp4"), "audio only")
    refused(write_no_frames(tmp_path / "none.mp4", muxing={"movflags": "empty_moov+frag_keyframe"}), "has no frames")
    refused(write_no_frames(tmp_path / "none.mkv"), "has no frames")
    refused(tmp_path / "missing.mp4", "does not exist", "clip's file name")
    refused("https://example.org/clip.mp4", "is an address")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", "is empty")
    (tmp_path / "text.mp4").write_text("hello")
    refused(tmp_path / "text.mp4", "is not a video")


def test_a_model_for_pictures_takes_no_clip(run, video):
    one_line(run("ask", video, QUESTION, *SHORT), 1, "todre-tiny takes pictures and no clips", "single frames")


def test_frames_without_a_video_and_without_frames(run, picture, video, no_model):
    one_line(run("ask", picture, QUESTION, "--frames", "4"), 2, "--frames is for videos")
    one_line(run("ask", video, QUESTION, "--frames", "0"), 2, "--frames")
    one_line(run("ask", video), 2, "image or video and a question")
    one_line(run("ask", QUESTION, video), 2, "question last")


def test_placeholders_in_the_question(run, checkpoint, video):
    for word in ("<video>", "<image>"):
        one_line(run("ask", video, f"what is {word} ?", "-m", checkpoint("llava_next_video"), *SHORT), 1, f"'{word}'")


def test_pyav_is_named_where_it_is_missing(run, video, no_model, monkeypatch):
    monkeypatch.setattr("todre.clips.source.importlib.util.find_spec", lambda name: None)
    one_line(run("ask", video, QUESTION), 1, "pip install 'todre[video]'")


def test_tokens_that_cannot_be_drawn_are_refused_before_the_answer(run, checkpoint, video, tmp_path, monkeypatch):
    monkeypatch.delitem(LAYOUTS, "qwen3_vl")
    monkeypatch.setattr("todre.running.answer", lambda *_, **__: 1 / 0)
    arguments = ("-m", checkpoint("qwen3_vl"), "--overlay", tmp_path / "kept.png", *SHORT)
    one_line(run("ask", video, QUESTION, *arguments), 1, "'qwen3_vl'")
    assert list(tmp_path.iterdir()) == []


def test_frames_arrive_in_order(tmp_path):
    """What the command opens by default, of a longer file: eight frames, evenly."""
    clip = open_clip(write(tmp_path / "a.mp4", 100), 8)
    assert [number_of(frame) for frame in clip.frames] == [0, 12, 25, 37, 50, 62, 75, 87]
