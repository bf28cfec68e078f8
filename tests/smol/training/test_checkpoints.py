"""What a checkpoint says of its training, and from which ones a stage goes on."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from smol.toy_decoder import random_tensors
from smol.training.base import write_base

from todre.errors import InvalidValueError, LoadError
from todre.smol.base import Base
from todre.smol.part import Part, read_part, write_part
from todre.smol.training.checkpoints import base_sha256, facts_of, start_of
from todre.smol.training.export import export
from todre.smol.training.learner import Learner, build_learner
from todre.smol.training.options import Options
from todre.smol.training.run import train
from todre.tiny.runfiles import save_state


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder without a record of where it came from."""
    return write_base(tmp_path_factory.mktemp("base"), layers=1)


@pytest.fixture
def options(folder: Path, tmp_path: Path) -> Options:
    return Options(stage="short", base=folder, run=tmp_path, batch=1, rank=2, seed=3, processes=2)


def write(options: Options, stage: str, **changes: Any) -> None:
    """Write a stage's checkpoint, trained with other settings where `changes` says so."""
    made = dataclasses.replace(options, stage=stage, **changes)
    save_state(options.run / f"{stage}.pt", {"trained": {"x": torch.ones(2)}, "step": 5, "facts": facts_of(made)})


def learner_of(folder: Path, rank: int) -> Learner:
    return build_learner(folder, rank=rank, scale=2.0, seed=0, dtype=torch.float32)


def test_facts_are_those_of_the_stage(options: Options) -> None:
    shared = {"seed": 3, "rank": 2, "scale": 2.0, "dtype": "bfloat16", "base_sha256": base_sha256(options.base)}
    steps = {"batch": 1, "processes": 2, "minutes": 60.0, "lr": 1e-3}
    assert facts_of(options) == {"stage": "short", **shared, **steps}
    assert facts_of(dataclasses.replace(options, stage="places")) == {"stage": "places", **shared}


def test_the_weights_are_known_by_the_file_they_came_from(folder: Path, base: Base) -> None:
    assert base_sha256(base.folder) == base.origin.sha256
    assert base_sha256(folder) == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    with pytest.raises(LoadError, match="todre smol fetch"):
        base_sha256(folder.parent)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("seed", 4, "was trained with seed 4, not 3"),
        ("rank", 8, "was trained with rank 8, not 2"),
        ("scale", 1.0, "was trained with scale 1.0, not 2.0"),
        ("batch", 2, "was trained with batch 2, not 1"),
        ("processes", 1, "was trained with processes 1, not 2"),
        ("dtype", "float32", "was trained with dtype float32, not bfloat16"),
    ],
)
def test_a_stage_goes_on_under_the_same_settings_alone(options: Options, name: str, value: Any, sentence: str) -> None:
    write(options, "short", minutes=1.0, lr=0.5)
    assert start_of(options)["step"] == 5
    write(options, "short", **{name: value})
    with pytest.raises(InvalidValueError, match=rf"short\.pt {sentence}; "):
        train(options)


@pytest.mark.parametrize(
    ("stage", "before"),
    [("short", "warm"), ("places", "short"), ("full", "places"), ("weak", "full"), ("counts", "weak")],
)
def test_a_stage_starts_from_one_of_the_same_run(options: Options, stage: str, before: str) -> None:
    later = dataclasses.replace(options, stage=stage)
    with pytest.raises(InvalidValueError, match=rf"{before}\.pt is not there; train {before} first"):
        start_of(later)
    write(options, before, batch=7, processes=1)
    assert torch.equal(start_of(later)["trained"]["x"], torch.ones(2))
    for changes in ({"seed": 0}, {"rank": 3}, {"scale": 1.0}):
        write(options, before, **changes)
        with pytest.raises(InvalidValueError, match=rf"{before}\.pt was trained with {next(iter(changes))}"):
            train(later)


def test_other_weights_of_the_decoder_are_said(options: Options, base: Base) -> None:
    write(options, "short", base=base.folder)
    with pytest.raises(InvalidValueError, match=rf"weights.*{base.origin.sha256[:12]}.*--base"):
        start_of(options)


@pytest.mark.parametrize("stage", ["short", "full"])
def test_a_checkpoint_of_an_earlier_version_is_said(options: Options, stage: str) -> None:
    save_state(options.run / "short.pt", {"trained": {}, "rank": 2, "scale": 2.0})
    save_state(options.run / "places.pt", {"trained": {}})
    with pytest.raises(InvalidValueError, match="does not say how it was trained"):
        start_of(dataclasses.replace(options, stage=stage))
    with pytest.raises(InvalidValueError, match="does not say how it was trained"):
        export(options.run / "short.pt", options.run / "part.safetensors")


def test_a_checkpoint_of_another_stage_is_said(options: Options) -> None:
    write(options, "places")
    (options.run / "places.pt").rename(options.run / "short.pt")
    with pytest.raises(InvalidValueError, match=r"short\.pt is a checkpoint of places, not of short"):
        start_of(options)


def test_a_part_that_training_starts_from_has_its_rank_and_scale(options: Options, tmp_path: Path) -> None:
    part = tmp_path / "part.safetensors"
    write_part(Part(random_tensors(2), 2, 2.0, seed=9, base_sha256=base_sha256(options.base)), part)
    assert set(start_of(dataclasses.replace(options, start=part))["trained"]) == set(random_tensors(2))
    for changes, sentence in (({"rank": 4}, "rank 2, not 4"), ({"scale": 0.5}, "scale 2.0, not 0.5")):
        with pytest.raises(InvalidValueError, match=rf"part\.safetensors was trained with {sentence}"):
            train(dataclasses.replace(options, start=part, **changes))


def test_a_part_of_another_decoder_is_no_start(options: Options, tmp_path: Path) -> None:
    part = tmp_path / "part.safetensors"
    write_part(Part(random_tensors(2), 2, 2.0, seed=9, base_sha256="0" * 64), part)
    with pytest.raises(InvalidValueError, match=r"part\.safetensors was trained on weights .*0{12}…, .*--base"):
        train(dataclasses.replace(options, start=part))


def test_an_exported_part_says_what_the_run_was(options: Options, base: Base, tmp_path: Path) -> None:
    made = dataclasses.replace(options, base=base.folder, stage="full")
    save_state(tmp_path / "full.pt", {"trained": random_tensors(2), "facts": facts_of(made)})
    export(tmp_path / "full.pt", tmp_path / "part.safetensors")
    part = read_part(tmp_path / "part.safetensors")
    assert (part.rank, part.scale, part.seed, part.base_sha256) == (2, 2.0, 3, base.origin.sha256)


def test_tensors_of_another_rank_are_not_spread_over_a_learner(folder: Path) -> None:
    learner, other = learner_of(folder, 2), learner_of(folder, 1)
    before = {name: value.detach().clone() for name, value in learner.trained().items()}
    with pytest.raises(InvalidValueError, match=r"lora\.0\.q_proj\.A has the shape \(1, 48\), not \(2, 48\)"):
        learner.load(other.trained())
    with pytest.raises(InvalidValueError, match=r"lora\.9\.q_proj\.A.*no place"):
        learner.load({**before, "lora.9.q_proj.A": torch.zeros(2, 48)})
    assert all(torch.equal(value, before[name]) for name, value in learner.trained().items())
