"""Five hundred files that no reader was made for: from a good one, everything that can be wrong with a file."""

import copy
import json
import os
import random
import socket

BEGINS = 300
STRANGE = (None, True, "", "x", "\x00", "x" * 3_000, 0, -1, 3, 1.5, 10**30, [], [[]], {}, {"a": 1}, ["x", None], 1e308)
"""In place of any value of a good document."""
TEXTS = (
    b"", b" ", b"\n\n\n", b"\x00" * 999, b"hello", b"null", b"3", b'"x"', b"[]", b"{}", b"[1, 2", b'{"a":',
    b'{"a": 1}}', b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf{}", b'{"a": "\xe9"}',
    b'{"a": "\\ud800"}', b"NaN", b'{"a": NaN}', b'{"a": -Infinity}',
    b'{"a": 1e999}', b'{"a": ' + b"9" * 9_999 + b"}", b'{"a": 1, "a": 2}',
    b'{"a": 1} {"b": 2}', b"<html></html>", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b'"' + b'\\"' * 100_000, b"%PDF-1.7",
    b"\r", b"'",
)  # fmt: skip
"""As a whole file."""


def heavy():
    """(name, content) of small files that would take much time or memory."""
    yield "deep list", b"[" * 200_000 + b"]" * 200_000
    yield "deep object", b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "open brackets", b"[{" * 2_000_000
    yield "very many lists", b"[" + b"[]," * 2_500_000 + b"[]]"
    yield "very many objects", b"[" + b'{"a":{}},' * 800_000 + b"{}]"
    yield "as many objects as are read", b"[" + b"{}," * 290_000 + b"{}]"
    yield "as many names as are read", b"{" + b",".join(b'"%d":0' % n for n in range(290_000)) + b"}"
    yield "one long text", b'{"a": "' + "é".encode() * 3_900_000 + b'"}'
    yield "one wide text", b'{"a": "' + b"a" * 8_000_000 + "😀".encode() + b'"}'
    yield "quotes that never end", b'"' + b'\\"' * 4_000_000
    yield "backslashes", b'{"a": "' + b"\\" * 8_000_000
    yield "empty lines", b"\n" * 8_000_000
    yield "lines of nothing", b"{}\n" * 2_500_000
    yield "one long line", b'{"a": ' + b" " * 20_000_000 + b"1}\n"


def special(folder):
    """Paths that are no regular file, or none of a sensible size."""
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    for name, target in (("zero", "/dev/zero"), ("null", "/dev/null"), ("tty", "/dev/tty"), ("loop", "loop"),
                         ("dangling", "nowhere"), ("fifo-link", "fifo"), ("memory", "/proc/self/mem")):  # fmt: skip
        (folder / name).symlink_to(target)
    with (folder / "sparse").open("wb") as file:
        file.truncate(2**40)
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(folder)  # a socket's name may have no more than 108 characters
        try:
            bound.bind("socket")
        finally:
            os.chdir(here)
    names = ("fifo", "folder", "zero", "null", "tty", "loop", "dangling", "fifo-link", "memory", "sparse", "socket")
    yield from (folder / name for name in names)
    yield folder / "missing"
    yield folder / ("x" * 300)
    yield folder / "folder" / "a\x00b"
    yield folder / "sparse" / "inside"
    yield folder / "two\nlines"


def mutated(lines, rng):
    """A file like a good one: one value of one line is another, or is gone, or bytes are."""
    how = rng.randrange(4)
    if how == 0:
        raw = _written(lines)
        return raw[: rng.randrange(len(raw))]
    if how == 1:
        raw = bytearray(_written(lines))
        for _ in range(rng.randrange(1, 6)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        return bytes(raw)
    lines = copy.deepcopy(lines)
    place = rng.randrange(len(lines))
    holder, key = _somewhere(lines, place, rng)
    if how == 2 and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = copy.deepcopy(rng.choice(STRANGE))
    return _written(lines)


def five_hundred(folder, lines, seed=0):
    """(path, how it begins), one after the other; the same name is written anew for each content."""
    rng = random.Random(seed)
    yield from ((path, path.name) for path in special(folder))
    contents = [*TEXTS, *(content for _, content in heavy())]
    while len(contents) < 484:
        contents.append(mutated(lines, rng))
    file = folder / "file"
    for content in contents:
        file.unlink(missing_ok=True)
        file.write_bytes(content)
        yield file, content[:BEGINS]


def _somewhere(holder, key, rng):
    """A place in a nested value: what holds it, and under which key; as likely deep as not."""
    value = holder[key]
    if rng.random() < 0.25 or not value or not isinstance(value, dict | list):
        return holder, key
    inner = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    return _somewhere(value, inner, rng)


def _written(lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
