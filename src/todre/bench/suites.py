"""Runs under a name, so that the numbers of a result can be made again with one short command."""

from __future__ import annotations

from dataclasses import dataclass

from todre.bench.settings import Settings


@dataclass(frozen=True)
class Suite:
    """A named run: its summary, and the settings that make it."""

    summary: str
    settings: Settings


SUITES: dict[str, Suite] = {
    "cpu": Suite(
        "about four minutes on one thread: a 262M LLaVA-NeXT with 2,928 visual tokens, at 10 and 25 %",
        Settings("llava-next-260m", ("todre:stages=1",), (0.1, 0.25), new_tokens=(20,), threads=(1,), rounds=3),
    ),
    "cpu-headline": Suite(
        "the same model at 10 % and with nothing to drop, on one thread and on all, in seven rounds",
        Settings("llava-next-260m", ("todre:stages=1",), (0.1, 1.0), new_tokens=(20,), threads=(1, 0), rounds=7),
    ),
    "tiny": Suite(
        "seconds: shows the structure of a result, and no speed",
        Settings("tiny", ("todre:stages=1", "vtw"), (0.1, 0.5), new_tokens=(4,), threads=(1,), rounds=2),
    ),
}
