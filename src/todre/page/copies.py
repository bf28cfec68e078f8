"""The settings of a request as a command and as Python, to copy."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from todre.methods import registry
from todre.page.answering import SETTINGS
from todre.page.examples import example
from todre.page.wish import Wish
from todre.tiny import SHIPPED

Kind = Literal["", "video", "animation"]
"""What a visitor's own file is: no clip, a video, or an animated picture."""


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


def command(wish: Wish, running: Running, file: str, clip: Kind = "") -> str:
    """Shell commands that answer the same; the numbers are equal but for the times.

    Args:
        wish: what was asked.
        running: the model.
        file: name of the visitor's own picture; of an example, a command writes it first.
        clip: what kind of clip the file is, if it is one; each method is then asked by itself.
    """
    if clip:
        return _commands(wish, running, file, clip)
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
    return first + _line("compare", asked, options)


def _commands(wish: Wish, running: Running, file: str, clip: Kind) -> str:
    """A command for each method, since `todre compare` takes no clips."""
    moving = ["--frames", f"{wish.frames}", *(["--video"] if clip == "animation" else []), *running.options()]
    lines = []
    for name in wish.methods:
        share = ["--retain", _share(wish.share)] if "retain" in registry.entry(name).settings else []
        lines.append(_line("ask", [file, wish.question], ["--method", name, *share, *moving]))
    return "\n".join(lines)


def _line(name: str, asked: list[str], options: list[str]) -> str:
    """One command, whose arguments are no options whatever they begin with."""
    words = [*options, "--", *asked] if any(word.startswith("-") for word in asked) else [*asked, *options]
    return shlex.join(["todre", name, *words])


def snippet(wish: Wish, running: Running, file: str, clip: Kind = "") -> str:
    """Python that answers the same.

    Args:
        wish: what was asked.
        running: the model.
        file: name of the visitor's own picture.
        clip: what kind of clip it is, if it is one.
    """
    imports, picture = "from todre.inputs import open_picture", f"open_picture({file!r})"
    if clip:
        imports = "from todre.inputs import open_medium"
        picture = f"open_medium({file!r}, {wish.frames}, animated=True)"
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
