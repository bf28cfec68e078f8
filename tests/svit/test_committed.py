"""The committed result is of the committed model, and the docs say what it says."""

import json
from pathlib import Path

from todre.evaluate.runner import model_sha256

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/trained.md").read_text()


def signed(value):
    return f"{100 * value:+.1f}".replace("-", "−")


def test_the_docs_say_the_result():
    found = json.loads((ROOT / "results/svit.json").read_text())
    assert found["conditions"]["model"]["sha256"] == model_sha256(None)
    assert f"\n{found['command']}\n" in PAGE
    for row in found["rows"]:
        mean = row["all"]
        cells = [", ".join(f"{100 * share:.0f}" for share in row["kept"]) + " %"]
        cells += [f"{100 * mean['score']:.1f} [{100 * mean['low']:.1f}, {100 * mean['high']:.1f}]"]
        for name in ("against_none", "gates_minus"):
            if name in row:
                one = row[name]
                cells.append(f"{signed(one['difference'])} [{signed(one['low'])}, {signed(one['high'])}]")
        if row["method"] != "none":
            cells.append(", ".join(f"{100 * share:.0f}" for share in row["came_back"]) + " %")
        assert any(all(cell in line for cell in cells) for line in PAGE.splitlines()), cells
