"""No command writes onto what it reads, over an earlier result unasked, or where nothing can be: said before work."""

import json
import os
import resource
import shutil
from contextlib import contextmanager

import pytest
from PIL import Image
from played import ASKED, playing

from todre.cli import main
from todre.errors import LoadError, OutputError
from todre.evaluate.engine import run as evaluate
from todre.evaluate.grid import grid
from todre.files import atomic_path, check_targets, write_atomic
from todre.methods import registry

REACHED = "the work began"
EARLIER = b"an earlier result"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What commands read: a picture, questions about it, methods, a run, and a document of bench."""
    folder = tmp_path_factory.mktemp("made")
    Image.new("RGB", (80, 60), "red").save(folder / "a.png")
    question = {"image": "a.png", "question": "Is there a red circle?", "answer": "yes"}
    (folder / "q.jsonl").write_text(json.dumps(question))
    (folder / "t.jsonl").write_text(json.dumps({**question, "answers": ["yes"]}))
    registry.save(registry.create("todre", retain=0.1), folder / "m.json")
    registry.save(registry.create("todre", retain=0.1), folder / "c.method.json")
    evaluate(ASKED, grid(["todre"], [0.5], draws=1), folder / "run", start=playing)
    shutil.copy("results/bench-cpu.json", folder / "b.json")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of all that, as the working directory, where any work fails with a known sentence."""

    def begin(*_, **__):
        raise LoadError(f"{REACHED}.")

    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    # Patched before `marks`, whose function they import, so that none is imported first while it is another one.
    users = ("todre.cli.overlay", "todre.plots.bench", "todre.plots.bench_load", "todre.reproduce.figures")
    for place in (*(f"{user}.save_figure" for user in users), "todre.plots.marks.save_figure"):
        monkeypatch.setattr(place, begin)
    for place in ("todre.loading.model.load", "todre.cli.table.write_atomic"):
        monkeypatch.setattr(place, begin)
    return tmp_path / "here"


@pytest.fixture
def todre(capsys, monkeypatch):
    """The exit code and the one line of a command that fails."""
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1, err
        assert err.startswith("error: ")
        return ended.value.code, err

    return call


INSTRUMENTS = ("migration", "horizon", "redundancy", "calibrate", "kept")
ASK = ("ask", "a.png", "Is it red?")
COMPARE = ("compare", "a.png", "Is it red?")
BENCH = ("bench", "-m", "todre-tiny", "--methods", "m.json")
WRITES = {
    "ask": ((*ASK, "--overlay"), "out.png", "a.png"),
    "ask method": ((*ASK, "--method", "m.json", "--overlay"), "out.png", "m.json"),
    "compare": ((*COMPARE, "--output"), "out.png", "a.png"),
    "compare method": ((*COMPARE, "--methods", "none,m.json", "--output"), "out.svg", "m.json"),
    "fit": (("fit", "vtw", "--questions", "q.jsonl", "--output"), "out.json", "q.jsonl"),
    "fit picture": (("fit", "vtw", "--questions", "q.jsonl", "--output"), "out.json", "a.png"),
    "bench": ((*BENCH, "--output"), "out.json", "m.json"),
    "table": (("table", "run", "--output"), "out.csv", "run/result.json"),
    "table file": (("table", "run/result.json", "--format", "csv", "--output"), "out", "run/result.json"),
    **{
        f"plot {kind}": (("plot", kind, "run", "--output"), "out.png", "run/result.json")
        for kind in ("retention", "radar", "pareto", "heatmap")
    },
    "plot bench": (
        ("plot", "pareto", "run", "--across", "flops", "--bench", "b.json", "--output"), "out.png", "b.json",
    ),
    **{
        f"analyze {name}": (("analyze", name, "--questions", "q.jsonl", "--output"), "out.json", "q.jsonl")
        for name in INSTRUMENTS
    },
    **{
        f"figure of {name}": (("analyze", name, "--questions", "q.jsonl", "--figure"), "out.png", "a.png")
        for name in INSTRUMENTS
    },
}  # fmt: skip
"""By name: a command that ends where its output's name goes, such a name, and a file that it reads."""
every_command = pytest.mark.parametrize("name", WRITES)


@every_command
@pytest.mark.parametrize("spelled", ["hard link", "symbolic link", "dots"])
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_an_input_is_not_written_over_however_it_is_spelled(here, todre, name, spelled, force):
    command, output, read = WRITES[name]
    before = (here / read).read_bytes()
    if spelled == "hard link":
        os.link(read, output)
    elif spelled == "symbolic link":
        os.symlink(here / read, output)
    else:
        os.link(read, output)
        output = f"run/../../here/{output}"
    code, line = todre(*command, output, *force)
    assert code == 1
    assert "is a file that this reads" in line
    assert (here / read).read_bytes() == before


@pytest.mark.parametrize("output", ["a.png", "./a.png", "../here/a.png", "run/../a.png", "{here}/a.png"])
@pytest.mark.parametrize("command", [(*ASK, "--overlay"), (*COMPARE, "--output")])
def test_the_picture_itself(here, todre, command, output):
    before = (here / "a.png").read_bytes()
    code, line = todre(*command, output.format(here=here), "--force")
    assert (code, "a.png is a file that this reads" in line) == (1, True)
    assert (here / "a.png").read_bytes() == before


@every_command
def test_an_earlier_result_is_replaced_with_force_alone(here, todre, name):
    command, output, _ = WRITES[name]
    (here / output).write_bytes(EARLIER)
    before = sorted(here.rglob("*"))
    code, line = todre(*command, output)
    assert code == 1
    assert f"{output} is there already; replace it with --force" in line
    code, line = todre(*command, output, "--force")
    assert (code, REACHED in line or "Bench measured" in line) == (1, True), line
    assert (here / output).read_bytes() == EARLIER
    assert sorted(here.rglob("*")) == before


@every_command
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("gone/{}", "gone does not exist; create it first"),
        ("a.png/{}", "cannot be written (Not a directory)"),
        ("x" * 300 + "{}", "cannot be written (File name too long)"),
        ("folder-{}", "is a directory; give the name of a file"),
        ("fifo-{}", "is not a regular file"),
        ("device-{}", "is not a regular file"),
        ("loop-{}", "cannot be written (Too many levels of symbolic links)"),
        ("/proc/{}", "Nothing can be written in /proc"),
    ],
)
def test_where_nothing_can_be_written(here, todre, name, place, words):
    command, output, _ = WRITES[name]
    output = place.format(output)
    if place.startswith("folder"):
        (here / output).mkdir()
    elif place.startswith("fifo"):
        os.mkfifo(here / output)
    elif place.startswith(("device", "loop")):
        (here / output).symlink_to("/dev/full" if place.startswith("device") else output)
    code, line = todre(*command, output, "--force")
    assert code == 1
    assert words in line
    assert len(line) < 400


def test_what_is_written_beside_a_document(here, todre):
    """The figure, the method and the working file have names of their own that may be an input's."""
    code, line = todre("analyze", "calibrate", "--method", "c.method.json", "--output", "c.json", "--force")
    assert (code, "c.method.json is a file that this reads" in line) == (1, True)
    os.link("q.jsonl", "k.partial.jsonl")
    code, line = todre("analyze", "kept", "--questions", "q.jsonl", "--output", "k.json")
    assert (code, "k.partial.jsonl is a file that this reads (q.jsonl)" in line) == (1, True)
    code, line = todre("analyze", "kept", "--questions", "q.jsonl", "--output", "a.json")
    assert (code, "a.png is a file that this reads" in line) == (1, True)
    (here / "e.png").write_bytes(EARLIER)
    code, line = todre("analyze", "kept", "--output", "e.json")
    assert (code, "e.png is there already" in line) == (1, True)


def test_folders_of_figures(here, todre):
    (here / "figures").mkdir()
    (here / "figures/bench-length.png").write_bytes(EARLIER)
    code, line = todre("bench", "--from", "b.json", "--plots", "figures")
    assert (code, "bench-length.png is there already" in line) == (1, True)
    os.link("b.json", "figures/bench-memory.png")
    code, line = todre("bench", "--from", "b.json", "--plots", "figures", "--force")
    assert (code, "bench-memory.png is a file that this reads (b.json)" in line) == (1, True)
    code, line = todre("bench", "--from", "b.json", "--plots", "a.png", "--force")
    assert (code, "a.png is a file where a directory is needed" in line) == (1, True)


def test_bench_goes_on_or_begins_anew_but_not_both(here, todre):
    code, line = todre(*BENCH, "--output", "b.json", "--resume", "--force")
    assert (code, "give one of the two" in line) == (2, True)
    (here / "other.json").write_text("{}")
    code, line = todre(*BENCH, "--output", "other.json", "--resume")
    assert (code, "other.json is no result of todre bench" in line) == (1, True)
    code, line = todre(*BENCH, "--output", "b.json", "--resume")
    assert (code, REACHED in line) == (1, True)


@pytest.mark.parametrize("name", ["demo.png", "demo.json", "scene.png", "photograph.png"])
def test_demo(here, todre, name):
    (here / "out").mkdir()
    (here / "out" / name).write_bytes(EARLIER)
    code, line = todre("demo", "--output", "out")
    assert (code, f"out/{name} is there already" in line) == (1, True)
    code, line = todre("demo", "--output", "out", "--force", "-q")
    assert (code, REACHED in line) == (1, True)
    assert [(one.name, one.read_bytes()) for one in (here / "out").iterdir()] == [(name, EARLIER)]


def test_a_run_goes_on_in_its_own_folder_alone(here, todre):
    command = ("eval", "--tasks", "t.jsonl", "--methods", "m.json", "--output")
    (here / "other").mkdir()
    (here / "other/result.json").write_bytes(EARLIER)
    code, line = todre(*command, "other")
    assert (code, "other/result.json is there already" in line) == (1, True)
    assert (here / "other/result.json").read_bytes() == EARLIER
    code, line = todre(*command, "a.png")
    assert (code, "a.png is a file where a directory is needed" in line) == (1, True)
    for place, read in (("items.jsonl", "t.jsonl"), ("samples.jsonl", "a.png"), ("timings.json", "m.json")):
        shutil.rmtree(here / "mine", ignore_errors=True)
        (here / "mine").mkdir()
        (here / "mine/answers.jsonl").touch()
        os.link(read, here / "mine" / place)
        code, line = todre(*command, "mine")
        assert (code, f"mine/{place} is a file that this reads ({read})" in line.replace(f"{here}/", "")) == (1, True)
    code, line = todre("eval", "--tasks", "run/items.jsonl", "--output", "run")
    assert (code, "run/items.jsonl is a file that this reads" in line) == (1, True)


def test_a_reproduction_is_replaced_with_force_alone(here, todre):
    command = ("reproduce", "v1-figure7", "--on", "tiny", "-q", "--questions", "q.jsonl", "--output", "out")
    (here / "out").mkdir()
    (here / "out/result.json").write_bytes(EARLIER)
    code, line = todre(*command)
    assert (code, "out/result.json is there already" in line) == (1, True)
    code, line = todre(*command, "--force")
    assert (code, REACHED in line) == (1, True)
    (here / "out/v1-figure7.png").symlink_to(here / "q.jsonl")
    code, line = todre(*command, "--force")
    assert (code, "is a file that this reads (q.jsonl)" in line) == (1, True)


# -- writing itself --------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(most):
    """Files may have no more than `most` bytes: what a full disk looks like.

    No longer than a test writes: pytest's own output may go to a longer file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.json"
    with full_disk(100):
        write_atomic(target, "small")
        with pytest.raises(OutputError, match=r"a\.json cannot be written \(File too large\); make room"):
            write_atomic(target, "x" * 10_000)
    assert target.read_text() == "small"
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_stops_a_run_with_a_sentence_and_it_goes_on(tmp_path):
    planned = grid(["todre"], [0.2], draws=1)
    with (
        full_disk(2_000),
        pytest.raises(OutputError, match=r"answers\.jsonl cannot be written .*run it again to go on"),
    ):
        evaluate(ASKED, planned, tmp_path / "run", start=playing)
    assert (tmp_path / "run/answers.jsonl").stat().st_size == 2_000
    evaluate(ASKED, planned, tmp_path / "run", start=playing)
    evaluate(ASKED, planned, tmp_path / "whole", start=playing)
    for name in ("items.jsonl", "samples.jsonl", "result.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.txt").write_text("before")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_atomic(tmp_path / "link.txt", "after")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "after"


def test_the_longest_names_and_those_that_are_no_text(tmp_path):
    for name in ("x" * 250 + ".json", os.fsdecode(b"caf\xe9.json"), "two\nlines.json", ".json", "a." + "s" * 253):
        write_atomic(tmp_path / name, os.fsdecode(b"caf\xe9"))
        assert (tmp_path / name).read_text() == "caf\\udce9"
        (tmp_path / name).unlink()
    assert not list(tmp_path.iterdir())


def test_an_error_while_writing_leaves_nothing(tmp_path):
    def half():
        with atomic_path(tmp_path / "a.png") as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    with pytest.raises(OutputError), atomic_path(tmp_path / "gone" / "a.png"):
        pytest.fail("there is no such folder")
    assert not list(tmp_path.iterdir())


def test_two_targets_that_are_one_file(tmp_path):
    (tmp_path / "a.json").touch()
    (tmp_path / "a.png").symlink_to("a.json")
    with pytest.raises(OutputError, match="are one file; give two names"):
        check_targets((tmp_path / "a.json", tmp_path / "a.png"), force=True)
