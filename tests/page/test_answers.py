"""Answers, strip, attention and drawings, against answers asked for one by one and against the report."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from todre.analysis.animations import order_of_choosing
from todre.errors import InvalidValueError
from todre.geometry import visual_token_boxes
from todre.loading import load
from todre.methods import registry
from todre.page import answering, cards, svg
from todre.page.answering import SETTINGS, Begun, Outcome, answer_all, record
from todre.page.attention import attention, rule, stage2_of
from todre.page.budgets import BUDGETS, Cell, changes, strip, walk
from todre.page.examples import EXAMPLES
from todre.page.notices import Note, Notices
from todre.page.wish import Wish
from todre.report import format_bytes
from todre.running import Settings, answer

MOVING = ("timings_ms", "peak_bytes")


@pytest.fixture(scope="module")
def loaded():
    return load(device="cpu")


@pytest.fixture(scope="module")
def picture():
    return EXAMPLES[0].open().resize((120, 90))


def still(document):
    return {name: value for name, value in document.items() if name not in MOVING}


def asked(loaded, picture, wish):
    given = []
    answer_all(loaded, picture, wish, given.append, lambda: False)
    return given


def last(given):
    """The last outcome of each method, in order."""
    return list({one.place: one for one in given if isinstance(one, Outcome)}.values())


def test_the_order_is_that_of_the_animation(loaded, picture):
    wish = Wish(methods=("todre", "divprune", "random", "none"), share=0.05)
    for found in last(asked(loaded, picture, wish)):
        if found.name in ("random", "none"):
            assert found.order == ()
            continue
        method = registry.create(found.name, retain=0.05)
        film = order_of_choosing(loaded, picture, wish.question, method, SETTINGS, 1000)
        assert found.order == film.frames[-1].kept
        said = re.findall(
            r'data-say="Token (\d+) of [^"]* Choice (\d+) of (\d+)\. ', cards.card(loaded, picture, found)
        )
        assert said
        for place, turn, count in said:
            assert found.order[int(turn) - 1] == int(place)
            assert int(count) == len(found.order)


def test_each_answer_is_that_of_asking_alone_and_streams_to_its_end(loaded, picture):
    wish = Wish(methods=("none", "todre", "random"), share=0.25)
    given = asked(loaded, picture, wish)
    outcomes = last(given)
    assert [one.name for one in outcomes] == list(wish.methods)
    for place, found in enumerate(outcomes):
        method = registry.create("none") if found.name == "none" else registry.create(found.name, retain=0.25)
        alone = answer(loaded, [picture], wish.question, method, SETTINGS)
        assert still(found.answer.to_dict()) == still(alone.to_dict())
        texts = [one.text for one in given if isinstance(one, Begun) and one.place == place]
        assert texts[0] == ""
        assert texts[-1] == alone.text
        assert len(texts) == alone.new_tokens + 1


def test_the_record_names_what_does_not_apply(loaded, picture):
    wish = Wish(methods=("none", "ivc-prune", "glimpseprune"))
    given = asked(loaded, picture, wish)
    outcomes = last(given)
    document = record(wish.question, "a.png", outcomes)
    refused = {one.name for one in outcomes if one.answer is None}
    assert set(document.get("left_out", {})) == refused
    assert len(document["answers"]) == 3 - len(refused)
    for one in outcomes:
        text = cards.card(loaded, picture, one)
        ElementTree.fromstring(text.replace("<br>", ""))
        assert ('data-state="refused"' in text) == (one.answer is None)


def test_unknown_words_become_a_note(loaded, picture):
    notices, given = Notices(), []
    wish = Wish(question="Is there a wombat here ?", methods=("none", "todre"))
    with notices.heard(), notices.to(given.append):
        answer_all(loaded, picture, wish, given.append, lambda: False)
    assert [one.text for one in given if isinstance(one, Note)] == ["the model does not know: wombat, here"]


def test_nothing_is_given_once_the_visitor_has_left(loaded, picture):
    given = []
    answer_all(loaded, picture, Wish(), given.append, lambda: any(one.text for one in given))
    assert not [one for one in given if isinstance(one, Outcome)]
    assert {one.place for one in given} == {0}


def test_a_placeholder_in_the_question_is_told(loaded, picture):
    (found,) = [one for one in asked(loaded, picture, Wish(question="<image>?", methods=("none",)))
                if isinstance(one, Outcome)]  # fmt: skip
    assert "marks a picture's place" in found.refusal


def test_frames_are_the_boxes_of_the_kept_tokens(loaded, picture):
    wish = Wish(methods=("todre",), share=0.1)
    (found,) = last(asked(loaded, picture, wish))
    boxes = visual_token_boxes(loaded.processor, loaded.model.config, [picture.size])
    text = cards.drawing(loaded, picture, found)
    said = re.findall(r'data-say="Token (\d+) of (\d+) ', text)
    visible = [place for place in found.answer.report.kept[0] if boxes[place].bottom > boxes[place].top]
    assert sorted(int(place) for place, _ in said) == sorted(visible)
    assert {int(count) for _, count in said} == {len(boxes)}
    drawn = {
        int(place): [float(number) for number in numbers]
        for place, *numbers in re.findall(
            r'data-say="Token (\d+) of [^"]*" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', text
        )
    }
    for place in visible:
        box = boxes[place]
        if box.kind != "newline":
            assert drawn[place] == pytest.approx(
                [box.left, box.top, box.right - box.left, box.bottom - box.top], abs=0.051
            )


def test_a_token_says_the_last_layer_that_had_it(loaded, picture):
    """Against the report's own count of each layer."""
    for name in ("none", "pyramiddrop", "fastv"):
        (found,) = last(asked(loaded, picture, Wish(methods=(name,))))
        report = found.answer.report
        lasts = [cards._last_layer(place, report) for place in range(report.visual_tokens_before[0])]
        for layer, count in enumerate(report.visual_tokens_per_layer[0], 1):
            assert sum(last >= layer for last in lasts) == count


def test_the_strip_is_what_asking_at_each_budget_gives(loaded, picture):
    wish = Wish(methods=("none", "todre"))
    cells = []
    walk(loaded, picture, wish, cells.append, lambda: False)
    assert [(cell.method, cell.share) for cell in cells] == [("none", None), *(("todre", share) for share in BUDGETS)]
    for cell in cells[1:]:
        alone = answer(loaded, [picture], wish.question, registry.create("todre", retain=cell.share), SETTINGS)
        assert (cell.text, cell.kept) == (alone.text, alone.report.visual_tokens_after[0])
        assert cell.mean == pytest.approx(np.mean(alone.report.visual_tokens_per_layer[0]))
    text = strip(cells)
    differing = sum(cell.text != cells[0].text for cell in cells[1:])
    assert text.count("todre-changed") == differing
    assert text.count("todre-same") == len(BUDGETS) - differing


def test_a_method_without_a_budget_answers_once(loaded, picture):
    assert not {"vtw", "none"} & {name for name in registry.names() if answering.has_budget(name)}
    cells = []
    walk(loaded, picture, Wish(methods=("vtw", "none", "fastv")), cells.append, lambda: False)
    assert [(cell.method, cell.share) for cell in cells] == [
        ("none", None), ("vtw", None), *(("fastv", share) for share in BUDGETS)
    ]  # fmt: skip
    alone = answer(loaded, [picture], Wish().question, registry.create("vtw"), SETTINGS)
    mean = np.mean(alone.report.visual_tokens_per_layer[0])
    before = alone.report.visual_tokens_before[0]
    assert (cells[1].text, cells[1].kept, cells[1].mean) == (alone.text, before, mean)
    assert mean < before
    text = strip(cells)
    own = re.findall(r'<td colspan="(\d)" class="todre-\w+" title="([^"]*)">own budget: [=≠] ', text)
    assert own == [("5", f"{before} visual tokens entered the decoder, {mean:.0f} in the mean over its layers")]
    assert "with its own budget</td>" in text
    ElementTree.fromstring(f"<div>{text}</div>")


def test_the_strip_of_no_pruning_alone(loaded, picture):
    cells = []
    walk(loaded, picture, Wish(methods=("none",)), cells.append, lambda: False)
    assert [(cell.method, cell.share) for cell in cells] == [("none", None)]
    text = strip(cells)
    assert f"({cells[0].kept} visual tokens)" in text
    assert "own budget" not in text
    assert text.count("<tr>") == 1


def test_an_answer_that_was_cut_says_so(loaded, picture, monkeypatch):
    wish, cells = Wish(methods=("todre",), share=0.5), []
    whole = cards.card(loaded, picture, *last(asked(loaded, picture, wish)))
    assert "cut after" not in whole
    walk(loaded, picture, wish, cells.append, lambda: False)
    assert "cut" not in strip(cells)
    monkeypatch.setattr(answering, "SETTINGS", Settings(max_new_tokens=1))
    cut = cards.card(loaded, picture, *last(asked(loaded, picture, wish)))
    assert "<p>cut after 1 tokens; answers on this page are no longer</p>" in cut
    cells.clear()
    walk(loaded, picture, wish, cells.append, lambda: False)
    text = strip(cells)
    assert text.count(", cut after 1 tokens") == 1 + len(BUDGETS)
    assert text.count(" (cut)</td>") == len(BUDGETS)
    assert "is the same as far as it goes" in text


def test_the_cache_of_a_smaller_picture_is_what_was_held(loaded):
    """The report knows nothing of what would have been held before the picture was made smaller."""
    picture = EXAMPLES[0].open().resize((336, 250))
    for found in last(asked(loaded, picture, Wish(methods=("downsample", "todre"), share=0.8))):
        text = cards.card(loaded, picture, found)
        (held,) = re.findall(r'data-fact="KV cache" data-value="\d+">([^<]*)<', text)
        assert held.rpartition("→ ")[2] == format_bytes(found.answer.report.kv_bytes[0])
        assert ("→" in held) == (found.name == "todre")


@pytest.mark.parametrize(("texts", "said"), [
    (("a", "a", "a", "a", "a"), "at none of these"),
    (("a", "a", "b", "a", "b"), "first at 10 %"),
    (("b",), "first at 50 %"),
    (("a", "a"), "not so far"),
    ((None, None), "does not apply"),
    (("a", None, None, None, None), "at none of these"),
])  # fmt: skip
def test_where_the_answer_changes(texts, said):
    whole = Cell(method="none", share=None, text="a", kept=9)
    cells = [
        Cell(method="m", share=share, text=text or "why not", kept=text and 1)
        for share, text in zip(BUDGETS, texts, strict=False)
    ]
    assert changes(whole, cells) == said


@pytest.mark.parametrize(("text", "said"), [
    ("a", "not with its own budget"), ("b", "with its own budget"), (None, "does not apply"),
])  # fmt: skip
def test_whether_the_answer_changes_with_a_budget_of_its_own(text, said):
    whole = Cell(method="none", share=None, text="a", kept=9)
    cell = Cell(method="m", share=None, text=text or "why not", kept=text and 1)
    assert changes(whole, [cell]) == said
    assert ('title="why not">does not apply' in strip([whole, cell])) == (text is None)


def test_attention_is_what_stage_2_reads(loaded, picture):
    """The bar at the layer that decides is the ratio of ToDRE's own report, where it keeps all tokens."""
    wish = Wish(methods=("none", "todre"), share=1.0)
    text = attention(loaded, picture, wish)
    report = answer(loaded, [picture], wish.question, registry.create("todre", retain=1.0), SETTINGS).report
    (layer,) = report.attention_ratios[0]
    bars = [float(value) for value in re.findall(rf"layer {layer}: ([\d.]+) %, stage 2 decides", text)]
    ratios = report.attention_ratios[0][layer]
    there = [100 * ratio for ratio in (ratios.text_to_visual, ratios.visual_to_text) if ratio is not None]
    assert there
    assert bars == pytest.approx(there, abs=0.006)
    assert text.count("threshold 10 %") == len(there)
    assert ("cannot see it" in text) == (ratios.visual_to_text is None)


def test_the_threshold_is_that_of_the_first_todre_asked_for():
    assert stage2_of(Wish(methods=("none", "todre-v1", "todre")))[0] == "todre-v1"
    assert stage2_of(Wish(methods=("random",)))[1] == registry.create("todre")


@pytest.mark.parametrize(("name", "layers", "said"), [
    ("todre", (7,), "todre drops the picture after layer 7 where both directions lie below 10 %."),
    ("todre-v1", (4, 5), "todre-v1 drops the picture after layer 4, 5 where both directions lie below 3 %."),
    ("todre-floor", (4, 5), "todre-floor drops all of the picture but the 16 tokens that text attends to most, after "
                            "layer 4, 5 where both directions lie below 3 %."),
    ("todre-ahead", (4, 5), "todre-ahead drops the picture after layer 4, 5 where both directions lie below 3 %, and "
                            "by estimate in the later ones of these layers too."),
    ("todre-ahead", (4,), "todre-ahead drops the picture after layer 4 where both directions lie below 3 %."),
    ("todre-ahead-all", (4,), "todre-ahead-all drops the picture after layer 4 where both directions lie below 3 %, "
                              "and by estimate in every later layer with full attention too."),
    ("todre-last", (4,), "todre-last drops the picture after layer 4 where both directions lie below 3 %. Of text, its "
                         "last token alone counts there; the bars show all of it."),
])  # fmt: skip
def test_the_rule_of_stage_2_in_words(name, layers, said):
    assert rule(name, registry.create(name), layers) == said


def test_the_words_of_attention_are_those_of_the_method(loaded, picture):
    text = attention(loaded, picture, Wish(methods=("todre-floor",)))
    assert "todre-floor drops all of the picture but the 16 tokens" in text


def test_what_visitors_write_is_no_html(loaded):
    words = '<img src=x onerror="alert(1)">'
    for text in (
        cards.waiting(words, words), cards.stopped(words), svg.plain_picture(Image.new("RGB", (3, 3)), words),
        cards.card(loaded, Image.new("RGB", (3, 3)), Outcome(place=0, name=words, answer=None, refusal=words)),
        strip([Cell(method="none", share=None, text=words, kept=1), Cell(method=words, share=0.5, text=words, kept=1)]),
    ):  # fmt: skip
        assert "<img src=x" not in text
        assert 'onerror="' not in text


def test_bars_have_the_height_of_their_numbers():
    text = svg.layer_bars([100, 50, 0], 100)
    heights = [float(value) for value in re.findall(r'<rect [^>]*height="([\d.]+)"', text)]
    assert np.array(heights) / heights[0] == pytest.approx([1, 0.5, 0])


def test_the_parts_of_a_time_fill_its_bar():
    text = svg.time_bar({"encode": 10.0, "select": 0.0, "prefill": 30.0, "decode": None, "other": 10.0})
    widths = [float(value) for value in re.findall(r'<rect [^>]*width="([\d.]+)"', text)]
    assert np.array(widths) / sum(widths) == pytest.approx([0.2, 0, 0.6, 0, 0.2])


def test_a_page_needs_its_packages(monkeypatch):
    import importlib.util

    from todre.errors import MissingDependencyError
    from todre.page.packages import require_packages

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else find(name))
    with pytest.raises(MissingDependencyError, match=r"gradio.*todre\[page\]"):
        require_packages()


def test_no_share_is_no_number():
    with pytest.raises(InvalidValueError):
        Wish(share=float("nan"))
