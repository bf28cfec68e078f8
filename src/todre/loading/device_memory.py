"""Memory that a device has left for a model.

The limit may be the machine's, its container's, or a GPU's.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_FREED_AT_ONCE = "inactive_file", "total_inactive_file"
"""Names of cached file pages in a control group's statistics.

A container's limit counts such pages, and the kernel frees them when memory is needed.
"""


def available(device: torch.device) -> int | None:
    """Bytes that are still free on `device`.

    On the CPU this is the least of three: memory that the machine has free, memory that its control groups still allow,
    and memory that the process may still map (`ulimit -v`).

    Returns:
        The bytes; None where they are not known, and for `meta`, which holds nothing.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    if device.type != "cpu":
        return None
    known = [amount for amount in (_free(), _mappable(), *_allowed()) if amount is not None]
    return max(0, min(known)) if known else None


def reset_peak(device: torch.device) -> None:
    """Begin to watch the peak of a GPU's memory anew; a CPU's cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """A GPU's peak of memory since `reset_peak`, or the process's since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _free() -> int | None:
    """Bytes that the machine has free, from Linux, else macOS, else POSIX."""
    try:
        for line in (_PROC / "meminfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return _of_macos() if sys.platform == "darwin" else _of_posix()


def _of_macos() -> int | None:
    """Bytes of memory that the machine has in all.

    Free memory is not used, since it changes with what macOS compresses.
    """
    try:
        answer = subprocess.run(["sysctl", "-n", "hw.memsize"], capture_output=True, text=True, timeout=2, check=True)
        return int(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _of_posix() -> int | None:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _mappable() -> int | None:
    """Bytes that the process may still map under its own limit."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = int((_PROC / "self" / "statm").read_text(encoding="ascii").split()[0])
        return None if limit == resource.RLIM_INFINITY else limit - pages * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError, ValueError, IndexError):
        return None


def _allowed() -> Iterator[int]:
    """Bytes that each control group of the process still allows, up to the root.

    Groups of version 1 and of version 2 are read.
    """
    for folder in _groups():
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            most, now = _number(folder / limit), _number(folder / used)
            if most is not None and now is not None:
                yield most - now + _reclaimable(folder / "memory.stat")


def _groups() -> list[Path]:
    """Folders of the process's control groups.

    Inside a container, its own group is at the root.
    """
    folders = [_CGROUPS, _CGROUPS / "memory"]
    try:
        lines = (_PROC / "self" / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return folders
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers or "memory" in controllers.split(","):
            root = _CGROUPS / "memory" if controllers else _CGROUPS
            inside = Path(path.lstrip("/"))
            folders += [root / part for part in (inside, *inside.parents)]
    return list(dict.fromkeys(folders))


def _number(file: Path) -> int | None:
    """The number in a file; None where there is none, as in `max`."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _reclaimable(file: Path) -> int:
    try:
        rows = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
        return max((int(row[1]) for row in rows if row[0] in _FREED_AT_ONCE), default=0)
    except (OSError, ValueError, IndexError):
        return 0
