"""Each reader meets five hundred hostile files: one sentence, in under a second and 100 MB, and nothing but that."""

import itertools
import json
import random
import time
import tracemalloc
import warnings
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from files.hostile import BEGINS, STRANGE, five_hundred, special
from PIL import Image

from todre.analysis.questions import Source
from todre.analysis.results import _read as read_work
from todre.bench import document as bench
from todre.cli.bench_tables import measured_table
from todre.clips import open_clip
from todre.errors import TodreError
from todre.evaluate.journal import FORMAT
from todre.evaluate.journal import opened as open_journal
from todre.evaluate.runner import read_lines as read_answers
from todre.evaluate.tasks.local import LocalTask
from todre.files import making_sense, read_json, read_lines
from todre.images import open_image
from todre.lmms.results import RESULTS, SAMPLES
from todre.loading.model import CONFIG, _read_config
from todre.methods import registry
from todre.methods.glimpse.weights import load_trained
from todre.processing.loader import _read as read_settings
from todre.reading.results import read as read_results
from todre.reproduce.cells import CELL
from todre.tiny.runfiles import read_log

ROOT = Path(__file__).parents[2]
SECONDS, BYTES = 1.0, 100 * 10**6
HEAD = {"instrument": "played", "parameters": {}, "model": {"id": "m"}, "source": {"file": "q.jsonl"}}


def leaderboard():
    found = json.loads((ROOT / "results/leaderboard.json").read_text())
    return [found | {"rows": found["rows"][:3]}]


def read_journal(path):
    with open_journal(path, {"tasks": ["a"], "model": "m"}) as journal:
        return journal.done


def read_bench(path):
    document = bench.read(path, whole=True)
    with making_sense(path, bench.BENCH):
        return [measured_table([row for row in document["rows"] if row["asked"] == c]) for c in document["finished"]]


def read_config(path):
    """The reader of config.json is given a folder."""
    return _read_config("m", path.parent) if path.name == "config.json" else read_json(path, CONFIG)


UNIT = {
    "group": 0,
    "condition": "todre@0.1",
    "digest": "ab",
    "seconds": 0.1,
    "said": [["red", 3, 2.5, None]],
    "refused": "",
}
ANSWERS = {"condition": "{}", "group": 0, "seconds": 1.0, "records": [{"score": 1.0}]}
READERS = {
    "method": (registry.load, lambda: [registry.create("todre").to_dict()]),
    "composed": (
        registry.load,
        lambda: [{"method": "compose", "methods": [registry.create(name).to_dict() for name in ("random", "vtw")]}],
    ),
    "task": (
        lambda path: LocalTask(path).items(None, 0),
        lambda: [{"image": "a.png", "question": f"Why {n}?", "answers": ["so"], "metric": "exact"} for n in range(3)],
    ),
    "questions": (
        lambda path: Source(path).questions(),
        lambda: [{"image": "a.png", "question": "Why?", "answer": "so", "task": "t"} for _ in range(3)],
    ),
    "journal": (
        read_journal,
        lambda: [
            {"format": FORMAT, "conditions": {"tasks": ["a"], "model": "m"}},
            *({**UNIT, "group": n} for n in (0, 1)),
        ],
    ),
    "work": (
        lambda path: read_work(path, HEAD),
        lambda: [HEAD, *({"place": n, "seconds": 0.1, "record": {"a": [1]}} for n in range(3))],
    ),
    "answers": (read_answers, lambda: [{**ANSWERS, "group": n} for n in range(3)]),
    "log": (read_log, lambda: [{"step": n, "loss": 0.5} for n in range(4)]),
    "result": (lambda path: read_results([path]), leaderboard),
    "bench": (read_bench, lambda: [json.loads((ROOT / "results/bench-cpu.json").read_text())]),
    "lmms results": (
        lambda path: read_json(path, RESULTS),
        lambda: [{"results": {"a": {"x,none": 1.0}}, "config": {}}],
    ),
    "lmms samples": (
        lambda path: list(read_lines(path, SAMPLES)),
        lambda: [{"doc_id": n, "target": "x", "filtered_resps": ["y"]} for n in range(3)],
    ),
    "cell": (lambda path: read_json(path, CELL), lambda: [{"metrics": {"a": 1.0}, "questions": 3, "seconds": 1.5}]),
    "config": (read_config, lambda: [{"model_type": "llava", "text_config": {"hidden_size": 8}}]),
    "settings": (read_settings, lambda: [{"processor_class": "LlavaProcessor", "auto_map": {}}]),
    "weights": (lambda path: load_trained(str(path)), lambda: [{"model": "m"}]),
    "picture": (open_image, lambda: [{"a": 1}]),
    "clip": (open_clip, lambda: [{"a": 1}]),
}


@pytest.mark.parametrize("name", READERS)
def test_five_hundred_hostile_files(name, tmp_path):
    reader, good = READERS[name]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    outcomes = [
        (_outcome(reader, path, len(begins) == BEGINS), begins) for path, begins in five_hundred(tmp_path, good())
    ]
    assert len(outcomes) == 500
    wrong = [(outcome, begins) for outcome, begins in outcomes if outcome not in ("refused", "read")]
    assert not wrong, "\n".join(map(str, wrong[:20]))
    assert sum(outcome == "refused" for outcome, _ in outcomes) > 100


def _outcome(reader, path, heavy):
    """How a reader ends with a file: "read", "refused", or what is wrong with how it ended."""
    prefix = time.process_time()
    outcome = _ended(reader, path)
    seconds, peak = time.process_time() - prefix, 0
    if heavy and seconds < SECONDS:  # once more, as counting memory takes a multiple of the time
        tracemalloc.start()
        _ended(reader, path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if seconds > SECONDS:
        return f"{seconds:.1f} s, {outcome}"
    return outcome if peak < BYTES else f"{peak:,} bytes, {outcome}"


def _ended(reader, path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader(path)
    except TodreError as error:
        message = str(error)
        sentence = "\n" not in message and message.endswith(".") and len(message) < 900
        return "refused" if sentence else f"no sentence: {message}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "read"


@pytest.mark.parametrize("name", ["task", "questions", "method", "result", "lmms samples", "config"])
def test_a_byte_order_mark_and_other_ends_of_lines_change_nothing(name, tmp_path):
    reader, good = READERS[name]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    raw = [json.dumps(line).encode() for line in good()]
    found = []
    for mark, end in itertools.product((b"", b"\xef\xbb\xbf"), (b"\n", b"\r\n")):
        file = tmp_path / "f.jsonl"
        file.write_bytes(mark + end.join(raw))
        read = reader(file)
        found.append([one.question for one in read] if name in ("task", "questions") else read)
    assert all(one == found[0] for one in found)


NO_FILE = {
    **dict.fromkeys(("fifo", "zero", "null", "tty", "fifo-link", "socket"), "is not a regular file"),
    **dict.fromkeys(("dangling", "missing", "a\x00b", "inside", "two\nlines"), "does not exist"),
    "folder": "is a directory",
    "loop": "Too many levels of symbolic links",
    "sparse": "bytes, and at most",
    "x" * 300: "File name too long",
}
JSON_READERS = [
    name for name in READERS if name not in ("picture", "clip", "journal", "work", "answers", "log", "settings")
]


@pytest.mark.parametrize("name", JSON_READERS)
def test_what_is_no_file_is_called_what_it_is(name, tmp_path):
    reader = READERS[name][0]
    for path in special(tmp_path):
        if path.name == "memory" or (name == "result" and path.name == "folder"):
            continue
        with pytest.raises(TodreError) as error:
            reader(path)
        assert NO_FILE[path.name] in str(error.value)


def test_weights_that_say_other_sizes(tmp_path):
    """Sizes are compared before anything of them is made; a header is damaged byte by byte, and value by value."""
    from glimpse.making import SMALL, lively
    from safetensors.torch import save_file

    from todre.methods.glimpse.weights import Trained, save_trained, sketch_of

    good, bad, rng = tmp_path / "good", tmp_path / "bad", random.Random(0)
    words = torch.randn(20, SMALL.width)
    save_trained(good, Trained(lively(), "ab", sketch_of(words)))
    raw = good.read_bytes()
    tensors = {**lively().state_dict(), "sketch": sketch_of(words)}
    outcomes = []
    for trial in range(300):
        if trial % 2:
            changed = bytearray(raw)
            for _ in range(3):
                changed[rng.randrange(1200)] = rng.randrange(256)
            bad.write_bytes(bytes(changed))
        else:
            facts = {"model": "ab", "shape": asdict(SMALL)}
            facts["shape"][rng.choice(list(facts["shape"]))] = rng.choice([*STRANGE, 10**9, 2**63, 10**5])
            save_file(tensors, bad, {"facts": json.dumps(facts)})
        outcomes.append(_outcome(lambda path: load_trained(str(path)), bad, heavy=False))
    assert set(outcomes) <= {"refused", "read"}, set(outcomes)
    assert outcomes.count("refused") > 150


def test_separators_of_unicode_end_no_line(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    file = tmp_path / "q.jsonl"
    question = "One\u2028two\u2029three\x85four?"
    file.write_text(json.dumps({"image": "a.png", "question": question, "answers": "x"}, ensure_ascii=False))
    assert [item.question for item in LocalTask(file).items(None, 0)] == [question]
