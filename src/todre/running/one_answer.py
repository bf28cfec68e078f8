"""Answer a question about pictures and clips with a method, and record the run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from todre.clips import Clip
from todre.environment import versions
from todre.errors import GuardWarning
from todre.fields import Checked
from todre.fields.kinds import Count, Natural, Seed
from todre.flops import FlopCount, count_prompt
from todre.hf.greedy_decoding import greedy_settings
from todre.hf.keywords import IDS
from todre.hf.positions_left import answer_length
from todre.hf.token_streaming import closing_tokens, watching
from todre.images import image_sha256
from todre.loading.device_memory import peak_bytes, reset_peak
from todre.loading.model import Loaded
from todre.methods.base import Method
from todre.methods.guard import Guard, GuardName
from todre.methods.todre import ToDRE
from todre.processing.downsampling import Shower, Shown, check_shown
from todre.pruning import prune
from todre.report import PruningReport
from todre.running.model_inputs import Media, build_inputs, check_question
from todre.timing import Timings, median_of, stopwatch


@dataclass(frozen=True)
class Answer:
    """One answer and the conditions of its run.

    Attributes:
        text: the model's answer, without special tokens.
        question: the question as it was asked.
        prompt: the rendered chat template, one placeholder for each picture or clip.
        report: the prefill's report; its lists have one row.
        timings: the median of `repeats` runs, after `warm_up` runs that are not counted, in milliseconds.
        flops: FLOPs of this answer as it ran, by part; None where the model's FLOPs cannot be counted.
        new_tokens: number of generated tokens, the closing token included.
        ended: "stop", or "length" where the answer was cut: it was as long as it may be, or as the model has positions.
        peak_bytes: device memory at its peak during the answer, or on the CPU the process's high-water mark.
        sizes: (width, height) of each picture or clip in pixels.
        facts: model, method, pictures, clips and settings, ready for JSON.
        shown: what the processor was given in place of the pictures, by methods that resize them.
    """

    text: str
    question: str
    prompt: str
    report: PruningReport
    timings: Timings
    flops: FlopCount | None
    new_tokens: int
    ended: str
    peak_bytes: int
    sizes: tuple[tuple[int, int], ...]
    facts: dict[str, Any]
    shown: Shown

    @property
    def visual_tokens_before(self) -> int:
        """Visual tokens of the prompt without any method."""
        return sum(self.shown.before) if self.shown.before else self.report.visual_tokens_before[0]

    @property
    def summary(self) -> str:
        """What was kept, in one line."""
        return "; ".join(self.shown.sentences) or self.report.summary

    def notes(self, longer: str) -> list[str]:
        """What a reader should know beside the answer, a sentence each.

        Args:
            longer: how an answer that was cut could be longer, in the words of whoever shows it.
        """
        cut = f"cut after {self.new_tokens} tokens; {longer}"
        return [cut] * (self.ended == "length") + self.report.notes

    def to_dict(self) -> dict[str, Any]:
        """The answer as one JSON document."""
        row = {name: value[0] for name, value in self.report.to_dict().items() if isinstance(value, list) and value}
        return {
            "answer": self.text,
            "question": self.question,
            "prompt": self.prompt,
            **self.facts,
            "visual_tokens": {
                "before": self.visual_tokens_before,
                "after": row["visual_tokens_after"],
                "per_layer": row["visual_tokens_per_layer"],
            },
            "tower_tokens": self.report.to_dict()["tower_tokens"],
            "kept": row["kept"],
            "text_tokens": row["text_tokens"],
            "new_tokens": self.new_tokens,
            "ended": self.ended,
            "n_layers": self.report.n_layers,
            "dropped_after_layer": row["dropped_after_layer"],
            "faded_after_layer": row["faded_after_layer"],
            "attention_ratios": row["attention_ratios"],
            "ratios_ahead": row["ratios_ahead"],
            "guard": self.report.guard,
            **{name: row.get(name, []) for name in ("auto_budgets", "guarded")},
            "notes": self.report.notes,
            "kv_bytes": row["kv_bytes"],
            "kv_bytes_unpruned": row["kv_bytes_unpruned"],
            "timings_ms": self.timings.to_dict(),
            "flops": None if self.flops is None else self.flops.to_dict(),
            "peak_bytes": self.peak_bytes,
            "versions": versions(),
        }


@dataclass(frozen=True)
class Settings(Checked):
    """How an answer is generated and measured; decoding is greedy.

    Attributes:
        max_new_tokens: longest answer, in tokens.
        seed: seed of torch's random numbers, for methods that choose at random.
        warm_up: runs before the timed ones.
        repeats: timed runs.
    """

    max_new_tokens: Count = 64
    seed: Seed = 0
    warm_up: Natural = 0
    repeats: Count = 1


def answer(
    loaded: Loaded, media: Sequence[Media], question: str, method: Method, settings: Settings | None = None,
    guard: Guard | GuardName = "off", on_token: Callable[[int], None] | None = None,
    ended: Callable[[], bool] = lambda: False,
) -> Answer:  # fmt: skip
    """Ask `question` about `media` while `method` prunes the visual tokens.

    The model is left as it was.

    Args:
        loaded: model and processor.
        media: RGB pictures and clips, at least one, in the order of the prompt.
        question: plain text; the processor's chat template puts it into a prompt.
        method: the method that prunes; `todre.NoPruning()` for the model as it is.
        settings: how to decode and measure; None means the defaults of `Settings`.
        guard: see `todre.prune`; it warns in the first run alone.
        on_token: called with each new token, the closing token included; of every run.
        ended: asked after each token, where there is `on_token`; True ends the answer.

    Raises:
        InvalidValueError: an empty question, nothing to ask about, or a question that holds a placeholder.
        LoadError: the processor has no chat template.
        UnsupportedInputError: a clip, and a model or method that takes none; or a budget that the method cannot meet.
        UnsupportedModelError: the model's family is not supported.
    """
    settings = settings or Settings()
    check_question(loaded.processor, question, media)
    Guard.watching(guard, method)  # the method itself: what resizes pictures leaves the runtime nothing to watch
    shown = Shower(loaded.processor, loaded.model.config).show(method, media)
    inputs, prompt = build_inputs(loaded, shown.pictures, question)
    check_shown(loaded.model.config, shown, list(inputs[IDS]))
    most = answer_length(loaded.model, int(inputs[IDS].shape[1]), None, settings.max_new_tokens)
    runs: list[Timings] = []
    reset_peak(loaded.device)
    for number in range(settings.warm_up + settings.repeats):
        with torch.random.fork_rng(_gpus(loaded.device)), stopwatch(loaded.model) as watch:
            torch.manual_seed(settings.seed)
            with prune(loaded.model, shown.method, guard=guard) as report, warnings.catch_warnings():
                if number:
                    warnings.simplefilter("ignore", GuardWarning)
                hooks = watching(on_token, ended) if on_token else {}
                tokens = _generate(loaded.model, inputs, greedy_settings(most) | hooks)
        if number >= settings.warm_up:
            runs.append(watch.timings(report.select_seconds))
    new = tokens[0, inputs[IDS].shape[1] :]
    return Answer(
        text=loaded.processor.tokenizer.decode(new, skip_special_tokens=True).strip(),
        question=question,
        prompt=prompt,
        report=report,
        timings=median_of(runs),
        flops=_flops(loaded, inputs, method, report, watch.tiles, int(new.numel())),
        new_tokens=int(new.numel()),
        ended="stop" if len(new) < most or int(new[-1]) in closing_tokens(loaded.model) else "length",
        peak_bytes=peak_bytes(loaded.device),
        sizes=tuple(medium.size for medium in media),
        facts={
            **{"model" if name == "id" else name: value for name, value in loaded.facts().items()},
            "method": method.to_dict(),
            "mode": "drop",
            **media_facts(media),
            **shown.facts(),
            "max_new_tokens": settings.max_new_tokens,
            "decoding": "greedy",
            "seed": settings.seed,
            "warm_up": settings.warm_up,
            "repeats": settings.repeats,
        },
        shown=shown,
    )


def media_facts(media: Sequence[Media]) -> dict[str, Any]:
    """What a result records about its pictures and clips, ready for JSON.

    They are recorded in the order of `media`.
    """
    pictures = [medium for medium in media if not isinstance(medium, Clip)]
    return {
        "media": ["clip" if isinstance(medium, Clip) else "image" for medium in media],
        "images": [{"sha256": image_sha256(picture), "size": list(picture.size)} for picture in pictures],
        "clips": [medium.facts() for medium in media if isinstance(medium, Clip)],
    }


def _flops(
    loaded: Loaded, inputs: Any, method: Method, report: PruningReport, tiles: int, new_tokens: int
) -> FlopCount | None:
    chosen_from = report.visual_tokens_before[0] if isinstance(method, ToDRE) and method.selects else None
    return count_prompt(
        loaded.model.config,
        inputs,
        tiles=tiles,
        text_tokens=report.text_tokens[0],
        visual_tokens=report.visual_tokens_per_layer[0],
        new_tokens=new_tokens,
        candidates=chosen_from,
        tower_tokens=report.tower_tokens,
    )


@torch.inference_mode()
def _generate(model: Any, inputs: Any, settings: dict[str, Any]) -> torch.Tensor:
    """(1, prompt + new) token ids by greedy decoding."""
    tokens: torch.Tensor = model.generate(**inputs, **settings)
    return tokens


def _gpus(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
