"""The page in a real browser: a newcomer's way through it, and everything that can go wrong there."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image

from todre.scenes import photograph

SECONDS = 30_000
"""How long the browser waits for an answer, in milliseconds."""
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
MOVING = ("timings_ms", "peak_bytes")
"""What differs between two runs of the same: times, and the memory of the whole process."""


@contextmanager
def visit(browser, address, query="", **settings):
    """A page opened in a browser of its own, which must ask nobody but the server."""
    context = browser.new_context(viewport=DESKTOP, **settings)
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    strangers, failures = [], []
    page.on("request", lambda request: strangers.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(address + query)
    page.wait_for_selector("#preview img")
    unfold(page)
    yield page
    context.close()
    assert [url for url in strangers if not url.startswith((address, "data:", "blob:"))] == []
    assert failures == []


def ask(page, count=3):
    """Ask, and wait until all methods have answered and the record is there.

    Answers of an earlier request are marked first, so that they are not taken for these.
    """
    page.evaluate("document.querySelectorAll('[data-state]').forEach(card => { card.dataset.state = 'earlier' })")
    page.click("#ask")
    return answered(page, count)


def answered(page, count=3):
    page.wait_for_selector(f"#card-{count - 1} [data-state=done]")
    page.wait_for_function("document.querySelector('#record textarea')?.value.length > 2")
    return json.loads(field(page, "record"))


def field(page, name):
    return page.eval_on_selector(f"#{name} textarea, #{name} input", "box => box.value")


def unfold(page):
    """Open the two folded parts, or fold them again."""
    for button in page.query_selector_all("button.label-wrap"):
        button.click()


def fact(page, place, name):
    return page.get_attribute(f"#card-{place} [data-fact='{name}']", "data-value")


def share_kept(record):
    """The share of visual tokens that the second method kept."""
    tokens = record["answers"][1]["visual_tokens"]
    return tokens["after"] / tokens["before"]


def toast(page):
    """The sentence that the page shows about an error."""
    return page.wait_for_selector("[data-testid=toast-text], .toast-text").inner_text()


def choose(page, *methods):
    """Leave these methods alone."""
    box = page.locator("#methods input")
    box.click()
    while page.locator("#methods .token-remove").count() > 0 and page.locator("#methods .token").count() > 0:
        box.press("Backspace")
    for name in methods:
        box.fill(name)
        page.locator("#methods [role=option]", has_text=re.compile(rf"^\W*{name}\W*$")).first.click()
    box.press("Escape")


@pytest.fixture
def own(tmp_path):
    """A visitor's own picture."""
    path = tmp_path / "my coffee.png"
    photograph("coffee").resize((300, 200)).save(path)
    return path


def upload(page, path):
    page.set_input_files("#file input[type=file]", str(path))


def test_an_example_is_answered_and_the_numbers_are_those_of_compare(browser, address, tmp_path):
    with visit(browser, address) as page:
        record = ask(page)
        command, link = field(page, "command"), field(page, "link")
        shown = [page.inner_text(f"#card-{place} .todre-answer") for place in range(3)]
        facts = [[fact(page, place, name) for name in ("Visual tokens", "KV cache", "FLOPs")] for place in range(3)]
    *before, compare = command.splitlines()
    assert link.startswith(f"{address}?question=")
    assert "picture=scene" in link
    for line in (*before, f"{compare} --json"):
        words = shlex.split(line)
        words = [sys.executable, *(["-m", "todre", *words[1:]] if words[0] == "todre" else words[1:])]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    for document in (printed, record):
        for each in document["answers"]:
            for name in MOVING:
                assert each.pop(name)
    assert record == printed
    assert shown == [each["answer"] for each in printed["answers"]]
    assert facts == [
        [str(each["visual_tokens"]["after"]), str(each["kv_bytes"]), str(each["flops"]["total"])]
        for each in printed["answers"]
    ]


def test_the_python_that_can_be_copied_answers_the_same(browser, address):
    with visit(browser, address, "?" + urlencode({"picture": "coffee", "keep": "0.25"})) as page:
        record = ask(page)
        code = page.inner_text("#snippet .cm-content")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line, each in zip(lines, record["answers"], strict=True):
        assert line.startswith(f"{each['method']['method']} {each['answer']}")
        assert f"→ {each['visual_tokens']['after']} " in line


def test_a_picture_is_dropped_and_the_slider_moved(browser, address, own):
    with visit(browser, address) as page:
        upload(page, own)
        page.wait_for_selector("#preview img[alt='my coffee.png']")
        assert page.locator("#example input:checked").count() == 0
        kept = []
        for percent in ("50", "5"):
            number = page.locator("#percent input[type=number]")
            number.fill(percent)
            number.press("Enter")
            record = ask(page)
            kept.append(share_kept(record))
        slider = page.locator("#percent input[type=range]")
        slider.focus()
        for _ in range(5):
            slider.press("ArrowRight")
        record = ask(page)
        assert kept == pytest.approx([0.5, 0.05], abs=0.01)
        assert record["answers"][1]["method"]["retain"] == 0.1
        assert record["file"] == "my coffee.png"
        assert "picture=" not in field(page, "link")
        assert "'my coffee.png'" in field(page, "command")
        assert "Your own picture is not in it" in page.inner_text("#link")


def test_a_token_says_its_place(browser, address):
    with visit(browser, address) as page:
        record = ask(page)
        kept = record["answers"][1]["kept"]
        token = page.locator("#card-1 rect.todre-token.todre-token").last
        token.click()
        said = page.inner_text("#card-1 .todre-say")
        found = re.fullmatch(
            r"Token (\d+) of 744 \((\w+)\): .*; in (all 8 layers|layers 1 to \d).*\. Choice \d+ of 74\. "
            r"(\[CLS\] attention \d+\.\d\d %, rank \d+ of 144 in its tile|Saliency: none)\.",
            said,
        )
        assert found, said
        assert int(found[1]) in kept
        assert page.locator("#card-1 rect.todre-token").count() == len(kept)
        assert page.locator("#card-1 .chosen").count() == 1


def test_methods_are_chosen_and_one_that_does_not_apply_says_so(browser, address):
    with visit(browser, address, "?" + urlencode({"methods": "none,todre-v1,downsample,ivc-prune"})) as page:
        page.click("#ask")
        for place in range(4):
            page.wait_for_selector(f"#card-{place} [data-state=done], #card-{place} [data-state=refused]")
        choose(page, "random", "divprune")
        page.click("#ask")
        page.wait_for_selector("#card-1 [data-method=divprune]")
        assert page.locator("#card-2, #card-3").locator("visible=true").count() == 0


def test_a_link_opened_anew_shows_the_same(browser, address):
    with visit(browser, address) as page:
        page.locator("#example label", has_text="rocket").click()
        page.wait_for_selector("#preview img[alt=rocket]")
        page.locator("#question textarea").fill("Is there a red circle in the picture?")
        page.locator("#percent input[type=number]").fill("7")
        page.locator("#percent input[type=number]").press("Enter")
        first = ask(page)
        link = field(page, "link")
    with visit(browser, address, link.removeprefix(address)) as page:
        again = answered(page)
    assert share_kept(first) == pytest.approx(0.07, abs=0.01)
    assert first["question"] == again["question"] == "Is there a red circle in the picture?"
    for one, other in zip(first["answers"], again["answers"], strict=True):
        assert (one["answer"], one["kept"], one["images"]) == (other["answer"], other["kept"], other["images"])


def test_a_link_that_asks_for_nonsense(browser, address):
    with visit(browser, address, "?question=Why&keep=lots") as page:
        assert "keep='lots' is no number" in toast(page)
        assert page.locator("[data-state]").count() == 0
        assert field(page, "question") == "Is there a blue triangle in the picture?"


def test_files_that_cannot_be_read(browser, address, tmp_path):
    """A text, and a picture of 20,000 × 20,000 pixels; the page works on."""
    broken, vast, strip = tmp_path / "broken.png", tmp_path / "vast.png", tmp_path / "strip.png"
    broken.write_text("no picture")
    Image.new("1", (20_000, 20_000)).save(vast)
    Image.new("L", (20_000, 20)).save(strip)
    for path, said in (
        (broken, "broken.png is not an image that todre can read"),
        (vast, "vast.png is too large"),
        (strip, "strip.png is a strip of 20000 × 20 pixels"),
    ):
        with visit(browser, address) as page:
            upload(page, path)
            sentence = toast(page)
            assert said in sentence
            assert "/" not in sentence
            page.wait_for_function(f"!document.querySelector('#file').innerText.includes('{path.name}')")
            assert page.locator("#preview img[alt=scene]").count() == 1
            assert ask(page)["file"] == "scene.png"


def test_what_cannot_be_asked(browser, address):
    with visit(browser, address) as page:
        page.locator("#question textarea").fill("  ")
        page.click("#ask")
        assert "The question is empty" in toast(page)
    with visit(browser, address) as page:
        choose(page)
        page.click("#ask")
        assert "0 methods are chosen" in toast(page)


def test_words_that_the_model_does_not_know_are_named(browser, address):
    with visit(browser, address) as page:
        page.locator("#question textarea").fill("Is there a wombat in the picture?")
        ask(page)
        assert "wombat" in field(page, "notes")


def test_the_strip_over_budgets_and_stop(browser, address):
    with visit(browser, address, "?" + urlencode({"methods": "none,todre,random"})) as page:
        page.click("#budgets")
        page.wait_for_selector("#strip td:has-text('at none of these'), #strip td:has-text('first at')")
        page.wait_for_function("document.querySelectorAll('#strip tr').length == 3")
        page.wait_for_function("![...document.querySelectorAll('#strip td')].some(c => c.innerText == '…')")
        rows = [row.inner_text().split("\t") for row in page.query_selector_all("#strip tr")]
        assert rows[0][1:6] == ["50 %", "25 %", "10 %", "5 %", "2 %"]
        assert [row[0] for row in rows[1:]] == ["todre", "random"]
        for row in rows[1:]:
            first = next((head for head, cell in zip(rows[0][1:6], row[1:6], strict=True) if cell[0] == "≠"), None)
            assert row[6] == (f"first at {first}" if first else "at none of these")


def test_stop_ends_a_request_and_frees_the_model(browser, address):
    with visit(browser, address, "?" + urlencode({"methods": "todre,random,divprune,todre-v1"})) as page:
        page.click("#budgets")
        page.wait_for_selector("#strip td.todre-same, #strip td.todre-changed")
        page.click("#stop")
        page.wait_for_timeout(500)
        stopped = page.inner_text("#strip")
        assert "…" in stopped
        began = time.monotonic()
        assert len(ask(page, 4)["answers"]) == 4
        assert time.monotonic() - began < 60
        assert page.inner_text("#strip") == stopped


def test_two_visitors_get_their_own_answers(browser, address):
    with visit(browser, address, "?keep=0.5") as one, visit(browser, address, "?keep=0.05&picture=coffee") as other:
        for page in (one, other):
            page.click("#ask")
        first, second = answered(one), answered(other)
    assert [share_kept(first), share_kept(second)] == pytest.approx([0.5, 0.05], abs=0.01)
    assert first["answers"][0]["images"] != second["answers"][0]["images"]


def test_an_animation_is_asked_about_as_a_clip(browser, clips_address, tmp_path):
    path = tmp_path / "moving.gif"
    first, *others = [photograph(name).resize((160, 120)) for name in ("coffee", "rocket", "chelsea", "astronaut")] * 2
    first.save(path, save_all=True, append_images=others, duration=100)
    with visit(browser, clips_address, "?" + urlencode({"methods": "none,todre"})) as page:
        upload(page, path)
        page.wait_for_selector("#preview img[alt='moving.gif']")
        frames = page.locator("#frames input")
        frames.fill("4")
        frames.press("Tab")
        record = ask(page, 2)
        command = field(page, "command")
        kept = [page.locator(f"#card-{place} rect.todre-token").count() for place in range(2)]
        page.locator("#card-1 rect.todre-token").last.click()
        assert re.search(r"of frame \d; .* in its frame\.", page.inner_text("#card-1 .todre-say"))
    for line, each, drawn in zip(command.splitlines(), record["answers"], kept, strict=True):
        assert each["clips"][0]["indices"] == [0, 2, 4, 6]
        assert drawn == len(each["kept"])
        words = [sys.executable, "-m", *shlex.split(line), "--json"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed = json.loads(done.stdout)
        del printed["files"]
        for name in MOVING:
            assert each.pop(name)
            assert printed.pop(name)
        assert each == printed


def test_a_video_needs_a_model_that_takes_clips(browser, address, tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(64))
    with visit(browser, address) as page:
        upload(page, path)
        assert "film.mp4 is a video, and todre-tiny takes pictures and no clips" in toast(page)
        assert page.locator("#frames").locator("visible=true").count() == 0


def test_attention_by_layer(browser, address):
    with visit(browser, address) as page:
        page.click("#attention")
        page.wait_for_selector("#layers .todre-bars")
        assert page.locator("#layers .todre-bars").count() == 1
        assert page.locator("#layers .todre-bars rect").count() == 8
        text = page.inner_text("#layers")
        assert "threshold 10 %" in text
        assert "todre drops the picture after layer 7" in text
        assert "cannot see it" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "size"), [("page", DESKTOP), ("page-phone", PHONE)])
def test_it_fits_the_screen(browser, address, name, size, scheme):
    """At a desktop's and a phone's width; TODRE_PICTURES names a folder for pictures of both."""
    folder = os.environ.get("TODRE_PICTURES")
    with visit(browser, address, color_scheme=scheme) as page:
        page.set_viewport_size(size)
        ask(page)
        unfold(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        cards = [page.locator(f"#card-{place}").bounding_box() for place in range(3)]
        assert all(240 <= card["width"] <= size["width"] for card in cards)
        beside = len({round(card["y"]) for card in cards}) == 1
        assert beside == (size is DESKTOP)
        if folder and scheme == "light":
            page.click("#card-1 rect.todre-token[data-say*='(crop)'] >> nth=12")
            last = page.locator(f"#card-{0 if size is PHONE else 2}").bounding_box()
            height = page.evaluate("window.scrollY") + last["y"] + last["height"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": height}
            shrink(page.screenshot(full_page=True, clip=clip), Path(folder) / f"{name}.png")


def shrink(data, path):
    """Keep a picture for the documentation, at most 960 pixels wide and in few colours."""
    steps = [round(level / 17) * 17 for level in range(256)]
    with Image.open(io.BytesIO(data)) as picture:
        picture.thumbnail((960, 10_000))
        picture.convert("RGB").point(steps * 3).save(path, optimize=True)
