"""Outputs of several runs, to be compared."""

from batch.stubs import read_rows


def lines(file):
    """The lines of an output in one order, without the times that OpenAI's shape has."""
    found = read_rows(file)
    for line in found:
        if (line.get("response") or {}).get("body"):
            del line["response"]["body"]["created"]
    return sorted(found, key=str)
