"""The louder code of places: what it changes in the connector, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from smol.training.base import write_base

from todre.smol.training.learner import Learner, build_learner
from todre.smol.training.places import GAIN, place_directions, strengthen_places
from todre.smol.training.warm import patches_of
from todre.tiny.model import GRID


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"), layers=1)


def learner_of(base: Path) -> Learner:
    return build_learner(base, rank=2, scale=2.0, seed=3, dtype=torch.float32)


def test_the_directions_are_orthonormal(base: Path) -> None:
    learner = learner_of(base)
    found = place_directions(learner.model.get_input_embeddings().weight.detach(), learner.pieces)
    torch.testing.assert_close(found @ found.T, torch.eye(2, dtype=torch.float64))


@torch.no_grad()
def test_outputs_move_along_the_two_directions_by_the_place_of_each_patch(base: Path) -> None:
    learner = learner_of(base)
    features, labels = patches_of(learner, 6)
    before = learner.connector(features).double()
    explained = strengthen_places(learner, 6)
    moved = learner.connector(features).double() - before
    directions = place_directions(learner.model.get_input_embeddings().weight.detach(), learner.pieces)
    along = moved @ directions.T
    torch.testing.assert_close(along @ directions, moved, rtol=1e-3, atol=1e-4)
    places = labels[:, 6:8].double() / (GRID - 1) - 0.5
    for axis, name in enumerate(("row", "column")):
        share = float(np.corrcoef(along[:, axis].numpy(), places[:, axis].numpy())[0, 1]) ** 2
        assert share > 0.5
        assert 0.3 < explained[name] <= 1.0
        slope = float((along[:, axis] * places[:, axis]).mean() / places[:, axis].square().mean())
        assert slope == pytest.approx(GAIN, rel=0.4)


@torch.no_grad()
def test_nothing_but_the_connectors_second_layer_changes(base: Path) -> None:
    learner = learner_of(base)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    strengthen_places(learner, 4)
    changed = {name for name, value in learner.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split("multi_modal_projector.")[-1] for name in changed} == {"linear_2.weight", "linear_2.bias"}
