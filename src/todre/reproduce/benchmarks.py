"""The papers' benchmarks, as tasks and metrics of lmms-eval, and like scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from todre.errors import InvalidValueError


@dataclass(frozen=True)
class Part:
    """One task of lmms-eval (names of its release 0.7.3).

    Attributes:
        task: name of the task.
        metric: the metric that the papers print; None means the only metric of a user's own task.
        scale: factor that turns the metric into the printed unit.
        questions: number of questions in the task; None where the number is not known.
        weight: weight of the task in the benchmark's score; None means the number of questions.
    """

    task: str
    metric: str | None
    scale: float
    questions: int | None
    weight: float | None = 1.0


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of the papers.

    Attributes:
        name: name of the benchmark in the published tables of todre.
        parts: tasks of lmms-eval whose scores make the benchmark's score; each metric of a task is a part of its own.
        added: whether parts are added up instead of averaged.
        data: where lmms-eval takes the questions from.
        scenes: task of `todre eval` that stands in for the benchmark on the shipped model.
        note: how the measured questions differ from those of the printed score; empty if they do not.
    """

    name: str
    parts: tuple[Part, ...]
    data: str
    scenes: str
    note: str = ""
    added: bool = False

    @property
    def questions(self) -> int | None:
        """The number of questions; None where the number is not known."""
        counts = {part.task: part.questions for part in self.parts}.values()
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of lmms-eval, each once."""
        return tuple(dict.fromkeys(part.task for part in self.parts))

    def score(self, measured: Mapping[str, Mapping[str, float]], counts: Mapping[str, int]) -> float:
        """The benchmark's score, in the printed unit.

        Args:
            measured: metrics of each task.
            counts: number of questions asked of each task.

        Raises:
            InvalidValueError: the metric is missing from a task.
        """
        values = [part.scale * _metric(part, measured[part.task]) for part in self.parts]
        if self.added:
            return sum(values)
        weights = [float(counts[part.task]) if part.weight is None else part.weight for part in self.parts]
        return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _metric(part: Part, measured: Mapping[str, float]) -> float:
    if part.metric is not None and part.metric in measured:
        return measured[part.metric]
    found = [name for name in measured if not name.endswith("_stderr")]
    if part.metric is None and len(found) == 1:
        return measured[found[0]]
    needed = "one metric" if part.metric is None else f"the metric {part.metric!r}"
    raise InvalidValueError(
        f"Task {part.task!r} of lmms-eval gave {', '.join(found) or 'no metric'}, and {needed} is needed; "
        "name it with --task-map BENCHMARK=TASK:METRIC."
    )


def _one(
    name: str, task: str, metric: str, scale: float, questions: int | None, data: str, scenes: str, note: str = ""
) -> Benchmark:
    return Benchmark(name, (Part(task, metric, scale, questions),), data, scenes, note)


_JUDGE = "the answer's letter is found by rules, without the benchmark's judging language model"
_VAL = "the paper's split has no public answers; this is the validation split"
_F1 = "pope_f1_score"
_ALL = (
    _one("MME", "mme", "mme_perception_score", 1.0, 2374, "lmms-lab-encoder/MME", "scenes-mme"),
    Benchmark(
        "MME-sum",
        (Part("mme", "mme_perception_score", 1.0, 2374), Part("mme", "mme_cognition_score", 1.0, 2374)),
        "lmms-lab-encoder/MME",
        "scenes-mme",
        added=True,
    ),
    Benchmark(
        "ScienceQA",
        (
            Part("scienceqa", "exact_match", 100.0, 4241, None),
            Part("scienceqa_img", "exact_match", 100.0, 2017, None),
        ),
        "lmms-lab-encoder/ScienceQA",
        "scenes-count",
        "the paper counts 6,258 questions, which is all of them and those with a picture again",
    ),
    _one("GQA", "gqa", "exact_match", 100.0, 12578, "lmms-lab-encoder/GQA", "scenes-relation"),
    Benchmark(
        "POPE",
        (Part("pope_adv", _F1, 100.0, 3000), Part("pope_pop", _F1, 100.0, 3000), Part("pope_random", _F1, 100.0, 2910)),
        "lmms-lab-encoder/POPE",
        "scenes-pope",
    ),
    _one(
        "MMBench", "mmbench_en_dev_static", "gpt_eval_score", 1.0, 4377, "lmms-lab-encoder/MMBench", "scenes-shape",
        _JUDGE,
    ),
    _one("MMBench-CN", "mmbench_cn_dev", "gpt_eval_score", 1.0, 4329, "lmms-lab-encoder/MMBench", "scenes-size",
         "lmms-eval asks a language model, which it needs a key for, where the answer is no plain letter"),
    _one("VizWiz", "vizwiz_vqa_val", "exact_match", 100.0, 4319, "lmms-lab-encoder/VizWiz-VQA", "scenes-quadrant",
         _VAL),
    _one("VQAv2", "vqav2_val", "exact_match", 100.0, 214354, "lmms-lab-encoder/VQAv2", "scenes-colour", _VAL),
    _one("TextVQA", "textvqa_val", "exact_match", 100.0, 5000, "lmms-lab-encoder/textvqa", "scenes-word"),
    _one("OCRBench", "ocrbench", "ocrbench_accuracy", 100.0, 1000, "echo840/OCRBench", "scenes-digit"),
    _one("VideoMME", "videomme", "videomme_perception_score", 1.0, 2700, "lmms-eval/Video-MME", "scenes-video-moves"),
    _one("EgoSchema", "egoschema_subset", "score", 100.0, 500, "lmms-eval/egoschema", "scenes-video-mover",
         "the paper's 5,031 questions have no public answers; these are the 500 that do"),
    _one("MLVU", "mlvu_dev", "mlvu_percetion_score", 1.0, 2174, "sy1998/MLVU_dev", "scenes-video-appears"),
    _one("LongVideoBench", "longvideobench_val_v", "lvb_acc", 100.0, 1337, "longvideobench/LongVideoBench",
         "scenes-video-changes"),
)  # fmt: skip

BENCHMARKS: dict[str, Benchmark] = {each.name: each for each in _ALL}


def chosen(names: Sequence[str], mapped: Mapping[str, str]) -> tuple[Benchmark, ...]:
    """The benchmarks of a table, some of them pointed at other tasks.

    Args:
        names: names of the benchmarks.
        mapped: `TASK` or `TASK:METRIC` of lmms-eval, by benchmark.

    Raises:
        InvalidValueError: a mapped benchmark is not in the table.
    """
    unknown = [name for name in mapped if name not in names]
    if unknown:
        raise InvalidValueError(f"The table has no benchmark {unknown[0]!r}; it has {', '.join(names)}.")
    return tuple(_pointed(BENCHMARKS[name], mapped.get(name)) for name in names)


def _pointed(benchmark: Benchmark, to: str | None) -> Benchmark:
    if to is None:
        return benchmark
    task, _, metric = to.partition(":")
    known = {part.metric: part.scale for part in benchmark.parts}
    part = Part(task, metric or None, known.get(metric, next(iter(known.values()))), None)
    return replace(benchmark, parts=(part,), data="your own task", note=f"measured on the task {task}", added=False)
