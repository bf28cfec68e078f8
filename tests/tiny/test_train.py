"""Training: a run that is cut off and started again ends where an uninterrupted one does; the schedule; the log."""

import dataclasses
import json

import pytest
import torch

from todre.errors import InvalidValueError
from todre.tiny import stages, train
from todre.tiny.optim import Budget, Muon, orthogonalise
from todre.tiny.runfiles import append_log, read_log, rewind_log


def options(run, stage="tower", steps=3):
    return train.Options(stage, run, steps, None, batch=1, lr=0.01, save_seconds=-1.0, log_every=1)


class Cut(Exception):
    """Stands in for a kill."""


@pytest.mark.parametrize("stage", ["tower", "decoder"])
def test_a_cut_run_resumes_to_the_same_weights_and_log(tmp_path, monkeypatch, stage):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    train.train_stage(options(whole, stage))

    plain = train._update

    def cutting(*arguments):
        if cutting.left == 0:
            raise Cut
        cutting.left -= 1
        plain(*arguments)

    cutting.left = 2
    monkeypatch.setattr(train, "_update", cutting)
    with pytest.raises(Cut):
        train.train_stage(options(broken, stage))
    monkeypatch.setattr(train, "_update", plain)
    append_log(broken / f"{stage}.jsonl", {"step": 2, "loss": -1.0})  # a record after the last checkpoint
    train.train_stage(options(broken, stage))

    first, second = (torch.load(run / f"{stage}.pt", weights_only=True) for run in (whole, broken))
    assert first["step"] == second["step"] == 3
    for name in ("model", "heads", "symbols"):
        for key, value in first[name].items():
            assert torch.equal(value, second[name][key]), key
    logs = [[{**r, "seconds": 0} for r in read_log(run / f"{stage}.jsonl")] for run in (whole, broken)]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 3


def test_stages_start_from_the_parts_they_need(tmp_path):
    for stage in ("tower", "decoder"):
        train.train_stage(options(tmp_path, stage, steps=1))
    built = train.train_stage(options(tmp_path, "projector", steps=1))
    tower = torch.load(tmp_path / "tower.pt", weights_only=True)["model"]
    decoder = torch.load(tmp_path / "decoder.pt", weights_only=True)["model"]
    for key, value in built.model.state_dict().items():
        if "vision_tower" in key:
            assert torch.equal(value, tower[key])
        elif "language_model" in key:
            assert torch.equal(value, decoder[key])
    fresh = stages.build_parts(0, torch.device("cpu")).model.state_dict()
    changed = [k for k, v in built.model.state_dict().items() if "projector" in k and not torch.equal(v, fresh[k])]
    assert changed


def test_rate_rises_holds_and_ends_at_nought():
    budget = Budget(steps=100, minutes=None, warmup=10, cooldown=0.4)
    rates = [budget.rate(step, budget.progress(step)) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[30] == 1.0
    assert rates[80] == pytest.approx(0.5)
    assert rates[100] == 0.0


def test_minutes_count_across_restarts():
    budget = Budget(steps=None, minutes=1.0, spent=45.0)
    assert 0.75 <= budget.progress(3) < 0.76


def test_orthogonalise_brings_singular_values_near_one():
    torch.manual_seed(0)
    matrices = torch.randn(3, 20, 50)
    for out in (orthogonalise(matrices), orthogonalise(matrices.mT)):
        values = torch.linalg.svdvals(out)
        assert float(values.min()) > 0.5
        assert float(values.max()) < 1.3


def test_muon_lowers_a_quadratic():
    torch.manual_seed(0)
    target, weight = torch.randn(6, 4), torch.nn.Parameter(torch.zeros(6, 4))
    optimizer = Muon([weight], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (weight - target).square().sum()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.2 * float(target.square().sum())


def test_log_survives_a_torn_line_and_is_rewound(tmp_path):
    path = tmp_path / "x.jsonl"
    for step in range(4):
        append_log(path, {"step": step})
    with path.open("a") as stream:
        stream.write('{"step": 4, "lo')
    assert [r["step"] for r in read_log(path)] == [0, 1, 2, 3]
    rewind_log(path, 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1]


def test_every_parameter_of_a_stage_gets_a_gradient():
    parts = stages.build_parts(0, torch.device("cpu"))
    stage = stages.STAGES["whole"]
    loss, metrics = stage.loss(parts, stages.Slice(0, 1, 1))
    loss.backward()
    idle = [name for name, p in parts.model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == [] or all("post_layernorm" in n or "class_embedding" in n for n in idle), idle
    assert metrics["asked/count"] >= 1


def facts(run, **changes):
    """Write a checkpoint that says how it was trained."""
    train.save_state(run / "tower.pt", {"facts": {"seed": 0, "batch": 1, "processes": 1} | changes})


@pytest.mark.parametrize(("name", "there", "here"), [("seed", 4, 0), ("batch", 2, 1), ("processes", 3, 1)])
def test_a_run_goes_on_with_the_same_pictures_alone(tmp_path, name, there, here):
    facts(tmp_path, **{name: there})
    with pytest.raises(
        InvalidValueError, match=rf"tower\.pt was trained with {name} {there}, not {here}; take the same"
    ):
        train.train_stage(options(tmp_path))


def test_a_run_of_another_seed_is_refused_before_processes_start(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "spawn", lambda *arguments, **more: pytest.fail("processes were started"))
    facts(tmp_path, seed=4, processes=2)
    given = ["tower", "--run", str(tmp_path), "--steps", "1", "--batch", "1", "--processes", "2"]
    assert train.main(given) == 1
    assert capsys.readouterr().err.endswith("was trained with seed 4, not 0; take the same seed, or another run.\n")


def test_what_a_checkpoint_says_is_how_it_was_trained(tmp_path):
    chosen = dataclasses.replace(options(tmp_path, steps=1), seed=2)
    train.train_stage(chosen)
    state = torch.load(tmp_path / "tower.pt", weights_only=True)
    assert state["facts"] == {"seed": 2, "batch": 1, "processes": 1}
    del state["facts"]
    train.save_state(tmp_path / "tower.pt", state)
    with pytest.raises(InvalidValueError, match="was trained with seed unknown, not 2"):
        train.train_stage(chosen)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("tower",), "tower needs a length; give --steps or --minutes"),
        (("export",), "export needs --output"),
        (("export", "--output", "model", "--source", "towers"), "invalid choice: 'towers'"),
    ],
)
def test_what_is_missing_on_the_command_line_is_said(tmp_path, capsys, words, sentence):
    with pytest.raises(SystemExit) as ended:
        train.main([*words, "--run", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "stage"), [(("projector", "--steps", "1"), "tower"), (("export", "--output", "model"), "whole")]
)
def test_a_stage_that_was_not_trained_is_said(tmp_path, capsys, words, stage):
    assert train.main([*words, "--run", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/{stage}.pt is not there; train {stage} first.\n"


def test_an_exported_model_is_that_of_its_checkpoint(tmp_path):
    parts = train.train_stage(options(tmp_path, steps=1))
    model = tmp_path / "model"
    assert train.main(["export", "--source", "tower", "--run", str(tmp_path), "--output", str(model)]) == 0
    saved = type(parts.model).from_pretrained(model, dtype=torch.float16).state_dict()
    assert all(torch.equal(value.half(), saved[name]) for name, value in parts.model.state_dict().items())
