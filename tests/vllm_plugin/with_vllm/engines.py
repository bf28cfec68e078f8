"""Engines of vLLM in this process, and what transformers says to the same questions."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import todre
from todre.clips import Clip
from todre.loading.model import load
from todre.processing.prompts import clip_input
from todre.running import build_inputs
from todre.vllm.families import family_of

TOKENS = 6
"""Length of an answer; no answer stops early, so that all of its tokens are compared."""
NEAREST = 4
"""Most probable tokens whose log-probabilities are compared at each step."""


@dataclass(frozen=True)
class Said:
    """An answer: its tokens, and at each step the log-probabilities of some tokens."""

    tokens: list[int]
    logprobs: list[dict[int, float]]


@dataclass(frozen=True)
class Question:
    """Pictures or clips, a question about them, and the budget; None for the server's own."""

    pictures: tuple[Image.Image | Clip, ...]
    text: str
    retain: float | str | None = None


def overrides(model_type: str, **settings: Any) -> dict[str, Any]:
    """What `todre vllm-args` puts into --hf-overrides."""
    return {"architectures": [family_of(model_type).pruned], "todre": settings}


@contextmanager
def engine(folder: Path, pruned: dict[str, Any] | None = None, **options: Any):
    """vLLM in this process, in float32; `pruned` are the config's overrides, None for vLLM as it is."""
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    settings: dict[str, Any] = {
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 1024,
        "distributed_executor_backend": "uni",
        "limit_mm_per_prompt": {"image": 2},
        "block_size": 32,
        "mm_processor_cache_gb": 0.1,
    }
    made = LLM(str(folder), hf_overrides=pruned or {}, **(settings | options))
    try:
        yield made
    finally:
        del made
        cleanup_dist_env_and_memory()
        gc.collect()


class Reference:
    """The same checkpoint in transformers."""

    def __init__(self, folder: Path) -> None:
        self.loaded = load(str(folder), device="cpu", dtype="float32")

    def prompt(self, question: Question) -> list[int]:
        """Ids of the rendered chat template, one placeholder for each picture."""
        tokenizer = self.loaded.processor.tokenizer
        text = self.inputs(question)[1]
        return tokenizer(text, add_special_tokens=not text.startswith(tokenizer.bos_token)).input_ids

    def inputs(self, question: Question) -> tuple[Any, str]:
        """Inputs of the model, and the prompt."""
        inputs, prompt = build_inputs(self.loaded, list(question.pictures), question.text)
        if "batch_num_images" in inputs and len(question.pictures) > 1:
            inputs = self._each_cut(question, inputs)
        return inputs, prompt

    def _each_cut(self, question: Question, inputs: Any) -> Any:
        """Inputs whose pictures are cut into crops as if each were alone, as vLLM does.

        transformers' processor leaves pictures of OneVision uncut that share a prompt.
        """
        alone = [build_inputs(self.loaded, [each], question.text)[0] for each in question.pictures]
        marker = self.loaded.model.config.image_token_id
        waiting = iter([int((each["input_ids"] == marker).sum()) for each in alone])
        ids: list[int] = []
        for token in collapsed(inputs["input_ids"][0].tolist(), marker, _lengths_uncut(inputs, marker, len(alone))):
            ids += [marker] * next(waiting) if token == marker else [token]
        most = max(each["pixel_values"].shape[1] for each in alone)
        pixels = [each["pixel_values"] for each in alone]
        padded = [torch.cat([x, x.new_zeros(1, most - x.shape[1], *x.shape[2:])], dim=1) for x in pixels]
        together = torch.tensor([ids])
        return {
            "input_ids": together,
            "attention_mask": torch.ones_like(together),
            "pixel_values": torch.cat(padded),
            "image_sizes": torch.cat([each["image_sizes"] for each in alone]),
            "batch_num_images": torch.ones(len(alone), dtype=torch.long),
        }

    @torch.inference_mode()
    def says(self, question: Question, method: Any) -> Said:
        """The answer under `method`."""
        inputs, _ = self.inputs(question)
        model = self.loaded.model
        model.generation_config.eos_token_id = None
        with todre.prune(model, method) as report:
            out = model.generate(
                **inputs, do_sample=False, max_new_tokens=TOKENS, output_logits=True, return_dict_in_generate=True
            )
        self.report = report
        steps = [torch.log_softmax(step[0].float(), dim=-1) for step in out.logits]
        tokens = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        return Said(tokens, [dict(enumerate(step.tolist())) for step in steps])


def collapsed(ids: list[int], marker: int, lengths: list[int]) -> list[int]:
    """Ids with a single marker for each run of `lengths` markers."""
    found, place, waiting = [], 0, iter(lengths)
    while place < len(ids):
        found.append(ids[place])
        place += next(waiting) if ids[place] == marker else 1
    return found


def _lengths_uncut(inputs: Any, marker: int, pictures: int) -> list[int]:
    """Tokens of each of the pictures that a processor left uncut: all have as many."""
    return [int((inputs["input_ids"] == marker).sum()) // pictures] * pictures


def _media(question: Question) -> dict[str, list[Any]]:
    """Pictures, or clips as frames with what is known of their times."""
    found: dict[str, list[Any]] = {}
    for each in question.pictures:
        if isinstance(each, Clip):
            frames, times = clip_input(each)
            found.setdefault("video", []).append((frames, {**vars(times), "do_sample_frames": False}))
        else:
            found.setdefault("image", []).append(each)
    return found


def ask(llm: Any, reference: Reference, questions: list[Question]) -> list[Said]:
    """What vLLM says to the questions, asked at once."""
    from vllm import SamplingParams

    prompts = [
        {
            "prompt_token_ids": reference.prompt(each),
            "multi_modal_data": _media(each),
            "mm_processor_kwargs": {} if each.retain is None else {"todre_retain": each.retain},
        }
        for each in questions
    ]
    sampling = SamplingParams(temperature=0, max_tokens=TOKENS, logprobs=NEAREST, ignore_eos=True)
    found = llm.generate(prompts, sampling, use_tqdm=False)
    return [
        Said(
            list(each.outputs[0].token_ids),
            [{token: value.logprob for token, value in step.items()} for step in each.outputs[0].logprobs],
        )
        for each in found
    ]


def assert_same(got: Said, expected: Said, atol: float = 1e-4) -> None:
    """Equal tokens, and log-probabilities within `atol`."""
    assert got.tokens == expected.tokens
    for mine, theirs in zip(got.logprobs, expected.logprobs, strict=True):
        for token, value in mine.items():
            assert abs(value - theirs[token]) <= atol, (token, value, theirs[token])
