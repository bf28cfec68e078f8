"""Write a model as a directory that plain `from_pretrained` reads: float16 safetensors, tokenizer, processor."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import LlavaNextForConditionalGeneration, PreTrainedTokenizerFast

from todre.tiny.model import build_processor


def export(model: LlavaNextForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, target: Path) -> None:
    """Replace each file in `target` by the model's, one rename per file; the directory is made when absent."""
    target.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".export-", dir=target.parent))
    try:
        half = copy.deepcopy(model).to(torch.float16)
        half.save_pretrained(stage)
        build_processor(tokenizer).save_pretrained(stage)
        for file in stage.iterdir():
            file.chmod(0o644)
            os.replace(file, target / file.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
