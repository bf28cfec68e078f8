"""From what a task shows and asks to a conversation, and which requests are answered together."""

import clipfiles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import todre
from todre.clips import clip_of_frames
from todre.errors import ImageError, UnsupportedInputError
from todre.evaluate.conditions import Condition
from todre.lmms.batches import Draws, Request, batches
from todre.lmms.prompts import conversation, kind_of, media_of

RED, BLUE = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")


def content(text, media, placeholder=None):
    (message,) = conversation(text, media, placeholder)
    assert message["role"] == "user"
    return [item.get("text", item.get("image", item.get("video"))) for item in message["content"]]


def test_pictures_come_before_the_question():
    assert content("what?", [RED, BLUE]) == [RED, BLUE, "what?"]
    assert content("what?", []) == ["what?"]


@pytest.mark.parametrize("mark", ["<image>", "<|pad|>"])
def test_pictures_come_where_the_text_marks_them(mark):
    assert content(f"first {mark} then {mark}{mark}", [RED, BLUE, RED], "<|pad|>") == [
        "first ", RED, " then ", BLUE, RED,
    ]  # fmt: skip


def test_as_many_marks_as_pictures():
    with pytest.raises(UnsupportedInputError, match="marks 1 places for pictures, and its document has 2"):
        conversation("<image> what?", [RED, BLUE])


def test_what_a_document_shows(tmp_path):
    file = tmp_path / "a.png"
    BLUE.save(file)
    clip = clip_of_frames([RED, BLUE], fps=1.0)
    shown = media_of([RED.convert("RGBA"), str(file), clip], frames=8)
    assert [each.mode for each in shown[:2]] == ["RGB", "RGB"]
    assert shown[2] is clip
    assert media_of(None, 8) == media_of([], 8) == []
    assert content("what?", [clip]) == [clip, "what?"]


def test_file_names_of_videos(tmp_path):
    file = tmp_path / "a.mp4"
    clipfiles.write(file, frames=8)
    (clip,) = media_of([str(file)], frames=4)
    assert [clipfiles.number_of(frame) for frame in clip.frames] == [0, 2, 4, 6]


def test_what_cannot_be_shown(tmp_path):
    with pytest.raises(UnsupportedInputError, match="shows a dict"):
        media_of([{"array": [0.0], "sampling_rate": 16000}], 8)
    with pytest.raises(ImageError):
        media_of([str(tmp_path / "none.png")], 8)


def test_kinds_that_go_into_one_batch():
    short, long = clip_of_frames([RED], fps=1.0), clip_of_frames([RED, RED], fps=1.0)
    assert kind_of([RED]) == kind_of([RED, BLUE])
    assert len({kind_of([]), kind_of([RED]), kind_of([short]), kind_of([long]), kind_of([short, long])}) == 5


def asked(documents, key="greedy"):
    return [Request((place,), document, key, "?" * place, list) for place, document in enumerate(documents)]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 9), st.booleans())
def test_each_request_is_in_one_batch_with_its_own_kind(documents, size, random):
    draws = Draws(todre.RandomTokens() if random else todre.ToDRE(pivot="cls"), 16)
    requests = [*asked(documents), *asked(documents, "sampled")]
    found = list(batches(requests, draws, size))
    assert sorted(map(id, requests)) == sorted(id(each) for _, batch in found for each in batch)
    for group, batch in found:
        assert len(batch) <= size
        assert len({each.key for each in batch}) == 1
        assert {draws.group(each.document) for each in batch} == {group}


def test_draws_go_by_document_as_those_of_an_evaluation():
    random = todre.RandomTokens(seed=3)
    draws = Draws(random, 16)
    assert [draws.group(document) for document in (0, 15, 16, 47, None)] == [0, 0, 1, 2, 0]
    assert draws.method_for(2) == Condition("random", random).method_for(2) != draws.method_for(1)
    fixed = todre.ToDRE(pivot="cls")
    assert Draws(fixed, 16).group(47) == 0
    assert Draws(fixed, 16).method_for(0) is fixed
