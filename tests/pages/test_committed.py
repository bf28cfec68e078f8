"""The numbers that the documentation gives of pages are those of the committed result."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_on_evaluation_says_what_the_probe_measured():
    result = json.loads((ROOT / "results" / "page-probe.json").read_text(encoding="utf-8"))
    text = " ".join((ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8").split())

    def percents(tile, unit):
        seen = result["tiles"][tile]["text"][unit]["seen"]
        return tuple(f"{100 * seen[name]['value']:.0f} %" for name in ("words", "digits"))

    pages = result["settings"]["training_pages"]
    assert f"an MLP fitted on {pages} training pages reads" in text
    assert "{} of the words and {} of the digits".format(*percents("crops", "plates")) in text
    assert "{} and {} from those of the thumbnail".format(*percents("thumbnail", "plates")) in text
    assert "one patch of a crop alone: {} and {}".format(*percents("crops", "patches")) in text
