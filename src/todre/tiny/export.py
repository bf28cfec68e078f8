"""Export a model as a directory that `from_pretrained` reads."""

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
    """Write a model, its tokenizer and its processor into a directory.

    The weights are written as float16 safetensors. Files are replaced one by one, each by a rename.

    Args:
        model: the model to write; it stays as it is.
        tokenizer: its tokenizer.
        target: directory, made if it is absent.
    """

    def fill(stage: Path) -> None:
        copy.deepcopy(model).to(torch.float16).save_pretrained(stage)
        build_processor(tokenizer).save_pretrained(stage)

    replace_files(target, fill)


def replace_files(target: Path, fill: Callable[[Path], None]) -> None:
    """Fill an empty directory, then move each of its files into `target`.

    Args:
        target: directory whose files of the same names are replaced, one rename per file; made if it is absent.
        fill: writes the files into the directory that it is called with.
    """
    target.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".export-", dir=target.parent))
    try:
        fill(stage)
        for file in stage.iterdir():
            file.chmod(0o644)
            os.replace(file, target / file.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
