"""A backend on Ray Data: actors with a model each, one for each GPU or core.

Rows are read where they are answered, so workers on other machines need the input, its pictures and the model under the
same paths. Outcomes come back as they are done.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from todre.batch.model_answers import Answering, cannot_start
from todre.batch.records import Backend, Failure, Outcome, Place, Record, Work
from todre.batch.sources import Source
from todre.errors import MissingDependencyError, TodreError
from todre.files import printable
from todre.files.names import reason

LOCAL = "local"
"""The address that starts a cluster on this machine for the run."""
MOST_ROWS = 16
"""Rows that an actor answers at a time; they come back together.

There are more where a run would have more than `MOST_BLOCKS` blocks.
"""
MOST_BLOCKS = 4096
"""Blocks of a run, beyond which they get larger: Ray remembers each of them."""
_SHARES = 8
"""Blocks for each actor, if there are rows enough: all have work to the end."""
_RETRIES = 2


def on_ray(source: Source, answering: Answering, address: str, workers: int | None = None) -> Backend:
    """A backend of actors on Ray, whose outcomes come as they are done.

    Args:
        source: the rows; it is sent to the actors.
        answering: how rows are answered; it is sent to the actors.
        address: of the cluster, "auto" for the one that runs here, or `LOCAL`.
        workers: number of actors; None makes one for each GPU, or for each core where there are none.
    """

    def answer(records: Iterable[Record]) -> Iterator[Outcome]:
        places = [pickle.dumps(record.place) for record in records]
        with _cluster(address) as ray:
            gpus = int(ray.cluster_resources().get("GPU", 0))
            cores = int(ray.cluster_resources().get("CPU", 1))
            actors = min(workers or gpus or cores, len(places))
            yield from _answered(ray, source, answering, places, actors, bool(gpus))

    return answer


def _answered(
    ray: Any, source: Source, answering: Answering, places: list[bytes], actors: int, on_gpu: bool
) -> Iterator[Outcome]:
    """Outcomes of all places, those last whose actors died."""
    size = max(1, min(MOST_ROWS, len(places) // (actors * _SHARES)), len(places) // MOST_BLOCKS)
    blocks = [{"start": start, "places": places[start : start + size]} for start in range(0, len(places), size)]
    made = ray.data.from_items(
        [{"block": pickle.dumps(block)} for block in blocks], override_num_blocks=len(blocks)
    ).map_batches(
        _Actor,
        fn_constructor_kwargs={"source": source, "answering": answering if on_gpu else replace(answering, threads=1)},
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=1,
        num_gpus=1 if on_gpu else 0,
        max_task_retries=_RETRIES,  # without it, a row that ends its actor is tried for ever
    )
    returned = bytearray(len(places))
    for row in made.iter_rows():
        number, outcome = pickle.loads(row["outcome"])
        if isinstance(outcome, TodreError):
            raise outcome
        if returned[number]:  # a block that was tried again may come twice
            continue
        returned[number] = True
        yield outcome
    message = "The Ray worker that had this row died or could not read it, perhaps for want of memory."
    for number in (number for number, there in enumerate(returned) if not there):
        place: Place = pickle.loads(places[number])
        yield Outcome.of(source.read(place), Failure(type="ProcessDied", message=message))


class _Actor:
    """Answers blocks of rows with a model of its own."""

    def __init__(self, source: Source, answering: Answering) -> None:
        self._source = source
        self._work: Work | TodreError
        try:
            self._work = answering.start()
        except Exception as error:  # comes back with the first block; raised here, Ray would try again and again
            self._work = cannot_start(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Answer the blocks of a batch: pickled (number of the row, outcome)."""
        outcomes: list[bytes] = []
        for each in batch["block"]:
            block = pickle.loads(each)
            for number, place in enumerate(block["places"], start=block["start"]):
                outcomes.append(pickle.dumps((number, self._answer(place))))
        return {"outcome": outcomes}

    def _answer(self, place: bytes) -> Outcome | TodreError:
        if isinstance(self._work, TodreError):
            return self._work
        return self._work(self._source.read(pickle.loads(place)))


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """The `ray` package, connected for the block.

    A program that is connected already stays so, to its own cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError(
            f"--ray needs the ray package with its data part, which cannot be imported ({error}); "
            "`pip install 'todre[ray]'` brings it."
        ) from error
    own = not ray.is_initialized()
    try:
        if own:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        raise TodreError(
            f"There is no Ray cluster at {printable(address)} ({reason(error)}); start one with `ray start --head`, or "
            "use --ray local."
        ) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # rows that are missing are looked for at the end
    try:
        yield ray
    except ray.exceptions.RayError as error:
        raise TodreError(f"Ray cannot go on ({reason(error)}); run the same command again to go on.") from error
    finally:
        if own:
            ray.shutdown()
