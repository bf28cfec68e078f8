"""Options of `todre batch`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from todre.cli.option_records import OptionRecord
from todre.cli.parsers import MOST, MOST_PROCESSES, number, one_of
from todre.files import printable


def parse_cluster(text: str) -> str:
    """Parse the address of a Ray cluster."""
    if not re.fullmatch(r"auto|local|(ray://)?[\w.-]+:\d{1,5}|\[[\da-fA-F:]+\]:\d{1,5}", text):
        raise typer.BadParameter(f"{printable(repr(text))} is no address of a cluster; give local, auto or HOST:PORT.")
    return text


def parse_url(text: str) -> str:
    """Parse the address of a server."""
    if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", text):
        raise typer.BadParameter(
            f"{printable(repr(text))} is no address of a server; give one such as http://127.0.0.1:8000/v1."
        )
    return text


def parse_variable(text: str) -> str:
    """Parse the name of an environment variable."""
    if not re.fullmatch(r"[A-Za-z_]\w*", text):
        raise typer.BadParameter(f"{printable(repr(text))} is no name of a variable; give one such as OPENAI_API_KEY.")
    return text


EndpointKind = Literal["todre", "vllm", "plain"]

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT…", help="One file of rows (.jsonl, .parquet), or pictures, folders, patterns, pages of PDFs."
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output", help="File to append answers to (.jsonl), or to write at the end (.parquet); if it is there, go on."
    ),
]
Question = Annotated[str | None, typer.Option("--question", help="The question about each picture.")]
RetryErrors = Annotated[bool, typer.Option("--retry-errors", help="Answer rows of the output with an error again.")]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes", min=1, max=MOST_PROCESSES, help="Processes, each with its own model and a share of the cores."
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        parser=parse_cluster,
        metavar="ADDRESS",
        help="Answer on a Ray cluster: local (one for this run), auto (the one that runs here), HOST:PORT or ray://….",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=MOST, help="Models on Ray. Without it, one for each GPU, or each core."),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        parser=parse_url,
        metavar="URL",
        help="Ask a server in OpenAI's way instead: its address, which usually ends in /v1.",
    ),
]
Kind = Annotated[
    EndpointKind,
    typer.Option(
        "--endpoint-kind",
        parser=one_of(*get_args(EndpointKind)),
        metavar="NAME",
        help="How the server takes --retain and a row's: todre (todre serve), vllm (todre's plugin), plain (not).",
    ),
]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, max=10_000, help="Requests in flight.")]
KeyEnv = Annotated[
    str,
    typer.Option(
        "--api-key-env",
        parser=parse_variable,
        metavar="NAME",
        help="Environment variable that holds the server's API key.",
    ),
]
Retries = Annotated[
    int,
    typer.Option("--retries", min=0, max=100, help="Times that a request is tried again after 429, 5xx or no answer."),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", parser=number(0, inside=True), metavar="SECONDS", help="Time to wait for an answer."),
]


@dataclass(frozen=True)
class EndpointOptions(OptionRecord):
    """Options that say which server answers, and how it is asked."""

    endpoint: Url = None
    endpoint_kind: Kind = "todre"
    concurrency: Concurrency = 8
    api_key_env: KeyEnv = "OPENAI_API_KEY"
    retries: Retries = 8
    timeout: Timeout = 600.0


@dataclass(frozen=True)
class WorkerOptions(OptionRecord):
    """Options that say where models answer."""

    processes: Processes = None
    ray: Ray = None
    workers: Workers = None
