"""The server's answers equal `todre.running.answer`'s on families with other prompts, processors and positions."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from processing.kits import KITS

import todre
from todre.loading.model import Loaded
from todre.processing import load_processor
from todre.running import Settings, answer
from todre.serve.answering import Task, Turn, answer_task
from todre.serve.parameters import Sampling

METHOD = todre.ToDRE(retain=0.5, pivot="random")
QUESTION = "what is this"


def picture(seed):
    pixels = torch.randint(0, 255, (40, 56, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


@pytest.fixture(scope="module", params=KITS, ids=str)
def loaded(request, tmp_path_factory):
    folder = request.param.write(tmp_path_factory.mktemp(str(request.param)))
    processor = load_processor(folder)
    return Loaded(request.param.specimen.build("sdpa"), processor, str(request.param), folder, None)


@pytest.mark.parametrize("pictures", [1, 2])
def test_the_answer_is_that_of_ask(loaded, pictures):
    media = [picture(seed) for seed in range(pictures)]
    right = answer(loaded, media, QUESTION, METHOD, Settings(max_new_tokens=6))
    pieces = []
    task = Task(
        turns=(Turn(role="user", parts=(*media, QUESTION)),), method=METHOD, sampling=Sampling(), max_new_tokens=6,
        most_new_tokens=6, stop=(), seed=0,
    )  # fmt: skip
    got = answer_task(loaded, task, pieces.append, lambda: False)
    assert (got.text, got.new_tokens) == (right.text, right.new_tokens)
    assert "".join(pieces) == right.text
    assert (got.kept.before, got.kept.after) == (
        right.report.visual_tokens_before[0],
        right.report.visual_tokens_after[0],
    )
    assert got.kept.kv_bytes == right.report.kv_bytes[0]
