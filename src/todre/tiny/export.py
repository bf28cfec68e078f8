"""Write a model as a directory that plain `from_pretrained` reads: float16 safetensors, tokenizer, processor."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlavaNextForConditionalGeneration, PreTrainedTokenizerFast

from todre.tiny.model import build_processor


def export(model: LlavaNextForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, target: Path) -> None:
    """Replace each file in `target` by the model's, one rename per file; the directory is made when absent."""

    def fill(stage: Path) -> None:
        copy.deepcopy(model).to(torch.float16).save_pretrained(stage)
        build_processor(tokenizer).save_pretrained(stage)

    replace_files(target, fill)


def replace_files(target: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into an empty directory, then move each file into `target`, one rename per file."""
    target.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".export-", dir=target.parent))
    try:
        fill(stage)
        for file in stage.iterdir():
            file.chmod(0o644)
            os.replace(file, target / file.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
