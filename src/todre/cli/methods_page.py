"""The page of methods (docs/methods.md), made from the methods' cards.

Write it with `python -m todre.cli.methods_page`.
"""

from __future__ import annotations

import typer

from todre.cli.methods import acts, lines, settings
from todre.methods import registry

HEADER = """# Methods

<!-- Made by `python -m todre.cli.methods_page > docs/methods.md`; a test compares the two. -->

Every method stands behind one contract and goes with every other: `todre.Compose(a, b)` gives `b` what `a` left. What a
method keeps is tested against an independent brute force of its formulas, and every method against the same matrix on
tiny LLaVA-NeXT, Qwen2.5-VL and InternVL models. None was run on a real checkpoint; numbers of the papers are theirs.

A budget (`retain`) counts tokens before the LLM, or those left inside it; papers that print a mean over layers are met
with `counting="layer-average"` where a method has it. A float is a share and an int a count: `retain=1.0` keeps
everything, `retain=1` one token. Numbers of numpy, tensors and fractions count as the int or float that they hold. All
settings are checked when a method is made. [A method of your own](adding-a-method.md) takes ten lines.
"""


def page() -> str:
    """The whole page as Markdown."""
    names = registry.names()
    entries = [registry.entry(name) for name in names]
    rows = [f"| [{each.name}](#{_anchor(each.name)}) | {each.summary} | {acts(each)} |" for each in entries]
    table = ["| method | what it does | acts |", "|---|---|---|", *rows, ""]
    return "\n".join([HEADER, *table, *(_section(name) for name in names)])


def _section(name: str) -> str:
    entry = registry.entry(name)
    facts = [f"* **{key}**: {value}" for key, value in lines(entry).items()]
    opening = f"{entry.summary[0].upper()}{entry.summary[1:]}."
    values = ", ".join(f"`{key}={value!r}`" for key, value in settings(name).items())
    return "\n".join([f"## {name}", "", opening, "", *facts, f"* **settings**: {values or 'none'}", ""])


def _anchor(name: str) -> str:
    return "".join(letter for letter in name if letter.isalnum() or letter in "-_")


if __name__ == "__main__":
    typer.echo(page(), nl=False)
