"""The command line of lmms-eval, and reading back what it wrote; neither needs lmms-eval."""

import json
import subprocess
import sys

import pytest

from todre.errors import InvalidValueError
from todre.lmms import command, read_results, read_samples


def value_of(arguments, option):
    return arguments[arguments.index(option) + 1]


def test_command_of_one_process():
    arguments = command(["pope", "mme"], "out", method="todre", retain=0.1, batch_size=4, limit=8, python="python")
    assert arguments[:3] == ["python", "-m", "lmms_eval"]
    assert value_of(arguments, "--model") == "todre"
    assert value_of(arguments, "--model_args") == "pretrained=todre-tiny,method=todre,retain=0.1"
    assert value_of(arguments, "--tasks") == "pope,mme"
    assert value_of(arguments, "--batch_size") == "4"
    assert value_of(arguments, "--limit") == "8"
    assert value_of(arguments, "--output_path") == "out"
    assert "--log_samples" in arguments


def test_command_of_two_ranks_goes_through_torchrun():
    arguments = command(["pope"], "out", model="a/b", ranks=2, python="python")
    assert arguments[:8] == [
        "python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lmms_eval",
    ]  # fmt: skip
    assert "--limit" not in arguments


def test_fields_and_options_keep_their_types():
    arguments = command(
        ["pope"],
        "out",
        method="todre",
        retain=288,
        fields={"layers": (0.5, 0.75), "admissible": False},
        options={"dtype": "bfloat16"},
        gen_kwargs={"max_new_tokens": 16},
    )
    given = value_of(arguments, "--model_args")
    assert given.endswith("method=todre,retain=288,layers=[0.5,0.75],admissible=false,dtype=bfloat16")
    assert value_of(arguments, "--gen_kwargs") == "max_new_tokens=16"


@pytest.mark.parametrize(
    "given",
    [
        {"model": "a,b"},
        {"method": "it's.json"},
        {"model": " "},
        {"batch_size": 0},
        {"ranks": True},
        {"limit": 0.5},
        {"model": "007"},
        {"options": {"revision": "2.10"}},
        {"options": {"revision": "1234567e2"}},
        {"options": {"revision": "True"}},
    ],
)
def test_what_the_command_line_cannot_hold_is_refused(given):
    with pytest.raises(InvalidValueError):
        command(["pope"], "out", **given)


def test_names_that_only_begin_like_numbers_are_texts():
    arguments = command(["pope"], "out", model="7b/x", options={"revision": "2.10.1"}, python="python")
    assert "pretrained=7b/x" in value_of(arguments, "--model_args")
    assert "revision=2.10.1" in value_of(arguments, "--model_args")


def test_no_task_is_refused():
    with pytest.raises(InvalidValueError, match="No task"):
        command([], "out")


def write(folder, date, results, model_args="pretrained=todre-tiny", samples=None):
    folder.mkdir(parents=True, exist_ok=True)
    document = {"results": results, "config": {"model_args": model_args}}
    (folder / f"{date}_results.json").write_text(json.dumps(document), encoding="utf-8")
    for task, lines in (samples or {}).items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{date}_samples_{task}.jsonl").write_text(text, encoding="utf-8")


def test_results_are_numbers_by_task(tmp_path):
    values = {"alias": "pope", "f1,none": 0.8, "f1_stderr,none": "N/A", "f1,strict": 1, "samples": 3, "open": True}
    write(tmp_path / "model", "20260101_000000", {"pope": values})
    assert read_results(tmp_path) == {"pope": {"f1": 0.8, "f1,strict": 1.0, "samples": 3.0}}


def test_later_results_replace_earlier_ones(tmp_path):
    write(tmp_path, "20260101_000000", {"pope": {"f1,none": 0.1}, "mme": {"score,none": 5}})
    write(tmp_path, "20260102_000000", {"pope": {"f1,none": 0.2}})
    assert read_results(tmp_path) == {"pope": {"f1": 0.2}, "mme": {"score": 5.0}}


def test_results_of_different_methods_are_not_mixed(tmp_path):
    write(tmp_path, "20260101_000000", {"pope": {"f1,none": 0.1}}, "method=none")
    write(tmp_path, "20260102_000000", {"pope": {"f1,none": 0.2}}, "method=todre")
    with pytest.raises(InvalidValueError, match="folder of its own"):
        read_results(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"results": null}'])
def test_a_broken_file_is_named(tmp_path, text):
    (tmp_path / "20260101_results.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidValueError, match="20260101_results"):
        read_results(tmp_path)


def test_a_failed_run_is_told(tmp_path):
    for read in (read_results, read_samples):
        with pytest.raises(InvalidValueError, match="the run failed"):
            read(tmp_path)


def test_samples_come_in_the_order_of_documents(tmp_path):
    lines = [{"doc_id": 10, "filtered_resps": "b"}, {"doc_id": 2, "filtered_resps": "a"}]
    write(tmp_path, "20260101_000000", {"a_samples_b": {}}, samples={"a_samples_b": lines})
    assert [line["doc_id"] for line in read_samples(tmp_path)["a_samples_b"]] == [2, 10]


def test_neither_torch_nor_lmms_eval_is_imported():
    code = "import sys, todre.lmms; sys.exit(bool({'torch', 'lmms_eval', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
