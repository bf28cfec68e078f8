"""These tests run lmms-eval itself, in an environment that has it (`make test-lmms`)."""

import os
import tempfile

os.environ["HF_HOME"] = tempfile.mkdtemp()  # what `datasets` makes of the tasks goes nowhere else
os.environ["HF_HUB_OFFLINE"] = "1"

import json
import subprocess

import pytest
import torch
from lmms.with_lmms_eval import local_tasks

from todre.evaluate.engine import run
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.grid import grid
from todre.evaluate.tasks import tasks_of

QUESTIONS = {"scenes-colour": 19, "scenes-caption": 5, "scenes-pope": 13}
"""More colours than a group of random draws has pictures, and counts that two ranks cannot share evenly."""
METHODS = ("todre", "todre-v1", "fastv")
RETAIN = 0.1
PAIRS = {
    "what color is the square ?": (0,),
    "describe the pictures .": (1, 2),
    "what word is in the picture ?": (3,),
    "how many shapes are in the pictures ?": (4, 5, 6),
    "is there a red circle ?": (7, 8),
}
"""A question to the scenes that it is asked about."""


@pytest.fixture(scope="session")
def tasks(tmp_path_factory):
    """The folder of the tasks, for `--include_path`."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tasks")
    for task in tasks_of(tuple(QUESTIONS)):
        local_tasks.write(folder, named(task.name), task.items(QUESTIONS[task.name], 0))
    (presence,) = tasks_of(("scenes-presence",))
    local_tasks.write(folder, "presence_generated", presence.items(8, 0))
    local_tasks.write(folder, "presence_chosen", presence.items(8, 0), choices=("yes", "no"))
    (several,) = tasks_of((str(own_questions(folder)),))
    local_tasks.write(folder, "several", several.items(None, 0))
    return folder


def own_questions(folder):
    """A file for `todre eval` with one picture, or several, to a question."""
    from todre.scenes import make_scene

    for number in range(9):
        make_scene(number, "test", 192).image.save(folder / f"{number}.png")
    lines = []
    for question, numbers in PAIRS.items():
        images = [f"{number}.png" for number in numbers]
        lines.append(json.dumps({"image": images, "question": question, "answers": ["yes"], "new_tokens": 12}) + "\n")
    file = folder / "own.jsonl"
    file.write_text("".join(lines), encoding="utf-8")
    return file


def named(task):
    return task.replace("-", "_")


def evaluated(names, limit, methods, output, retain=RETAIN):
    """What `todre eval` says: (task, method) to a list of (answer, visual tokens, mean over layers, dropped after)."""
    run(EvalConfig(names, limit=limit, device="cpu"), grid(methods, [retain], draws=1), output)
    found = {}
    for line in (output / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        sample = json.loads(line)
        key = named(sample["task"]), sample["condition"].partition("@")[0]
        facts = sample["prediction"], sample["visual_tokens"], sample["layer_mean"], sample["dropped_after"]
        found.setdefault(key, []).append(facts)
    return found


@pytest.fixture(scope="session")
def expected(tasks, tmp_path_factory):
    """`evaluated` for each task under each method."""
    found = {}
    for task, count in QUESTIONS.items():
        # Random draws go by pictures there and by documents here: the same where each document has its own.
        methods = [*METHODS, "random"] if task == "scenes-colour" else [*METHODS]
        found |= evaluated((task,), count, methods, tmp_path_factory.mktemp("eval") / task)
    return found | evaluated((str(tasks / "own.jsonl"),), None, [*METHODS], tmp_path_factory.mktemp("eval") / "own")


def facts_of(sample):
    """The same of a sample that lmms-eval logged, from memory or from its file."""
    text = sample["filtered_resps"]
    while isinstance(text, list):
        (text,) = text
    (counts,) = sample["token_counts"]
    visual = counts["visual_tokens"]
    return text, visual["after"], visual["layer_mean"], visual["dropped_after"]


@pytest.fixture(scope="session")
def in_process(tasks):
    """Run tasks in this process: samples of each task, in order."""
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    manager = TaskManager("ERROR", include_path=str(tasks), model_name="todre")

    def evaluate(method, names, batch_size=1, retain=RETAIN, **options):
        given = f"pretrained=todre-tiny,device=cpu,method={method}"
        given += "" if method == "none" else f",retain={retain}"
        found = simple_evaluate(
            "todre", given, tasks=list(names), batch_size=batch_size, task_manager=manager, log_samples=True, **options
        )
        return {
            task: sorted(samples, key=lambda each: each["doc_id"]) for task, samples in found["samples"].items()
        }, found

    return evaluate


def call(arguments):
    """Run a command; (exit code, what it said on both streams)."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=False, env=environment, timeout=900
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr
