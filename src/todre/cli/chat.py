"""`todre chat`: a conversation about pictures in the terminal."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from todre.cli import options as opt
from todre.cli.budget_options import Retain
from todre.cli.chat_lines import is_typed, line_editing, read_typed
from todre.cli.console import note, say, show, show_text, working
from todre.cli.ignored_options import check_taken
from todre.cli.interrupts import Stops
from todre.cli.method_names import make_pruning
from todre.cli.options import ModelOptions, Verbosity
from todre.cli.parsers import usage
from todre.cli.picture_guard import GuardName, guard_of
from todre.cli.sentences import sentence
from todre.cli.streams import ReaderGoneError
from todre.errors import InvalidValueError, OutputError
from todre.methods.guard import OFF

if TYPE_CHECKING:
    from todre.chat.lines import Command, Question
    from todre.chat.session import Session

MOST_NEW = 256

Pictures = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PICTURE…]",
        help="Pictures that go with the first question: files, folders, patterns, pages of PDFs, URLs.",
    ),
]


def chat(
    pictures: Pictures = None,
    model: ModelOptions = ModelOptions(),
    method: opt.MethodName = "todre",
    retain: Retain = None,
    guard: GuardName = OFF,
    max_new_tokens: opt.NewTokens = MOST_NEW,
    seed: opt.Seed = None,
    allow_urls: opt.AllowUrls = False,
    verbosity: Verbosity = Verbosity(),
) -> None:
    """Talk with a model about pictures while pruning visual tokens.

    Pictures are added in any turn, by a path alone or by @PATH in a question; /help lists the commands. Ctrl-C stops an
    answer, Ctrl-D leaves. Lines can come from a pipe: answers go to stdout, all else to stderr. See docs/chat.md.
    """
    if retain is not None and method == "none":
        raise typer.BadParameter("method 'none' keeps every token; leave out --retain, or choose another method.")
    check_taken((method,), "--retain", retain)
    with usage():
        pruning = make_pruning(method, retain, seed)
    watching = guard_of(guard, (pruning,))
    out = sys.stdout
    with working(verbosity.quiet):
        from todre.chat.answering import Length
        from todre.chat.session import Session
        from todre.cli.toy_models import say_if_toy
        from todre.inputs import reading_for

        session = Session(
            model.load(verbosity.quiet),
            lambda name, budget: make_pruning(name, budget, seed),
            method,
            retain,
            Length(max_new_tokens, seed or 0),
            reading_for(allow_urls, stdin="brings the lines of the chat"),
            watching or OFF,
        )
        if pictures:
            note(session.add_pictures(pictures), verbosity.quiet)
        say_if_toy(session.loaded, verbosity.quiet)
    typed = is_typed()
    note(f"{session.loaded.name} with {session.describe()}; /help lists the commands", verbosity.quiet or not typed)
    failed = _talk(session, out, verbosity)
    if failed and not typed:
        raise typer.Exit(1)


def _talk(session: Session, out: TextIO, verbosity: Verbosity) -> bool:
    """Answer lines until the last; whether a line failed."""
    failed = False
    with Stops(is_typed()) as stops, line_editing():
        while True:
            try:
                line = read_typed()
                if line is None:
                    return failed
                with _one_sentence(verbosity) as fate:
                    if not _obey(session, line, out, verbosity, stops):
                        return failed
                failed |= fate.failed
            except KeyboardInterrupt:
                if not is_typed():
                    raise
                say("")  # what was begun is dropped, as in a shell


@dataclass
class _Fate:
    """Whether a line failed."""

    failed: bool = False


@contextmanager
def _one_sentence(verbosity: Verbosity) -> Iterator[_Fate]:
    """Turn an error of a line into one sentence, after which the chat goes on."""
    fate = _Fate()
    try:
        yield fate
    except (ReaderGoneError, OutputError):
        raise
    except Exception as error:
        fate.failed = True
        if verbosity.verbose:
            traceback.print_exception(error)
        say(f"error: {sentence(error)}")


def _obey(session: Session, line: str, out: TextIO, verbosity: Verbosity, stops: Stops) -> bool:
    """Do what one line says; False if it ends the chat."""
    from todre.chat.lines import Question, read_line

    if not line.strip():
        return True
    meant = read_line(line)
    if isinstance(meant, Question):
        _ask(session, meant, out, verbosity, stops)
        return True
    return _command(session, meant, verbosity)


def _command(session: Session, command: Command, verbosity: Verbosity) -> bool:
    from todre.cli.chat_screen import help_table, report_lines, report_table

    if command.name in ("/quit", "/help", "/report") and command.rest:
        raise InvalidValueError(f"{command.name} takes nothing behind it; leave it out.")
    if command.name == "/quit":
        return False
    if command.name == "/help":
        show(help_table(), whole=True)
    elif command.name == "/report":
        if session.last is None:
            raise InvalidValueError("There is nothing to report yet; ask a question first.")
        show(report_table(session.last), whole=True)
        show_text(report_lines(session.last))
    else:
        note(session.obey(command), verbosity.quiet)
    return True


def _ask(session: Session, question: Question, out: TextIO, verbosity: Verbosity, stops: Stops) -> None:
    """Add a question's pictures, and answer it if it asks something."""
    from todre.cli.chat_screen import AnswerStream, summary

    if question.pictures:
        note(session.add_pictures(question.pictures), verbosity.quiet)
    if not question.text:
        return
    stream = AnswerStream(out)
    with stops.listening() as stopped, working(verbosity.quiet):
        try:
            reply = session.answer(question.text, stream.piece, stopped)
        except Exception:
            if stream.written:
                stream.end()
            raise
    if reply.stopped and not reply.text:
        note("stopped before the first word; the question is taken back", verbosity.quiet)
        return
    stream.end()
    if reply.unknown:
        note(f"the model does not know: {', '.join(reply.unknown)}", verbosity.quiet)
    if reply.cut:
        note(f"cut after {reply.new_tokens} tokens; {opt.LONGER}, which /reset gives back", verbosity.quiet)
    note(summary(reply) + (", stopped" if reply.stopped else ""), verbosity.quiet)
    for warning in reply.report.notes:
        note(warning, verbosity.quiet)
