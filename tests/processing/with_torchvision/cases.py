"""The same conversations through every family's processor, in one process with torchvision and in one without.

    python -m processing.with_torchvision.cases FOLDERS OUTPUT

writes to the file OUTPUT what the processors of the folders in FOLDERS make of them, on whatever this process has.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from processing.kits import KITS, LAYOUTS
from processing.media import clip, picture

from todre.processing import apply_batch, has_torchvision, load_processor

TEXT = {"type": "text", "text": "what is this ?"}
EXACT = {
    "llava_next_video": (24, 24),
    "llava_onevision": (20, 20),
    "video_llava": (24, 24),
    "internvl": (36, 36),
    "qwen2_vl": (32, 24),
    "qwen2_5_vl": (32, 24),
    "qwen3_vl": (32, 24),
    "qwen3_5": (32, 24),
    "smolvlm": (48, 48),
}
"""Pictures (width, height) that need no resizing; frames of this size need none either."""
SMOLVLM = next(kit for kit in KITS if kit.model_type == "smolvlm")
SMALL_FRAMES = replace(SMOLVLM, video={**SMOLVLM.image, "size": {"longest_edge": 24}})
"""SmolVLM with settings for clips of their own, so that there is a size of frames that needs no resizing."""


def folders(root):
    """Write every family's folder in every layout; returns name to folder."""
    written = {f"{kit}-{layout}": kit.write(root / f"{kit}-{layout}", layout) for kit in KITS for layout in LAYOUTS}
    return written | {"smolvlm-separate": SMALL_FRAMES.write(root / "smolvlm-separate")}


def user(*content):
    return [{"role": "user", "content": [*content, TEXT]}]


def image(width, height, seed=0):
    return {"type": "image", "image": picture(width, height, seed)}


def video(frames, width, height, seed=0, **more):
    return {"type": "video", "video": clip(frames, width, height, seed, **more)}


def conversations(name):
    """Name to a batch of conversations."""
    family, separate = name.split("-")[0], name.endswith("separate")
    width, height = EXACT[family]
    answered = [{"role": "assistant", "content": [{"type": "text", "text": "this is a frame"}]}]
    cases = {
        "picture": [user(image(48, 48))],
        "wide": [user(image(61, 23, 1))],
        "tall": [user(image(17, 50, 2))],
        "grown": [user(image(9, 11, 3))],
        "two": [user(image(48, 30, 4), image(20, 33, 5))],
        "turns": [[*user(image(30, 44, 6)), *answered, *user(image(52, 26, 7))]],
        "batch": [user(image(48, 30, 8)), user(image(33, 33, 9))],
        "exact picture": [user(image(width, height, 10))],
        "clip": [user(video(4, 40, 30, 11))],
        "odd clip": [user(video(5, 31, 47, 12, fps=24.0, every=7))],
        "one frame": [user(video(1, 40, 30, 13))],
        "small frames": [user(video(4, 11, 9, 14))],
        "clips": [user(video(4, 44, 28, 15), video(4, 30, 30, 16))],
        "batch of clips": [user(video(4, 44, 28, 17, fps=25.0)), user(video(4, 30, 40, 18, every=4))],
        "exact clip": [user(video(4, *((24, 24) if separate else (width, height)), 19))],
    }
    if family != "smolvlm":
        cases["both"] = [user(image(40, 40, 20), video(4, 36, 30, 21)), user(image(26, 40, 22))]
    return cases


def plain(inputs):
    """Tensors alone, by name."""
    return {name: torch.as_tensor(value) for name, value in inputs.items()}


def run(root):
    """(folder, case) to inputs and prompts."""
    results = {}
    for folder in sorted(root.iterdir()):
        processor = load_processor(folder)
        for case, batch in conversations(folder.name).items():
            inputs, prompts = apply_batch(processor, batch)
            results[folder.name, case] = {"inputs": plain(inputs), "prompts": prompts}
    return results


if __name__ == "__main__":
    torch.save({"torchvision": has_torchvision(), "results": run(Path(sys.argv[1]))}, sys.argv[2])
