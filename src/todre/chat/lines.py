"""Lines that a user types: commands, pictures, and questions about pictures."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from dataclasses import dataclass

from todre.errors import InvalidValueError
from todre.files import printable
from todre.files.locations import is_there, local_file, names_picture

COMMANDS = {
    "/picture": ("PATH…", "add pictures to the next question; a path alone, or @PATH in a question, does the same"),
    "/drop": ("", "take the pictures off the next question again"),
    "/retain": ("NUMBER", "visual tokens to keep: 0.25 is a share, 288 a count; alone, show the budget"),
    "/method": ("NAME", "choose the method, by a name of `todre methods` or a JSON file; alone, show it"),
    "/report": ("", "show what the last answer kept, layer by layer"),
    "/reset": ("", "forget the conversation"),
    "/help": ("", "show this"),
    "/quit": ("", "leave, as Ctrl-D does"),
}
"""Each command's arguments, and what it does."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".pdf")
"""Ends of names that no question is meant by."""
_MARK = re.compile(r"""(?<!\S)@(@|"[^"]*"|'[^']*'|\S*)""")
"""`@PATH` at the start of a word, and `@@`, which stands for @ itself."""


@dataclass(frozen=True)
class Command:
    """A command and the text behind it."""

    name: str
    rest: str


@dataclass(frozen=True)
class Question:
    """A question, and the pictures that are named with it; either may be missing."""

    text: str
    pictures: tuple[str, ...] = ()


def read_line(line: str) -> Command | Question:
    """What a typed line means.

    Args:
        line: the line, not blank.

    Raises:
        InvalidValueError: a command is unknown, a path names no file, or the line is no text.
    """
    line = line.strip()
    if any("\ud800" <= character <= "\udfff" for character in line):
        raise InvalidValueError("This line is not valid UTF-8; type it anew, or save the script as UTF-8.")
    word, _, rest = line.partition(" ")
    if word in COMMANDS:
        return Command(word, rest.strip())
    alone = _files(line)
    if alone:
        return Question("", alone)
    if word.startswith("/"):
        raise InvalidValueError(_unknown(word))
    if not rest and not word.startswith("@") and word.lower().endswith(PICTURES):
        raise InvalidValueError(f"{printable(word)} is no file here; check the path.")
    return _question(line)


def paths_of(text: str) -> tuple[str, ...]:
    """Paths that are typed side by side, quoted as for a shell where they have blanks.

    Raises:
        InvalidValueError: a quotation does not end.
    """
    if is_file(text):
        return (text,)
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InvalidValueError(f"{printable(text)} cannot be read as paths ({error}); close what is quoted.") from None


def is_file(path: str) -> bool:
    """Whether a text names a file that is there, or a page of one."""
    return is_there(local_file(os.path.expanduser(path)))


def _files(line: str) -> tuple[str, ...]:
    """The paths of a line that holds nothing but files; none for any other line."""
    try:
        paths = paths_of(line)
    except InvalidValueError:
        return ()
    return paths if all(is_file(path) for path in paths) else ()


def _question(line: str) -> Question:
    """A question without the `@PATH` in it."""
    pictures: list[str] = []

    def take(found: re.Match[str]) -> str:
        path = found[1]
        if path.startswith("@"):
            return "@"
        path = path.strip("\"'")
        if not names_picture(os.path.expanduser(path)):
            raise InvalidValueError(f"@{printable(path)} names no file; check the path, or write @@ for a plain @.")
        pictures.append(path)
        return ""

    text = _MARK.sub(take, line)
    return Question(" ".join(text.split()) if pictures else text.strip(), tuple(pictures))


def _unknown(word: str) -> str:
    close = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{printable(word)} is no command and no file; {hint}/help lists the commands."
