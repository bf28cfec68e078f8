"""The ways in: `todre`, `python -m todre`, -h and --version of every command, completion, and how soon it answers."""

import os
import subprocess
import sys

import pytest
from cli.everything import commands

import todre
from todre.catalog import _known_of_import, _known_of_source, facts, rows

MODULE = (sys.executable, "-m", "todre")


def process(*arguments, **environment):
    return subprocess.run(
        arguments, capture_output=True, text=True, encoding="utf-8", timeout=120, env=os.environ | environment
    )


@pytest.mark.parametrize("name", ["", "analyze", "plot", *commands()])
def test_h_is_help(run, name):
    short = run(*name.split(), "-h")
    assert (short.code, short.err) == (0, "")
    assert short.out == run(*name.split(), "--help").out
    assert "-h" in short.out


def test_version(run):
    assert run("--version") == (0, f"{todre.__version__}\n", "")
    assert run("--version", "nonesuch").out == run("version").out


def test_module_is_the_command(tmp_path):
    done = process(*MODULE, "version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{todre.__version__}\n", "")
    done = process(*MODULE, "nonesuch")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: No such command 'nonesuch'")
    assert "See `todre --help`." in done.stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [("todre me", {"methods"}), ("todre analyze k", {"kept"}), ("todre ask --ret", {"--retain"})],
)
def test_words_are_completed(words, found):
    variables = {"_TODRE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = process(*MODULE, **variables)
    assert (done.returncode, set(done.stdout.split()), done.stderr) == (0, found, "")


def test_completion_is_shown_and_installed(tmp_path):
    in_bash = ("bash", "-c", f"{' '.join(MODULE)} $ASKED; exit $?")
    shown = process(*in_bash, ASKED="--show-completion")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "complete -o default -F _todre_completion todre" in shown.stdout
    installed = process(*in_bash, ASKED="--install-completion", HOME=str(tmp_path))
    assert (installed.returncode, installed.stderr) == (0, "")
    assert shown.stdout.strip() in (tmp_path / ".bash_completions" / "todre.sh").read_text()
    assert "todre.sh" in (tmp_path / ".bashrc").read_text()


@pytest.mark.parametrize("words", [("--help",), ("models",), ("models", "--json"), ("methods",), ("--version",)])
def test_lists_and_help_come_at_once(words):
    """Nothing that takes long to import is imported."""
    heavy = ("torch", "transformers", "numpy", "PIL", "matplotlib", "av", "huggingface_hub", "fastapi")
    ended = f"sys.exit(9 * any(name in sys.modules for name in {heavy}))"
    code = f"import sys; from todre.cli import main\ntry: main()\nfinally: {ended}"
    done = process(sys.executable, "-c", code, *words)
    assert done.returncode == 0


def test_table_of_architectures_is_what_the_families_say():
    verified = {row.model_type: {"media": row.media, "saliency": row.saliency, "note": row.note}
                for row in rows() if row.status == "verified"}  # fmt: skip
    assert verified == facts(), "run: python -m todre.catalog > src/todre/catalog.json"


def test_architectures_are_read_as_they_would_be_imported():
    assert _known_of_source() == _known_of_import()
