"""torchvision absent, broken and sound."""

import sys

import pytest

from todre.errors import MissingDependencyError
from todre.processing import backend
from todre.processing.backend import check_torchvision


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Install a module by the name of torchvision with the given source."""
    before = sys.modules.get("torchvision")

    def install(source):
        (tmp_path / "torchvision.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "torchvision", raising=False)

    yield install
    sys.modules.pop("torchvision", None)
    if before is not None:
        sys.modules["torchvision"] = before


def test_absent_is_fine(monkeypatch):
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    check_torchvision()


@pytest.mark.parametrize("kind", ["RuntimeError", "OSError", "ImportError", "AttributeError"])
def test_broken_is_one_sentence(installed, kind):
    installed(f"raise {kind}('operator torchvision::nms does not exist\\nand more')")
    with pytest.raises(MissingDependencyError, match="pip uninstall torchvision") as caught:
        check_torchvision()
    assert "operator torchvision::nms does not exist" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_stops_loading(installed, tmp_path):
    from todre.processing import load_processor

    installed("raise RuntimeError('operator torchvision::nms does not exist')")
    with pytest.raises(MissingDependencyError, match="pip uninstall torchvision"):
        load_processor(tmp_path)


def test_sound(installed):
    installed("")
    check_torchvision()
