"""Published values, measured values and differences by cell, with notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from todre.published import AVERAGE, Row, Table

Measured = Mapping[str, float]
"""Measured values by name, as a published row has them."""


def average(measured: Measured, none: Measured, benchmarks: Sequence[str]) -> float | None:
    """Mean share of no pruning, in percent, over the benchmarks that `none` has.

    It is None where `measured` lacks one of them: a mean over fewer would be set beside a printed one over all.
    """
    names = [name for name in benchmarks if none.get(name)]
    if not names or any(name not in measured for name in names):
        return None
    return 100 * sum(measured[name] / none[name] for name in names) / len(names)


def compared(row: Row, measured: Measured, columns: Sequence[str]) -> dict[str, Any]:
    """Cells by column: `published`, `measured`, `difference` and `note`.

    Each of the four is None where it does not exist.
    """
    found = {}
    for name in columns:
        printed, ours = row.values.get(name), measured.get(name)
        difference = None if printed is None or ours is None else round(ours - printed, 4)
        found[name] = {
            "published": printed,
            "measured": None if ours is None else round(ours, 4),
            "difference": difference,
            "note": row.notes.get(name),
        }
    return found


def shares(row: Row, none: Row, measured: Measured, ours: Measured, columns: Sequence[str]) -> dict[str, Any]:
    """Cells by column as in `compared`, with shares of no pruning in percent.

    Shares can be compared even where models and tasks differ.

    Args:
        row, none: the published row, and the published row of no pruning.
        measured, ours: values measured for the row, and values measured without pruning.
        columns: names of the values.
    """
    found = {}
    for name in columns:
        printed = _share(row.values.get(name), none.values.get(name), name)
        here = _share(measured.get(name), ours.get(name), name)
        found[name] = {
            "published": printed,
            "measured": here,
            "difference": None if printed is None or here is None else round(here - printed, 2),
            "note": row.notes.get(name),
        }
    return found


def table_rows(
    table: Table, rows: Sequence[Row], measured: Sequence[Measured | None], reasons: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows of a result, ready for JSON.

    Args:
        table: the published table.
        rows: the rows to reproduce; for each model, no pruning comes first.
        measured: measured values of each row; None where nothing was measured.
        reasons: why nothing was measured, for each row; empty where the row was measured.
    """
    found = []
    none: tuple[Row, Measured] = rows[0], {}
    for row, values, reason in zip(rows, measured, reasons, strict=True):
        ours = dict(values or {})
        if row.method is None and not row.reason:
            none = row, ours
        mean = average(ours, none[1], table.benchmarks)
        if mean is not None:
            ours[AVERAGE] = mean
        found.append(
            {
                "label": _label(row, table),
                "model": row.model,
                "method": row.method or ("none" if not row.reason else None),
                "retain": row.retain,
                "tokens": row.tokens,
                "cells": compared(row, ours, table.columns),
                "shares": shares(row, none[0], ours, none[1], table.columns),
                "note": row.notes.get("row"),
                "reason": reason or row.reason or None,
            }
        )
    return found


def _label(row: Row, table: Table) -> str:
    """The row's title; in a table of several models, each first row names its model."""
    several = len(table.models) > 1 and row.method is None and not row.reason
    return f"{row.title}, {row.model}" if several else row.title


def _share(value: float | None, whole: float | None, name: str) -> float | None:
    if name == AVERAGE:
        return None if value is None else round(value, 2)
    return None if value is None or not whole else round(100 * value / whole, 2)


def notes(result: Mapping[str, Any]) -> list[str]:
    """Notes on the published numbers and on the run.

    Warnings and the table's notes come first, then the notes of rows and cells.
    """
    found = [*result["warnings"], *result["notes"]]
    for row in result["rows"]:
        if row["note"]:
            found.append(f"{row['label']}: {row['note']}.")
        found += [
            f"{row['label']}, {name.removesuffix('_percent')}: {cell['note']}."
            for name, cell in row["cells"].items()
            if cell["note"]
        ]
        if row["reason"]:
            partly = any(cell["measured"] is not None for cell in row["cells"].values())
            how = "was measured in part, so it has no average" if partly else "was not measured"
            found.append(f"{row['label']} {how}: {row['reason'].rstrip('.')}.")
    return list(dict.fromkeys(found))
