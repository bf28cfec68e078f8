"""The committed result is of the committed model and weights; the docs quote it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from todre.evaluate.runner import model_sha256
from todre.glimpse.depths import area
from todre.methods.glimpse.weights import shipped_weights

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/trained.md").read_text()


def document(name):
    return json.loads((ROOT / f"results/{name}.json").read_text())


def signed(value):
    return f"{100 * value:+.1f}".replace("-", "−")


def test_the_result_is_of_the_shipped_weights():
    found = document("glimpse")
    assert found["weights"]["sha256"] == hashlib.sha256(shipped_weights().read_bytes()).hexdigest()
    assert found["weights"]["model_sha256"] == found["conditions"]["model"]["sha256"] == model_sha256(None)
    assert found["command"] in PAGE
    assert found["training"][-1]["step"] == 1199


def test_the_docs_say_the_result():
    found = document("glimpse")
    kept = found["kept"]
    assert f"Kept {100 * kept['score']:.2f} % [{100 * kept['low']:.2f}, {100 * kept['high']:.2f}]" in PAGE
    assert f"{found['conditions']['questions']} questions" in PAGE
    for row in found["rows"]:
        mean = row["all"]
        assert f"{100 * mean['score']:.1f} [{100 * mean['low']:.1f}, {100 * mean['high']:.1f}]" in PAGE
        for name in ("against_none", "glimpse_minus"):
            if name in row:
                one = row[name]
                text = f"{signed(one['difference'])} [{signed(one['low'])}, {signed(one['high'])}]"
                assert text in PAGE, (row["method"], text)


def test_the_docs_say_the_depths():
    found = document("glimpse-depths")
    assert found["model_sha256"] == model_sha256(None)
    for name, label in (("all_words", "all words of the question"), ("last_token", "the last token alone")):
        assert f"| {label} | {' | '.join(f'{row[name]:.2f}' for row in found['rows'])} |" in PAGE


@pytest.mark.parametrize("seed", range(3))
def test_area_equals_counting_pairs(seed):
    rng = np.random.default_rng(seed)
    scores, target = rng.integers(0, 6, 40) / 5, rng.random(40) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[target] for b in scores[~target]]
    assert area(torch.tensor(scores), torch.tensor(target)) == pytest.approx(np.mean(pairs))
