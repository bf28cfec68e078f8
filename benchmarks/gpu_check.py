"""Check pruning on a GPU with a random-weight model of real size, then time it: `make gpu-check`.

First correctness (keeping everything changes no bit; each backend and bfloat16 against float32 on the same device),
then time to first token and decoding, with the untouched model and the *oracle* – the untouched model given a prompt
that never had the dropped tokens – interleaved in the same run. Writes one JSON document with device and versions.
`--preset tiny --device cpu` runs the same code anywhere.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig, LlavaNextForConditionalGeneration

import todre
from todre.files import write_atomic

PRESETS: dict[str, dict[str, Any]] = {
    "llava-next-7b": {
        "vision": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
        "tile": (336, 14),
        "text": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    },
    "tiny": {
        "vision": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4},
        "tile": (56, 14),
        "text": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 8, "num_attention_heads": 4},
    },
}
IMAGE = 3


def build(preset: str, device: str, dtype: torch.dtype, backend: str) -> LlavaNextForConditionalGeneration:
    """A random-weight LLaVA-NeXT, the same for equal presets."""
    shape = PRESETS[preset]
    side, patch = shape["tile"]
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**shape["vision"], image_size=side, patch_size=patch),
        text_config=LlamaConfig(**shape["text"], vocab_size=32064, max_position_embeddings=8192),
        image_token_id=IMAGE,
        image_grid_pinpoints=[[side, 2 * side], [2 * side, side], [2 * side, 2 * side]],
        attn_implementation=backend,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = LlavaNextForConditionalGeneration(config).to(dtype).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def prompt(model: LlavaNextForConditionalGeneration, rows: int, text: int = 40) -> dict[str, torch.Tensor]:
    """`rows` prompts with one square picture of five tiles each."""
    side = model.config.vision_config.image_size
    device, dtype = model.device, model.dtype
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(rows, 5, 3, side, side, generator=generator).to(device, dtype)
    sizes = torch.tensor([[2 * side, 2 * side]] * rows, device=device)
    with torch.no_grad():
        visual = len(model.get_image_features(pixels[:1], sizes[:1], return_dict=True).pooler_output[0])
    words = torch.randint(10, 32000, (rows, text), generator=generator)
    ids = torch.cat([words[:, :20], torch.full((rows, visual), IMAGE), words[:, 20:]], dim=1).to(device)
    return {"input_ids": ids, "pixel_values": pixels, "image_sizes": sizes, "attention_mask": torch.ones_like(ids)}


@torch.inference_mode()
def differences(preset: str, device: str, backends: list[str]) -> dict[str, Any]:
    """Largest differences of logits, and whether keeping everything is bit-equal, per backend and dtype."""
    method = todre.ToDRE(retain=0.1, threshold=1.0)
    reference = None
    results: dict[str, Any] = {}
    for backend in backends:
        for dtype in (torch.float32, torch.bfloat16):
            if backend.startswith("flash") and dtype == torch.float32:
                continue
            model = build(preset, device, dtype, backend)
            inputs = prompt(model, rows=1)
            plain = model(**inputs, logits_to_keep=1).logits
            with todre.prune(model, todre.RandomTokens(retain=1.0)):
                kept = model(**inputs, logits_to_keep=1).logits
            with todre.prune(model, method) as report:
                pruned = model(**inputs, logits_to_keep=1).logits.float()
            reference = pruned if reference is None else reference
            results[f"{backend}/{str(dtype).removeprefix('torch.')}"] = {
                "keep_all_bit_equal": torch.equal(plain, kept),
                "max_difference_to_first": float((pruned - reference).abs().max()),
                "largest_logit": float(reference.abs().max()),
                "dropped_after_layer": report.dropped_after_layer,
            }
            del model
    return results


def timed(device: str, function: Any) -> float:
    """Seconds of one call, the device's work included."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@torch.inference_mode()
def timings(preset: str, device: str, dtype: torch.dtype, rows: int, new: int, repeats: int) -> list[dict[str, Any]]:
    """p20/p50/p80 of the first token and of decoding, for no pruning, stage 1, both stages and the oracle."""
    model = build(preset, device, dtype, "sdpa")
    inputs = prompt(model, rows)
    visual = (inputs["input_ids"] == IMAGE)[0]
    keep = round(0.1 * int(visual.sum()))
    short = torch.cat([torch.arange(20), torch.arange(int(visual.sum()) - keep + 20, len(visual))]).to(model.device)
    embeds = model.get_input_embeddings()(inputs["input_ids"][:, short])
    pictures = {name: inputs[name] for name in ("pixel_values", "image_sizes")}

    def oracle(count: int) -> None:
        model.get_image_features(**pictures, return_dict=True)
        model.generate(inputs_embeds=embeds, max_new_tokens=count, do_sample=False)

    def pruned(method: todre.Method, count: int) -> None:
        with todre.prune(model, method):
            model.generate(**inputs, max_new_tokens=count, do_sample=False)

    subjects = {
        "none": lambda count: model.generate(**inputs, max_new_tokens=count, do_sample=False),
        "stage 1": lambda count: pruned(todre.ToDRE(retain=0.1, stages=(1,)), count),
        "both stages": lambda count: pruned(todre.ToDRE(retain=0.1, threshold=1.0), count),
        "oracle (encode + shortened prompt)": oracle,
    }
    samples: dict[tuple[str, int], list[float]] = {}
    for repeat in range(repeats + 1):
        for name, run in subjects.items():
            for count in (1, new):
                seconds = timed(device, lambda run=run, count=count: run(count))
                if repeat:
                    samples.setdefault((name, count), []).append(seconds)
    return [
        {"subject": name, "rows": rows, "new_tokens": count, **_percentiles(values)}
        for (name, count), values in samples.items()
    ]


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    pick = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.2, 0.8)]
    return {"p20_s": pick[0], "p50_s": statistics.median(values), "p80_s": pick[1]}


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=list(PRESETS), default="llava-next-7b")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--output", type=Path, default=Path("results/gpu-check.json"))
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    flash = transformers.utils.is_flash_attn_2_available() and given.device == "cuda"
    backends = ["sdpa", "eager", *(["flash_attention_2"] if flash else [])]
    dtype = torch.bfloat16 if given.device == "cuda" else torch.float32
    document = {
        "preset": given.preset,
        "device": torch.cuda.get_device_name() if given.device == "cuda" else platform.processor(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "todre": todre.__version__},
        "retain": 0.1,
        "repeats": given.repeats,
        "timing_dtype": str(dtype),
        "correctness": differences(given.preset, given.device, backends),
        "timings": [
            row
            for rows in given.rows
            for row in timings(given.preset, given.device, dtype, rows, given.new_tokens, given.repeats)
        ],
    }
    given.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(given.output, json.dumps(document, indent=1) + "\n")
    print(json.dumps(document["correctness"], indent=1))


if __name__ == "__main__":
    main()
