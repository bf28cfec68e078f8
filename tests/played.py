"""A run of `todre.evaluate.engine` whose answers follow from what is asked, with no model: a script, too."""

import functools
import hashlib
import sys
import time
from pathlib import Path

from todre.evaluate.engine import grouped, run
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.grid import grid
from todre.evaluate.journal import Done

TASKS = ("scenes-colour", "scenes-presence", "scenes-caption", "scenes-mme")
ASKED = EvalConfig(TASKS, "./nowhere", limit=4, size=96, group_size=3, device="cpu")
GRID = grid(["todre", "random", "fastv"], [0.2], draws=2)


def playing(asked, pause=0.0):
    """The function that answers a unit: right or with another word, as a hash of the question and condition says."""
    items = asked.items()
    groups = [[items[place] for place in places] for places in grouped(items, asked.group_size)]

    def work(task):
        unit, condition = task
        time.sleep(pause)
        if condition.name.startswith("evs"):
            return Done(unit, 0.0, [], "EVS compares the frames of a clip.")
        reply = []
        for item in groups[unit.group]:
            drawn = hashlib.sha256(f"{item.id} {item.question} {condition.method_for(unit.group)}".encode()).digest()
            tokens = 100 if condition.name == "none" else 20
            reply.append([item.references[0] if drawn[0] % 3 else "perhaps", tokens, tokens / 2, None])
        return Done(unit, 0.5, reply)

    return work


if __name__ == "__main__":
    slow = functools.partial(playing, pause=float(sys.argv[3]))
    run(ASKED, GRID, Path(sys.argv[1]), processes=int(sys.argv[2]), start=slow)
