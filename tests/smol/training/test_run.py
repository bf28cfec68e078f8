"""Training runs: starts, updates, resuming and what stays frozen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from smol.training.base import write_base

from todre.smol.training import run
from todre.smol.training.checkpoints import facts_of
from todre.smol.training.learner import Learner, build_learner
from todre.smol.training.lora import LowRank
from todre.smol.training.options import Options
from todre.smol.training.run import make_optimizer, rate, train
from todre.smol.training.stages import STAGES, Slice
from todre.tiny.runfiles import load_state, read_log


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"), layers=1)


def learner_of(base: Path, seed: int = 0) -> Learner:
    return build_learner(base, rank=2, scale=2.0, seed=seed, dtype=torch.float32)


def started(base: Path, folder: Path) -> Options:
    """Options of a run whose warm start is a random one, so that no picture need be drawn."""
    folder.mkdir()
    options = Options(
        stage="short", base=base, run=folder, minutes=100.0, batch=1, rank=2, dtype="float32", log_every=1, val_every=50
    )
    facts = facts_of(replace(options, stage="warm"))
    run.save_state(folder / "warm.pt", {"trained": learner_of(base).trained(), "facts": facts})
    return options


class StepBudget:
    """A budget that counts steps, so that tests do not depend on time."""

    def __init__(self, steps: int) -> None:
        self.steps, self.spent = steps, 0.0

    def progress(self, step: int) -> float:
        return min(1.0, step / self.steps)

    def elapsed(self) -> float:
        return 0.0


def run_steps(options: Options, steps: int, monkeypatch: pytest.MonkeyPatch, length: int = 4) -> Learner:
    """Train up to `steps` of a stage that is `length` steps long; then the run is cut off."""

    class Cut(StepBudget):
        def progress(self, step: int) -> float:
            return 1.0 if step >= steps else super().progress(step)

    monkeypatch.setattr(run, "Budget", lambda *arguments, **more: Cut(length))
    return train(options)


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_steps(started(base, tmp_path / "whole"), 4, monkeypatch)
    options = started(base, tmp_path / "parts")
    run_steps(options, 2, monkeypatch)
    parts = run_steps(options, 4, monkeypatch)
    for name, value in whole.trained().items():
        torch.testing.assert_close(parts.trained()[name], value, rtol=0, atol=0)
    losses = [
        [r["loss"] for r in read_log(tmp_path / each / "short.jsonl") if "loss" in r] for each in ("whole", "parts")
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def test_only_connector_newline_and_updates_change(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = learner_of(base)
    after = run_steps(started(base, tmp_path / "run"), 2, monkeypatch)
    old, new = before.model.state_dict(), after.model.state_dict()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed
    assert all("multi_modal_projector" in name or name.endswith((".A", ".B")) for name in changed)
    state = load_state(tmp_path / "run" / "short.pt", torch.device("cpu"))
    assert set(state["trained"]) == set(after.trained())
    assert state["facts"] == facts_of(started(base, tmp_path / "same"))


def test_the_full_stage_moves_the_newline_and_uses_crops(base: Path) -> None:
    learner = learner_of(base)
    loss, counts = STAGES["full"].loss(learner, Slice(0, 2, 1))
    loss.backward()
    assert learner.model.model.image_newline.grad.abs().sum() > 0
    assert sum(value for name, value in counts.items() if name.startswith("asked/")) > 20


def test_an_update_starts_at_nothing_and_is_the_merged_product() -> None:
    weight = torch.randn(6, 5, dtype=torch.float64).float()
    update = LowRank(weight, rank=3, scale=2.0)
    x = torch.randn(4, 5)
    torch.testing.assert_close(update(x), x @ weight.T)
    with torch.no_grad():
        update.B.normal_()
    wanted = x.double() @ (weight.double() + 2.0 * update.B.double() @ update.A.double()).T
    torch.testing.assert_close(update(x).double(), wanted, rtol=1e-5, atol=1e-5)


def test_seeds_decide_the_start_and_the_pictures(base: Path) -> None:
    one, same, other = learner_of(base), learner_of(base), learner_of(base, seed=1)
    for name, value in one.trained().items():
        assert torch.equal(value, same.trained()[name])
    assert not torch.equal(one.updates["0.q_proj"].A, other.updates["0.q_proj"].A)
    slices = [Slice(5, step, 2, rank, 2).seeds() for step in range(3) for rank in range(2)]
    seeds = [seed for each in slices for seed in each]
    assert len(set(seeds)) == len(seeds) == 12


def test_rates_rise_stay_and_fall(base: Path) -> None:
    assert rate(0, 0.0) == pytest.approx(1 / 8)
    assert rate(100, 0.2) == 1.0
    assert rate(1000, 1.0) == pytest.approx(0.03)
    shares = [rate(1000, share / 50) for share in range(51)]
    assert shares == sorted(shares, reverse=True)
    optimizer = make_optimizer(learner_of(base), 1e-3)
    assert [group["peak"] for group in optimizer.param_groups] == pytest.approx([1e-3, 1.5e-4, 5e-3])


def test_two_processes_step_along_their_mean_gradient(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process is played by its own gradient; the oracle is AdamW on the mean of both losses."""
    other = learner_of(base)
    STAGES["short"].loss(other, Slice(7, 0, 1, 1, 2))[0].backward()
    theirs = torch.cat([v.grad.flatten() for v in updated(other) if v.grad is not None])
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.add_(theirs))
    one = learner_of(base)
    run._update(STAGES["short"].loss(one, Slice(7, 0, 1, 0, 2))[0], make_optimizer(one, 1e-3), 0.5, 2)
    both = learner_of(base)
    halves = [STAGES["short"].loss(both, Slice(7, 0, 1, rank, 2))[0] for rank in range(2)]
    optimizer = make_optimizer(both, 0.5e-3)
    (sum(halves) / 2).backward()
    torch.nn.utils.clip_grad_norm_([v for v in updated(both) if v.grad is not None], 1.0)
    optimizer.step()
    for name, value in both.trained().items():
        torch.testing.assert_close(one.trained()[name], value, rtol=1e-4, atol=1e-6)


def updated(learner: Learner) -> list[torch.Tensor]:
    """Trained tensors in the optimiser's order."""
    return [value for group in make_optimizer(learner, 1e-3).param_groups for value in group["params"]]
