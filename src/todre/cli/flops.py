"""`todre flops`: what a prompt costs, counted from the config alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from todre.cli.budget_options import FlopsRetain
from todre.cli.console import show, show_json, show_text, working
from todre.cli.option_records import OptionRecord
from todre.cli.options import Reporting
from todre.cli.parsers import MOST
from todre.errors import InvalidValueError, UnsupportedModelError

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
    """Parse a text such as 672x336 into width and height in pixels."""
    match = re.fullmatch(r"([1-9]\d{0,5})[x×]([1-9]\d{0,5})", text.lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size; give width and height in pixels, such as 672x336.")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class PromptOptions(OptionRecord):
    """Options that describe the prompt whose cost is counted, and its answer."""

    image_size: Annotated[
        Any,
        typer.Option(
            "--image-size",
            parser=parse_size,
            metavar="WxH",
            help="Picture in pixels. Without it, the model's largest canvas.",
        ),
    ] = None
    visual_tokens: Annotated[
        int | None,
        typer.Option("--visual-tokens", min=1, max=MOST, help="Visual tokens of the prompt, instead of --image-size."),
    ] = None
    text_tokens: Annotated[int, typer.Option("--text-tokens", min=1, max=MOST, help="Other tokens of the prompt.")] = 40
    new_tokens: Annotated[int, typer.Option("--new-tokens", min=1, max=MOST, help="Tokens of the answer.")] = 20


CountedModel = Annotated[
    str | None, typer.Option("-m", "--model", help="Folder, hub id (its config alone is read) or a preset's name.")
]
DropAfter = Annotated[
    int | None,
    typer.Option(
        "--drop-after", min=1, max=MOST, help="Layers that run before all visual tokens are dropped (stage 2)."
    ),
]


def flops(
    model: CountedModel = None,
    retain: FlopsRetain = None,
    drop_after: DropAfter = None,
    prompt: PromptOptions = PromptOptions(),
    reporting: Reporting = Reporting(),
) -> None:
    """Count FLOPs with and without pruning, truly and by the papers' conventions.

    The true count has two FLOPs for each multiply-add, of all matrix products. Presets: llava-1.5-7b, llava-1.5-13b,
    llava-next-7b, llava-next-13b, qwen2.5-vl-7b.
    """
    if prompt.visual_tokens is not None and prompt.image_size is not None:
        raise typer.BadParameter("--visual-tokens is instead of --image-size; give one of the two.")
    with working(reporting.quiet):
        counts = _counted(model, 0.1 if retain is None else retain, drop_after, prompt)
    if reporting.json:
        show_json(counts.to_dict())
        return
    show_text(f"{counts.model}: FLOPs of one answer ({prompt.text_tokens} text tokens, {prompt.new_tokens} new tokens)")
    show(_parts_table(counts))
    show_text("By the papers' conventions (visual tokens alone; profiler: with text); never compare two of them")
    show(_papers_table(counts.papers))


@dataclass(frozen=True)
class _Counts:
    """FLOPs and visual tokens of a prompt, with and without pruning.

    Attributes:
        model: the model's name.
        before, after: visual tokens without and with pruning.
        per_layer: visual tokens of each decoder layer, with pruning.
        settings: the prompt's settings, ready for JSON.
        whole, pruned: true counts without and with pruning.
        papers: (count without pruning, count with pruning) by name of the papers' convention.
    """

    model: str
    before: int
    after: int
    per_layer: list[int]
    settings: dict[str, Any]
    whole: FlopCount
    pruned: FlopCount
    papers: dict[str, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """The counts as a dict, ready for JSON."""
        return {
            "model": self.model,
            "visual_tokens": {"before": self.before, "after": self.after, "per_layer": self.per_layer},
            **self.settings,
            "unpruned": self.whole.to_dict(),
            "pruned": self.pruned.to_dict(),
            "conventions": {name: {"unpruned": full, "pruned": less} for name, (full, less) in self.papers.items()},
        }


def _counted(model: str | None, retain: float, drop_after: int | None, prompt: PromptOptions) -> _Counts:
    """Count what a prompt costs, from the model's config alone."""
    from todre.flops import count
    from todre.methods.base import budget

    shape, before, tiles = _sizes(model, prompt.image_size, prompt.visual_tokens)
    after = budget(retain, before)
    layers = _per_layer(shape, after, drop_after)
    settings: dict[str, Any] = {
        "text_tokens": prompt.text_tokens, "tiles": tiles, "new_tokens": prompt.new_tokens,
    }  # fmt: skip
    return _Counts(
        model=shape.name,
        before=before,
        after=after,
        per_layer=layers,
        settings=settings,
        whole=count(shape, visual_tokens=before, **settings),
        pruned=count(shape, visual_tokens=layers, candidates=before, **settings),
        papers=_by_conventions(shape, before, layers, settings),
    )


def _by_conventions(
    shape: ModelShape, before: int, layers: list[int], settings: dict[str, Any]
) -> dict[str, tuple[float, float]]:
    """Counts without and with pruning, by name of the papers' convention."""
    from todre.flops import CONVENTIONS, convention

    counts = {}
    for name in CONVENTIONS:
        chosen = settings | {"text_tokens": settings["text_tokens"] if name == "profiler" else 0}
        counts[name] = convention(name, shape, before, **chosen), convention(name, shape, layers, **chosen)
    return counts


def _sizes(
    model: str | None, size: tuple[int, int] | None, visual_tokens: int | None
) -> tuple[ModelShape, int, int | Sequence[int]]:
    """The model's shape, and the prompt's visual tokens and tiles (or patches).

    For tokens that are given, the tiles are those of the largest canvas, or more where these yield fewer tokens.
    """
    from todre.flops import from_config
    from todre.flops.shape import PRESETS
    from todre.loading.model import load_config

    if model in PRESETS:
        shape = PRESETS[model]
        if size is not None:
            raise InvalidValueError(
                f"--image-size needs a model's own config, and {model} is a preset; give --visual-tokens, or a folder "
                "or hub id with -m."
            )
        if shape.vision is not None and shape.vision.patches is not None:
            tiles = 5 if "next" in shape.name else 1
            return shape, visual_tokens or tiles * shape.vision.patches, max(tiles, _fewest(shape, visual_tokens or 0))
    else:
        config = load_config(model)
        shape = from_config(config)
        if visual_tokens is None or (shape.vision is not None and shape.vision.patches is not None):
            from todre.geometry import count_visual_tokens

            try:
                tokens, tiles = count_visual_tokens(config, size)
            except UnsupportedModelError:  # a config alone does not give the count of every family
                if visual_tokens is None:
                    raise
                tokens, tiles = visual_tokens, 0
            return shape, visual_tokens or tokens, max(tiles, _fewest(shape, visual_tokens or 0))
    if visual_tokens is None:
        raise InvalidValueError(f"The visual tokens of {shape.name} depend on the picture; give --visual-tokens.")
    return shape, visual_tokens, [_merged(shape, visual_tokens)]


def _fewest(shape: ModelShape, visual_tokens: int) -> int:
    """The fewest tiles that yield as many visual tokens."""
    if shape.vision is None or shape.vision.patches is None:
        return 0
    return -(-_merged(shape, visual_tokens) // shape.vision.patches)


def _merged(shape: ModelShape, visual_tokens: int) -> int:
    """Patches that so many visual tokens are made of."""
    return visual_tokens * (shape.projector.merge if shape.projector is not None else 1)


def _per_layer(shape: ModelShape, after: int, drop_after: int | None) -> list[int]:
    layers = shape.decoder.layers
    if drop_after is not None and drop_after >= layers:
        raise InvalidValueError(f"--drop-after {drop_after} leaves no layer without pictures; use 1 to {layers - 1}.")
    return [after if drop_after is None or layer < drop_after else 0 for layer in range(layers)]


def _parts_table(counts: _Counts) -> Table:
    from todre.flops.words import format_flops

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("part")
    for heading in (f"all {counts.before}\nvisual tokens", f"{counts.after} kept\nof {counts.before}", "saved"):
        table.add_column(heading, justify="right")
    full, less = counts.whole.to_dict(), counts.pruned.to_dict()
    for key, label in PARTS.items():
        saved = "" if not full[key] else f"{100 * (1 - less[key] / full[key]):.1f} %"
        table.add_row(label, format_flops(full[key]), format_flops(less[key]), saved, end_section=key == "lm_head")
    return table


def _papers_table(papers: dict[str, tuple[float, float]]) -> Table:
    from todre.flops.words import format_flops

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("convention")
    for heading in ("all", "kept", "saved"):
        table.add_column(heading, justify="right")
    for name, (full, less) in papers.items():
        table.add_row(name, format_flops(full), format_flops(less), f"{100 * (1 - less / full):.1f} %" if full else "")
    return table
