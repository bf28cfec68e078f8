"""Conditions of a measurement: machine, versions and commit."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import todre
from todre.environment import versions
from todre.files import write_atomic


def machine(device: torch.device) -> dict[str, Any]:
    """Facts about device, processor, cores, versions, and the checkout's commit."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "versions": versions(),
        "commit": commit(),
    }


def cpu_name() -> str:
    """Name of the processor, as far as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """Commit of this package's checkout, with + if files differ; None outside of one."""
    folder = Path(todre.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    head = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--", ".")
    return None if head is None else head + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def record_checks(rows: list[dict[str, Any]], device: torch.device, output: Path | None) -> dict[str, Any]:
    """Document of a correctness check on a device.

    It is also written to `output` if that is given.
    """
    document = {"format": "todre bench check 1", "machine": machine(device), "checks": rows}
    if output is not None:
        write_atomic(output, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return document
