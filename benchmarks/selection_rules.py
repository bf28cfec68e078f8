"""Time of six selection rules, side by side with each rule written out from its formula.

The plain forms hold the whole matrix of pairs, and read again what their authors' procedures read again. Subjects are
interleaved, round by round, in one process and on one thread. Next to the clock it counts the processor's seconds,
which other programs disturb less. Writes one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from selection import machine, shape
from selection_baselines import tokens
from selection_plain import PLAIN
from torch import Tensor

from todre.files import write_atomic
from todre.methods.shared.clusters import density_peaks
from todre.select import dpp_order, facility_order, k_center_order, max_min_order, max_sum_order, mmr_order

OURS: dict[str, Callable[[Tensor, int, Tensor], Tensor]] = {
    "divprune": lambda x, k, weight: max_min_order(x, k),
    "scope": facility_order,
    "k_center": lambda x, k, weight: k_center_order(x, k, 0),
    "max_sum": lambda x, k, weight: max_sum_order(x, k, 0),
    "dpp": dpp_order,
    "mmr": lambda x, k, weight: mmr_order(x, k, weight),
    "density_peaks": lambda x, k, weight: density_peaks(x * x.shape[1] ** 0.5, max(k // 10, 1))[0],
}
CASES = ["576x4096:58", "2880x4096:288", "2880x4096:720 divprune", "2880x1024:288 scope"]


def timed(call: Callable[[], Tensor]) -> tuple[float, float, set[int]]:
    """Seconds by the clock, seconds of the processor, and the set that was chosen."""
    clock, processor = time.perf_counter(), time.process_time()
    chosen = call()
    return time.perf_counter() - clock, time.process_time() - processor, set(chosen.tolist())


def compare(case: str, kind: str, rule: str, rounds: int) -> dict[str, Any]:
    """One row: milliseconds of both subjects, and the plain form's over ours, round by round."""
    n, d, k = shape(case)
    x = tokens(kind, n, d)
    weight = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float32, device="cpu")
    found: dict[str, list[tuple[float, float, set[int]]]] = {"ours": [], "plain": []}
    for number in range(rounds + 1):
        ours = timed(lambda: OURS[rule](x, k, weight))
        plain = timed(lambda: PLAIN[rule](x, k, weight))
        if number:
            found["ours"].append(ours)
            found["plain"].append(plain)
    row: dict[str, Any] = {"rule": rule, "n": n, "d": d, "k": k, "tokens": kind, "rounds": rounds}
    row["same"] = all(one[2] == other[2] for one, other in zip(found["ours"], found["plain"], strict=True))
    for at, name in enumerate(("clock", "processor")):
        ratios = sorted(one[at] / other[at] for one, other in zip(found["plain"], found["ours"], strict=True))
        row[name] = {
            "ours_ms": 1e3 * statistics.median(each[at] for each in found["ours"]),
            "plain_ms": 1e3 * statistics.median(each[at] for each in found["plain"]),
            "plain_over_ours": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1],
        }  # fmt: skip
    return row


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", default=CASES, help="NxD:K, or 'NxD:K RULE' for one rule")
    parser.add_argument("--rules", nargs="*", choices=list(OURS), default=list(OURS))
    parser.add_argument("--rounds", type=int, default=9, help="rounds where n is below 1,000; a third of it above")
    parser.add_argument("--output", type=Path, default=Path("results/selection-rules.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for case in options.cases:
        size, *only = case.split()
        rounds = options.rounds if shape(size)[0] < 1000 else max(options.rounds // 3, 1)
        for rule in only or options.rules:
            for kind in ("common", "isotropic"):
                rows.append(compare(size, kind, rule, rounds))
                line = "{rule} {n}x{d}->{k} {tokens} same={same}".format(**rows[-1])
                print(line, *(f"{name} {rows[-1][name]}" for name in ("clock", "processor")), flush=True)
    document = {"machine": machine("cpu") | {"cores": os.cpu_count(), "load": os.getloadavg()[0]}, "rows": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.output, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
