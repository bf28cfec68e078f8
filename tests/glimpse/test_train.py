"""Training: the loss falls, a cut run ends like a whole one, the command works.

Settings other than those of the cut run are refused.
"""

import dataclasses
import json

import pytest
import torch
from glimpse.making import SMALL, lively, view_of

from todre.errors import InvalidValueError
from todre.glimpse import train as training
from todre.glimpse.gather import Gatherer
from todre.glimpse.train import Options, rate_at, train
from todre.methods.glimpse.weights import load_trained
from todre.tiny import load


class Toy:
    """A stand-in for the frozen model, with masks that a glimpse can learn."""

    def shape(self):
        return SMALL

    def view(self, scene, questions):
        return view_of(b=len(questions), t=4, n=30, seed=scene.seed % 1000)

    def masks(self, scene, questions):
        return (lively(seed=3)(self.view(scene, questions)) > 0.5).float()


@pytest.fixture(autouse=True)
def small_scenes(monkeypatch):
    monkeypatch.setattr(training, "training_size", lambda step: (96, 96))


def options(run, **values):
    return Options(run, **({"steps": 6, "pictures": 1, "log_every": 2, "save_seconds": -1.0} | values))


def log_of(run):
    return [json.loads(line) | {"seconds": 0} for line in (run / "glimpse.jsonl").read_text().splitlines()]


def test_the_loss_falls_on_a_toy(tmp_path):
    train(options(tmp_path, steps=60, log_every=10, lr=0.03), Toy())
    losses = [line["loss"] for line in log_of(tmp_path)]
    assert losses[-1] < 0.8 * losses[0]


class Cut(Exception):
    """A stand-in for a kill."""


def test_a_cut_run_ends_like_a_whole_one(tmp_path, monkeypatch):
    whole = train(options(tmp_path / "whole"), Toy())
    plain = training.update

    def cutting(*arguments):
        if arguments[-1] == 3:
            raise Cut
        return plain(*arguments)

    monkeypatch.setattr(training, "update", cutting)
    with pytest.raises(Cut):
        train(options(tmp_path / "broken"), Toy())
    monkeypatch.setattr(training, "update", plain)
    resumed = train(options(tmp_path / "broken"), Toy())
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "broken")
    again = train(options(tmp_path / "broken"), Toy())
    assert torch.equal(again.look, whole.look)
    assert len(log_of(tmp_path / "broken")) == 3


def test_seeds_and_settings_make_a_run(tmp_path):
    first, same, other = (
        train(options(tmp_path / name, steps=2, seed=seed), Toy()) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert torch.equal(first.look, same.look)
    assert not torch.equal(first.look, other.look)
    with pytest.raises(InvalidValueError, match="other settings"):
        train(options(tmp_path / "a", steps=9), Toy())


def test_rate_rises_and_falls():
    rates = [rate_at((step + 1) / 100) for step in range(100)]
    assert max(rates) == pytest.approx(1.0, abs=0.02)
    assert rates[0] < 0.25
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


def test_the_command_writes_weights_for_the_shipped_model(tmp_path, capsys):
    output = tmp_path / "deep" / "w.safetensors"
    given = ["--run", str(tmp_path / "run"), "--output", str(output), "--steps", "1", "--pictures", "1", "--layer", "2"]
    assert training.main(given) == 0
    trained = load_trained(str(output))
    assert dataclasses.astuple(trained.glimpse.shape)[:2] == (2, 8)
    assert "wrote" in capsys.readouterr().err
    assert training.main([*given[:-1], "8"]) == 1
    assert "give 1 to 7" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("steps", "0"), ("lr", "-1"), ("lr", "nan"), ("seed", "-3")])
def test_bad_options_give_one_sentence(tmp_path, capsys, name, value):
    assert training.main(["--run", str(tmp_path), f"--{name}={value}"]) == 1
    assert "Traceback" not in (message := capsys.readouterr().err)
    assert message.startswith(f"error: Options.{name} must be")


def test_the_model_is_not_trained():
    model, processor = load()
    Gatherer(model, processor, 1)
    assert not any(parameter.requires_grad for parameter in model.parameters())
