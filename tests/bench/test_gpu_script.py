"""benchmarks/gpu.py: the commands that it would run are commands of todre."""

import importlib.util
import shlex
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture
def printed(monkeypatch, capsys, tmp_path):
    """A function that runs the script dry; the words of each command that it prints."""
    spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_script", script)
    spec.loader.exec_module(script)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--output-dir", str(tmp_path / "new"), "--dry-run", *arguments])
        assert script.main() == 0
        assert not (tmp_path / "new").exists()
        return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_servers_are_measured_if_their_python_is_named(printed):
    without, with_servers = printed(), printed("--serve-python", "/venv/bin/python")
    assert not [words for words in without if "--serve" in words]
    served = [words for words in with_servers if "--serve" in words]
    assert [words for words in with_servers if words not in served] == without
    assert len(served) == 2


@pytest.mark.parametrize("preset", ["llava-next-7b", "tiny"])
def test_servers_commands_are_understood(printed, monkeypatch, preset):
    from todre.cli import main

    asked = []

    def pretend(name, model, sweep, load, seed, output, resume, tick):
        asked.append((name, load.engine, load.settings(sweep, seed, (1, 1)), load.server_options))
        return {"format": "todre bench serve 1", "left_out": {}, "finished": [], "rows": [], "conditions": {
            "model": {"name": name, "weights": "random", "dtype": "x"}, "machine": {"device": "cpu", "cpu": "one"},
        }}  # fmt: skip

    monkeypatch.setattr("todre.cli.bench.measure_servers", pretend)
    commands = printed("--serve-python", "/venv/bin/python", "--preset", preset, "--device", "cpu")
    for words in commands:
        if "--serve" in words:
            at = words.index("--output") + 1
            words[at] = Path(words[at]).name
            with pytest.raises(SystemExit) as ended:
                main(words[1:])
            assert ended.value.code == 0
    assert [(name, engine) for name, engine, *_ in asked] == [(preset, "transformers"), (preset, "vllm")]
    clients = (1, 2) if preset == "tiny" else (1, 4, 8, 16, 32)
    assert {settings.concurrency for *_, settings, _ in asked} == {clients}
    assert asked[1][3][:2] == ("--max-model-len", "4096")
