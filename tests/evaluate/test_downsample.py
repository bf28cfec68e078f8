"""The downsampled picture in evaluations: equal to the same model on the picture resized by hand, in any order."""

import pytest

import todre
from todre.errors import UnsupportedInputError
from todre.evaluate.conditions import BLIND, NONE, Condition
from todre.evaluate.engine import run
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.grid import grid
from todre.evaluate.group_answers import Asker
from todre.evaluate.session import Session
from todre.evaluate.session import Settings as SessionSettings
from todre.methods.downsample import Downsample
from todre.running import Settings, answer

SIDE = 192
HALF = Condition("half", Downsample(retain=0.5))
ORDERS = [[NONE, HALF, NONE], [HALF, NONE, HALF]]


@pytest.fixture(scope="module")
def items():
    return EvalConfig(("scenes-colour", "scenes-presence"), limit=3, size=SIDE).items()


def alone(loaded, items):
    """(answer, visual tokens) of each question about the picture that was resized by hand."""
    found = []
    for item in items:
        small = item.media[0]().resize((96, 96), resample=3)
        reply = answer(loaded, [small], item.question, todre.NoPruning(), Settings(max_new_tokens=item.new_tokens))
        found.append((reply.text, reply.report.visual_tokens_after[0]))
    return found


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "-".join(each.name for each in order))
def test_answers_are_those_about_the_picture_resized_by_hand(loaded, items, order, monkeypatch):
    expected = alone(loaded, items)
    whole = [reply[:2] for reply in Asker(loaded, [items], 4).answer(0, NONE)[0]]
    assert [tokens for _, tokens in expected] == [300] * len(items)
    assert [text for text, _ in expected] != [text for text, _ in whole]
    for apart in (("llava_next",), ()):  # pictures encoded once, and whole prompts
        monkeypatch.setattr("todre.evaluate.group_answers._ENCODED_APART", apart)
        asker = Asker(loaded, [items], 4)
        for condition in order:
            replies = [reply[:2] for reply in asker.answer(0, condition)[0]]
            assert replies == (expected if condition is HALF else whole)


def test_methods_that_reuse_the_first_layers_do_not_reuse_them_of_another_size(loaded, items):
    late = Condition("vtw", todre.methods.registry.create("vtw", layer=3))
    asker = Asker(loaded, [items], 4)
    fresh = Asker(loaded, [items], 4).answer(0, late)[0]
    small = Asker(loaded, [items], 4).answer(0, HALF)[0]
    for condition, expected in ((late, fresh), (HALF, small), (late, fresh), (HALF, small)):
        assert asker.answer(0, condition)[0] == expected


def test_budgets_that_come_to_the_same_size_are_encoded_once(loaded, items):
    asker = Asker(loaded, [items], 4)
    asker.answer(0, HALF)
    encoded = dict(asker._features)
    asker.answer(0, Condition("other", Downsample(retain=0.45)))
    assert list(asker._features) == list(encoded)
    asker.answer(0, NONE)
    assert len(asker._features) == len(encoded) + 1


def test_sessions_of_scenes_show_it_too(loaded):
    settings = SessionSettings(split="val", size=SIDE, group_size=1)
    session = Session(settings, loaded)
    first = session.answer_group(0, HALF)[0]
    assert {record.visual_tokens for record in first} == {300}
    assert {record.visual_tokens for record in session.answer_group(0, NONE)[0]} == {744}
    assert {record.visual_tokens for record in session.answer_group(0, BLIND)[0]} == {744}
    grey = session.answer_group(0, Condition("grey", Downsample(retain=0.5), picture="grey"))[0]
    assert {record.visual_tokens for record in grey} == {300}
    assert session.answer_group(0, HALF)[0] == first
    assert [record.prediction for record in grey] != [record.prediction for record in first]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_budget_below_the_floor_leaves_its_row_out(checkpoint, tmp_path, processes):
    config = EvalConfig(("scenes-colour",), str(checkpoint), limit=2, size=SIDE, device="cpu", dtype="float32")
    result = run(
        config, grid(["downsample", "random"], [0.5, 0.1], draws=1), tmp_path / "run", processes=processes
    ).result
    assert [(row["name"], row["retain"]) for row in result["rows"]] == [
        ("none", None), ("downsample", 0.5), ("random", 0.5), ("random", 0.1),
    ]  # fmt: skip
    assert set(result["left_out"]) == {"downsample@0.1"}
    assert (
        "at most 74 of its 744 visual tokens: the fewest at any smaller size are 300"
        in result["left_out"]["downsample@0.1"]
    )
    assert [split["retain"] for split in result["hard_splits"]] == [0.5]
    again = run(config, grid(["downsample", "random"], [0.5, 0.1], draws=1), tmp_path / "run")
    assert (again.answered, again.result) == (0, result)


def test_clips_are_left_out(checkpoint, tmp_path):
    config = EvalConfig(("scenes-video",), "todre-tiny-video", limit=1, device="cpu", dtype="float32")
    result = run(config, grid(["downsample"], [0.5]), tmp_path / "run").result
    assert "downsample resizes pictures and not clips" in result["left_out"]["downsample@0.5"]
    assert "hard_splits" not in result


def test_a_single_answer_says_what_was_shown_and_counts_the_towers_savings(loaded, items):
    image, question = items[0].media[0](), items[0].question
    whole = answer(loaded, [image], question, todre.NoPruning(), Settings(max_new_tokens=2))
    found = answer(loaded, [image], question, Downsample(retain=0.5), Settings(max_new_tokens=2))
    facts = found.to_dict()
    assert facts["shown"] == [{"size": [96, 96], "visual_tokens": 300, "before": 744}]
    assert (facts["visual_tokens"]["before"], facts["visual_tokens"]["after"]) == (744, 300)
    assert facts["images"] == whole.to_dict()["images"]
    assert facts["method"]["method"] == "downsample"
    assert found.summary == "shown as 96 × 96 pixels: 300 of 744 visual tokens"
    vision = loaded.model.config.vision_config
    tiles = {"whole": 5, "small": 3}
    assert found.flops.encoder * tiles["whole"] == whole.flops.encoder * tiles["small"]
    assert vision.image_size == 96
    assert whole.to_dict().get("shown") is None
    with pytest.raises(UnsupportedInputError, match=r"give a retain of at least 0\.404"):
        answer(loaded, [image], question, Downsample(retain=0.3), Settings(max_new_tokens=2))
