"""`lmms-eval --model todre` as people run it: one process, two ranks, and mistakes in its arguments."""

import sys

import pytest
from lmms.with_lmms_eval.conftest import RETAIN, call, facts_of

from todre.lmms import command, read_results, read_samples


def arguments(tasks, output, *names, **given):
    given = {"method": "todre", "retain": RETAIN, "options": {"device": "cpu"}, "include_path": tasks} | given
    return command(names, output, **given)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_of_several_tasks(expected, tasks, tmp_path, ranks):
    names = ("scenes_colour", "scenes_pope", "presence_chosen")
    code, said = call(arguments(tasks, tmp_path, *names, batch_size=4, ranks=ranks))
    assert code == 0, said
    samples = read_samples(tmp_path)
    assert set(samples) == set(names)
    for task in names[:2]:
        assert [sample["doc_id"] for sample in samples[task]] == list(range(len(expected[task, "todre"])))
        assert [facts_of(sample) for sample in samples[task]] == expected[task, "todre"]
    results = read_results(tmp_path)
    for task in names[:2]:
        right = [sample["exact"] for sample in samples[task]]
        assert results[task]["exact"] == pytest.approx(sum(right) / len(right))
    assert len(samples["presence_chosen"]) == 8
    assert 0 <= results["presence_chosen"]["acc"] <= 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fields": {"retian": 0.5}}, "error: There is no argument 'retian'; did you mean 'retain'"),
        ({"method": "tordre", "retain": None}, "error: There is no method 'tordre'; did you mean 'todre'"),
        ({"model": "no/such/folder"}, "error: 'no/such/folder' is neither a folder nor a hub id"),
        ({"options": {"device": "cuda:99"}}, "error: device 'cuda:99' is not there"),
    ],
)
def test_mistakes_are_one_line(tasks, tmp_path, given, said):
    code, output = call(arguments(tasks, tmp_path, "presence_generated", **given))
    assert code == 1
    assert output.splitlines()[-1].startswith(said), output
    assert "Traceback" not in output


def test_arguments_without_values(tmp_path):
    code, output = call(
        [sys.executable, "-m", "lmms_eval", "--model", "todre", "--model_args", "todre", "--tasks", "pope"]
    )
    assert code == 1, output
    assert "error: --model_args is 'todre', and takes name=value" in output
