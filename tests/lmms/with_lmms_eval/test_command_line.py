"""`lmms-eval --model todre` as people run it: one process, two ranks, and mistakes in its arguments."""

import pytest
import torch
from lmms.with_lmms_eval.conftest import RETAIN, call, facts_of

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.lmms import command, read_results, read_samples
from todre.lmms.model import Todre, device_of


def arguments(tasks, output, *names, **given):
    given = {"method": "todre", "retain": RETAIN, "options": {"device": "cpu"}, "include_path": tasks} | given
    return command(names, output, **given)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_of_several_tasks(expected, tasks, tmp_path, ranks):
    names = ("scenes_colour", "scenes_pope", "presence_chosen")
    code, reply = call(arguments(tasks, tmp_path, *names, batch_size=4, ranks=ranks))
    assert code == 0, reply
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


def test_a_mistake_is_one_line(tasks, tmp_path):
    code, output = call(arguments(tasks, tmp_path, "presence_generated", fields={"retian": 0.5}))
    assert code == 1
    assert output.splitlines()[-1].startswith("error: There is no argument 'retian'; did you mean 'retain'"), output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("given", "reply"),
    [
        ("method=tordre", "error: There is no method 'tordre'; did you mean 'todre'"),
        ("pretrained=no/such/folder", "error: 'no/such/folder' is neither a folder nor a hub id"),
        ("device=cuda:99", "error: device 'cuda:99' is not there"),
        ("todre", "error: --model_args is 'todre', and takes name=value"),
        ("method=vtw,layer=77", "error: layer"),
    ],
)
def test_mistakes_end_the_process_with_a_sentence(given, reply):
    with pytest.raises(SystemExit) as ended:
        Todre.create_from_arg_string(given, {"batch_size": 1, "max_batch_size": None, "device": None})
    assert str(ended.value).startswith(reply)
    assert "\n" not in str(ended.value)


def test_own_arguments_count_before_those_of_the_command_line():
    model = Todre.create_from_arg_string("batch_size=3,device=cpu,method=none", {"batch_size": 1, "device": "cuda:99"})
    assert model.arguments.batch_size == 3
    assert model.device.type == "cpu"
    assert (model.rank, model.world_size) == (0, 1)
    model.clean()
    with pytest.raises(UnsupportedInputError, match="was released"):
        model.device  # noqa: B018


def test_what_is_not_there_says_so():
    model = Todre(method="none", device="cpu")
    with pytest.raises(UnsupportedInputError, match="several rounds"):
        model.generate_until_multi_round([])
    with pytest.raises(UnsupportedInputError, match="chat template"):
        model.chat_template  # noqa: B018


@pytest.mark.parametrize(("device", "expected"), [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cpu", "cpu")])
def test_each_rank_has_a_gpu_of_its_own(device, expected):
    assert device_of(device, 2, torch.device("cuda:1")) == expected
    assert device_of(device, 1, torch.device("cuda:0")) == device


def test_one_gpu_for_several_ranks_is_refused():
    with pytest.raises(InvalidValueError, match="there are 2 ranks"):
        device_of("cuda:0", 2, torch.device("cuda:1"))
