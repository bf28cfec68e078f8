"""`todre flops`: what a prompt costs, counted from the config alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from todre.cli import options as opt
from todre.cli.console import show, show_json, show_text, working
from todre.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from todre.flops import FlopCount, ModelShape

PARTS = {
    "encoder": "vision encoder",
    "projector": "projector",
    "selection": "choosing tokens",
    "decoder_linear": "decoder, projections",
    "decoder_attention": "decoder, attention (n²)",
    "lm_head": "language-model head",
    "first_token": "up to the first token",
    "total": "total",
}


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels."""
    match = re.fullmatch(r"([1-9]\d{0,5})[x×]([1-9]\d{0,5})", text.lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size; give width and height in pixels, such as 672x336.")
    return int(match[1]), int(match[2])


def flops(
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="Folder, hub id (its config alone is read) or a preset's name.")
    ] = None,
    retain: opt.Retain = None,
    drop_after: Annotated[
        int | None,
        typer.Option(
            "--drop-after", min=1, max=opt.MOST, help="Layers that run before all visual tokens go (stage 2)."
        ),
    ] = None,
    image_size: Annotated[
        Any,
        typer.Option(
            "--image-size",
            parser=parse_size,
            metavar="WxH",
            help="Picture in pixels. Without it, the model's largest canvas.",
        ),
    ] = None,
    visual_tokens: Annotated[
        int | None, typer.Option("--visual-tokens", min=1, max=opt.MOST, help="Instead of --image-size.")
    ] = None,
    text_tokens: Annotated[
        int, typer.Option("--text-tokens", min=1, max=opt.MOST, help="Other tokens of the prompt.")
    ] = 40,
    new_tokens: Annotated[int, typer.Option("--new-tokens", min=1, max=opt.MOST, help="Length of the answer.")] = 20,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Count floating-point operations with and without pruning, truly and by the papers' conventions.

    The true count takes two per multiply-add and all matrix products. Presets: llava-1.5-7b, llava-1.5-13b,
    llava-next-7b, llava-next-13b, qwen2.5-vl-7b.
    """
    if visual_tokens is not None and image_size is not None:
        raise typer.BadParameter("--visual-tokens is instead of --image-size; give one of the two.")
    with working(quiet):
        from todre.flops import CONVENTIONS, convention, count
        from todre.methods.base import budget

        shape, before, tiles = _sizes(model, image_size, visual_tokens)
        after = budget(0.1 if retain is None else retain, before)
        layers = _per_layer(shape, after, drop_after)
        shared: dict[str, Any] = {"text_tokens": text_tokens, "tiles": tiles, "new_tokens": new_tokens}
        whole = count(shape, visual_tokens=before, **shared)
        pruned = count(shape, visual_tokens=layers, candidates=before, **shared)
        papers = {
            name: [
                convention(
                    name,
                    shape,
                    n,
                    text_tokens=text_tokens if name == "profiler" else 0,
                    new_tokens=new_tokens,
                    tiles=tiles,
                )
                for n in (before, layers)
            ]
            for name in CONVENTIONS
        }
    if json:
        show_json(
            {
                "model": shape.name,
                "visual_tokens": {"before": before, "after": after, "per_layer": layers},
                **shared,
                "unpruned": whole.to_dict(),
                "pruned": pruned.to_dict(),
                "conventions": {name: {"unpruned": a, "pruned": b} for name, (a, b) in papers.items()},
            }
        )
        return
    show_text(f"{shape.name}: FLOPs of one answer ({text_tokens} text tokens, {new_tokens} new tokens)")
    show(_parts_table(before, after, whole, pruned))
    show_text("By the papers' conventions (visual tokens alone; profiler: with text); never compare two of them")
    show(_papers_table(papers))


def _sizes(
    model: str | None, size: tuple[int, int] | None, visual_tokens: int | None
) -> tuple[ModelShape, int, int | Sequence[int]]:
    """(shape, visual tokens, tiles or patches) of the prompt."""
    from todre.flops import from_config
    from todre.flops.shape import PRESETS
    from todre.loading.model import load_config

    if model in PRESETS:
        shape = PRESETS[model]
        if shape.vision is not None and shape.vision.patches is not None:
            tiles = 5 if "next" in shape.name else 1
            return shape, visual_tokens or tiles * shape.vision.patches, tiles
    else:
        config = load_config(model)
        shape = from_config(config)
        if visual_tokens is None or (shape.vision is not None and shape.vision.patches is not None):
            from todre.geometry import count_visual_tokens

            tokens, tiles = count_visual_tokens(config, size)
            return shape, visual_tokens or tokens, tiles
    if visual_tokens is None:
        raise InvalidValueError(f"The visual tokens of {shape.name} depend on the picture; give --visual-tokens.")
    merge = shape.projector.merge if shape.projector is not None else 1
    return shape, visual_tokens, [visual_tokens * merge]


def _per_layer(shape: ModelShape, after: int, drop_after: int | None) -> list[int]:
    layers = shape.decoder.layers
    if drop_after is not None and drop_after >= layers:
        raise InvalidValueError(f"--drop-after {drop_after} leaves no layer without pictures; use 1 to {layers - 1}.")
    return [after if drop_after is None or layer < drop_after else 0 for layer in range(layers)]


def _parts_table(before: int, after: int, whole: FlopCount, pruned: FlopCount) -> Table:
    from todre.cli.tables import format_flops

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("part")
    for heading in (f"all {before}\nvisual tokens", f"{after} kept\nof {before}", "saved"):
        table.add_column(heading, justify="right")
    full, less = whole.to_dict(), pruned.to_dict()
    for key, label in PARTS.items():
        saved = "" if not full[key] else f"{100 * (1 - less[key] / full[key]):.1f} %"
        table.add_row(label, format_flops(full[key]), format_flops(less[key]), saved, end_section=key == "lm_head")
    return table


def _papers_table(papers: dict[str, list[float]]) -> Table:
    from todre.cli.tables import format_flops

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("convention")
    for heading in ("all", "kept", "saved"):
        table.add_column(heading, justify="right")
    for name, (full, less) in papers.items():
        table.add_row(name, format_flops(full), format_flops(less), f"{100 * (1 - less / full):.1f} %" if full else "")
    return table
