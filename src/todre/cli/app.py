"""The commands, registered on one Typer application.

No command imports torch before it runs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from todre.cli.analyze import COMMANDS as INSTRUMENTS
from todre.cli.animate import animate
from todre.cli.ask import ask
from todre.cli.batch import batch
from todre.cli.bench import bench
from todre.cli.chat import chat
from todre.cli.commands import Command, Group
from todre.cli.compare import compare
from todre.cli.demo import demo
from todre.cli.env import env, version
from todre.cli.evaluate import evaluate
from todre.cli.fit import fit
from todre.cli.flops import flops
from todre.cli.guard import examples, guarded
from todre.cli.methods import methods
from todre.cli.models import models
from todre.cli.option_records import expand
from todre.cli.page import page
from todre.cli.plot import COMMANDS as FIGURES
from todre.cli.report import report
from todre.cli.reproduce import reproduce
from todre.cli.serve import serve
from todre.cli.smol import COMMANDS as SMOL
from todre.cli.table import table
from todre.cli.vllm_args import vllm_args

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples('todre ask picture.png "Is there a red circle?"', "todre demo", "todre ask --help"),
)


def _show_version(show: bool) -> None:
    if show:
        guarded(version, anywhere=True)()
        raise typer.Exit


@app.callback()
def todre(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version, and exit.")
    ] = False,
) -> None:
    """Prune visual tokens of vision-language models; see what it saves and costs."""


_COMMANDS = (
    (
        ask,
        'todre ask picture.png "What color is the circle?"',
        'todre ask picture.png "How many squares are there?" --retain 0.25 --overlay kept.png',
        'todre ask a.png b.png "Which is brighter?" -m llava-hf/llava-v1.6-mistral-7b-hf --json',
        'todre ask clip.mp4 "What happens?" -m llava-hf/LLaVA-NeXT-Video-7B-hf --frames 16 --overlay kept.png',
        'todre ask "letter.pdf#page=2" "photos/*.jpg" "Which photo is the letter about?"',
    ),
    (
        chat,
        "todre chat picture.png",
        "todre chat -m llava-hf/llava-v1.6-mistral-7b-hf --retain 0.25",
        "todre chat -q < questions.txt > answers.txt",
    ),
    (
        compare,
        'todre compare picture.png "Is there a red circle?" --output compare.png',
        'todre compare picture.png "Is there a red circle?" --methods none,todre,random --retain 74 --json',
    ),
    (
        animate,
        'todre animate picture.png "Is there a red circle?" --output order.gif',
        'todre animate picture.png "Is there a red circle?" --show budget --retain 0.5,0.2,0.1,0.02 --output b.webp',
        'todre animate picture.png "Is there a red circle?" --show layers --method pyramiddrop --output layers.mp4',
    ),
    (
        batch,
        "todre batch rows.jsonl --output answers.jsonl --retain 0.1",
        'todre batch pictures --question "What is in the picture?" --output answers.jsonl --processes 2',
        "todre batch rows.jsonl --output answers.jsonl --retry-errors",
        "todre batch rows.parquet --output answers.parquet --ray auto -m llava-hf/llava-v1.6-mistral-7b-hf",
        "todre batch requests.jsonl --output answers.jsonl --endpoint http://127.0.0.1:8000/v1 --concurrency 32",
    ),
    (demo, "todre demo", "todre demo --output docs/images"),
    (
        serve,
        "todre serve --port 8000",
        "todre serve Qwen/Qwen2.5-VL-7B-Instruct --method todre --retain 0.25 --dtype bfloat16",
        "todre serve --check --method divprune --retain 0.1",
    ),
    (
        page,
        "todre page",
        "todre page -m llava-hf/llava-v1.6-mistral-7b-hf --dtype bfloat16 --port 9000",
        "todre page --check",
    ),
    (
        flops,
        "todre flops --retain 0.1",
        "todre flops -m llava-next-7b --retain 288 --drop-after 28",
        "todre flops -m llava-hf/llava-1.5-7b-hf --retain 0.25 --json",
    ),
    (
        bench,
        "todre bench --suite tiny",
        "todre bench --random-weights llava-next-7b --methods todre,vtw --retain 0.1,0.25 --batch 1,8 --output b.json",
        "todre bench -m llava-hf/llava-1.5-7b-hf --methods todre:stages=1 --new-tokens 1,128",
        "todre bench --table v1-table3 --random-weights tiny",
        "todre bench --from b.json --plots figures",
    ),
    (
        evaluate,
        "todre eval --tasks scenes,scenes-pope --methods todre,random --retain 0.1,0.05 --processes 2",
        "todre eval --tasks mine.jsonl -m llava-hf/llava-v1.6-mistral-7b-hf --limit 500 --output run",
        "todre eval --methods all --retain 0.5,0.25,0.1,0.05,0.02 --output leaderboard --processes 2",
    ),
    (
        table,
        "todre table run",
        "todre table run --columns tasks --retain 0.05 --measure difference --output table.tex",
        "todre table run another/result.json --methods todre,random --format csv",
    ),
    (
        report,
        "todre report run",
        "todre report run --output digits.html --samples 30",
        "todre report b.json --output speed.html --force",
    ),
    (
        reproduce,
        "todre reproduce --list",
        "todre reproduce v1-table1 --on tiny --processes 2",
        "todre reproduce v1-table1 -m llava-hf/llava-v1.6-vicuna-7b-hf --dry-run",
        "todre reproduce v1-figure2 --on tiny --limit 20",
    ),
    (
        fit,
        "todre fit fitprune --share 0.25 --output fitprune.json",
        "todre fit vtw --tolerance 0.003 --output vtw.json",
    ),
    (
        vllm_args,
        "todre vllm-args",
        "todre vllm-args llava-hf/llava-v1.6-mistral-7b-hf --method divprune --retain 0.25 --max-retain 0.5",
    ),
    (methods, "todre methods", "todre methods todre", "todre methods --json"),
    (models, "todre models", "todre models qwen", "todre models --json"),
    (env, "todre env", "todre env --json"),
    (version, "todre version"),
)

_ANYWHERE = (methods, models, version)
"""Commands that work even if the working directory is gone."""
_NAMES: dict[Callable[..., None], str] = {evaluate: "eval", vllm_args: "vllm-args"}
"""Names of commands that differ from the function's name."""


def _first(command: Callable[..., None]) -> str:
    """The first sentence of a command's help, for lists of commands."""
    return inspect.cleandoc(command.__doc__ or "").split("\n\n")[0].replace("\n", " ")


for _function, *_lines in _COMMANDS:
    app.command(
        _NAMES.get(_function),
        cls=Command,
        short_help=_first(_function),
        epilog=examples(*_lines),
        no_args_is_help=_function in (animate, ask, batch, compare, fit, table, report),
    )(guarded(expand(_function), _function in _ANYWHERE))

analyze = typer.Typer(
    cls=Group,
    help="See why pruning works on a model, or does not: each instrument writes a JSON document and a figure.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=examples("todre analyze migration", "todre analyze calibrate --retain 0.1"),
)
for _measure, *_lines in INSTRUMENTS:
    analyze.command(cls=Command, short_help=_first(_measure), epilog=examples(*_lines))(guarded(expand(_measure)))
app.add_typer(analyze, name="analyze")

plot = typer.Typer(
    cls=Group,
    help="Draw what `todre eval` found: each figure reads its result.json and writes a picture.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=examples("todre plot retention run", "todre plot heatmap run --retain 0.05 --output tasks.svg"),
)
for _draw, *_lines in FIGURES:
    plot.command(cls=Command, short_help=_first(_draw), epilog=examples(*_lines), no_args_is_help=True)(
        guarded(expand(_draw))
    )
app.add_typer(plot, name="plot")

smol = typer.Typer(
    cls=Group,
    help="Get what the model `smol` needs, whose decoder was pretrained on text.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=examples("todre smol fetch", 'todre ask picture.png "What is in the picture?" -m smol'),
)
for _function, *_lines in SMOL:
    smol.command(cls=Command, short_help=_first(_function), epilog=examples(*_lines))(guarded(expand(_function)))
app.add_typer(smol, name="smol")


@functools.cache
def command() -> Any:
    """The whole application as one command made by Typer; call it with arguments."""
    return typer.main.get_command(app)
