"""One file of questions serves `todre eval`, `todre analyze` and `todre fit`; each says in a sentence what it lacks."""

import json

import pytest
from lively import lively
from PIL import Image

from todre.analysis.questions import Source
from todre.cli import main
from todre.errors import InvalidValueError
from todre.evaluate.tasks.local import LocalTask
from todre.files.question_file import named_files, read_questions
from todre.tiny.export import export

LINE = {"image": "0.png", "question": "What color is it?"}


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        Image.new("RGB", (96, 48), (40 * number, 90, 20)).save(tmp_path / f"{number}.png")
    return tmp_path


def written(folder, *lines):
    file = folder / "mine.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


@pytest.fixture
def everything(folder):
    """Lines with every field that some command uses."""
    return written(
        folder,
        *(
            {"image": f"{number}.png", "question": "What color is it?", "answers": ["red", "dark red", "dark red"],
             "answer": "red", "task": "colour", "metric": "vqa", "id": f"q{number}", "new_tokens": 2}
            for number in range(4)
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    export(*lively(), folder)
    return str(folder)


def called(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_one_file_serves_eval_analyze_and_fit(everything, checkpoint, tmp_path, capsys):
    common = ("-m", checkpoint, "--device", "cpu", "-q")
    goal = ("--retain", 20, "--layers", "2", "--max-new-tokens", 2)
    runs = (
        ("eval", "--tasks", everything, "--methods", "todre", "--retain", "0.2", *common, "--output", tmp_path / "run"),
        ("analyze", "calibrate", "--questions", everything, *goal, *common, "--output", tmp_path / "c.json"),
        ("fit", "vtw", "--questions", everything, "--tolerance", "9", *common, "--output", tmp_path / "v.json"),
    )
    for arguments in runs:
        assert called(*arguments) == 0, capsys.readouterr().err
    items = [json.loads(line) for line in (tmp_path / "run/items.jsonl").read_text().splitlines()]
    assert [(item["id"], item["metric"], item["references"]) for item in items] == [
        (f"q{number}", "vqa", ["red", "dark red", "dark red"]) for number in range(4)
    ]
    records = json.loads((tmp_path / "c.json").read_text())["records"]
    assert {(record["task"], record["answer"]) for record in records} == {("colour", "red")}


def test_answer_and_answers_stand_for_each_other(folder):
    file = written(
        folder,
        {**LINE, "answer": "red"},
        {**LINE, "answers": ["green", "blue", "blue"]},
        {**LINE, "answers": "pink", "id": 7},
        {**LINE, "answer": ["red", "crimson"]},
    )
    assert [item.references for item in LocalTask(file).items(None, 0)] == [
        ("red",), ("green", "blue", "blue"), ("pink",), ("red", "crimson")
    ]  # fmt: skip
    assert [item.id for item in LocalTask(file).items(None, 0)] == ["1", "2", "7", "4"]
    assert [one.question.answer for one in Source(file).questions()] == ["red", "blue", "pink", "red"]


def test_instruments_mark_answers_by_the_metric_of_the_line(folder):
    annotators = ["red"] * 2 + ["blue"] * 8
    lines = ({"answer": "red"}, {"answers": ["red", "blue"]}, {"answers": annotators, "metric": "vqa"})
    exact, several, vqa = Source(written(folder, *({**LINE, **line} for line in lines))).questions()
    assert [one.mark("Red.") for one in (exact, several)] == [1.0, 1.0]
    assert [one.mark("blue") for one in (exact, several)] == [0.0, 1.0]
    assert vqa.mark("red") == pytest.approx(0.6)


def test_a_limit_reads_no_further(folder):
    file = written(folder, LINE, {**LINE, "image": ["1.png", "2.png"]}, {"image": 3})
    assert [line.number for line in read_questions(file, 2)] == [1, 2]
    assert [path.name for path in named_files(file, 2)] == ["mine.jsonl", "0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"image": ["0.png", "1.png"]}, "Line 1 of .* names 2 images, and analyze and fit ask about one"),
        ({"image": []}, "has no image; write"),
        ({"question": ""}, "has no question; write"),
        ({"metric": "f1"}, "cannot be scored: There is no metric 'f1'"),
        ({"id": ["a"]}, r"has id \['a'\], and needs a text or a whole number there"),
    ],
)
def test_what_instruments_refuse_is_one_sentence(folder, line, words):
    with pytest.raises(InvalidValueError, match=words):
        Source(written(folder, {**LINE, **line})).questions()


def test_a_task_needs_answers_and_an_instrument_does_not(folder):
    file = written(folder, LINE)
    assert Source(file).questions()[0].question.answer == ""
    with pytest.raises(InvalidValueError, match=r"Line 1 of .*mine\.jsonl has no answers; write"):
        LocalTask(file).items(None, 0)


def test_an_answer_that_contradicts_the_answers_is_refused(folder):
    """`eval` goes by `answers` and `analyze` by `answer`, so one of them would be dropped without a word."""
    file = written(folder, LINE | {"answer": "red", "answers": ["red"]}, LINE | {"answer": "red", "answers": ["blue"]})
    with pytest.raises(InvalidValueError, match=r"^Line 2 of .*has the answer 'red', which is not among its answers; "):
        list(read_questions(file))


@pytest.mark.parametrize("answers", [["Red ", "blue"], "red", []])
def test_an_answer_among_the_answers_is_taken(folder, answers):
    (line,) = read_questions(written(folder, LINE | {"answer": "red", "answers": answers}))
    assert line.answer == "red"
    assert line.answers == (tuple([answers] if isinstance(answers, str) else answers) or ("red",))
