"""The extra target of the stage `firsts`: which visual token is the first of its thing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from smol.training.base import write_base

from todre.scenes import Question, make_scene
from todre.smol.training.chunks import collate, pack
from todre.smol.training.firsts import LAYER, NEWLINE, Marks, first_patches, marks_loss
from todre.smol.training.learner import answer_loss, build_learner
from todre.smol.training.stages import STAGES, Slice


def searched(scene, rows: int, columns: int) -> list[int]:
    """Marks of a grid, found pixel by pixel: a cell shows the thing with most of its pixels, from 12 % of them."""
    height, width = scene.owners.shape
    cells = [[{} for _ in range(columns)] for _ in range(rows)]
    for y in range(height):
        for x in range(width):
            cell = cells[y * rows // height][x * columns // width]
            cell[int(scene.owners[y, x])] = cell.get(int(scene.owners[y, x]), 0) + 1
    marks, met = [], set()
    for cell in (cell for line in cells for cell in line):
        things = {number: count for number, count in cell.items() if number}
        best = max(things, key=lambda number: (things[number], -number), default=0)
        if best and things[best] < 0.12 * sum(cell.values()):
            best = 0
        new = best > 0 and best not in met and scene.objects[best - 1].kind == "shape"
        marks.append(int(new))
        met.add(best)
    return marks


@pytest.mark.parametrize("size", [(192, 192), (192, 96), (96, 192)], ids=str)
def test_the_first_patch_of_each_shape_is_marked(size):
    for seed in range(3):
        scene = make_scene(seed, "val", size)
        marks = first_patches(scene).tolist()
        width, height = size
        fine = marks[144:]
        assert marks[:144] == searched(scene, 12, 12)
        lines = [fine[start : start + width // 8 + 1] for start in range(0, len(fine), width // 8 + 1)]
        assert [line[-1] for line in lines] == [NEWLINE] * (height // 8)
        assert [mark for line in lines for mark in line[:-1]] == searched(scene, height // 8, width // 8)
        assert sum(marks[:144]) <= sum(thing.kind == "shape" for thing in scene.objects)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"), layers=2)


def test_marks_stand_where_the_decoder_reads_the_tokens(base: Path) -> None:
    """The oracle is the decoder's own hidden states, read by a hook, at the places of the picture's embeddings."""
    learner = build_learner(base, rank=2, scale=2.0, seed=0, dtype=torch.float32)
    layer = min(LAYER, 2) - 1
    entered, left = [], []
    layers = learner.model.model.language_model.layers
    layers[0].register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    layers[layer].register_forward_hook(lambda _, given, gives: left.append(gives))
    watched, visuals = learner.watched, []
    learner.watched = lambda visual, chunks: visuals.append(visual) or watched(visual, chunks)
    STAGES["firsts"].loss(learner, Slice(3, 0, 1, split="val"))
    (place,) = [
        start
        for start in range(entered[0].shape[1] - visuals[0].shape[1] + 1)
        if torch.equal(entered[0][:, start : start + visuals[0].shape[1]], visuals[0])
    ]
    assert place == len(learner.pieces.before)
    assert first_patches(make_scene(3, "val")).shape == visuals[0].shape[1:2]


def test_the_loss_is_the_weighted_cross_entropy_and_f1_of_its_definition():
    marks = Marks(4)
    with torch.no_grad():
        marks.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
        marks.bias.fill_(0.3)
    states = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2))
    targets = [torch.tensor([1, 0, NEWLINE, 0, 1]), torch.tensor([0, NEWLINE, 1, 1, 0])]
    loss, counts = marks_loss(marks, states, targets)
    total, both, found, true = [], 0, 0, 0
    for row, target in zip(states, targets, strict=True):
        for state, mark in zip(row, target.tolist(), strict=True):
            if mark == NEWLINE:
                continue
            normed = (state - state.mean()) / (state.var(unbiased=False) + 1e-5).sqrt()
            p = torch.sigmoid(normed @ marks.weight + 0.3)
            total.append(-5 * torch.log(p) if mark else -torch.log(1 - p))
            both, found, true = both + (p > 0.5) * mark, found + int(p > 0.5), true + mark
    torch.testing.assert_close(loss, torch.stack(total).mean(), rtol=1e-5, atol=1e-6)
    assert counts["right/first"] / counts["asked/first"] == pytest.approx(2 * float(both) / (found + true))


def test_marks_are_learned_and_do_not_ship(base: Path) -> None:
    learner = build_learner(base, rank=2, scale=2.0, seed=0, dtype=torch.float32)
    loss, counts = STAGES["firsts"].loss(learner, Slice(3, 0, 1))
    loss.backward()
    assert learner.marks.weight.grad.abs().sum() > 0
    assert counts["asked/first"] > 0
    assert not any("marks" in name for name in learner.trained())


def test_weights_of_tasks_weigh_each_token_of_their_answers(base: Path) -> None:
    """The oracle takes each question by itself."""
    learner = build_learner(base, rank=2, scale=2.0, seed=0, dtype=torch.float32)
    questions = [
        Question("count", "How many?", "3"),
        Question("word", "Which word?", "seven"),
        Question("count", "And crosses?", "10"),
    ]
    visual = torch.randn(1, 5, 48, generator=torch.Generator().manual_seed(3))
    chunks = collate([pack(learner.pieces, questions)])
    loss, _ = answer_loss(learner, learner.hidden(visual, chunks), chunks, {"count": 4.0})
    total, weights = 0.0, 0.0
    for question in questions:
        alone = collate([pack(learner.pieces, [question])])
        tokens = int((alone.targets >= 0).sum())
        weight = 4.0 if question.task == "count" else 1.0
        total += weight * tokens * float(answer_loss(learner, learner.hidden(visual, alone), alone)[0].detach())
        weights += weight * tokens
    assert float(loss.detach()) == pytest.approx(total / weights, rel=1e-5)
