"""The model that lmms-eval runs: todre loads it, and a method prunes it.

This is the only module that imports lmms-eval.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from lmms_eval.utils import simple_parse_args_string
from tqdm import tqdm

from todre.errors import InvalidValueError, TodreError, UnsupportedInputError
from todre.lmms.arguments import Arguments, parse
from todre.lmms.batches import Draws, Part, Request, batches
from todre.lmms.generation import Decoding
from todre.lmms.likelihood import Judgement, judge
from todre.lmms.prompts import conversation, kind_of, media_of
from todre.lmms.requests import RowCost, answer, as_shown
from todre.loading.model import Loaded, load
from todre.methods.base import Method, NoPruning
from todre.processing.downsampling import Shower, Shown
from todre.pruning import prune
from todre.running import Media

Work = Callable[[Method, Part], list[list[GenerationResult]]]
"""Function (method for the runtime, part of a batch) → results of each request."""


@dataclass
class Counts(TokenCounts):
    """Token counts that lmms-eval logs with each sample, and what was pruned."""

    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, cost: RowCost, **more: Any) -> Counts:
        """Make the counts of an answer from its cost."""
        return cls(cost.prompt_tokens, cost.new_tokens, more={**more, **cost.to_dict()})

    def to_dict(self) -> dict[str, Any]:
        """`input_tokens` and `output_tokens`, and `RowCost.to_dict` beside them."""
        return {**super().to_dict(), **self.more}


class LossAndGreedy(tuple[float, bool]):
    """Pair (mean loss in nats per token, whether greedy decoding generates it).

    The pair is about one continuation; lmms-eval's metrics read it.
    """

    def strip(self) -> None:
        """Refuse lmms-eval's response cache, which calls this and stores only texts.

        Raises:
            UnsupportedInputError: always.
        """
        raise UnsupportedInputError("lmms-eval's response cache holds no likelihoods; run these tasks without it.")


class Todre(lmms):
    """The model of `lmms-eval --model todre`.

    `--model_args` names the checkpoint (`pretrained=…`) and the method (`method=…,retain=…`).

    Args:
        settings: see `todre.lmms.arguments.Arguments`; all other names are settings of the method.

    Raises:
        TodreError: an argument cannot be used, or the model cannot be loaded or pruned by the method.
    """

    is_simple = True

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.arguments: Arguments = parse(settings)
        self.accelerator = Accelerator()
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        device = device_of(self.arguments.device, self._world_size, self.accelerator.device)
        self.loaded: Loaded | None = load(
            self.arguments.pretrained,
            revision=self.arguments.revision,
            device=device,
            dtype=self.arguments.dtype,
            attn_implementation=self.arguments.attn_implementation,
            trust_remote_code=self.arguments.trust_remote_code,
        )
        self.shower = Shower(self.loaded.processor, self.loaded.model.config)
        with prune(self.loaded.model, _in_model(self.arguments.method)):
            pass  # a method that refuses the model does so now, not after the first questions
        self.draws = Draws(self.arguments.method, self.arguments.group_size)
        self.batch_sizes = {"todre": self.arguments.batch_size}

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> Todre:
        """Make the model that a command line of lmms-eval describes.

        A user's error is printed as one line and ends the process. `batch_size` and `device` in `--model_args` override
        `--batch_size` and `--device`.
        """
        try:
            settings = {name: value for name, value in (additional_config or {}).items() if name != "max_batch_size"}
            return cls(**(settings | _parsed(arg_string)))
        except TodreError as error:
            raise SystemExit(f"error: {' '.join(str(error).split())}") from None

    @property
    def device(self) -> torch.device:
        """The device on which ranks exchange their counts."""
        return self.accelerator.device if self._world_size > 1 else self._ready().device

    @property
    def chat_template(self) -> str:
        """Refuse `--apply_chat_template`; lmms-eval reads this property only for that.

        Raises:
            UnsupportedInputError: always.
        """
        raise UnsupportedInputError("Prompts always go through the model's chat template; leave out the option.")

    def clean(self) -> None:
        """Release the model."""
        self.loaded = None
        super().clean()

    def generate_until(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Answers with token counts, in the order of the requests."""
        todo: list[Request] = []
        for place, request in _counted(requests):
            text, settings, *where = request.args
            todo.append(Request((place,), where[1], Decoding.of(settings), text, self._media(*where)))

        def work(method: Method, part: Part) -> list[list[GenerationResult]]:
            decoding = part.requests[0].key
            assert isinstance(decoding, Decoding)
            answers = answer(self._ready(), method, part.talks, decoding)
            costs = [as_shown(each.cost, shown) for each, shown in zip(answers, part.shown, strict=True)]
            return [[GenerationResult(e.text, Counts.of(cost))] for e, cost in zip(answers, costs, strict=True)]

        return self._all(todo, work, len(requests))

    def loglikelihood(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """`LossAndGreedy` of each continuation, in the order of the requests.

        The log-likelihood is among the token counts. lmms-eval 0.7.3 takes the choice with the smallest value, and
        turns bare tuples into text.
        """
        together: dict[Any, list[tuple[int, Instance]]] = {}
        for place, request in _counted(requests):
            together.setdefault((request.args[0], *request.args[3:]), []).append((place, request))
        todo = [self._continuations(members) for members in together.values()]

        def work(method: Method, part: Part) -> list[list[GenerationResult]]:
            continuations = [request.continuations for request in part.requests]
            judged = judge(self._ready(), method, part.talks, continuations, self.arguments.batch_size)
            return [[_scored(each, shown) for each in row] for row, shown in zip(judged, part.shown, strict=True)]

        return self._all(todo, work, len(requests))

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Refuse tasks of several rounds that build on each other.

        Raises:
            UnsupportedInputError: always.
        """
        raise UnsupportedInputError("Tasks of several rounds cannot be run with todre; leave them out.")

    def _all(self, todo: Sequence[Request], work: Work, results: int) -> list[GenerationResult]:
        """Do the work of all requests in batches; returns results by place.

        A place that no request fills keeps an empty result.
        """
        results_by_place = [GenerationResult("")] * results
        started, tokens = time.perf_counter(), 0
        with tqdm(total=len(todo), disable=self._rank != 0, desc="todre") as bar:
            for group, batch in batches(todo, self.draws, self.arguments.batch_size):
                method = self.draws.method_for(group)
                for part in self._parts(method, batch):
                    for request, outcomes in zip(part.requests, work(_in_model(method), part), strict=True):
                        for place, each in zip(request.places, outcomes, strict=True):
                            results_by_place[place] = each
                            tokens += each.token_counts.output_tokens
                    bar.update(len(part.requests))
        seconds = time.perf_counter() - started
        log_metrics(seconds, tokens, tokens / seconds, {"total_requests": len(todo)})
        return results_by_place

    def _parts(self, method: Method, batch: Sequence[Request]) -> Iterator[Part]:
        """Parts of a batch that the processor takes together, shown as `method` wants it."""
        parts: dict[Any, Part] = {}
        placeholder = getattr(self._ready().processor, "image_token", None)
        for request in batch:
            media = request.media()
            shown = self.shower.show(method, media) if media else Shown((), method)
            part = parts.setdefault(kind_of(media), Part())
            part.requests.append(request)
            part.talks.append(conversation(request.text, shown.pictures, placeholder))
            part.shown.append(shown)
        yield from parts.values()

    def _continuations(self, members: Sequence[tuple[int, Instance]]) -> Request:
        text, _, *where = members[0][1].args
        texts = [request.args[1] for _, request in members]
        continuations = tuple(each(self._document(*where[1:])) if callable(each) else each for each in texts)
        document = where[1] if where else None
        return Request(tuple(place for place, _ in members), document, None, text, self._media(*where), continuations)

    def _document(self, document: int, task: str, split: str) -> Any:
        return self.task_dict[task][split][document]

    def _media(self, shown: Callable[[Any], Any] | None = None, *where: Any) -> Callable[[], list[Media]]:
        """A function that opens a document's media; no media without a document."""
        return lambda: media_of(None if shown is None else shown(self._document(*where)), self.arguments.frames)

    def _ready(self) -> Loaded:
        if self.loaded is None:
            raise UnsupportedInputError("The model was released after the evaluation; make a new one.")
        return self.loaded


def device_of(device: str, ranks: int, own: torch.device) -> str:
    """The device of this rank: the user's, or with several GPUs the rank's own.

    Args:
        device: the user's device.
        ranks: number of ranks.
        own: the device that accelerate gives this rank.

    Raises:
        InvalidValueError: one GPU is named for several ranks.
    """
    if ranks == 1 or device == "cpu":
        return device
    if ":" in device:
        raise InvalidValueError(
            f"device {device!r} is one GPU, and there are {ranks} ranks; use cuda, or leave it out."
        )
    return str(own)


def _parsed(arguments: str) -> dict[str, Any]:
    """The mapping that a text such as `a=1,b=x` describes."""
    try:
        values: dict[str, Any] = simple_parse_args_string(arguments)
    except ValueError:
        raise InvalidValueError(f"--model_args is {arguments!r}, and takes name=value, separated by commas.") from None
    return values


def _counted(requests: Sequence[Instance]) -> Iterator[tuple[int, Instance]]:
    """Yield (place, request) for each request whose answer counts.

    Requests that only make ranks even are left out, as nobody reads their answers.
    """
    for place, request in enumerate(requests):
        if not request.metadata.get("__padding_only__"):
            yield place, request


def _in_model(method: Method) -> Method:
    """What the model is pruned by: nothing where the method resizes pictures before."""
    return NoPruning() if method.in_pixels else method


def _scored(judged: Judgement, shown: Shown) -> GenerationResult:
    cost = as_shown(judged.cost, shown)
    counts = Counts.of(cost, log_likelihood=judged.log_likelihood, continuation_tokens=judged.tokens)
    return GenerationResult(LossAndGreedy((judged.loss, judged.greedy)), counts)
