"""What automatic budgets and a calibrated guard do on documents and on scenes: `python benchmarks/guard_documents.py`.

A guard is fitted by `todre analyze guard` on pages and scenes of the validation split; then `todre eval` asks about
those of the test split, without it and with it. Each command goes on where it was stopped. The result says how many
pictures were guarded, counted from the answers: a guarded picture is left whole.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from todre.files import new_folder, write_atomic
from todre.pages import make_page
from todre.scenes import Question, make_scene

METHOD, RETAIN = "todre", 0.1
BUDGETS = f"{RETAIN},240,auto,auto-coverage-0.985,auto-coverage-0.99"
KINDS = ("pages", "scenes")


def write_questions(folder: Path, pictures: int) -> Path:
    """Write questions about pages and as many scenes of the validation split, and their pictures; returns the file."""
    new_folder(folder / "pictures", parents=True)
    file = folder / "questions.jsonl"
    lines = [*_lines(folder, "page", pictures), *_lines(folder, "scene", pictures)]
    write_atomic(file, "".join(json.dumps(line) + "\n" for line in lines))
    return file


def _lines(folder: Path, kind: str, pictures: int) -> Iterator[dict[str, str]]:
    for seed in range(pictures):
        image, questions = _asked(kind, seed)
        path = f"pictures/{kind}-{seed}.png"
        image.save(folder / path)
        for question in questions:
            yield {
                "image": path,
                "question": question.text,
                "answer": question.answer,
                "task": f"{kind}-{question.task}",
            }


def _asked(kind: str, seed: int) -> tuple[Image.Image, Sequence[Question]]:
    """A picture, and as many questions as a page has tasks."""
    if kind == "page":
        page = make_page(seed, "val")
        return page.image, page.questions
    scene = make_scene(seed, "val")
    short = [question for question in scene.questions if question.task != "caption"]
    return scene.image, [short[(seed + step) % len(short)] for step in range(min(4, len(short)))]


def evaluate(model: str, work: Path, settings: argparse.Namespace, guard: Path | None) -> dict[str, Any]:
    """What `todre eval` says of pages and scenes, with the share of guarded pictures."""
    found: dict[str, Any] = {}
    for kind, limit in zip(KINDS, (settings.pages, settings.scenes), strict=True):
        run = work / f"{kind}-{'guarded' if guard else 'plain'}"
        words = ["eval", "-m", model, "--tasks", kind, "--limit", str(limit), "--methods", METHOD, "--retain"]
        words += [str(RETAIN), "--guard", str(guard)] if guard else [BUDGETS]
        _todre(*words, "--dtype", settings.dtype, "--processes", str(settings.processes), "--output", str(run))
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        found[kind] = result | {"guarded": _guarded(run, result) if guard else None}
    return found


def _guarded(run: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Answers whose picture was left whole, which no budget below 1 does by itself."""
    whole = next(row["visual_tokens"] for row in result["rows"] if row["name"] == "none")
    said: list[Any] = []
    with (run / "answers.jsonl").open(encoding="utf-8") as stream:
        for line in map(json.loads, stream):
            said += line["said"] if line.get("condition") == f"{METHOD}@{RETAIN:g}" else []
    return {"answers": len(said), "share": round(sum(tokens >= whole for _, tokens, *_ in said) / len(said), 6)}


def _todre(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "todre", *words], check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, ask, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smol")
    parser.add_argument("--work", type=Path, default=Path("runs/guard"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--fit", type=int, default=40, help="pages, and scenes, that the guard is fitted on")
    parser.add_argument("--pages", type=int, default=60, help="questions of each task about pages")
    parser.add_argument("--scenes", type=int, default=40, help="questions of each task about scenes")
    parser.add_argument("--loss", type=float, default=0.01)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    fitted = given.work / "guard.json"
    questions = write_questions(given.work, given.fit)
    asked = sum(1 for _ in questions.open(encoding="utf-8"))
    _todre(
        "analyze", "guard", "-m", given.model, "--questions", str(questions), "--limit", str(asked), "--method", METHOD,
        "--retain", str(RETAIN), "--loss", str(given.loss), "--dtype", given.dtype, "--output", str(fitted), "--force",
    )  # fmt: skip
    guard = fitted.with_suffix(".guard.json")
    fit = json.loads(fitted.read_text(encoding="utf-8"))
    document = {
        "what": "automatic budgets, and a guard that was fitted on pages and scenes, on other pages and scenes",
        "fit": {name: value for name, value in fit.items() if name != "records"},
        "plain": evaluate(given.model, given.work, given, None),
        "guarded": evaluate(given.model, given.work, given, guard),
    }
    write_atomic(given.output, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
