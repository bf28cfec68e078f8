"""What `todre page` makes of its options, with stand-ins for the page and its server."""

import threading
import warnings

import pytest

from todre.cli.options import ModelOptions
from todre.cli.page import PageOptions, page
from todre.errors import UnprunedWarning
from todre.page.copies import Running
from todre.page.notices import Note


@pytest.fixture
def made(monkeypatch):
    """What the page was made with, and what was heard while it was served."""
    found = {}

    def make_page(loaded, running, notices, caution=""):
        found.update(running=running, notices=notices, heard=[])

    class Server:
        def __init__(self, *_):
            pass

        def run(self, sockets):
            thread = threading.Thread(target=self.visit)
            thread.start()
            thread.join(60)

        def visit(self):
            with found["notices"].to(found["heard"].append):
                warnings.warn("of a visitor", UnprunedWarning, stacklevel=1)

    monkeypatch.setattr("todre.page.packages._NEEDED", ())
    monkeypatch.setattr("todre.page.launch.make_page", make_page)
    monkeypatch.setattr("todre.page.launch.PageServer", Server)
    return found


def test_the_page_knows_how_its_model_was_loaded_and_hears_warnings(made):
    before = warnings.showwarning
    page(ModelOptions(device="cpu", dtype="float32", attn_implementation="eager"), PageOptions(port=0))
    assert made["running"] == Running(device="cpu", dtype="float32", attn_implementation="eager")
    assert made["heard"] == [Note(text="of a visitor")]
    assert warnings.showwarning is before


def test_a_models_own_code_is_named(made):
    page(ModelOptions(device="cpu", trust_remote_code=True), PageOptions(port=0))
    assert made["running"] == Running(device="cpu", trust_remote_code=True)
