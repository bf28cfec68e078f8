"""The settings of a request as a command and as Python, to copy."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from todre.methods import registry
from todre.page.answering import SETTINGS
from todre.page.examples import example
from todre.page.wish import Wish
from todre.tiny import SHIPPED


@dataclass(frozen=True, kw_only=True)
class Running:
    """How the page's model was loaded.

    Attributes:
        model: as it was named; `todre-tiny` where it was not.
        device: as it was named, such as "auto".
        dtype: as it was named, such as "auto".
    """

    model: str = SHIPPED
    device: str = "auto"
    dtype: str = "auto"

    def options(self) -> list[str]:
        """The options of the command line that load it so."""
        words = [] if self.model == SHIPPED else ["-m", self.model]
        for option, value in (("--device", self.device), ("--dtype", self.dtype)):
            words += [] if value == "auto" else [option, value]
        return words

    def arguments(self) -> str:
        """The arguments of `todre.loading.load` that load it so."""
        values = [] if self.model == SHIPPED else [repr(self.model)]
        for name, value in (("device", self.device), ("dtype", self.dtype)):
            values += [] if value == "auto" else [f"{name}={value!r}"]
        return ", ".join(values)


def command(wish: Wish, running: Running, file: str) -> str:
    """Shell commands that answer the same; the numbers are equal but for the times.

    Args:
        wish: what was asked.
        running: the model.
        file: name of the visitor's own picture; of an example, a command writes it first.
    """
    first = ""
    if wish.picture:
        chosen = example(wish.picture)
        file = f"{chosen.name}.png"
        script = f'{chosen.imports}; {chosen.source}.save("{file}")'
        first = f"python -c {shlex.quote(script)}\n"
    options = ["--methods", ",".join(wish.methods)]
    if any("retain" in registry.entry(name).settings for name in wish.methods):
        options += ["--retain", _share(wish.share)]
    options += ["--warm-up", f"{SETTINGS.warm_up}", "--repeats", f"{SETTINGS.repeats}", *running.options()]
    asked = [file, wish.question]
    words = [*options, "--", *asked] if any(word.startswith("-") for word in asked) else [*asked, *options]
    return first + shlex.join(["todre", "compare", *words])


def snippet(wish: Wish, running: Running, file: str) -> str:
    """Python that answers the same.

    Args:
        wish: what was asked.
        running: the model.
        file: name of the visitor's own picture.
    """
    imports, picture = "from todre.inputs import open_picture", f"open_picture({file!r})"
    if wish.picture:
        chosen = example(wish.picture)
        imports, picture = chosen.imports, chosen.source
    lines = sorted(["from todre.loading import load", "from todre.methods import registry", "from todre.running "
                    "import Settings, answer", imports])  # fmt: skip
    return "\n".join(
        [
            *lines,
            "",
            f"model = load({running.arguments()})",
            f"picture = {picture}",
            f"settings = Settings(warm_up={SETTINGS.warm_up}, repeats={SETTINGS.repeats})",
            f"for name in {list(wish.methods)!r}:",
            f"    method = registry.create_with(name, seed={SETTINGS.seed}, retain={_share(wish.share)})",
            f"    found = answer(model, [picture], {wish.question!r}, method, settings)",
            "    print(name, found.text, found.summary)",
        ]
    )


def _share(share: float) -> str:
    """A share as a float, so that 1 is not read as one token."""
    return repr(float(share))
