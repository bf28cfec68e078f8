"""Samples of visual tokens of every shape, and checks of any method on them."""

from __future__ import annotations

import torch
from methods.making import visual_tokens_of

SIDE = 4


def anyres(seed=0, signals=None, text=0, rows=6, columns=8, d=8, picture=0):
    """A 4 × 4 thumbnail, then crops of 4 × 4 united to `rows` × `columns`.

    Each row of the united crops ends with a newline token.
    """
    tile, row, column = [0] * SIDE**2, [i // SIDE for i in range(SIDE**2)], [i % SIDE for i in range(SIDE**2)]
    across = -(-columns // SIDE)
    for down in range(rows):
        for right in range(columns):
            tile.append(1 + (down // SIDE) * across + right // SIDE)
            row.append(down)
            column.append(right)
        tile.append(-1)
        row.append(-1)
        column.append(-1)
    return visual_tokens_of(
        len(tile), d, seed, tile=tile, row=row, column=column, picture=[picture] * len(tile), signals=signals, text=text
    )


def pictures(seed=0, signals=None, text=0, sizes=((3, 4), (5, 2), (1, 1)), d=8):
    """Pictures of one tile each, of different sizes."""
    where = [(index, down, right) for index, (h, w) in enumerate(sizes) for down in range(h) for right in range(w)]
    picture, row, column = (list(part) for part in zip(*where, strict=True))
    return visual_tokens_of(len(where), d, seed, picture=picture, row=row, column=column, signals=signals, text=text)


def clip(seed=0, signals=None, text=0, frames=4, rows=3, columns=3, d=8, closing=True):
    """A clip whose frames are rasters, with one newline token at its end."""
    where = [(step, down, right) for step in range(frames) for down in range(rows) for right in range(columns)]
    frame, row, column = (list(part) for part in zip(*where, strict=True))
    tile = [0] * len(where)
    if closing:
        frame, row, column, tile = [*frame, -1], [*row, -1], [*column, -1], [*tile, -1]
    return visual_tokens_of(
        len(tile), d, seed, tile=tile, frame=frame, row=row, column=column, signals=signals, text=text
    )


def together(*samples):
    """One sample with all pictures and clips of `samples`, in order."""
    first, offset, numbers = samples[0], 0, []
    for sample in samples:
        numbers.append(sample.picture + offset)
        offset = int(numbers[-1].max()) + 1
    fields = ("embeddings", "newline", "tile", "frame", "row", "column")
    parts = {name: torch.cat([getattr(sample, name) for sample in samples]) for name in fields}
    signals = {key: torch.cat([sample.signals[key] for sample in samples]) for key in first.signals}
    return type(first)(picture=torch.cat(numbers), signals=signals, text=first.text, **parts)


def placeless(seed=0, signals=None, text=0, n=13, d=8):
    """Tokens that stand in no raster."""
    return visual_tokens_of(n, d, seed, signals=signals, text=text)


STILL = {"anyres": anyres, "pictures": pictures, "clip": clip}


def assert_exact(make, visual):
    """Check that every count from 1 to n is kept exactly."""
    n = len(visual)
    for k in range(1, n + 1):
        keep = make(retain=k).select(visual)
        assert keep.dtype == torch.bool
        assert keep.shape == (n,)
        assert int(keep.sum()) == k
    assert int(make(retain=n + 5).select(visual).sum()) == n
    assert int(make(retain=0.001).select(visual).sum()) == 1


def assert_same_in_any_scale(method, visual):
    """Check that neither the dtype nor a second call changes the choice.

    The embeddings must hold small whole numbers.
    """
    whole = visual.with_embeddings((visual.embeddings * 4).round())
    kept = method.select(whole)
    assert torch.equal(kept, method.select(whole))
    assert torch.equal(kept, method.select(whole.with_embeddings(whole.embeddings.bfloat16())))
    assert torch.equal(kept, method.select(whole.with_embeddings(whole.embeddings.half())))


def kept(method, visual):
    """Indices of the kept tokens."""
    return method.select(visual).nonzero().flatten().tolist()


def order_of(scores, members):
    """Members by falling score; ties keep their order, unknown scores (NaN) are last."""
    known = {i: float("-inf") if scores[i] != scores[i] else float(scores[i]) for i in members}
    return sorted(members, key=lambda i: (-known[i], i))


def check_merging(selection, visual, expected, k, atol=1e-5):
    """Compare k kept tokens, and those that are expected with their embeddings; the others are newline tokens.

    Args:
        selection: the method's answer.
        visual: the tokens.
        expected: index → (d,) float64 embedding.
        k: the budget.
        atol: largest absolute difference of embeddings.
    """
    kept = selection.keep.nonzero().flatten().tolist()
    assert len(kept) == k
    assert set(expected) <= set(kept)
    assert all(bool(visual.newline[i]) for i in set(kept) - set(expected))
    for i, embedding in expected.items():
        torch.testing.assert_close(selection.embeddings[i].double(), torch.from_numpy(embedding), atol=atol, rtol=1e-5)
