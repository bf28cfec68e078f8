"""Wrong usage of every option of every command: exit code 2 and one short line, before any work."""

import pytest
from cli.everything import QUESTION, commands
from cli.sentences import one_line

from todre.methods import registry

FREE = {"--model", "--attn-implementation", "--backends", "--overlay", "--output", "--figure", "--questions", "--from",
        "--plots", "--bench", "--include-path", "--python", "--sort", "--highlight",
        "--host", "--name", "--api-key", "--question", "--wheel"}  # fmt: skip
"""Options that take any text, or whose meaning depends on a file."""
OF_A_FILE = {("table", "--methods"), ("table", "--against"), *((f"plot {kind}", "--methods") for kind in
             ("retention", "radar", "pareto", "heatmap"))}  # fmt: skip
OPTIONS = [
    (name, option)
    for name, command in commands().items()
    for option in command.params
    if option.param_type_name == "option" and not option.is_flag and not FREE & set(option.opts)
    if (name, option.opts[-1]) not in OF_A_FILE
]
LONG = "x" * 200_000


def ids(parameter):
    return parameter if isinstance(parameter, str) else parameter.opts[0]


def required(name):
    """Words for what a command must have, none of which is looked at before the options are parsed."""
    words = {"fit": ["vtw"], "methods": [], "models": [], "reproduce": ["v1-table1", "--on", "tiny"]}
    found = [parameter for parameter in commands()[name].params if parameter.required]
    options = [word for option in found if option.param_type_name == "option" for word in (option.opts[0], "a.json")]
    return [
        *words.get(name, ["a.png", QUESTION] if any(p.param_type_name == "argument" for p in found) else []),
        *options,
    ]


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("todre.loading.model.load", refuse)


def test_there_are_many_options_that_do_not_take_any_text():
    assert len(OPTIONS) > 100
    assert {"--retain", "--device", "--dtype", "--seed", "--tasks", "--split", "--size", "--limit", "--measure"} <= {
        option.opts[0] for _, option in OPTIONS
    }


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=ids)
def test_a_value_that_cannot_be_meant_is_wrong_usage(run, name, option):
    for value in ("zzz", "", "-1", "1" + "0" * 400, "nan", LONG):
        if (option.opts[0], value) == ("--threads", ""):
            continue
        result = run(*name.split(), *required(name), f"{option.opts[0]}={value}")
        one_line(result, 2, "" if option.opts[0] == "--benchmarks" else option.opts[0])
        assert len(result.err) < 2_000


@pytest.mark.parametrize("name", commands())
def test_an_option_given_twice_is_refused(run, name):
    """Of all but flags and those that collect; Typer would take the last without a word."""
    for option in commands()[name].params:
        if option.param_type_name != "option" or option.is_flag or option.multiple:
            continue
        flag, value = option.opts[0], {"--device": "cpu", "--dtype": "auto"}.get(option.opts[0], "1")
        rest = ["vtw"] if name == "fit" and flag == "--output" else required(name)
        one_line(run(*name.split(), *rest, flag, value, flag, value), 2, option.opts[-1], " times; give it once")


@pytest.mark.parametrize("name", ["", *commands()])
def test_what_is_no_option_or_too_long_is_told_shortly(run, name):
    for word in (f"--{LONG}", f"--{LONG}=1", "--nonesuch"):
        result = run(*name.split(), word)
        one_line(result, 2)
        assert len(result.err) < 2_000
    result = run(*name.split(), *[LONG] * 3)
    assert result.code in (1, 2)
    assert len(result.err) < 4_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eval", "--against", "x"), ("--against names 'x'", "none, todre, todre-v1, random")),
        (("eval", "--tasks", "x"), ("no task 'x'",)),
        (("eval", "--tasks", "scenes,scenes"), ("name each once",)),
        (("eval", "--retain", "0.1,0.1"), ("0.1 twice",)),
        (("eval", "--methods", "vtw", "--retain", "0.3"), ("--retain would change nothing", "vtw has no retain")),
        (("bench", "--methods", "todre:retain=0.2", "--retain", "0.3"), ("--retain would change nothing",)),
        (("bench", "--threads", "1,1"), ("1 twice",)),
        (("bench", "--from", "x.json", "--rounds", "3"), ("--from leaves nothing for --rounds to do",)),
        (("bench", "--check", "--new-tokens", "3"), ("--check leaves nothing for --new-tokens to do",)),
        (("reproduce", "--seed", "3"), ("A list of recipes leaves nothing for --seed to do",)),
        (("reproduce", "v1-table1", "--on", "tiny", "--ranks", "2"), ("nothing for --ranks to do",)),
        (("reproduce", "v1-table1", "--dry-run", "--seed", "2"), ("v1-table1 leaves nothing for --seed to do",)),
        (("reproduce", "v1-figure2", "--on", "tiny", "--draws", "2"), ("nothing for --draws to do",)),
        (("bench", "--backends", "sdpa,sdpa"), ("sdpa twice",)),
        (("bench", "--methods", "todre:retain=7.5"), ("7.5",)),
        (("ask", "PICTURE", QUESTION, "--device", "meta"), ("'meta'", "auto, cpu, cuda")),
        (("ask", "PICTURE", QUESTION, "--device", "mps"), ("'mps'",)),
        (("ask", "PICTURE", QUESTION, "--method", "FILE", "--retain", "0.2"), ("used as its file has it",)),
        (("ask", "PICTURE", QUESTION, "--method", "FILE", "--per", "image"), ("--per would change nothing",)),
        (("ask", "PICTURE", QUESTION, "--method", "vtw", "--retain", "0.2"), ("vtw has no retain",)),
        (("compare", "PICTURE", QUESTION, "--methods", "FILE,none", "--retain", "0.2"), ("used as its file has it",)),
        (("analyze", "kept", "--methods", "FILE", "--retain", "0.2"), ("used as its file has it",)),
        (("analyze", "calibrate", "--method", "FILE", "--retain", "0.2"), ("used as its file has it",)),
        (("fit", "vtw", "--output", "a.json", "--share", "0.5"), ("fitted by --tolerance",)),
        (("fit", "fitprune", "--output", "a.json", "--tolerance", "0.5"), ("fitted to a --share",)),
        (("flops", "--visual-tokens", "9", "--image-size", "9x9"), ("give one of the two",)),
        (
            ("ask", "PICTURE", QUESTION, "--method", "todre:stages=1"),
            ("'stages=1'", "`todre bench` alone", "JSON file"),
        ),
        (("eval", "--methods", "random,todre:stges=1"), ("'stges=1'", "`todre bench` alone")),
        (("ask", "PICTURE", QUESTION, "--method", "todr:stages=1"), ("There is no method",)),
        (("reproduce", "v1-table9"), ("no recipe 'v1-table9'",)),
        (("methods", "todr"), ("did you mean 'todre'",)),
        (("plot", "radar", "run", "--output", "a.doc"), ("a.doc", ".png")),
    ],
)
def test_what_contradicts_itself_is_wrong_usage(run, picture, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.json"
    registry.save(registry.create("todre"), file)
    known = {"PICTURE": picture}
    command = [str(known.get(word, word)).replace("FILE", str(file)) for word in arguments]
    one_line(run(*command), 2, *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "picture.png"]


def test_budgets_that_some_methods_do_not_take_are_told_in_a_line(run, monkeypatch):
    def stop(*_, **__):
        raise SystemExit(0)

    monkeypatch.setattr("todre.evaluate.grid.grid", stop)
    result = run("eval", "--methods", "none,vtw,random", "--retain", "0.3", "--output", "nowhere-at-all")
    assert result.err.splitlines()[0] == "--retain changes nothing for vtw"


def test_one_token_is_told_from_all(run):
    result = run("flops", "--retain", "1", "--json")
    assert result.code == 0
    assert result.err == "note: --retain 1 is a count, and keeps one visual token; write 1.0 to keep all of them.\n"
    assert run("flops", "--retain", "1", "--json", "-q").err == ""
    assert run("flops", "--retain", "1.0", "--json").err == ""
    assert run("flops", "--retain", "2", "--json").err == ""


LONG_NAME = "n" * 300
WRITES = {"ask": ("--overlay", ".png"), "compare": ("--output", ".png"), "demo": ("--output", ""),
          "bench": ("--output", ".json"), "eval": ("--output", ""), "fit": ("--output", ".json"),
          "table": ("--output", ".md"), "reproduce": ("--output", ""), "plot radar": ("--output", ".png"),
          "analyze kept": ("--output", ".json"), "analyze horizon": ("--figure", ".png")}  # fmt: skip
READS = {"analyze kept": "--questions", "bench": "--from", "eval": "--tasks", "ask": "--method", "fit": "--questions",
         "flops": "-m"}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
def test_names_that_no_file_can_have_are_one_sentence(run, picture, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    option, suffix = WRITES[name]
    words = {
        "ask": [picture, QUESTION],
        "compare": [picture, QUESTION],
        "reproduce": ["v1-table1", "--on", "tiny", "-q"],
    }
    others = words.get(name, [word for word in required(name) if word not in ("--output", "a.json")])
    for target in (LONG_NAME + suffix, f"{picture}/x{suffix}"):
        result = run(*name.split(), *others, option, target)
        assert result.code in (1, 2)
        one_line(result, result.code)
        assert "unexpected" not in result.err


@pytest.mark.parametrize("name", READS)
def test_files_with_names_that_none_can_have_are_one_sentence(run, picture, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    words = {"ask": [picture, QUESTION]}
    suffix = {"--tasks": ".jsonl", "-m": ""}.get(READS[name], ".json")
    result = run(*name.split(), *words.get(name, required(name)), READS[name], LONG_NAME + suffix)
    assert result.code in (1, 2)
    one_line(result, result.code)
    assert "unexpected" not in result.err


def test_escape_sequences_do_not_reach_the_terminal(run):
    assert "\x1b" not in run("methods", "\x1b[31mred").err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "not enough memory",
        ),
        (OSError(28, "No space left on device", "a.json"), "a.json: No space left on device; make room"),
        (PermissionError(13, "Permission denied", b"\xff.json"), "Permission denied; check its permissions"),
        (ImportError("libfoo.so is missing"), "cannot be imported (libfoo.so is missing)"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
    ],
)
def test_what_the_machine_refuses_is_a_sentence(run, monkeypatch, error, words):
    def fail():
        raise error

    monkeypatch.setattr("todre.cli.env.describe", fail)
    result = run("env")
    one_line(result, 1, words)
    assert "unexpected" not in result.err
    assert result.err.rstrip("\n").isprintable()
