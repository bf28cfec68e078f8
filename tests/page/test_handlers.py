"""What a visitor is shown, with a stand-in for Gradio: toasts take HTML, and notes reach whom they are about."""

import importlib
import shlex
import sys
import types

import pytest

from todre.loading import load
from todre.page.copies import Running
from todre.page.examples import EXAMPLES
from todre.page.notices import Notices

HTML = "<img src=x>"
SAFE = "&lt;img src=x&gt;"
WOMBAT = "Is there a wombat in the picture ?"


class ErrorOfGradio(Exception):
    """As `gradio.Error`, which shows its message as HTML."""

    def __init__(self, message, print_exception=True):
        super().__init__(message)


@pytest.fixture(scope="module")
def loaded():
    return load(device="cpu")


@pytest.fixture
def toasts():
    """What was shown beside the page, as HTML."""
    return []


@pytest.fixture
def handlers(monkeypatch, loaded, toasts):
    """The handlers of a page that is served."""
    stand_in = types.ModuleType("gradio")
    stand_in.Error = ErrorOfGradio
    stand_in.Warning = lambda message, title: toasts.append(message)
    stand_in.skip = lambda: None
    stand_in.update = lambda **values: values
    monkeypatch.setitem(sys.modules, "gradio", stand_in)
    monkeypatch.delitem(sys.modules, "todre.page.handlers", raising=False)
    made, notices = importlib.import_module("todre.page.handlers"), Notices()
    with notices.heard():
        yield made.Handlers(loaded, Running(model=loaded.name, device="cpu"), notices)
    sys.modules.pop("todre.page.handlers")


@pytest.fixture
def moving(tmp_path):
    """An animation, of which this model sees one frame."""
    path = tmp_path / f"moving {HTML}.gif"
    first, *rest = [EXAMPLES[0].open().resize((60, 45 + step)).resize((60, 45)) for step in range(3)]
    first.save(path, save_all=True, append_images=rest)
    return str(path)


REQUEST = types.SimpleNamespace(session_hash="visitor", headers={}, query_params={})


def values(question="Is it red ?", methods=("none",), percent=50, example="scene", file=None, frames=8):
    return question, list(methods), percent, example, file, frames, REQUEST


def one_frame(name):
    return f"moving {name}.gif has several frames; the first one is used."


def test_notes_of_an_answer_are_of_the_question_and_the_file(handlers, moving):
    *_, notes, _, _, _, _ = list(handlers.ask(*values(WOMBAT, file=moving)))[-1]
    assert notes == {"value": f"{one_frame(HTML)}\nthe model does not know: wombat", "visible": True}


def test_notes_of_the_budgets_stand_above_the_strip(handlers, moving):
    shown = list(handlers.budgets(*values(WOMBAT, file=moving)))[-1]
    assert shown.startswith(
        f"<p>{one_frame(SAFE)}</p><p>the model does not know: wombat</p><p>Without pruning: "
    )  # fmt: skip


def test_notes_of_the_file_stand_above_the_attention(handlers, moving):
    shown = list(handlers.attention(*values(file=moving)))[-1]
    assert shown.startswith(f'<p>{one_frame(SAFE)}</p><div class="todre-pair">')


def test_a_dropped_file_is_told_by_its_name_and_is_no_html(handlers, toasts, moving, tmp_path):
    _, example, preview = handlers.drop(moving, 8)
    assert toasts == [one_frame(SAFE)]
    assert example is None
    assert preview.startswith("<img ")
    path = tmp_path / f"{HTML}.png"
    path.write_text("no picture")
    assert handlers.drop(str(path), 8) == (None, None, None)
    assert toasts[1].startswith(f"{SAFE}.png is not an image")


def test_links_and_errors_are_no_html(handlers, toasts, monkeypatch):
    handlers.restore(types.SimpleNamespace(query_params={"keep": HTML}))
    (said,) = toasts
    assert said.startswith("keep=&#x27;&lt;img src=x&gt;&#x27; is no number")
    with pytest.raises(ErrorOfGradio, match="There is no example picture &#x27;&lt;img src=x&gt;&#x27;; use"):
        handlers.choose(HTML)
    with pytest.raises(ErrorOfGradio, match="Unexpected TypeError"):
        list(handlers.ask(*values(percent=HTML)))
    monkeypatch.setattr(handlers, "_wish", lambda *_: (_ for _ in ()).throw(RuntimeError(HTML)))
    with pytest.raises(ErrorOfGradio, match=rf"Unexpected RuntimeError \({SAFE}\); the terminal"):
        list(handlers.ask(*values()))


def test_methods_that_do_not_apply_are_not_copied(handlers):
    *_, command, snippet, link = list(handlers.ask(*values(methods=("none", "downsample", "todre"), percent=1)))[-1]
    words = shlex.split(command.splitlines()[-1])
    assert words[words.index("--methods") + 1] == "none,todre"
    assert "['none', 'todre']" in snippet
    assert "methods=none%2Cdownsample%2Ctodre" in link
    *_, record, command, snippet, _ = list(handlers.ask(*values(methods=("downsample",), percent=1)))[-1]
    assert "cannot" in record
    assert (command, snippet) == ("", "")
