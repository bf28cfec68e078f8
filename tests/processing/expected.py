"""What each family's prompt must be, worked out by hand from the sizes in `kits`, and a tokenizer of a few lines."""

from __future__ import annotations

import re

from processing.kits import Kit

SMOLVLM_INTRO = "You are provided the following series of {count} frames from a {duration} [H:MM:SS] video.\n"


def ids_of(kit: Kit, text: str) -> list[int]:
    """Ids of a rendered prompt, by regular expressions alone."""
    special = [*sorted(kit.special, key=len, reverse=True), "<s>"]
    pattern = "|".join([*map(re.escape, special), r"\d", r"[^\W\d]+", r"[^\w\s]"])
    return [kit.vocabulary.get(token, kit.vocabulary["<unk>"]) for token in re.findall(pattern, text)]


def prompt(kit: Kit, *media: str, text: str = "what is this ?") -> str:
    """The chat template around the media of one message, start of the answer included."""
    return ("<s>" if kit.bos else "") + f"user : {''.join(media)} {text} \nassistant :"


def smolvlm_grid(rows: int, columns: int) -> str:
    """Tiles row by row, each after its place, then the whole picture."""
    tile = "<image>" * 9
    lines = [
        "".join(f"<fake_token_around_image><row_{row}_col_{column}>{tile}" for column in range(1, columns + 1)) + "\n"
        for row in range(1, rows + 1)
    ]
    return "".join(lines) + f"\n<fake_token_around_image><global-img>{tile}<fake_token_around_image>"


def smolvlm_clip(times: list[str], count: str, duration: str) -> str:
    """An introduction, then each frame after its time."""
    frame = "<fake_token_around_image><global-img>" + "<image>" * 9 + "<fake_token_around_image>"
    frames = "".join(f"\nFrame from {time}:{frame}" for time in times)
    return SMOLVLM_INTRO.format(count=count, duration=duration) + frames + "\n\n"


def qwen(count: int, pad: str = "<|image_pad|>") -> str:
    """Placeholders of merged patches between one start and one end."""
    return "<|vision_start|>" + pad * count + "<|vision_end|>"


def qwen3_clip(times: list[str], count: int) -> str:
    """Each step in time after its seconds; the template's own start and end around all of them."""
    steps = "".join(f"<{time} seconds>{qwen(count, '<|video_pad|>')}" for time in times)
    return f"<|vision_start|>{steps}<|vision_end|>"


def internvl(tiles: int) -> str:
    """All tiles of a picture between one start and one end."""
    return "<img>" + "<IMG_CONTEXT>" * (9 * tiles) + "</img>"


_QWEN_PICTURES = {
    (32, 24): qwen(4 * 3),
    (48, 48): qwen(4 * 4),  # 48 · 48 is more than 20 · 64 pixels: both sides shrink to 32
    (9, 11): qwen(2 * 3),  # less than 4 · 64 pixels: grows to 16 wide, 24 high
}

PICTURES: dict[str, dict[tuple[int, int], str]] = {
    "llava_next_video": {
        (48, 48): "<image>" * (16 + 8 * 8 + 8),  # thumbnail, crops, one newline for each row
        (48, 24): "<image>" * (16 + 4 * 8 + 4),
        (24, 48): "<image>" * (16 + 8 * 4 + 8),
    },
    "llava_onevision": {
        (20, 20): "<image>" * (25 + 5 * 5 + 5),
        (40, 20): "<image>" * (25 + 5 * 10 + 5),
        (60, 60): "<image>" * (25 + 8 * 8 + 8),  # 15 x 15 is more than three tiles: shrunk by the root of 225 / 75
    },
    "video_llava": {(24, 24): "<image>" * 16, (50, 20): "<image>" * 16, (7, 9): "<image>" * 16},
    "internvl": {(36, 36): internvl(1), (72, 36): internvl(3), (72, 72): internvl(5)},
    "qwen2_vl": _QWEN_PICTURES,
    "qwen2_5_vl": _QWEN_PICTURES,
    "qwen3_vl": _QWEN_PICTURES,
    "qwen3_5": _QWEN_PICTURES,
    "smolvlm": {(48, 48): smolvlm_grid(2, 2), (48, 24): smolvlm_grid(1, 2), (20, 60): smolvlm_grid(2, 1)},
}
"""By model type and (width, height): what stands in the prompt for one picture alone."""

TOGETHER = {"llava_onevision": dict.fromkeys(PICTURES["llava_onevision"], "<image>" * (25 + 1))}
"""Where a picture that is not alone is written differently: without crops."""

_QWEN3_CLIPS = {
    4: qwen3_clip(["0.2", "1.2"], 4 * 3),  # 4 · 40 · 32 is more than 64 · 64 pixels: 32 wide, 24 high
    5: qwen3_clip(["0.2", "1.2", "2.0"], 4 * 3),  # Python rounds 5 / 2 to 2, so that 4 · 40 · 32 are counted again
    1: qwen3_clip(["0.0"], 5 * 4),
}

CLIPS: dict[str, dict[int, str]] = {
    # Frames of 40 x 30 at 0, 0.5, 1 … seconds.
    "llava_next_video": {4: "<video>" * (4 * 4), 5: "<video>" * (4 * 5), 1: "<video>" * 4},
    "llava_onevision": {4: "<video>" * (9 * 4 + 1), 5: "<video>" * (9 * 5 + 1), 1: "<video>" * (9 + 1)},
    "video_llava": {4: "<video>" * (17 * 4), 5: "<video>" * (17 * 5), 1: "<video>" * 17},
    "internvl": {n: "\n".join(f"Frame{i}: {internvl(1)}" for i in range(1, n + 1)) for n in (4, 5, 1)},
    "qwen2_vl": {n: qwen(5 * 4 * -(-n // 2), "<|video_pad|>") for n in (4, 5, 1)},
    "qwen2_5_vl": {n: qwen(5 * 4 * -(-n // 2), "<|video_pad|>") for n in (4, 5, 1)},
    "qwen3_vl": _QWEN3_CLIPS,
    "qwen3_5": _QWEN3_CLIPS,
    "smolvlm": {
        4: smolvlm_clip(["00:00", "00:00", "00:01", "00:01"], "four", "0:00:02"),
        5: smolvlm_clip(["00:00", "00:00", "00:01", "00:01", "00:02"], "five", "0:00:02"),
        1: smolvlm_clip(["00:00"], "one", "0:00:00"),
    },
}
"""By model type and number of frames: what stands in the prompt for a clip."""


def clip_prompt(kit: Kit, *media: str, text: str = "what is this ?") -> str:
    """SmolVLM has a template of its own for clips."""
    if kit.model_type == "smolvlm":
        return f"<|im_start|>User: {''.join(media)}{text}<end_of_utterance>\nAssistant:"
    return prompt(kit, *media, text=text)
