"""Rows, and what one process answers; workers of Ray find the tests' own modules."""

import os
from pathlib import Path

import pytest
from batch.stubs import picture, request, write_rows

import todre
from todre.batch.model_answers import Answering
from todre.batch.run import inline, run
from todre.batch.sources import JsonLines
from todre.scenes import make_scene

os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


def questions(folder, count):
    values = []
    for seed in range(count):
        scene = make_scene(seed, "val", 96)
        scene.image.save(folder / f"{seed}.png")
        values.append({"id": f"row {seed}", "image": f"{seed}.png", "question": scene.questions[0].text})
    return values


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    values = questions(folder, 20)
    values[3]["retain"], values[4]["max_new_tokens"] = 0.5, 1
    values[5]["image"] = "none.png"
    values.append(request("asked", picture("1.png"), picture("2.png"), "Which is brighter?", todre={"retain": 0.4}))
    return JsonLines(write_rows(folder / "rows.jsonl", values))


@pytest.fixture(scope="session")
def answering(source):
    method = todre.ToDRE(retain=0.2).to_dict()
    return Answering(folder=source.folder, device="cpu", method=method, max_new_tokens=6)


@pytest.fixture(scope="session")
def here(source, answering, tmp_path_factory):
    """The output of one process."""
    output = tmp_path_factory.mktemp("here") / "out.jsonl"
    run(source, output, answering.conditions(), inline(answering.start))
    return output


@pytest.fixture(scope="session")
def cluster():
    """A cluster of two cores for all tests that do not start their own."""
    import ray

    ray.init(address="local", num_cpus=2, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
