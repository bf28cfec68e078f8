"""Thin strokes in pictures of several kinds, as the guard and automatic budgets see them.

`python benchmarks/text_share.py` writes `results/text-share.json` in two minutes; `--table FILE` shows it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from todre import Guard, ToDRE
from todre.environment import versions
from todre.evaluate.batch_answers import tensors
from todre.evaluate.runner import model_sha256
from todre.files import write_atomic
from todre.hf.keywords import IDS, MASK
from todre.loading.model import Loaded, load
from todre.methods.views.visual_tokens import WRITTEN
from todre.pages import make_page
from todre.pruning import prune
from todre.reading.formats import pipe_table
from todre.scenes import make_scene
from todre.scenes.photographs import PHOTOGRAPHS, photograph
from todre.tower.strokes import stroke_map

OUTPUT = Path("results/text-share.json")
COUNT = 250
SIZES: tuple[int | tuple[int, int], ...] = (192, 96, (288, 96))
PRINT = (10, 12, 16, 24, 40, 80)
"""Heights of printed letters, in pixels of a page of 672 × 672."""
TILES = {"336 × 336": 336, "672 × 672": 672}
"""What is measured of photographs and printed pages: as LLaVA-1.5 sees them, and twice as fine."""
PATCH, SCALE = 14, 0.27
"""Of CLIP's towers at 336 pixels: the side of a patch, and what processors divide grey values by."""
WATCHING = Guard(radius=None, rank=None, text=1.0)
LIMIT = Guard().text
WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dog",
    "invoice",
    "total",
    "amount",
    "12.50",
    "date",
    "2031",
)


def seen(loaded: Loaded, pictures: Iterable[Image.Image]) -> list[float]:
    """The share that the guard sees in each picture."""
    found = []
    for picture in pictures:
        pixels, (prompt,) = tensors(loaded, picture, ["What is there?"])
        ids = prompt[None]
        with torch.inference_mode(), prune(loaded.model, ToDRE(retain=0.1, stages=(1,)), guard=WATCHING) as report:
            loaded.model(**{IDS: ids, MASK: torch.ones_like(ids)}, **pixels)
        found.append(float(report.guarded[0][0].text or 0.0))
    return found


def share(picture: Image.Image, side: int) -> float:
    """The share of a CLIP tower's patches, the picture squeezed to a square."""
    grey = np.asarray(picture.convert("L").resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    found = stroke_map(torch.from_numpy(grey)[None] / SCALE, PATCH)
    return float((found >= WRITTEN).double().mean())


def printed(height: int) -> Image.Image:
    """A page of words in a common typeface, line below line."""
    page = Image.new("RGB", (672, 672), "white")
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), height)
    draw, drawn = ImageDraw.Draw(page), np.random.default_rng(0)
    for top in range(10, 672 - height, round(1.4 * height)):
        draw.text((10, top), " ".join(drawn.choice(WORDS, 14)), fill="black", font=font)
    return page


def row(kind: str, seen_as: str, values: list[float]) -> dict[str, Any]:
    """Spread of one kind's shares, and how many are above the defaults' threshold."""
    edges = [round(float(edge), 4) for edge in np.quantile(values, (0, 0.05, 0.5, 0.95, 1))]
    above = sum(value > LIMIT for value in values) if LIMIT is not None else 0
    return {"kind": kind, "seen_as": seen_as, "pictures": len(values), "quantiles": edges, "above": above}


def rows(loaded: Loaded) -> Iterator[dict[str, Any]]:
    """A row for each kind of picture."""
    for size in SIZES:
        across, down = (size, size) if isinstance(size, int) else size
        scenes = (make_scene(seed, "test", size).image for seed in range(COUNT))
        yield row(f"scenes of {across} × {down}", "todre-tiny", seen(loaded, scenes))
    pages = (make_page(seed, "test").image for seed in range(COUNT))
    yield row("pages of 192 × 192", "todre-tiny", seen(loaded, pages))
    for tile, side in TILES.items():
        for name in PHOTOGRAPHS:
            yield row(f"photograph: {name}", tile, [share(photograph(name), side)])
        for height in PRINT:
            yield row(f"print of {height} pixels", tile, [share(printed(height), side)])


def table(document: dict[str, Any]) -> str:
    """A Markdown table: one line for each kind of picture."""
    lines = []
    for found in document["rows"]:
        low, _, middle, _, high = (f"{100 * edge:.0f} %" for edge in found["quantiles"])
        single = found["pictures"] == 1
        lines.append([
            found["kind"], found["seen_as"], str(found["pictures"]), middle if single else f"{low}, {middle}, {high}",
            f"{found['above']} of {found['pictures']}",
        ])  # fmt: skip
    return pipe_table(["pictures", "seen as", "count", "tokens with strokes: least, median, most", "above"], lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, or show a finished result; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, help="show a finished result in place of measuring")
    options = parser.parse_args(arguments)
    if options.table is not None:
        sys.stdout.write(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return 0
    torch.set_num_threads(1)
    document = {
        "what": "shares of visual tokens with thin strokes on at least a tenth of their pixels",
        "command": "python benchmarks/text_share.py",
        "conditions": {
            "model_sha256": model_sha256(None), "versions": versions(), "split": "test", "above": LIMIT,
            "quantiles": [0, 0.05, 0.5, 0.95, 1],
        },
        "rows": list(rows(load(None, device="cpu"))),
    }  # fmt: skip
    write_atomic(OUTPUT, json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
