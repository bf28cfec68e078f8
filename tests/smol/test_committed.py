"""The trained parts that ship, and the logs of their training."""

from __future__ import annotations

from pathlib import Path

import pytest

from todre import smol
from todre.smol.part import read_part
from todre.smol.pinned import PINNED
from todre.tiny.runfiles import read_log

RESULTS = Path(__file__).parents[2] / "results" / "smol"
SHIPPED = [name for name in smol.names() if smol.has_part(name)]


def test_a_model_ships():
    assert smol.SMOL in SHIPPED


def test_the_parts_together_are_below_thirty_megabytes():
    assert sum(smol.part_path(name).stat().st_size for name in SHIPPED) < 30e6


@pytest.mark.parametrize("name", SHIPPED)
def test_a_part_adapts_every_layer_of_the_pinned_decoder(name):
    part = read_part(smol.part_path(name))
    assert part.base_sha256 == PINNED.gguf_sha256
    assert part.seed == smol.names().index(name)
    assert {layer for layer, _ in part.factors()} == set(range(30))
    assert len(part.factors()) == 120
    assert part.tensors["connector.linear_1.weight"].shape == (576, 192)
    assert all(bool(tensor.isfinite().all()) for tensor in part.tensors.values())


@pytest.mark.parametrize("name", SHIPPED)
def test_its_training_is_on_record(name):
    folder = RESULTS / f"seed-{smol.names().index(name)}"
    for stage in ("warm", "short", "places", "full", "weak", "counts"):
        steps = [record["step"] for record in read_log(folder / f"{stage}.jsonl")]
        assert steps == sorted(steps)
        assert steps
