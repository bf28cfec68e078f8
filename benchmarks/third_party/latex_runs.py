"""What the image-to-LaTeX model reads with all tokens and with those of each rule, in chunks that can be resumed."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from formulas import DPI, MARGIN, formulas, picture
from made_by import made_by
from reader import Crossed, Reader
from rules import RULES, Kept, PictureTokens, agrees_with_methods, mean_keys, salience

from todre.files import write_atomic
from todre.methods.base import budget

SHARES = (0.25, 0.10, 0.05, 0.02)
CHUNK, ROWS, PICTURES = 35, 200, 10
"""Formulas of a chunk, texts decoded together, and pictures encoded together."""
ROOM = 16
"""A pruned text may have this many tokens more than the unpruned one; there it is cut."""
PACKAGES = ("latex-ocr-junia", "matplotlib", "numpy", "pillow", "todre", "torch")
"""What the answers depend on, besides our code."""


@dataclass(frozen=True)
class Chunk:
    """Formulas `start` to `start + count` of one set.

    Attributes:
        number: of the set, which seeds its formulas and its random choices.
        names: of the rules to run.
        folder: where its answers are written.
        made_by: versions and code that decide its answers.
    """

    number: int
    start: int
    count: int
    names: tuple[str, ...]
    folder: Path
    made_by: Mapping[str, str]

    @property
    def file(self) -> Path:
        """Where the chunk's answers stand."""
        return self.folder / f"set-{self.number}-{self.start:04d}.json"


@cache
def _reader() -> Reader:
    torch.set_num_threads(1)
    return Reader.load()


def run_chunks(folder: Path, sets: int, count: int, workers: int) -> list[dict[str, Any]]:
    """Answers of all chunks, in order; those that a file holds already are read from it.

    A file's answers count only if the same versions, code, settings and formulas made them.

    Args:
        folder: of the chunks' files.
        sets: sets of formulas.
        count: formulas of each set.
        workers: processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names, makers = tuple(RULES), made_by(*PACKAGES)
    chunks = [
        Chunk(number, start, min(CHUNK, count - start), names, folder, makers)
        for start in range(0, count, CHUNK)
        for number in range(sets)
    ]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_answered, chunks))


def checks(count: int = 4) -> dict[str, Any]:
    """How our way of running the model compares with its own, and rules with the registered methods."""
    reader = _reader()
    texts = formulas(0, count)
    pictures = torch.stack([torch.from_numpy(picture(text))[None] for text in texts])
    tokens = _picture_tokens(reader, pictures, [0] * count)
    agree = [agrees_with_methods(each, budget(share, len(each))) for each in tokens for share in SHARES]
    return {**reader.checked(pictures), "rules_as_methods": f"{sum(agree)} of {len(agree)}"}


def _answered(chunk: Chunk) -> dict[str, Any]:
    """The answers of one chunk, from its file or made and written."""
    texts = list(formulas(chunk.number, chunk.start + chunk.count)[chunk.start :])
    wanted = {
        "number": chunk.number, "start": chunk.start, "names": list(chunk.names), "shares": list(SHARES),
        "dpi": DPI, "margin": MARGIN, "room": ROOM, "made_by": dict(chunk.made_by), "formulas": texts,
    }  # fmt: skip
    if chunk.file.exists():
        found: dict[str, Any] = json.loads(chunk.file.read_text(encoding="utf-8"))
        if all(found.get(name) == value for name, value in wanted.items()):
            return found
    document = {**wanted, **_made(chunk, texts)}
    write_atomic(chunk.file, json.dumps(document))
    return document


def _made(chunk: Chunk, texts: Sequence[str]) -> dict[str, Any]:
    reader = _reader()
    pictures = torch.stack([torch.from_numpy(picture(text))[None] for text in texts])
    seeds = [10_000 * chunk.number + chunk.start + at for at in range(chunk.count)]
    tokens = _picture_tokens(reader, pictures, seeds)
    whole = reader.decoder.cross(torch.stack([each.states for each in tokens]))
    unpruned = reader.decoder.greedy(whole, [reader.longest - 1] * chunk.count)
    limits = [min(reader.longest - 1, len(text) + ROOM) for text in unpruned]
    budgets = [budget(share, len(tokens[0])) for share in SHARES]
    kept = {name: [RULES[name](each, budgets) for each in tokens] for name in chunk.names}
    pruned: dict[str, list[list[str]]] = {name: [] for name in chunk.names}
    together = max(1, ROWS // chunk.count)
    for at in range(len(budgets)):
        for start in range(0, len(chunk.names), together):
            names = chunk.names[start : start + together]
            crossed = [_crossed(reader, whole, [each[at] for each in kept[name]]) for name in names]
            texts_read = [reader.text(ids) for ids in reader.decoder.greedy(joined(crossed), limits * len(names))]
            for place, name in enumerate(names):
                pruned[name].append(texts_read[place * chunk.count : (place + 1) * chunk.count])
    return {
        "unpruned": [reader.text(ids) for ids in unpruned],
        "ended": [ids[-1] == reader.decoder.eos for ids in unpruned],
        "pruned": pruned,
    }


def _picture_tokens(reader: Reader, pictures: torch.Tensor, seeds: Sequence[int]) -> list[PictureTokens]:
    found = []
    for some, some_seeds in zip(
        pictures.split(PICTURES), torch.tensor(seeds, dtype=torch.int64, device="cpu").split(PICTURES), strict=True
    ):
        encoded = reader.encode(some)
        salient = [salience(inputs, 0, cls=False) for inputs in encoded.attention]
        keys = [mean_keys(inputs, 0) for inputs in encoded.attention]
        found += [
            PictureTokens(
                states=encoded.states[row], grid=reader.grid, salient=[layer[row] for layer in salient],
                keys=[layer[row] for layer in keys], cls=False, seed=seed,
            )
            for row, seed in enumerate(some_seeds.tolist())
        ]  # fmt: skip
    return found


def joined(crossed: Sequence[Crossed]) -> Crossed:
    """Rows of several batches below each other."""
    return [
        (torch.cat([key for key, _ in layer]), torch.cat([value for _, value in layer]))
        for layer in zip(*crossed, strict=True)
    ]


def _crossed(reader: Reader, whole: Crossed, kept: Sequence[Kept]) -> Crossed:
    """Keys and values of what was kept: taken from those of all tokens, or made of merged states."""
    if kept[0].states is not None:
        return reader.decoder.cross(torch.stack([each.states for each in kept if each.states is not None]))
    index = torch.stack([each.index for each in kept])[:, None, :, None]
    return [
        (
            key.gather(2, index.expand(-1, key.shape[1], -1, key.shape[3])),
            value.gather(2, index.expand(-1, value.shape[1], -1, value.shape[3])),
        )
        for key, value in whole
    ]
