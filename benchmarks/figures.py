"""Figures and pages of README and docs from committed results: `make figures`.

Tables between `<!-- made by: COMMAND -->` and `<!-- end -->` in Markdown files are made anew as well, where the command
is `todre table …` or a script of this folder, `python benchmarks/….py …`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import json
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from todre.files import atomic_path, write_atomic

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/**/*.md")
_COMMANDS = r"(?:todre table|python benchmarks/\w+\.py) [^\n]+?"
_TABLE = re.compile(rf"^(<!-- made by: ({_COMMANDS}) -->\n)(.*?)(^<!-- end -->)$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Made:
    """A committed file that is made from another committed one.

    Args:
        path: the file.
        source: what it is made from.
        make: from the source's path to a matplotlib figure, or the text of a page.
        levels: of each colour that a picture is kept with.
        beside: further committed files that it is made from, which `make` opens itself.
    """

    path: str
    source: str
    make: Callable[[Path], Any]
    levels: int = 64
    beside: tuple[str, ...] = ()

    @property
    def stamp(self) -> str:
        """Text in a picture that names its sources and their hashes."""
        hashes = {path: hashlib.sha256((ROOT / path).read_bytes()).hexdigest() for path in (self.source, *self.beside)}
        return "made from " + "; ".join(f"{path}, SHA-256 {digest}" for path, digest in hashes.items())

    def up_to_date(self) -> bool:
        """True if the page is what is made now, or the picture is of the present sources."""
        target = ROOT / self.path
        if not target.exists():
            return False
        if target.suffix != ".png":
            return target.read_text(encoding="utf-8") == self.make(ROOT / self.source)
        with Image.open(target) as picture:
            return picture.info.get("Comment") == self.stamp

    def write(self) -> None:
        """Make the file anew."""
        from todre.plots.marks import save_figure

        made = self.make(ROOT / self.source)
        if isinstance(made, str):
            write_atomic(ROOT / self.path, made)
        else:
            save_figure(made, ROOT / self.path, self.stamp)
            shrink(ROOT / self.path, self.stamp, self.levels)


def shrink(path: Path, comment: str, levels: int) -> None:
    """Write a PNG anew without transparency and with `levels` of each colour."""
    information = PngInfo()
    information.add_text("Comment", comment)
    steps = [round(round(level * (levels - 1) / 255) * 255 / (levels - 1)) for level in range(256)]
    with Image.open(path) as picture:
        small = picture.convert("RGB").point(steps * 3)
    with atomic_path(path) as temporary:
        small.save(temporary, format="PNG", optimize=True, pnginfo=information)


def document(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def instrument(name: str, path: Path) -> Any:
    from todre.plots.instruments import FIGURES

    return FIGURES[name](document(path))


def stage2(path: Path) -> Any:
    from todre.evaluate.stage2.figure import figure

    return figure(document(path))


def kept(path: Path) -> Any:
    from todre.analysis.questions import Source
    from todre.analysis.selections import rows_of
    from todre.loading.model import load
    from todre.plots.kept_tokens import kept_tokens_figure

    found = document(path)
    run = found["conditions"]["questions"]
    source = Source(None, run["questions"], run["split"], run["picture_size"], tuple(run["tasks"]))
    return kept_tokens_figure(rows_of(found, source.questions(), load(None, device="cpu")))


def demo(path: Path) -> Any:
    """Picture of `todre demo` from the document it wrote; nothing is timed again."""
    from todre.cli.compare import METHODS
    from todre.cli.demo import exhibits
    from todre.geometry import visual_token_boxes
    from todre.loading.model import load
    from todre.plots.kept_tokens import Row, kept_tokens_figure
    from todre.plots.marks import Panel

    found, model = document(path), load(None, device="cpu")
    rows = []
    for name, exhibit in exhibits().items():
        boxes = visual_token_boxes(model.processor, model.model.config, [exhibit.picture.size])
        panels = []
        for method, answer in zip(METHODS.split(","), found[name], strict=True):
            counts = f"{len(answer['kept'])} of {len(boxes)} visual tokens"
            panels.append(Panel(method, (counts, f"“{answer['answer']}”"), answer["kept"]))
        rows.append(Row(exhibit.picture, boxes, panels, f"{exhibit.question} (true: {exhibit.truth})"))
    return kept_tokens_figure(rows)


def bench(name: str, path: Path) -> Any:
    from todre.plots.bench import FIGURES

    drawn = FIGURES[name](document(path))
    if drawn is None:
        raise SystemExit(f"{path} has no numbers for the figure of {name}; take it out of BENCH.")
    return drawn


def headline(path: Path) -> Any:
    """The README's figure, from held-out scores and the committed benchmark."""
    from todre.plots.headline import headline_figure

    return headline_figure(document(ROOT / BUDGETS_SOURCE), document(path))


def heldout(path: Path) -> str:
    from todre.reading.result_pages import page

    return page(document(path), path.name, "heldout-answers.jsonl")


def card(path: Path) -> str:
    from todre.evaluate.card_page import page

    return page(document(path), path.name, f"{path.stem}.png")


def card_figure(path: Path) -> Any:
    from todre.evaluate.card_figure import figure

    return figure(document(path))


def leaderboard(command: str, path: Path) -> str:
    from todre.reading.leaderboard import page
    from todre.reading.results import read

    return page(read([path]), path.relative_to(ROOT).as_posix(), command, board=path.stem)


def leaderboard_figure(name: str, path: Path) -> Any:
    from todre.plots.across_budgets import radar_figure, retention_figure
    from todre.plots.heat_map import heatmap_figure
    from todre.plots.pareto import pareto_figure
    from todre.reading.costs import token_cost
    from todre.reading.results import read

    found = read([path])
    if name == "pareto":
        return pareto_figure(found, token_cost(found))
    return {"retention": retention_figure, "heatmap": heatmap_figure, "radar": radar_figure}[name](found)


ANALYSIS = tuple(
    Made(
        f"docs/figures/analysis-{name}.png",
        f"results/analysis-{name}.json",
        functools.partial(instrument, name.removesuffix("-smol")),
    )
    for name in ("migration", "migration-smol", "horizon", "horizon-smol", "redundancy", "calibrate")
)
KEPT = (
    Made("docs/images/demo.png", "docs/images/demo.json", demo, levels=24),
    Made("docs/figures/analysis-kept.png", "results/analysis-kept.json", kept, levels=24),
)
BENCH_SOURCE = "results/bench-cpu.json"
BUDGETS_SOURCE = "results/bench-budgets.json"
HEADLINE = (Made("docs/figures/headline.png", "results/heldout.json", headline, beside=(BUDGETS_SOURCE,)),)
BENCH = tuple(
    Made(f"docs/figures/bench-{name}.png", BENCH_SOURCE, functools.partial(bench, name))
    for name in ("breakdown", "length", "memory")
)
CARDS = ("model-card", "smol-card", "smol-1-card")
PAGES_OF_RESULTS = (
    Made("docs/results.md", "results/heldout.json", heldout),
    *(Made(f"docs/{name}.md", f"results/{name}.json", card) for name in CARDS),
    *(Made(f"docs/images/{name}.png", f"results/{name}.json", card_figure) for name in CARDS),
)
STAGE2 = tuple(
    Made(f"docs/figures/stage2-{name}.png", f"results/stage2-{name}.json", stage2)
    for name in ("tiny", "smol", "smol-1")
)
LEADERBOARDS = {
    "leaderboard": (
        "todre eval --methods all,results/fitted/fitprune-0.5.json,results/fitted/fitprune-0.25.json,"
        "results/fitted/g-search-0.003.json --retain 0.5,0.25,0.1,0.05,0.02 --against random,todre,todre-v1 "
        "--processes 2 --output runs/leaderboard"
    ),
    "leaderboard-smol": "python benchmarks/smol_evidence.py leaderboard",
    "leaderboard-smol-1": "python benchmarks/smol_evidence.py leaderboard-1",
    "leaderboard-smol-pages": "python benchmarks/smol_evidence.py pages",
}
"""Boards, and the command of each."""
LEADERBOARD = (
    *(
        Made(f"docs/{board}.md", f"results/{board}.json", functools.partial(leaderboard, command))
        for board, command in LEADERBOARDS.items()
    ),
    *(
        Made(f"docs/figures/{board}-{name}.png", f"results/{board}.json", functools.partial(leaderboard_figure, name))
        for board in LEADERBOARDS
        for name in ("retention", "pareto", "heatmap", "radar")
    ),
)

MADE = (*PAGES_OF_RESULTS, *HEADLINE, *ANALYSIS, *KEPT, *BENCH, *STAGE2, *LEADERBOARD)
"""Everything that is committed and made from a committed file."""

DEMO = "todre demo --output docs/images --force"
CURVES = {
    f"docs/images/{name}-curves.png": (
        f"python -m todre.smol.training.curves results/smol/seed-{seed} docs/images/{name}-curves.png"
    )
    for seed, name in enumerate(("smol", "smol-1"))
}
PAGE = {f"docs/images/{name}.png": "make test-page PICTURES=docs/images" for name in ("page", "page-phone")}
ANIMATION = {
    "docs/images/order.gif": (
        'todre animate docs/images/scene.png "Is there a blue triangle in the picture?" --output docs/images/order.gif '
        "--force"
    )
}
RUN = {**{f"docs/images/{name}.png": DEMO for name in ("scene", "photograph")}, **CURVES, **PAGE, **ANIMATION}
"""Pictures that a command makes by itself."""


def tables(text: str) -> str:
    """Text of a page with every table between markers as its command prints it now."""
    return _TABLE.sub(lambda found: f"{found[1]}{printed(found[2])}{found[4]}", text)


def printed(command: str) -> str:
    """Output of a command on stdout, run in this process at the repository's root."""
    from todre.cli import main

    name, *arguments = shlex.split(command)
    stdout, stderr = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            code = main(arguments) if name == "todre" else runpy.run_path(arguments[0])["main"](arguments[1:])
        except SystemExit as ended:
            code = ended.code
    if code:
        raise SystemExit(f"`{command}` failed: {stderr.getvalue().strip()}")
    return stdout.getvalue()


def pages() -> list[Path]:
    """The Markdown files in which tables and pictures stand."""
    return sorted(path for pattern in PAGES for path in ROOT.glob(pattern))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="files to make, all without it")
    parser.add_argument("--list", action="store_true", help="say what is made from what")
    options = parser.parse_args(arguments)
    known = {made.path: made for made in MADE}
    unknown = [path for path in options.paths if path not in known]
    if unknown:
        parser.error(f"{unknown[0]} is not made from a committed result; --list says what is.")
    for path, made in known.items():
        if options.list:
            print(f"{path}  <-  {made.source}")
        elif not options.paths or path in options.paths:
            made.write()
            print(f"wrote {path}")
    if options.list:
        for path, command in RUN.items():
            print(f"{path}  <-  {command}")
    elif not options.paths:
        for path in pages():
            before = path.read_text(encoding="utf-8")
            after = tables(before)
            if after != before:
                write_atomic(path, after)
                print(f"wrote the tables of {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
