"""`todre vllm-args` and `todre serve --engine vllm`, where there is no vLLM."""

import json
import shlex

import pytest

from todre.methods.todre import ToDRE


def overrides(arguments):
    return json.loads(arguments[arguments.index("--hf-overrides") + 1])


def test_the_arguments_name_the_pruned_architecture_and_all_settings(run):
    result = run("vllm-args", "--retain", "0.25", "--max-retain", "0.5", "--method", "divprune")
    assert (result.code, result.err) == (0, "")
    arguments = shlex.split(result.out)
    assert overrides(arguments) == {
        "architectures": ["TodreLlavaNextForConditionalGeneration"],
        "todre": {"method": "divprune", "retain": 0.25, "max_retain": 0.5, "options": {}, "tower_tokens": 32768},
    }
    assert arguments[0].endswith("checkpoint")
    assert "--trust-request-mm-kwargs" not in arguments


def test_requests_of_their_own_are_asked_for(run):
    result = run("vllm-args", "--per-request", "--json")
    assert json.loads(result.out)[-1] == "--trust-request-mm-kwargs"


def test_a_methods_file_brings_its_settings(run, tmp_path):
    from todre.methods import registry

    registry.save(ToDRE(retain=0.3, pivot="center"), tmp_path / "method.json")
    found = overrides(shlex.split(run("vllm-args", "--method", tmp_path / "method.json").out))["todre"]
    assert (found["method"], found["retain"], found["options"]["pivot"]) == ("todre", 0.3, "center")
    assert not {"stages", "per", "positions"} & set(found["options"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("vllm-args", "--method", "fastv"), "Method 'fastv' cannot be served by vLLM: it acts inside the LLM"),
        (("vllm-args", "--method", "none"), "it drops nothing"),
        (("vllm-args", "nowhere/at/all"), "nowhere/at/all"),
        (("vllm-args", "--retain", "0"), "retain"),
        (("serve", "--engine", "vllm", "--check"), "vLLM is not installed in this environment"),
        (("serve", "--engine", "vllm", "--per", "image"), "--engine vllm leaves nothing for --per to do"),
        (("serve", "--engine", "vllm", "--max-waiting", "3"), "leaves nothing for --max-waiting to do"),
        (("serve", "--engine", "vllm", "-v"), "--engine vllm leaves nothing for --verbose to do"),
        (("serve", "--engine", "vllm", "--engine-options", "'a"), "close its quotes"),
        (
            ("serve", "--engine", "vllm", "--engine-options", "--hf-overrides.rope_parameters.factor 4"),
            "would replace what `todre serve` sets by --hf-overrides",
        ),
        (("serve", "--engine", "vllm", "--engine-options", "--hf_overrides={}"), "would replace"),
        (("serve", "--max-retain", "0.5", "--check"), "--engine transformers leaves nothing for --max-retain to do"),
        (("serve", "--engine", "sglang"), "sglang"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, arguments, sentence):
    result = run(*arguments)
    assert result.code in (1, 2)
    assert sentence in " ".join(result.err.split())
    assert "Traceback" not in result.err


@pytest.mark.parametrize(("words", "key", "told"), [
    (("--host", "0.0.0.0"), None, True),
    (("--host", "0.0.0.0", "-q"), None, False),
    (("--host", "0.0.0.0", "--api-key", "secret"), None, False),
    (("--host", "0.0.0.0"), "secret", False),
    (("--host", "0.0.0.0", "--engine-options", "--api-key secret"), None, False),
    ((), None, False),
])  # fmt: skip
def test_a_server_without_a_key_that_all_can_reach_is_told(run, monkeypatch, words, key, told):
    started = []
    monkeypatch.setattr("todre.vllm.launch.command", lambda given: ["vllm", *given])
    monkeypatch.setattr("os.execve", lambda *arguments: started.append(arguments))
    monkeypatch.delenv("TODRE_API_KEY", raising=False)
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("VLLM_API_KEY", key)
    result = run("serve", "--engine", "vllm", *words)
    assert len(started) == 1
    assert ("anybody who can reach 0.0.0.0" in result.err) == told
