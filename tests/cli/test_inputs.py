"""Every command that takes a picture takes the same kinds, through one reader; and what only some may take."""

import base64
import io
import json
import sys

import pytest
from cli.sentences import one_line
from clips.test_animation import saved
from inputs.files import data_url_of, heic, pdf, png, same, serving, specimen

from todre.batch.pictures import open_picture as open_of_row
from todre.batch.pictures import url_of
from todre.batch.rows import row_of
from todre.batch.sources import JsonLines
from todre.chat.answering import Length
from todre.chat.lines import read_line
from todre.chat.session import Session
from todre.cli.batch_files import open_source
from todre.cli.options import ModelOptions
from todre.errors import TodreError
from todre.evaluate.tasks.local import LocalTask
from todre.images import ImageWarning, decode_image
from todre.inputs import picture_of, reading_for
from todre.lmms.prompts import media_of

QUESTION = "Is there a red square in the picture?"
IMAGE = specimen(3, (96, 64))
PAGES = pdf(((72, 72), (1, 0, 0)), ((144, 72), (0, 1, 0)))
SHORT = ("--max-new-tokens", "2", "--device", "cpu")

FILES = {"a b.png": png(IMAGE), "a.pdf": PAGES, "a.heic": heic(IMAGE), "moving.gif": saved("GIF")}
KINDS = {
    "a path": ("a b.png", None),
    "a file URL": ("file://FOLDER/a%20b.png", None),
    "a data URL": (data_url_of(png(IMAGE)), None),
    "a page of a PDF": ("a.pdf#page=2", None),
    "a page in a file URL": ("file://FOLDER/a.pdf#2", None),
    "the first page of a PDF": ("a.pdf", "has 2 pages; the first one is used"),
    "HEIC": ("a.heic", None),
    "the first frame of an animation": ("moving.gif", "has several frames; the first one is used"),
}
"""By kind, what names it and the warning that comes with it."""


def expected(text):
    """The picture, decoded from the bytes of its file and by nothing else that commands do."""
    if text.startswith("data:"):
        return decode_image(base64.b64decode(text.partition(",")[2]), "expected")
    name = text.rpartition("/")[2].replace("%20", " ").partition("#")
    return picture_of(FILES[name[0]], "expected", (2, 2) if name[2] else None)


def talk(urls=False):
    """A chat without a model."""
    reading = reading_for(urls, stdin="brings the lines")
    return Session(None, lambda *_: None, "none", None, Length(1, 0), reading)


class StopError(TodreError):
    """What stands for loading a model."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def opened(run, monkeypatch, tmp_path):
    """opened("ask", text, urls) → the picture that a command's model would see."""
    import todre.inputs

    seen = []

    def watched(function):
        def call(*arguments, **named):
            seen.append(function(*arguments, **named))
            return seen[-1]

        return call

    def stop(self, quiet):
        raise StopError("Nothing is loaded here.")

    def typed_at(command, text, urls, *more):
        with monkeypatch.context() as patch:
            for name in ("open_picture", "open_medium"):
                patch.setattr(todre.inputs, name, watched(getattr(todre.inputs, name)))
            patch.setattr(ModelOptions, "load", stop)
            result = run(command, text, QUESTION, *SHORT, *more, *(("--allow-urls",) if urls else ()))
        if "Nothing is loaded" not in result.err:
            raise TodreError(result.err)
        return seen.pop()

    def chat(text, urls):
        session = Session(
            None, lambda *_: None, "none", None, Length(1, 0), reading_for(urls, stdin="brings the lines")
        )
        meant = read_line(f'@"{text}" What is it?')
        session.add_pictures(meant.pictures)
        return session.pictures[0].image

    def rows(text, urls):
        path = tmp_path / "rows.jsonl"
        path.write_text(json.dumps({"image": text, "question": QUESTION}))
        return _row(JsonLines(path))[0]

    def _row(source):
        (record,) = source.records()
        return row_of(record).messages[0].parts[0].picture, source.folder

    def questions():
        from todre.analysis.questions import Source

        return Source(tmp_path / "questions.jsonl", 1).questions()[0].open()

    def asked(text):
        line = {"image": text, "question": QUESTION, "answers": ["yes"]}
        (tmp_path / "questions.jsonl").write_text(json.dumps(line))

    def evaluated():
        return LocalTask(tmp_path / "questions.jsonl").items(None, 0)[0].media[0]()

    ways = {
        "ask": lambda text, urls: typed_at("ask", text, urls),
        "compare": lambda text, urls: typed_at("compare", text, urls),
        "animate": lambda text, urls: typed_at("animate", text, urls, "--output", "order.gif"),
        "chat": chat,
        "batch of pictures": lambda text, urls: open_of_row(*_row(open_source([text], QUESTION, True, urls)), urls),
        "batch of rows": lambda text, urls: open_of_row(rows(text, urls), tmp_path, urls),
        "batch to a server": lambda text, urls: expected(url_of(rows(text, urls), tmp_path, urls)),
        "eval": lambda text, urls: (asked(text), evaluated())[1],
        "analyze and fit": lambda text, urls: (asked(text), questions())[1],
        "lmms": lambda text, urls: media_of([text], 2)[0],
    }
    return lambda command, text, urls=False: ways[command](text, urls)


COMMANDS = ("ask", "compare", "animate", "chat", "batch of pictures", "batch of rows", "batch to a server", "eval",
            "analyze and fit", "lmms")  # fmt: skip
FETCHING = COMMANDS[:7]


@pytest.mark.filterwarnings("ignore::todre.images.ImageWarning")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_command_takes_every_kind(folder, opened, command, kind):
    text = KINDS[kind][0].replace("FOLDER", str(folder))
    if command == "batch of pictures" and text.startswith("data:"):
        pytest.skip("its rows are named by their pictures; a test below has the refusal")
    assert same(opened(command, text), expected(text))


@pytest.mark.parametrize("kind", [kind for kind, (_, warning) in KINDS.items() if warning])
@pytest.mark.parametrize("command", COMMANDS[3:])
def test_what_is_left_out_is_said(folder, opened, command, kind):
    text, warning = KINDS[kind]
    with pytest.warns(ImageWarning, match=warning):
        opened(command, text)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_web_is_for_who_asks_for_it(folder, opened, command):
    with serving({"a.png": png(IMAGE)}) as web:
        with pytest.raises(TodreError, match="nothing is fetched"):
            opened(command, f"{web.root}/a.png")
        assert not web.seen
        if command in FETCHING:
            assert same(opened(command, f"{web.root}/a.png", urls=True), IMAGE)
            assert web.seen == ["/a.png"]


@pytest.mark.parametrize("command", COMMANDS)
def test_standard_input_is_for_commands_that_read_nothing_else(folder, opened, command, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(png(IMAGE)), encoding="utf-8"))
    if command in ("ask", "compare", "animate"):
        assert same(opened(command, "-"), IMAGE)
        return
    if command == "chat":
        session = Session(
            None, lambda *_: None, "none", None, Length(1, 0), reading_for(False, stdin="brings the lines")
        )
        with pytest.raises(TodreError, match="'-' is standard input, which brings the lines"):
            session.add_pictures(["-"])
        return
    with pytest.raises(TodreError, match="'-' is standard input"):
        opened(command, "-")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("text", ["none.png", "none.pdf#2", "a.pdf#3", "a b.png#2", "ftp://a.b/c", "data:,x"])
def test_what_cannot_be_read_is_one_sentence_everywhere(folder, opened, command, text):
    if command == "batch of pictures" and text.startswith("data:"):
        pytest.skip("refused as a usage error")
    with pytest.raises(TodreError) as caught:
        opened(command, text)
    assert str(caught.value).strip().count("\n") == 0


# -- whole commands -------------------------------------------------------------------------------------------------


def test_ask_about_pages_a_folder_and_standard_input(folder, run, monkeypatch):
    (folder / "many").mkdir()
    for number in (10, 9):
        (folder / "many" / f"{number}.png").write_bytes(png(specimen(number, (48, 32))))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(png(IMAGE)), encoding="utf-8"))
    url = data_url_of(png(specimen(5, (48, 32))))
    result = run("ask", "a.pdf#1-2", "many", "-", url, "m*.gif", QUESTION, "--json", *SHORT)
    assert result.code == 0, result.err
    assert result.err.count("\n") == 1
    assert "warning: moving.gif has several frames" in result.err
    files = json.loads(result.out)["files"]
    assert files[:5] == ["a.pdf#page=1", "a.pdf#page=2", "many/9.png", "many/10.png", "-"]
    assert files[5].startswith("data:image/png;base64,sha256=")
    assert files[6:] == ["moving.gif"]


def test_ask_about_an_animation_as_a_video(folder, run):
    result = run("ask", "moving.gif", QUESTION, "--video", "--frames", "4", "-m", "todre-tiny-video", "--json", *SHORT)
    assert result.code == 0, result.err
    (clip,) = json.loads(result.out)["clips"]
    assert clip["indices"] == [0, 1, 3, 5]
    assert clip["timestamps"] == pytest.approx([0, 0.1, 0.35, 0.78])


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (("ask", "a b.png", QUESTION, "--video"), 2, "--video is for animated"),
    (("ask", "a.pdf", QUESTION, "--frames", "3"), 2, "--frames is for videos"),
    (("ask", "-", "-", QUESTION), 1, "given twice"),
    (("ask", "a b.png", "-"), 2, "put the question last"),
    (("ask", "a b.png", "https://a.b/c.png"), 2, "put the question last"),
    (("ask", "*.webp", QUESTION), 1, "fits no file"),
    (("ask", "a b.png", "https://a.b/c.png", QUESTION), 1, "--allow-urls"),
    (("compare", "a.pdf#1-2", QUESTION), 1, "stands for 2 pictures"),
    (("compare", "*.p*", QUESTION), 1, "stands for 2 pictures"),
    (("batch", "-", "--question", QUESTION, "--output", "out.jsonl"), 1, "read again"),
    (("batch", "https://a.b/c.png", "--question", QUESTION, "--output", "out.jsonl"), 1, "--allow-urls"),
    (("batch", "data:image/png;base64,AA", "--question", QUESTION, "--output", "out.jsonl"), 2, "file of rows"),
])  # fmt: skip
def test_refusals_are_one_line(folder, run, arguments, code, words):
    result = run(*arguments)
    one_line(result, code, words)
    assert not (folder / "out.jsonl").exists()


def test_an_output_never_replaces_a_picture_however_it_is_named(folder, run):
    before = (folder / "a b.png").read_bytes()
    for text in ("a*.png", (folder / "a b.png").as_uri()):
        result = run("compare", text, QUESTION, "--output", "a b.png", "--force")
        one_line(result, 1, "is a file that this reads")
    assert (folder / "a b.png").read_bytes() == before


def test_batch_about_pages_and_addresses(folder, run):
    with serving({"a.png": png(IMAGE)}) as web:
        result = run("batch", "a.pdf#1-2", "a.heic", f"{web.root}/a.png?{'x' * 300}", "a*.png", "--question", QUESTION,
                     "--allow-urls", "--output", "out.jsonl", *SHORT)  # fmt: skip
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines][:3] == ["a.pdf#page=1", "a.pdf#page=2", "a.heic"]
    assert len(lines) == 5
    assert result.code == 1  # the address has a query that this server does not know
    assert [bool(line.get("error")) for line in lines] == [False, False, False, True, False]


def test_chat_takes_no_picture_from_where_its_lines_come(folder, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"/picture -\n@a.pdf#2\n/picture none*\n"), "utf-8"))
    result = run("chat", "a.heic", "--device", "cpu")
    assert result.code == 1
    assert "a.heic (96 × 64) goes with the next question" in result.err
    assert "'-' is standard input, which brings the lines of the chat" in result.err
    assert "a.pdf#2 (300 × 150) goes with the next question" in result.err
    assert "none* fits no file" in result.err
