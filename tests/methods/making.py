"""Random visual tokens and contexts for tests."""

from __future__ import annotations

import torch

from todre.methods.views.decoder_layer import ReduceContext
from todre.methods.views.visual_tokens import VisualTokens
from todre.tensors.columns import PAD, VISUAL
from todre.tensors.token_facts import Signal


def visual_tokens_of(
    n, d=8, seed=0, *, tile=None, picture=None, frame=None, row=None, column=None, signals=None, text=0, embeddings=None
):
    """Random visual tokens of one sample.

    `tile` gives each token's tile, -1 for newlines; `signals` maps a `Signal` to values, or to None for random ones in
    [0, 1), NaN at newlines; `text` is a count of random text tokens, or their embeddings. Without `row` and `column`
    tokens stand in no raster; with `column` as an int, each sheet is a raster that wide.
    """
    generator = torch.Generator().manual_seed(seed)
    tile = torch.zeros(n, dtype=torch.long) if tile is None else torch.as_tensor(tile)
    picture = torch.zeros(n, dtype=torch.long) if picture is None else torch.as_tensor(picture)
    frame = torch.zeros(n, dtype=torch.long) if frame is None else torch.as_tensor(frame)
    embeddings = torch.randn(n, d, generator=generator) if embeddings is None else torch.as_tensor(embeddings)
    nowhere = torch.full((n,), -1)
    row = nowhere if row is None else torch.as_tensor(row)
    if isinstance(column, int):
        row, column = rasters(picture, frame, tile, column)
    column = nowhere if column is None else torch.as_tensor(column)
    known = {}
    for request, values in (signals or {}).items():
        values = torch.rand(n, generator=generator) if values is None else torch.as_tensor(values).float()
        known[request] = values.masked_fill((tile < 0).view(-1, *[1] * (values.ndim - 1)), torch.nan)
    if isinstance(text, int):
        text = torch.randn(text, embeddings.shape[1], generator=generator)
    return VisualTokens(embeddings, known, tile < 0, tile, picture, frame, row, column, text)


def rasters(picture, frame, tile, width):
    """Rows and columns of tokens that fill each thumbnail, united crops and frame."""
    row, column, seen = torch.full_like(tile, -1), torch.full_like(tile, -1), {}
    for index in range(len(tile)):
        if tile[index] >= 0:
            sheet = (int(picture[index]), int(frame[index]), int(tile[index] > 0))
            place = seen.get(sheet, 0)
            row[index], column[index] = place // width, place % width
            seen[sheet] = place + 1
    return row, column


def context_of(
    inputs,
    kinds,
    layer=1,
    n_layers=8,
    *,
    hidden=None,
    entered=None,
    offered=None,
    signal_maps=None,
    entry=None,
    peek=None,
):
    """A context after a layer.

    Without `hidden`, hidden states are zeros for the queries of `inputs`.
    """
    rows = kinds.shape[0]
    if hidden is None:
        hidden = torch.zeros(rows, inputs.query.shape[2] if inputs is not None else kinds.shape[1], 4)
    fresh = (kinds == VISUAL)[:, kinds.shape[1] - hidden.shape[1] :].sum(dim=1)
    entered = fresh if entered is None else torch.as_tensor(entered)
    offered = entered if offered is None else torch.as_tensor(offered)
    columns = torch.arange(hidden.shape[1]).expand(rows, -1).masked_fill(kinds[:, -hidden.shape[1] :] == PAD, -1)
    return ReduceContext(
        layer=layer,
        n_layers=n_layers,
        attention_inputs=inputs,
        kinds=kinds,
        hidden=hidden,
        entered=entered,
        offered=offered,
        columns=columns,
        signal_maps=signal_maps or {},
        entry=entry,
        peek=peek,
    )


CLS = Signal("cls", -2)
