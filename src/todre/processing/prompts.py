"""From a conversation with pictures and clips to a model's inputs.

The inputs are the same with and without torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from todre.errors import InvalidValueError, LoadError, TodreError, UnsupportedInputError
from todre.hf.keywords import IDS, PIXELS
from todre.hub import first_line

Conversation = Sequence[dict[str, Any]]
"""Messages with the keys "role" and "content".

Content items are {"type": "text", "text"}, {"type": "image", "image"} with a PIL picture, and
{"type": "video", "video"} with a clip: `frames` (PIL pictures of one size), `fps` of the file in frames per second,
`timestamps` of the frames and `duration` of the file in seconds.
"""

_CLOSE, _FINE = 0.005, 1000.0
"""Seconds by which a frame's time may be missed, and the rate that misses none."""


def apply(processor: Any, conversation: Conversation, *, add_generation_prompt: bool = True) -> tuple[Any, str]:
    """Model inputs (a batch of one) and the rendered prompt of a conversation.

    The prompt has one placeholder for each picture or clip. `apply` raises the errors of `apply_batch`.
    """
    inputs, prompts = apply_batch(processor, [conversation], add_generation_prompt=add_generation_prompt)
    return inputs, prompts[0]


def apply_batch(
    processor: Any,
    conversations: Sequence[Conversation],
    *,
    add_generation_prompt: bool = True,
    padding_side: str = "left",
) -> tuple[Any, list[str]]:
    """Model inputs of a batch, and its rendered prompts.

    Args:
        processor: from `load_processor`, or any stock processor.
        conversations: at least one. Frames are taken as they are: nothing is sampled here.
        add_generation_prompt: end each prompt with the start of the assistant's answer.
        padding_side: where prompts of a batch are filled up, "left" or "right".

    Returns:
        (a `BatchFeature` of torch tensors, prompts).

    Raises:
        LoadError: the processor has no chat template, or one that cannot be filled in.
        InvalidValueError: a text holds a placeholder, or a clip has no frames or frames of several sizes.
        UnsupportedInputError: clips or pictures that this family cannot take, or not together.
    """
    if not getattr(processor, "chat_template", None):
        raise LoadError(
            f"{type(processor).__name__} has no chat template, so nothing can be put into the model's prompt format; "
            "add its chat_template.jinja beside the processor's files."
        )
    resolved, metadata = _resolve(processor, conversations)
    prompts = _rendered(processor, resolved, add_generation_prompt)
    options: dict[str, Any] = {"do_sample_frames": False} if any(metadata) else {}
    if any(metadata):
        options["video_metadata"] = [row for row in metadata if row]
    if len(resolved) > 1:
        options |= {"padding": True, "padding_side": padding_side}
    try:
        inputs = processor.apply_chat_template(
            resolved,
            add_generation_prompt=add_generation_prompt,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs=options,
        )
    except (TodreError, ImportError):
        raise
    except Exception as error:
        raise UnsupportedInputError(
            f"{type(processor).__name__} cannot prepare this prompt ({first_line(error)}); "
            "check its chat template and settings, or give other pictures."
        ) from error
    return inputs, prompts


def check_columns(config: Any, inputs: Any) -> None:
    """Raise unless prepared inputs have columns for the pictures' visual tokens.

    Args:
        config: the model's config; nothing is checked where its family is not known.
        inputs: the prepared inputs, as `apply_batch` makes them.

    Raises:
        LoadError: the config marks pictures by something that is no token, or by one that the processor never writes.
    """
    from todre.hf.families import FAMILIES  # takes seconds to import, and is not needed where a load is refused

    family = FAMILIES.get(config.model_type)
    if family is None or not any(name.startswith(PIXELS) and "video" not in name for name in inputs):
        return
    mark = getattr(config, family.image_token, None)
    valid = isinstance(mark, int) and not isinstance(mark, bool) and mark >= 0
    if not valid or not bool((inputs[IDS] == mark).any()):
        raise LoadError(
            f"The config says {family.image_token} = {repr(mark)[:40]}, and the processor wrote no such token for the "
            "picture; get config.json, tokenizer.json and chat template of one and the same model."
        )


def _rendered(processor: Any, conversations: Sequence[Any], add_generation_prompt: bool) -> list[str]:
    """The prompts as text."""
    try:
        prompts: list[str] = processor.apply_chat_template(
            conversations, add_generation_prompt=add_generation_prompt, tokenize=False
        )
    except (TodreError, ImportError):
        raise
    except Exception as error:
        raise LoadError(
            f"The chat template of {type(processor).__name__} cannot be filled in ({first_line(error)}); "
            "get the model's own chat_template.jinja."
        ) from error
    return prompts


def _resolve(processor: Any, conversations: Sequence[Conversation]) -> tuple[list[Any], list[list[Any]]]:
    """Copies of the conversations with clips as arrays, and the clips' metadata.

    The metadata are one list for each conversation.
    """
    step = getattr(getattr(processor, "video_processor", None), "temporal_patch_size", None) or 1
    placeholders = [getattr(processor, f"{kind}_token", None) for kind in ("image", "video")]
    resolved, metadata = [], []
    for conversation in conversations:
        messages, found = [], []
        for message in conversation:
            content = message["content"]
            items = [{"type": "text", "text": content}] if isinstance(content, str) else content
            _check_text(items, placeholders)
            filled: list[Any] = []
            for item in items:
                if item["type"] == "video":
                    array, facts = clip_input(item["video"], step)
                    found.append(facts)
                    item = {"type": "video", "video": array}
                filled.append(item)
            messages.append({**message, "content": content if isinstance(content, str) else filled})
        resolved.append(messages)
        metadata.append(found)
    _check_family(processor, resolved)
    return resolved, metadata


def clip_input(clip: Any, step: int = 1) -> tuple[np.ndarray, Any]:
    """A clip as transformers takes it: an array of frames, and its metadata.

    Args:
        clip: see `Conversation`.
        step: frames in one temporal patch; a shorter clip is filled up by repeating its last frame.

    Returns:
        (frames, h, w, 3) uint8, and `VideoMetadata`. The metadata's frame indices are the timestamps counted at
        the file's `fps`, or in milliseconds where that rate would miss one, as in files of variable frame rate.

    Raises:
        InvalidValueError: `clip` is no clip, has no frames, or has frames of several sizes.
    """
    from transformers.video_utils import VideoMetadata

    if not hasattr(clip, "frames") or not hasattr(clip, "fps"):
        raise InvalidValueError(
            f"A video is given as {type(clip).__name__}, and a clip (frames, fps, timestamps, duration) is needed; "
            "open the file as a clip first."
        )
    frames, times = list(clip.frames), list(clip.timestamps)
    if not frames or len(frames) != len(times) or not clip.fps > 0:
        raise InvalidValueError(
            f"A clip has {len(frames)} frames, {len(times)} timestamps and {clip.fps} frames per second; "
            "at least one frame, a timestamp for each, and a positive rate are needed."
        )
    if len({frame.size for frame in frames}) > 1:
        raise InvalidValueError("The frames of a clip have several sizes; bring them to one.")
    missing = max(0, step - len(frames))
    frames, times = [*frames, *frames[-1:] * missing], [*times, *times[-1:] * missing]
    array = np.stack([np.asarray(frame.convert("RGB")) for frame in frames])
    missed = max(abs(round(time * clip.fps) / clip.fps - time) for time in times)
    fps = float(clip.fps) if missed <= _CLOSE else _FINE
    indices = [round(time * fps) for time in times]
    counted = max(round(clip.duration * fps), indices[-1] + 1)
    metadata = VideoMetadata(
        total_num_frames=getattr(clip, "total_frames", counted) if fps == clip.fps else counted,
        fps=fps,
        height=array.shape[1],
        width=array.shape[2],
        duration=float(clip.duration),
        frames_indices=indices,
    )
    return array, metadata


def _check_text(items: Sequence[dict[str, Any]], placeholders: Sequence[Any]) -> None:
    for item in items:
        for token in placeholders:
            if item["type"] == "text" and isinstance(token, str) and token and token in item["text"]:
                raise InvalidValueError(
                    f"A text holds {token!r}, which marks the place of a picture or clip in the prompt; leave it out."
                )


def _check_family(processor: Any, conversations: Sequence[Sequence[dict[str, Any]]]) -> None:
    """Raise where the family's processor would lose an input or cannot stack clips."""
    from todre.processing.families import BY_PROCESSOR, FAMILIES
    from todre.processing.frames import check_equal_lengths

    family = FAMILIES.get(BY_PROCESSOR.get(type(processor).__name__, ""))
    if family is None:
        return
    items = [
        item
        for conversation in conversations
        for message in conversation
        if not isinstance(message["content"], str)
        for item in message["content"]
    ]
    lengths = [len(item["video"]) for item in items if item["type"] == "video"]
    if family.equal_lengths:
        check_equal_lengths(lengths)
    if lengths and not family.pictures_too and any(item["type"] == "image" for item in items):
        raise UnsupportedInputError(
            f"{type(processor).__name__} cannot take pictures and clips together (both would go by one name); "
            "ask about one kind at a time."
        )
