"""Measure what the docs say of smol anew, step by step: `python benchmarks/smol_evidence.py --work DIR [STEP ...]`.

Every step is a command of todre that goes on where it was stopped, and so does this one: a step that is done with these
weights and these words is not run again. Results go into results/; `make figures` makes pages and figures of them.
All steps together take many hours of two cores; without a name, all are run in this order.
"""

from __future__ import annotations

from steps import ROOT, Step, run_named

from todre import smol

BUDGETS = "0.5,0.25,0.1,0.05,0.02"
NUMBERS = ("--dtype", "float32")
"""Of instruments and times, as on the other pages about them."""
RUN = ("--dtype", "bfloat16", "--processes", "2")
"""Of answers, so that cards, studies, tables and boards may be compared. Processors with `avx512_bf16` or `amx_bf16` in
/proc/cpuinfo answer about 1.5 times as fast as in float32, other x86 processors a little slower than in it."""
SAFER = ("todre-ahead", "todre-ahead-all", "todre-last", "todre-floor", "todre-horizon")
"""Presets that guard version 1's stage 2."""


def card(model: str) -> Step:
    """The model's card; curves over layers on few pictures, as the study of stage 2 has them on many."""
    words = (
        "-m", "todre.evaluate.card", "-m", model, *RUN, "--pictures", "104", "--curve-pictures", "8",
        "--attention-pictures", "8", "--random-seeds", "1", "--work", "WORK/work", "--output", "WORK/card.json",
        "--page", "WORK/card.md", "--figure", "WORK/card.png",
    )  # fmt: skip
    return Step(words, {"card.json": f"{model}-card.json"}, model)


def stage2(model: str, questions: int) -> Step:
    """Where the picture is needed and where stage 2 drops it, with safer rules at the threshold that loses most."""
    methods = [f"{name}:retain=0.1:threshold={tau}" for tau in ("0.03", "0.1") for name in SAFER]
    methods += [f"{name}:stages=2:threshold=0.1" for name in ("todre-ahead", "todre-floor", "todre-horizon")]
    words = (
        "-m", "todre.evaluate.stage2", "-m", model, *RUN, "--questions", str(questions),
        *(word for method in methods for word in ("--method", method)), "--deep-layers", "15,20,24",
        "--work", "WORK/work.jsonl", "--output", "WORK/stage2.json", "--figure", "WORK/stage2.png", "--force",
    )  # fmt: skip
    return Step(words, {"stage2.json": f"stage2-{model}.json"}, model)


def board(model: str, tasks: str, limit: int, methods: str, output: str, budgets: str = BUDGETS) -> Step:
    """A leaderboard; compared with what it holds of random tokens and of ToDRE's versions."""
    against = ",".join(name for name in ("random", "todre", "todre-v1") if name in methods.split(","))
    words = (
        "-m", "todre", "eval", "-m", model, "--tasks", tasks, "--limit", str(limit), "--methods", methods,
        "--retain", budgets, "--against", against, "--leave-out", "--group-size", "26", *RUN,
        "--output", "WORK/run",
    )  # fmt: skip
    return Step(words, {"run/result.json": f"{output}.json", "run/timings.json": f"{output}-timings.json"}, model)


def table(name: str, questions: int) -> Step:
    """One of version 1's tables about stage 2."""
    words = (
        "-m", "todre", "reproduce", name, "--on", smol.SMOL, *RUN, "--limit", str(questions), "--output",
        "WORK/run", "--force",
    )  # fmt: skip
    return Step(words, {"run/result.json": f"smol-{name}.json"})


def instrument(name: str, *settings: str) -> Step:
    """An instrument of `todre analyze`."""
    words = (
        "-m", "todre", "analyze", name, "-m", smol.SMOL, *NUMBERS, *settings, "--output", f"WORK/{name}.json",
        "--force",
    )  # fmt: skip
    return Step(words, {f"{name}.json": f"analysis-{name}-smol.json"})


def times() -> Step:
    """What stage 2 saves where it fires, with short and long answers."""
    words = (
        "-m", "todre", "bench", "-m", smol.SMOL, "--methods", "todre-stage-2:threshold=1", "--new-tokens", "1,20,200",
        "--threads", "1", "--rounds", "5", "--no-oracle", "--no-memory", *NUMBERS, "--output", "WORK/bench.json",
        "--force",
    )  # fmt: skip
    return Step(words, {"bench.json": "stage2-smol-bench.json"})


METHODS = (
    "todre,todre-v1,todre-patches,todre-horizon,todre-stage-2,random,uniform,pooling,cls-top-k,mmr,divprune,scope,"
    "agile-threshold,holov,hivtp,hiprune,visionzip,vispruner,vscan,prunesid,prumerge,prumerge-plus,globalcom2,"
    "gprune,nuwa,vflowopt,crop-skip,downsample,tome,evit,ficoco-v,erase,flowcut,flowcut-anyres,fastv,pyramiddrop,dart,"
    "sparsevlm,swiftvlm,nuwa-text,mustdrop,vtw,mmtok,cdpruner,ivc-prune,todre-floor"
)
"""Of the boards: a rule once, without presets that choose alike on this layout, and without what has to be fitted.

Left out for time are ficoco-l, autoprune, p-sigmoid and random-deep, whose work grows with the questions rather than
the pictures.
"""
FEW = "todre,todre-v1,todre-patches,todre-horizon,mmr,divprune,cls-top-k,random,cdpruner"
"""Of the second training run's board: what the findings speak of most."""
STEPS: dict[str, Step] = {
    "card": card(smol.SMOL),
    "card-1": card(smol.SMOL_1),
    "stage2": stage2(smol.SMOL, 450),
    "stage2-1": stage2(smol.SMOL_1, 450),
    "migration": instrument("migration", "--limit", "60"),
    "horizon": instrument("horizon", "--window", "12", "--limit", "27", "--layers", "16,19,20,21,22,23,24,25,26"),
    "times": times(),
    "guard": Step(
        ("benchmarks/guard_documents.py", "--work", "WORK/work", "--output", "WORK/guard.json"),
        {"guard.json": "guard-smol.json"},
    ),
    "pages": board(smol.SMOL, "pages", 60, METHODS, "leaderboard-smol-pages"),
    "leaderboard": board(smol.SMOL, "scenes", 100, METHODS, "leaderboard-smol"),
    "wordings": board(smol.SMOL, "wordings", 60, "todre,random", "smol-wordings", "0.25,0.1"),
    "leaderboard-1": board(smol.SMOL_1, "scenes", 52, FEW, "leaderboard-smol-1", "0.25,0.1,0.05,0.02"),
    "v1-table4": table("v1-table4", 100),
    "v1-table5": table("v1-table5", 50),
    "v1-table6": table("v1-table6", 100),
}


if __name__ == "__main__":
    raise SystemExit(run_named(STEPS, str(__doc__), ROOT / "runs" / "smol"))
