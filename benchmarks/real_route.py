"""Run of `todre reproduce` on a folder made like LLaVA-NeXT-7B, through lmms-eval.

The checkpoint has random weights, two decoder layers and two layers of vision tower, a tokenizer of its own and the
processor's published settings; the benchmark is a task of a few scenes. What it shows is that every step works at the
published width, from `from_pretrained` to the written table, and what memory it takes; no number says anything about a
method. The folder is removed again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from todre.bench.conditions import machine
from todre.bench.presets import PRESETS
from todre.bench.random_models import build
from todre.environment import versions
from todre.evaluate.tasks import tasks_of
from todre.files import write_atomic

TESTS = Path(__file__).resolve().parent.parent / "tests" / "lmms" / "with_lmms_eval"
LAYERS = 2
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def save_checkpoint(folder: Path) -> int:
    """Save a LLaVA-NeXT-7B of two layers in bfloat16; returns the number of weights."""
    import torch

    whole = PRESETS["llava-next-7b"]
    config = {
        **whole.config,
        "text_config": {**whole.config["text_config"], "num_hidden_layers": LAYERS},
        "vision_config": {**whole.config["vision_config"], "num_hidden_layers": LAYERS},
    }
    model = build(replace(whole, config=config), torch.device("cpu"), torch.bfloat16)
    model.save_pretrained(folder)
    save_processor(folder, model.config)
    return sum(weight.numel() for weight in model.parameters())


def save_processor(folder: Path, config: Any) -> None:
    """Save the published settings, and a tokenizer of bytes with as many tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlavaNextImageProcessorPil, LlavaNextProcessor, PreTrainedTokenizerFast

    image = config.image_token_id
    names = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    names += [f"<unused{number}>" for number in range(len(names), image)] + ["<image>", "<pad>"]
    tokenizer = Tokenizer(models.BPE({name: place for place, name in enumerate(names)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        additional_special_tokens=["<image>"], padding_side="left",
    )  # fmt: skip
    pictures = LlavaNextImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336},
        image_grid_pinpoints=config.image_grid_pinpoints,
    )  # fmt: skip
    LlavaNextProcessor(
        pictures, fast, chat_template=TEMPLATE, patch_size=14, vision_feature_select_strategy="default",
        image_token="<image>", num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="the Python that has lmms-eval and todre")
    parser.add_argument("--limit", type=int, default=2, help="questions")
    parser.add_argument("--dtype", default="auto", help="that the saved bfloat16 weights are run in")
    parser.add_argument("--output", type=Path, default=Path("results/real-route.json"))
    options = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    import local_tasks

    with tempfile.TemporaryDirectory() as place:
        folder, tasks, run = Path(place, "llava-next-7b-2-layers"), Path(place, "tasks"), Path(place, "run")
        started = time.monotonic()
        weights = save_checkpoint(folder)
        saved = time.monotonic() - started
        local_tasks.write(tasks, "stand_in", tasks_of(("scenes-pope",))[0].items(options.limit, 0))
        command = [
            str(Path(sys.executable).with_name("todre")), "reproduce", "v1-table1", "-m", str(folder), "--yes",
            "--benchmarks", "POPE", "--task-map", "POPE=stand_in:exact", "--include-path", str(tasks),
            "--limit", str(options.limit), "--device", "cpu", "--dtype", options.dtype, "--python", options.python,
            "--output", str(run),
        ]  # fmt: skip
        environment = {**os.environ, "HF_HOME": str(Path(place, "hub")), "HF_HUB_OFFLINE": "1"}
        started = time.monotonic()
        code = subprocess.run(command, env=environment, check=False).returncode
        seconds = time.monotonic() - started
        if code:
            return code
        again = time.monotonic()
        subprocess.run([*command, "--force", "-q"], env=environment, check=True, stdout=subprocess.DEVNULL)
        resumed = time.monotonic() - again
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        cells = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((run / "cells").iterdir())]
        size = sum(file.stat().st_size for file in folder.iterdir())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    document = {
        "what": "todre reproduce on a saved checkpoint of LLaVA-NeXT-7B's make and width, through lmms-eval",
        "command": " ".join(["python", "benchmarks/real_route.py", *sys.argv[1:]]),
        "conditions": {
            "machine": machine(_cpu()), "versions": versions(), "weights": weights, "bytes_on_disk": size,
            "decoder_layers": LAYERS, "saved_in": "bfloat16", "run_in": options.dtype, "limit": options.limit,
        },
        "seconds": {"saving": round(saved, 1), "all_cells": round(seconds, 1), "all_finished": round(resumed, 1)},
        "peak_bytes_of_a_process": peak,
        "cells": [{"method": cell["conditions"]["method"]["method"], "questions": cell["questions"],
                   "seconds": cell["seconds"]} for cell in cells],
        "rows": [{"label": row["label"], "reason": row["reason"]} for row in result["rows"]],
    }  # fmt: skip
    write_atomic(options.output, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return 0


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


if __name__ == "__main__":
    raise SystemExit(main())
