"""Warnings on the page: each visitor hears those of their own work, and nobody another's."""

import threading
import warnings

import pytest

from todre.errors import ImageError, UnprunedWarning
from todre.images import ImageWarning
from todre.loading import load
from todre.page.answering import Begun, answer_all
from todre.page.clips import open_own
from todre.page.examples import EXAMPLES
from todre.page.notices import Note, Notices
from todre.page.wish import Wish


@pytest.fixture
def others(monkeypatch):
    """What was shown as before."""
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
    return shown


@pytest.fixture
def notices(others):
    found = Notices()
    with found.heard():
        yield found


def on_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)


def warn(text, category=UnprunedWarning):
    warnings.warn(text, category, stacklevel=1)


def test_each_thread_tells_its_own_listener(notices, others):
    mine, theirs = [], []

    def other():
        with notices.to(theirs.append):
            warn("theirs")

    with notices.to(mine.append):
        warn("mine")
        on_a_thread(other)
        on_a_thread(lambda: warn("nobody's"))
        warn("mine again")
    assert mine == [Note(text="mine"), Note(text="mine again")]
    assert theirs == [Note(text="theirs")]
    assert others == ["nobody's"]


def test_blocks_may_end_in_any_order(notices, others):
    """A second listener that begins later and ends earlier, or later, takes nothing from the first and leaves none."""
    mine, theirs, begun, end = [], [], threading.Event(), threading.Event()

    def other():
        with notices.to(theirs.append):
            begun.set()
            end.wait(60)
            warn("theirs")

    thread = threading.Thread(target=other)
    with notices.to(mine.append):
        thread.start()
        begun.wait(60)
    warn("after mine")
    end.set()
    thread.join(60)
    warn("after both")
    assert (mine, theirs, others) == ([], [Note(text="theirs")], ["after mine", "after both"])


def test_a_listener_hears_each_once_and_the_next_one_anew(notices):
    for _ in range(2):
        heard = []
        with notices.to(heard.append):
            warn("same")
            warn("same")
        assert heard == [Note(text="same")]


def test_libraries_are_shown_as_before(notices, others):
    heard = []
    with notices.to(heard.append):
        warn("a library's", UserWarning)
    assert (heard, others) == ([], ["a library's"])


def test_filters_of_another_threads_block_do_not_stay(notices):
    warnings.simplefilter("ignore", UnprunedWarning)
    heard = []
    with notices.to(heard.append):
        warn("heard")
    assert heard == [Note(text="heard")]


def test_nothing_stays_once_the_page_has_ended(others):
    notices, before, heard = Notices(), warnings.showwarning, []
    with notices.heard():
        left = warnings.showwarning
        assert left is not before
    assert warnings.showwarning is before
    filters = list(warnings.filters)
    with notices.to(heard.append):
        warn("unheard")
    assert heard == []
    assert warnings.filters == filters
    left("from a block that ended late", UnprunedWarning, "file", 1)
    assert others[-1] == "from a block that ended late"


def test_a_file_dropped_while_another_is_answered(notices, others, tmp_path):
    path = tmp_path / "moving.gif"
    first, *rest = [EXAMPLES[0].open().resize((20, 20 + step)).resize((20, 20)) for step in range(3)]
    first.save(path, save_all=True, append_images=rest)
    loaded, mine, theirs = load(device="cpu"), [], []

    def drop():
        medium, said = open_own(loaded, notices, str(path), 2)
        theirs.append((medium.size, said))

    def give(one):
        mine.append(one)
        if isinstance(one, Begun) and not one.text:
            on_a_thread(drop)

    with notices.to(give):
        answer_all(loaded, EXAMPLES[0].open().resize((60, 45)), Wish(methods=("none",)), give, lambda: False)
    assert theirs == [((20, 20), ["moving.gif has several frames; the first one is used."])]
    assert [one for one in mine if isinstance(one, Note)] == []
    assert others == []


def test_a_file_is_called_by_its_name_however_long_its_path(notices, tmp_path):
    folder = tmp_path / ("a" * 64) / ("b" * 64)
    folder.mkdir(parents=True)
    path = folder / "moving.gif"
    first, *rest = [EXAMPLES[0].open().resize((20, 20 + step)).resize((20, 20)) for step in range(3)]
    first.save(path, save_all=True, append_images=rest)
    video = load("todre-tiny-video", device="cpu")
    clip, said = open_own(video, notices, str(path), 8)
    assert len(clip) == 3
    assert said == ["moving.gif has 3 frames, and 8 were asked for; all are used."]
    (folder / "broken.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"^broken\.png is not an image"):
        open_own(video, notices, str(folder / "broken.png"), 8)


def test_todres_other_warnings_are_heard_too(notices):
    heard = []
    with notices.to(heard.append):
        warn("of an image", ImageWarning)
    assert heard == [Note(text="of an image")]
