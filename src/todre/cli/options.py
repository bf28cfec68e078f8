"""Options that commands share, and the records that group them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from todre.cli.method_names import parse_method, parse_methods
from todre.cli.option_records import OptionRecord, Trailing
from todre.cli.parsers import MOST, MOST_SEED, one_of, parse_device

if TYPE_CHECKING:
    from todre.loading.model import Loaded

DtypeName = Literal["auto", "float32", "float16", "bfloat16"]

Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        help="Folder, hub id, todre-tiny-video, smol. Without it, todre-tiny, which ships with todre.",
    ),
]
Device = Annotated[
    str, typer.Option("--device", parser=parse_device, metavar="NAME", help="auto, cpu, cuda or cuda:N."), Trailing()
]
Dtype = Annotated[
    DtypeName,
    typer.Option(
        "--dtype",
        parser=one_of(*get_args(DtypeName)),
        metavar="NAME",
        help="auto (float32 on the CPU, else the checkpoint's), float32, float16, bfloat16.",
    ),
    Trailing(),
]
Attention = Annotated[
    str | None,
    typer.Option(
        "--attn-implementation", help="Attention: sdpa, eager, flash_attention_2, … Without it, the model's own."
    ),
    Trailing(),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Run Python code that comes with the model; only for a source that you trust."
    ),
    Trailing(),
]
MethodName = Annotated[
    str,
    typer.Option(
        "--method", parser=parse_method, metavar="NAME", help="A name from `todre methods`, or a JSON file of a method."
    ),
]
MethodNames = Annotated[
    str,
    typer.Option(
        "--methods",
        parser=parse_methods,
        metavar="A,B,…",
        help="Methods, separated by commas; all: every one that applies.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, max=MOST_SEED, show_default="0, or the file's", help="Seed of methods that choose at random."
    ),
]
"""None where the user set none, so that the method of a file keeps its own."""
NewTokens = Annotated[int, typer.Option("--max-new-tokens", min=1, max=MOST, help="Longest answer, in tokens.")]
LONGER = "--max-new-tokens allows more, as far as the model has positions"
"""How an answer that was cut could be longer."""
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier result; never a file that is read.")]
AllowUrls = Annotated[
    bool, typer.Option("--allow-urls", help="Fetch pictures at http and https addresses; without it, none is fetched.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document."), Trailing()]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors on stderr."), Trailing()]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Show tracebacks and the warnings of libraries."), Trailing()
]


@dataclass(frozen=True)
class ModelOptions(OptionRecord):
    """Options that say which model a command loads, and how."""

    model: Model = None
    device: Device = "auto"
    dtype: Dtype = "auto"
    attn_implementation: Attention = None
    trust_remote_code: TrustCode = False

    def load(self, quiet: bool) -> Loaded:
        """Load the model; downloads are noted on stderr, unless `quiet`."""
        from todre.cli.console import note
        from todre.loading.model import load

        return load(
            self.model,
            device=self.device,
            dtype=self.dtype,
            attn_implementation=self.attn_implementation,
            trust_remote_code=self.trust_remote_code,
            announce=lambda sentence: note(sentence, quiet),
        )


@dataclass(frozen=True)
class Verbosity(OptionRecord):
    """Options that say how much a command prints on stderr."""

    quiet: Quiet = False
    verbose: Verbose = False


@dataclass(frozen=True)
class Reporting(OptionRecord):
    """Options that say how a result is shown, and how much goes to stderr."""

    json: Json = False
    quiet: Quiet = False
    verbose: Verbose = False

    @property
    def silent(self) -> bool:
        """Whether stderr is kept for errors: with --quiet, and with --json."""
        return self.quiet or self.json
