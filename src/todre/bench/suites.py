"""Named runs of `todre bench`: `--suite NAME` repeats a result's measurement."""

from __future__ import annotations

from dataclasses import dataclass

from todre.bench.settings import Settings


@dataclass(frozen=True)
class Suite:
    """A named run: one line for `--help`, and the settings of the run."""

    summary: str
    settings: Settings


SUITES: dict[str, Suite] = {
    "cpu": Suite(
        "about four minutes on one thread: a 262M LLaVA-NeXT with 2,928 visual tokens, at 10 and 25 %",
        Settings(
            preset="llava-next-260m",
            methods=("todre:stages=1",),
            retains=(0.1, 0.25),
            new_tokens=(20,),
            threads=(1,),
            rounds=3,
        ),
    ),
    "cpu-budgets": Suite(
        "about eight minutes: the same model at 25, 10 and 5 %, on one thread, in five rounds",
        Settings(
            preset="llava-next-260m",
            methods=("todre:stages=1",),
            retains=(0.25, 0.1, 0.05),
            new_tokens=(20,),
            threads=(1,),
            rounds=5,
        ),
    ),
    "cpu-headline": Suite(
        "the same model at 10 % and with nothing to drop, on one thread and on all, in seven rounds",
        Settings(
            preset="llava-next-260m",
            methods=("todre:stages=1",),
            retains=(0.1, 1.0),
            new_tokens=(20,),
            threads=(1, 0),
            rounds=7,
        ),
    ),
    "tiny": Suite(
        "seconds: shows the structure of a result, and no speed",
        Settings(
            preset="tiny",
            methods=("todre:stages=1", "vtw"),
            retains=(0.1, 0.5),
            new_tokens=(4,),
            threads=(1,),
            rounds=2,
        ),
    ),
}
