"""The settings of a request as a command and as Python, to copy."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from todre.page.answering import SETTINGS, has_budget
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
        attn_implementation: as it was named; None where it was not.
        trust_remote_code: whether the model's own code may run.
    """

    model: str = SHIPPED
    device: str = "auto"
    dtype: str = "auto"
    attn_implementation: str | None = None
    trust_remote_code: bool = False

    def options(self) -> list[str]:
        """The options of the command line that load it so."""
        words = [] if self.model == SHIPPED else ["-m", self.model]
        for option, value in (("--device", self.device), ("--dtype", self.dtype)):
            words += [] if value == "auto" else [option, value]
        words += [] if self.attn_implementation is None else ["--attn-implementation", self.attn_implementation]
        return words + ["--trust-remote-code"] * self.trust_remote_code

    def arguments(self) -> str:
        """The arguments of `todre.loading.load` that load it so."""
        values = [] if self.model == SHIPPED else [repr(self.model)]
        for name, value in (("device", self.device), ("dtype", self.dtype)):
            values += [] if value == "auto" else [f"{name}={value!r}"]
        chosen = self.attn_implementation
        values += [] if chosen is None else [f"attn_implementation={chosen!r}"]
        return ", ".join(values + ["trust_remote_code=True"] * self.trust_remote_code)


def copied(wish: Wish, answered: Sequence[str], running: Running, file: str, clip: Kind = "") -> list[str]:
    """The command and the Python for the methods that answered.

    Both are empty where none did: the command line ends with an error where a method does not apply.

    Args:
        wish: what was asked.
        answered: names of those methods, in order.
        running, file, clip: as `command` has them.
    """
    if not answered:
        return ["", ""]
    wish = replace(wish, methods=tuple(answered))
    return [command(wish, running, file, clip), snippet(wish, running, file, clip)]


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
    if any(map(has_budget, wish.methods)):
        options += ["--retain", _share(wish.share)]
    options += ["--warm-up", f"{SETTINGS.warm_up}", "--repeats", f"{SETTINGS.repeats}", *running.options()]
    asked = [file, wish.question]
    return first + _line("compare", asked, options)


def _commands(wish: Wish, running: Running, file: str, clip: Kind) -> str:
    """A command for each method, since `todre compare` takes no clips."""
    moving = ["--frames", f"{wish.frames}", *(["--video"] if clip == "animation" else []), *running.options()]
    lines = []
    for name in wish.methods:
        share = ["--retain", _share(wish.share)] if has_budget(name) else []
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
