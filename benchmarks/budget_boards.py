"""Boards of the question how many tokens: `python benchmarks/budget_boards.py [--work DIR] [STEP ...]`.

The newest rules, the smaller picture, automatic budgets and the guard beside older rules, on 2,000 questions about
scenes (todre-tiny, which reads no documents) and 520 about documents (smol), paired. Without a name, all steps are run
in this order; each goes on where it was stopped.
"""

from __future__ import annotations

from steps import ROOT, Step, run_named

from todre import smol, tiny

TINY = tiny.names()[0]
METHODS = (
    "scope,mmtok,ivc-prune,vscan,flowcut,autoprune,prunesid,erase,agile-threshold,todre,todre-v1,divprune,mmr,"
    "cls-top-k,random,results/fitted/downsample-half.json,results/fitted/todre-half.json"
)
"""What was added with automatic budgets, and what the findings speak of most.

The models' smallest picture has 300 of 744 tokens, so the smaller picture is asked for half.
"""
GUARDED = "todre,divprune,cls-top-k,random"
BUDGETS = "0.25,0.1,auto"
SCENES = ("-m", TINY, "--tasks", "scenes", "--limit", "200")
FEW_SCENES = ("-m", smol.SMOL, "--tasks", "scenes", "--limit", "40", "--dtype", "bfloat16")
DOCUMENTS = ("-m", smol.SMOL, "--tasks", "pages", "--limit", "130", "--dtype", "bfloat16")


def board(questions: tuple[str, ...], name: str) -> Step:
    """Every method at every budget."""
    return _eval(questions, name, "--methods", METHODS, "--retain", BUDGETS, "--against", "todre,random")


def guarded(questions: tuple[str, ...], name: str) -> Step:
    """Some methods with a tenth, pictures left whole where the guard says so."""
    return _eval(questions, name, "--methods", GUARDED, "--retain", "0.1", "--guard", "refuse")


def _eval(questions: tuple[str, ...], name: str, *words: str) -> Step:
    made = {"run/result.json": f"budgets-{name}.json", "run/timings.json": f"budgets-{name}-timings.json"}
    run = ("--leave-out", "--group-size", "26", "--processes", "2", "--output", "WORK/run")
    model = questions[questions.index("-m") + 1]
    return Step(("-m", "todre", "eval", *questions, *words, *run), made, model)


STEPS = {
    "scenes": board(SCENES, "scenes"),
    "documents": board(DOCUMENTS, "documents"),
    "scenes-guarded": guarded(SCENES, "scenes-guarded"),
    "documents-guarded": guarded(DOCUMENTS, "documents-guarded"),
    "scenes-smol-guarded": guarded(FEW_SCENES, "scenes-smol-guarded"),
    "scenes-auto": _eval(SCENES, "scenes-auto", "--methods", "todre,divprune,mmr,cls-top-k", "--retain", "auto"),
}

if __name__ == "__main__":
    raise SystemExit(run_named(STEPS, str(__doc__), ROOT / "runs" / "budgets"))
