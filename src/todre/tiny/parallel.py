"""Data-parallel training on a CPU: processes of one thread that average gradients."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist


@contextmanager
def joined(run: Path, rank: int, processes: int) -> Iterator[None]:
    """Belong to a group of processes inside the block, with one thread.

    Args:
        run: directory of the run, in which the processes find each other.
        rank: number of this process, from 0.
        processes: number of processes.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{run.resolve()}/.rendezvous", rank=rank, world_size=processes)
    yield
    dist.destroy_process_group()


def agree(share: float, processes: int) -> float:
    """Process 0's share of the budget, so that all processes stop at one step."""
    if processes == 1:
        return share
    value = torch.tensor([share], dtype=torch.float64, device="cpu")
    dist.broadcast(value, 0)
    return float(value)


def average_gradients(parameters: Sequence[torch.Tensor], processes: int) -> None:
    """Replace gradients by their means over processes; each parameter has one."""
    if processes == 1:
        return
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    pieces = (flat / processes).split([p.numel() for p in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter)
