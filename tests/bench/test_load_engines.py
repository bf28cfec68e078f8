"""Commands of the engines' servers, and what is asked of vLLM's worker."""

import json
import sys
from types import SimpleNamespace

import pytest

from todre.bench.load.engines import (
    ALL,
    WORKER,
    Launch,
    Subject,
    printed_flags,
    subjects_of,
    transformers_configurations,
    vllm_configurations,
)
from todre.bench.load.vllm_worker import EncoderTimes
from todre.errors import InvalidValueError, LoadError

LAUNCH = Launch(python="py", environment={"OMP_NUM_THREADS": "1"}, options=("--extra", "1"))


def flags(launch, options):
    return ["--hf-overrides", "{" + " ".join(options) + "}"]


def test_subjects_begin_with_no_pruning():
    assert subjects_of(["todre", "divprune"], [0.25, 100]) == [
        Subject("none"), Subject("todre", 0.25), Subject("todre", 100), Subject("divprune", 0.25),
        Subject("divprune", 100),
    ]  # fmt: skip
    assert [each.name for each in subjects_of(["none", "todre"], [0.1])] == ["none", "todre@0.1"]
    assert subjects_of(["fitted.json"], []) == [Subject("none"), Subject("fitted.json")]


def test_todre_serve_is_started_once_for_each_method():
    none, pruned = transformers_configurations(LAUNCH, [Subject("none"), Subject("todre", 0.1)])
    shared = ["--host", "127.0.0.1", "--port", "{port}", "--device", "cpu", "--dtype", "bfloat16",
              "--max-waiting", "10000", "--extra", "1"]  # fmt: skip
    assert list(none.command) == ["py", "-m", "todre", "serve", "{model}", *shared, "--method", "none"]
    assert list(pruned.command)[-4:] == ["--method", "todre", "--retain", "0.1"]
    assert none.server != pruned.server
    assert (pruned.tower, pruned.environment) == ("metrics", {"OMP_NUM_THREADS": "1"})


def test_vllm_runs_without_the_plugin_for_no_pruning():
    none, pruned = vllm_configurations(LAUNCH, [Subject("none"), Subject("todre", 0.1)], flags)
    assert none.command[:4] == ("py", "-m", "vllm.entrypoints.openai.api_server", "--model")
    assert "--hf-overrides" not in none.command
    assert pruned.command == (*none.command, "--hf-overrides", "{--method todre --retain 0.1}")
    assert "--no-enable-prefix-caching" in none.command
    assert none.command[none.command.index("--worker-extension-cls") + 1] == WORKER
    assert none.environment["VLLM_SERVER_DEV_MODE"] == "1"
    assert none.environment["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert none.body == pruned.body == {"ignore_eos": True}
    on_a_gpu = vllm_configurations(Launch(device="cuda"), [Subject("none")], flags)[0]
    assert not [name for name in on_a_gpu.environment if name.startswith("VLLM_CPU")]


def test_one_vllm_server_gets_the_budget_with_each_request():
    launch = Launch(python="py", one_server=True)
    found = vllm_configurations(launch, subjects_of(["todre"], [0.25, 0.1]), flags)
    assert len({each.server for each in found}) == 1
    assert found[0].command[-1] == "{--method todre --retain 1.0 --max-retain 1.0 --per-request}"
    retains = [each.body["mm_processor_kwargs"] for each in found]
    assert retains == [{"todre_retain": 1.0}, {"todre_retain": 0.25}, {"todre_retain": 0.1}]


@pytest.mark.parametrize(
    ("methods", "retains", "words"),
    [(["todre", "divprune"], [0.25], ("todre, divprune", "one method")), (["none", "todre"], [], ("todre", "budget"))],
)
def test_one_vllm_server_answers_one_method_with_budgets(methods, retains, words):
    """Every row would be answered by the first method, and one without a budget at 1.0."""
    with pytest.raises(InvalidValueError) as caught:
        vllm_configurations(Launch(one_server=True), subjects_of(methods, retains), flags)
    assert all(word in str(caught.value) for word in words)


def test_flags_are_asked_of_the_servers_python(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "MODEL --asked \'$*\' $OMP_NUM_THREADS"\n')
    python.chmod(0o755)
    launch = Launch(python=str(python), model="/models/it's", environment={"OMP_NUM_THREADS": "3"})
    with pytest.raises(ValueError, match="quotation"):
        printed_flags(launch, [])
    launch = Launch(python=str(python), model="/models/one", environment={"OMP_NUM_THREADS": "3"})
    asked = "-m todre vllm-args /models/one --method todre"
    assert printed_flags(launch, ["--method", "todre"]) == ["--asked", asked, "3"]


def test_flags_are_those_of_vllm_args(tmp_path):
    from todre.tiny import checkpoint_path

    flags = printed_flags(Launch(model=str(checkpoint_path())), ["--method", "todre", "--retain", "0.25"])
    assert flags[0] == "--hf-overrides"
    assert json.loads(flags[1])["todre"]["retain"] == 0.25
    one = printed_flags(Launch(model=str(checkpoint_path())), [*ALL, "--method", "divprune"])
    assert one[2:] == ["--trust-request-mm-kwargs"]
    assert json.loads(one[1])["todre"]["max_retain"] == 1.0


@pytest.mark.parametrize(
    ("python", "sentence"),
    [("/no/such/python", "cannot be run"), (sys.executable, "`todre vllm-args` failed")],
)
def test_flags_that_cannot_be_had_are_one_sentence(python, sentence, tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(LoadError, match=sentence):
        printed_flags(Launch(python=python, model=str(tmp_path)), ["--method", "no-such-method"])


def test_worker_sums_what_vllm_counted():
    config = SimpleNamespace(enable_mm_processor_stats=False)
    times = {"a": {"encoder_forward_secs": 0.25}, "b": {"encoder_forward_secs": 1.5}}
    worker = EncoderTimes()
    worker.model_runner = SimpleNamespace(observability_config=config, get_encoder_timing_stats=lambda: times)
    assert worker.time_encoder() == 0.0
    assert config.enable_mm_processor_stats
    assert worker.encoder_seconds() == 1.75
