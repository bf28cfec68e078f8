"""What `todre chat` shows: answers as they come, and tables."""

from __future__ import annotations

from itertools import groupby
from typing import TextIO

from rich import box
from rich.table import Table

from todre.chat.answering import Reply
from todre.chat.lines import COMMANDS
from todre.cli.streams import ReaderGoneError, undelivered
from todre.report import format_bytes


class AnswerStream:
    """Writes an answer to stdout piece by piece, and ends its line.

    Args:
        stream: stdout, even while libraries' own prints go elsewhere.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.written = False

    def piece(self, text: str) -> None:
        """Show a piece of text at once."""
        self._write(text)
        self.written = True

    def end(self) -> None:
        """End the line of an answer; one without text becomes an empty line."""
        self._write("\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            raise ReaderGoneError from None
        except OSError as error:
            raise undelivered(error) from error


def summary(reply: Reply) -> str:
    """One line about an answer: tokens kept, and times."""
    times = f"first token {reply.first_token:.2f} s, {reply.new_tokens} tokens in {reply.seconds:.2f} s"
    report = reply.report.summary if reply.report.prefills else "no visual tokens"
    return f"{report}, {times}"


def report_table(reply: Reply) -> Table:
    """Table of the last answer: visual tokens of layers that ran on equally many."""
    report = reply.report
    before = report.visual_tokens_before[0]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("where", no_wrap=True)
    for heading in ("visual tokens", "of all"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("pictures", f"{before:,}", _share(before, before))
    layer = 0
    for tokens, group in groupby(report.visual_tokens_per_layer[0]):
        first, layer = layer + 1, layer + len(list(group))
        where = f"layer {first}" if first == layer else f"layers {first}–{layer}"
        table.add_row(where, f"{tokens:,}", _share(tokens, before))
    return table


def report_lines(reply: Reply) -> str:
    """Lines under the table: what was dropped inside, the cache, the text."""
    report = reply.report
    dropped = report.dropped_after_layer[0]
    inside = "no layer dropped all" if dropped is None else f"all after layer {dropped} of {report.n_layers}"
    return (
        f"dropped inside: {inside}\n"
        f"KV: {format_bytes(report.kv_bytes_unpruned[0])} → {format_bytes(report.kv_bytes[0])}\n"
        f"text tokens: {report.text_tokens[0]:,}"
    )


def help_table() -> Table:
    """Table of the commands."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("command", no_wrap=True)
    table.add_column("meaning")
    for name, (arguments, meaning) in COMMANDS.items():
        table.add_row(f"{name} {arguments}".strip(), meaning)
    return table


def _share(tokens: int, before: int) -> str:
    return "–" if not before else f"{100 * tokens / before:.1f} %"
