"""Method files stay small, so that a new one is easy to write."""

from __future__ import annotations

import inspect
import statistics
import subprocess
import sys
from pathlib import Path

from todre.methods import registry


def test_median_method_file_is_short():
    files = {Path(inspect.getsourcefile(cls)) for cls in registry.classes().values()}
    lengths = [len(file.read_text(encoding="utf-8").splitlines()) for file in files]
    assert statistics.median(lengths) <= 120


def test_methods_are_known_without_torch():
    code = "import sys; from todre.methods import registry; registry.names(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_classes_are_found_by_name():
    import todre
    from todre.methods import DivPrune

    assert todre.DivPrune is DivPrune is registry.entry("divprune").cls
    assert not hasattr(todre, "Divprune")
