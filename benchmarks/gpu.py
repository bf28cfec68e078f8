"""Measurements on a GPU, in parts of a few minutes each: `make bench-gpu`.

Correctness comes first, and nothing is timed if it fails. Each part writes one document, `results/bench-gpu-PART.json`,
after every cell, and a part that is started again goes on where it was stopped. `--part NAME` runs one of them.
`--preset tiny --device cpu --output-dir FOLDER` runs the same code anywhere, on a small scale.

`--serve-python PYTHON` adds servers under load: todre's own, and vLLM's in the environment of that Python, which must
have vLLM and todre. `--dry-run` prints the commands of all parts, and runs none.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from todre.cli import main as todre

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Scale:
    """How large: batches, lengths of answers, rounds, load of servers; and options of the check."""

    batches: str
    short: str
    long: str
    rounds: int
    warm_up: int
    load: tuple[str, ...]
    check: tuple[str, ...] = ()


FULL = Scale(
    batches="1,8",
    short="1,20",
    long="128,512",
    rounds=5,
    warm_up=2,
    load=("--concurrency", "1,4,8,16,32", "--requests", "64", "--new-tokens", "64", "--soak", "1000"),
)
SMALL = Scale(batches="1,2", short="1,3", long="4,6", rounds=1, warm_up=0,
              load=("--concurrency", "1,2", "--requests", "2", "--new-tokens", "3", "--soak", "4"),
              check=("--backends", "sdpa,eager"))  # fmt: skip


def parts(scale: Scale) -> dict[str, list[str]]:
    """By name, the options of `todre bench` of each part, in order."""
    often = ["--rounds", str(scale.rounds), "--warm-up", str(scale.warm_up)]
    budgets = ["--methods", "todre,todre:stages=1", "--retain", "0.1,0.25,1.0"]
    one, many = scale.batches.split(",")
    return {
        "check": ["--check", *scale.check],
        "budgets": [*budgets, "--batch", one, "--new-tokens", scale.short, *often],
        "budgets-batch": [*budgets, "--batch", many, "--new-tokens", scale.short, *often],
        "long": ["--methods", "todre:stages=1", "--retain", "0.1,1.0", "--batch", one, "--new-tokens", scale.long,
                 *often],
        "long-batch": ["--methods", "todre:stages=1", "--retain", "0.1,1.0", "--batch", many, "--new-tokens",
                       scale.long, "--no-memory", *often],
        "methods": ["--methods", "all", "--retain", "0.1", "--batch", one, "--new-tokens",
                    scale.short.split(",")[1], *often],
        "methods-batch": ["--methods", "all", "--retain", "0.1", "--batch", many, "--new-tokens",
                          scale.short.split(",")[1], "--no-memory", *often],
        "table3": ["--table", "v1-table3", *often],
        "table4": ["--table", "v1-table4", *often],
    }  # fmt: skip


def served(scale: Scale, python: str | None) -> dict[str, list[str]]:
    """By name, the options of `todre bench` of each part about servers; nothing without `python`."""
    if python is None:
        return {}
    shared = ["--serve", "--retain", "0.25,0.1", *scale.load, "--rounds", "3", "--warm-up", "2"]
    room = "--max-model-len 4096 --gpu-memory-utilization 0.3"  # three servers share the device
    vllm = ["--engine", "vllm", "--server-python", python, "--server-options", room]
    return {"serve-transformers": [*shared, "--engine", "transformers"], "serve-vllm": [*shared, *vllm]}


def scripts(preset: str, device: str, folder: Path) -> dict[str, list[str]]:
    """By name, the benchmarks beside this one that are there, with their arguments."""
    small = preset == "tiny"
    options = {
        "selection": ["--shapes", "256x64:16", "--long", "", "--repeats", "1"] if small else [],
        "tower": ["--preset", preset, *(["--rounds", "1", "--warm-up", "0"] if small else ["--dtype", "bfloat16"])],
        "attach": ["--presets", preset, *(["--rounds", "1"] if small else ["--dtype", "bfloat16"])],
        "compiled_decode": [
            *("--preset", preset),
            *(["--dtype", "float32", "--rounds", "1", "--batch", "1", "--new-tokens", "4"] if small else []),
        ],
    }
    return {
        name: [str(HERE / f"{name}.py"), "--device", device, *extra, "--output", str(folder / f"bench-gpu-{name}.json")]
        for name, extra in options.items()
        if (HERE / f"{name}.py").exists()
    }


def arguments(options: list[str], preset: str, device: str, output: Path) -> list[str]:
    """Arguments of `todre` that run one part."""
    shared = ["--random-weights", preset, "--device", device, "--output", str(output)]
    return ["bench", *options, *shared, "--force" if "--check" in options else "--resume"]


def bench(command: list[str]) -> int:
    """Run one part in this process; the exit code."""
    try:
        todre(command)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="llava-next-7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output-dir", type=Path, default=Path("results"))
    parser.add_argument("--part", action="append", help="run this part alone; may be given several times")
    parser.add_argument("--serve-python", help="also measure servers, vLLM's in the environment of this Python")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, and run none")
    options = parser.parse_args()
    if not options.dry_run:
        options.output_dir.mkdir(parents=True, exist_ok=True)
    scale = SMALL if options.preset == "tiny" else FULL
    measured = parts(scale) | served(scale, options.serve_python)
    beside = scripts(options.preset, options.device, options.output_dir)
    specs_of = options.part or [*measured, *beside]
    unknown = sorted(set(specs_of) - {*measured, *beside})
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; the parts are {', '.join([*measured, *beside])}")
    for name in specs_of:
        sys.stderr.write(f"== {name}\n")
        output = options.output_dir / f"bench-gpu-{name}.json"
        own = arguments(measured[name], options.preset, options.device, output) if name in measured else None
        if options.dry_run:
            print(shlex.join(["todre", *own] if own else [sys.executable, *beside[name]]))
            continue
        code = bench(own) if own else subprocess.run([sys.executable, *beside[name]], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
