"""The gates: their formulas, and that tokens that go around are neither changed nor seen, against gathered tokens."""

import json
import math

import numpy as np
import pytest
import torch

from todre.errors import InvalidValueError
from todre.scenes import make_scene
from todre.svit import experiment
from todre.svit.experiment import Options, gated_blocks, train
from todre.svit.gate import Chooser, FixedRate, Gate, came_back, gated, ratio_loss, straight_through
from todre.tiny import load


@pytest.fixture(scope="module")
def tiny():
    return load()


class Fixed:
    """Lets given patches through."""

    def __init__(self, masks):
        self.masks = masks

    def __call__(self, place, hidden):
        return self.masks[place].to(hidden.dtype)


def hidden_of(t=2, s=10, seed=0):
    return torch.randn(t, s, 192, generator=torch.Generator().manual_seed(seed))


def test_a_gate_equals_its_formula():
    gate = Gate(8)
    hidden = torch.randn(1, 3, 8)
    p = {name: value.detach().double().numpy() for name, value in gate.named_parameters()}
    for token, got in zip(hidden[0].double().numpy(), gate(hidden)[0].detach().numpy(), strict=True):
        x = (token - token.mean()) / math.sqrt(token.var() + 1e-5) * p["norm.weight"] + p["norm.bias"]
        y = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in p["first.weight"] @ x + p["first.bias"]])
        np.testing.assert_allclose(got, p["second.weight"] @ y + p["second.bias"], rtol=1e-4, atol=1e-5)


def test_samples_are_hard_have_a_gradient_and_follow_the_softmax():
    logits = torch.tensor([[[0.0, 1.0]]]).expand(1, 20_000, 2).clone().requires_grad_(True)
    sample = straight_through(logits, torch.Generator().manual_seed(0))
    assert set(sample.detach().round(decimals=5).flatten().tolist()) == {0.0, 1.0}
    assert float(sample.detach().mean()) == pytest.approx(math.e / (1 + math.e), abs=0.01)
    sample.sum().backward()
    assert bool((logits.grad[..., 1] > 0).all())
    assert straight_through(torch.tensor([[[0.1, 0.2], [0.2, 0.1], [0.3, 0.3]]]), None).tolist() == [[1.0, 0.0, 0.0]]


def test_ratio_loss_equals_its_formula():
    passed = [torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])]
    assert float(ratio_loss(passed, (0.7, 0.49))) == pytest.approx(((0.75 - 0.7) ** 2 + (0.25 - 0.49) ** 2) / 2)


@torch.no_grad()
def test_skipped_tokens_stay_as_they_were_and_the_rest_equals_a_shorter_input(tiny):
    blocks = gated_blocks(tiny[0], 2)
    masks = [torch.rand(1, 9, generator=torch.Generator().manual_seed(place)) < 0.5 for place in (1, 2)]
    hidden = expected = hidden_of(t=1)
    with gated(blocks, Fixed(masks)) as gating:
        for block in blocks:
            hidden = block(hidden, None)
    for block, mask in zip(blocks, masks, strict=True):
        through = torch.cat([torch.tensor([[True]]), mask], dim=1)[0]
        following = expected.clone()
        following[:, through] = block(expected[:, through], None)
        assert torch.equal(following[:, ~through], expected[:, ~through])
        expected = following
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=0)
    assert [one.bool().tolist() for one in gating.passed] == [mask.tolist() for mask in masks]


@torch.no_grad()
def test_everyone_through_is_the_plain_tower_and_nothing_stays_behind(tiny):
    blocks = gated_blocks(tiny[0], 3)
    hidden = plain = hidden_of()
    for block in blocks:
        plain = block(plain, None)
    with gated(blocks, Fixed([torch.ones(2, 9)] * 3)):
        for block in blocks:
            hidden = block(hidden, attention_mask=None)
    torch.testing.assert_close(hidden, plain, atol=1e-5, rtol=0)
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in blocks)


def test_a_fixed_rate_with_and_without_a_way_back():
    gates, hidden = torch.nn.ModuleList([Gate(8), Gate(8)]), torch.randn(3, 10, 8)
    for back in (True, False):
        choose = FixedRate(gates, (0.6, 0.3), back)
        first, second = choose(0, hidden), choose(1, hidden)
        for tile in range(3):
            scores = [(gate(hidden)[tile] @ torch.tensor([-1.0, 1.0])).tolist() for gate in gates]
            wanted = sorted(range(10), key=lambda place: -scores[0][place])[:6]
            assert first[tile].nonzero()[:, 0].tolist() == sorted(wanted)
            possible = range(10) if back else wanted
            wanted = sorted(possible, key=lambda place: -scores[1][place])[:3]
            assert second[tile].nonzero()[:, 0].tolist() == sorted(wanted)
        assert back or came_back([first, second]) == [0.0]
    assert came_back([torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[1.0, 1.0, 0.0, 0.0]])]) == [0.5]


def test_too_many_gates_are_refused(tiny):
    with pytest.raises(InvalidValueError, match="give 1 to 4 targets"):
        gated_blocks(tiny[0], 5)


def test_training_is_deterministic_and_moves_towards_the_target(tiny, monkeypatch):
    monkeypatch.setattr(experiment, "make_scene", lambda seed: make_scene(seed, "train", 96))
    gates, log = train(*tiny, Options(steps=10, targets=(0.5,), lr=2e-2, log_every=5))
    again, same = train(*tiny, Options(steps=10, targets=(0.5,), lr=2e-2, log_every=5))
    for name, value in gates.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert log == same
    assert log[1]["kept"][0] < log[0]["kept"][0]
    drawn = Chooser(None, torch.Generator().manual_seed(0), [0.25])(0, torch.zeros(50, 144, 4))
    assert float(drawn.mean()) == pytest.approx(0.25, abs=0.02)


def test_the_command_writes_its_result(tmp_path, capsys):
    output = tmp_path / "svit.json"
    given = ["--pictures", "4", "--group-size", "4", "--steps", "1", "--size", "96", "--output", str(output)]
    assert experiment.main(given) == 0
    document = json.loads(output.read_text())
    methods = [row["method"] for row in document["rows"]]
    assert [methods[0], methods[1], methods[2], methods[-1]] == ["none", "gates", "fixed rate", "random"]
    assert document["rows"][0]["kept"] == [1.0, 1.0, 1.0]
    assert "wrote" in capsys.readouterr().err
    assert experiment.main([*given, "--targets", "0.5", "0.5", "0.5", "0.5", "0.5"]) == 1
