"""Times of `todre page` in a browser: until it is drawn, and from a click to answers.

`python benchmarks/page_times.py` starts the page, opens it in a headless Chromium with an empty cache in each round,
asks the first example's question, and writes `results/page-times.json`: medians with the 20 % and 80 % quantiles. It
needs the packages of `make test-page`; CHROMIUM names the browser.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Browser, sync_playwright

from todre.bench.conditions import machine
from todre.bench.spread import spread
from todre.files import write_atomic
from todre.page.examples import EXAMPLES
from todre.page.wish import Wish
from todre.tiny import SHIPPED

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SCREEN = {"width": 1280, "height": 900}
PAINTS = "performance.getEntriesByType('paint').map(one => [one.name, one.startTime])"
CLICK = """
(last) => new Promise((done) => {
  const waited = {
    first_word: () => [...document.querySelectorAll("#card-0 .todre-answer")].some((one) => one.innerText != "…"),
    first_answer: () => document.querySelector("#card-0 [data-state=done]"),
    all_answers: () => document.querySelector(`#card-${last} [data-state=done]`),
    everything: () => document.querySelector("#record textarea")?.value.length > 2,
  };
  const found = {}, start = performance.now();
  const look = () => {
    for (const [name, there] of Object.entries(waited))
      if (!(name in found) && there()) found[name] = performance.now() - start;
    if (Object.keys(found).length == Object.keys(waited).length) done(found);
    else requestAnimationFrame(look);
  };
  document.querySelector("#ask").click();
  look();
})
"""
"""Clicks *Ask*, and looks before each of the browser's frames for what has come; milliseconds."""


@contextmanager
def served(threads: int) -> Iterator[str]:
    """The address of a page in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": f"{threads}", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "todre", "page", "--port", "0", "--device", "cpu", "-q"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if " at http://" not in line:
            raise SystemExit("The page did not start; run `todre page` to see why.")
        yield line.rpartition(" ")[2].strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def visit(browser: Browser, address: str) -> dict[str, float]:
    """One visitor with an empty cache: milliseconds until each thing was seen."""
    context = browser.new_context(viewport=SCREEN)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_selector("#preview img")
    ready = page.evaluate("performance.now()")
    page.wait_for_function(f"{PAINTS}.length == 2")
    times = {name.replace("-", "_"): time for name, time in page.evaluate(PAINTS)} | {"ready": ready}
    for button in page.query_selector_all("button.label-wrap"):
        button.click()
    times |= page.evaluate(CLICK, len(Wish().methods) - 1)
    context.close()
    return {name: round(time, 1) for name, time in times.items()}


def rounded(times: Sequence[float]) -> dict[str, float]:
    """Median and quantiles, to a tenth."""
    return {name: round(value, 1) for name, value in (spread(times) or {}).items()}


def document(options: argparse.Namespace, browser: str, rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Conditions and results, ready for JSON."""
    wish = Wish()
    return {
        "format": "todre page times 1",
        "what": "a headless browser on the page's own machine, milliseconds: after the address is opened, until the "
        "first pixels (first_paint), the first text or picture (first_contentful_paint), and the example's picture "
        "beside the form (ready); after Ask is clicked, until the first word, the first method's answer with its "
        "picture and table, all methods' answers, and everything: the orders of choosing, saliency and the record",
        "machine": machine(torch.device("cpu")),
        "browser": f"Chromium {browser}",
        "packages": {name: importlib.metadata.version(name) for name in ("gradio", "playwright")},
        "threads": options.threads,
        "screen": SCREEN,
        "rounds": len(rounds),
        "warm_up": options.warm_up,
        "model": SHIPPED,
        "question": EXAMPLES[0].question,
        "methods": list(wish.methods),
        "share": wish.share,
        "ms": {name: rounded([each[name] for each in rounds]) for name in rounds[0]},
        "each": list(rounds),
    }


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warm-up", type=int, default=1, help="visits before those that count")
    parser.add_argument("--threads", type=int, default=1, help="of the model")
    parser.add_argument("--output", type=Path, default=Path("results/page-times.json"))
    options = parser.parse_args()
    with served(options.threads) as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        rounds = [visit(chromium, address) for _ in range(options.warm_up + options.rounds)][options.warm_up :]
        found = document(options, chromium.version, rounds)
        chromium.close()
    write_atomic(options.output, json.dumps(found, indent=1) + "\n")
    for name, times in found["ms"].items():
        sys.stdout.write(f"{name.replace('_', ' ')}: {times['p50']:.0f} ms\n")


if __name__ == "__main__":
    main()
