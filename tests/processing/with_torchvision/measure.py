"""How far resizing by PIL is from resizing by torchvision: photographs and clips of them, at sizes of public models.

    python -m processing.with_torchvision.measure

prints a table in steps of 8 bits; run it from `tests/` with the torchvision of `make test-torchvision` on the path.
"""

# ruff: noqa: E402
from processing.with_torchvision.shim import import_torchvision

import_torchvision()

import tempfile
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from processing.kits import KITS, VIDEO_CLASSES

from todre.processing.families import FAMILIES
from todre.processing.settings import complete
from todre.processing.video_stand_ins import PilVideoProcessor

_CROP = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
_PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
_TILES = [[rows * 384, columns * 384] for rows in range(1, 7) for columns in range(1, 7)]
_PATCHES = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
PUBLIC = {
    "llava_next_video": ({**_CROP, "image_grid_pinpoints": _PINPOINTS}, _CROP),
    "llava_onevision": (
        {"size": {"height": 384, "width": 384}, "image_grid_pinpoints": _TILES},
        {"size": {"height": 384, "width": 384}},
    ),
    "video_llava": (None, {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}),
    "internvl": (
        {"size": {"height": 448, "width": 448}, "max_patches": 12, "crop_to_patches": True},
        {"size": {"height": 448, "width": 448}},
    ),
    "qwen2_vl": ({**_PATCHES, "min_pixels": 3136, "max_pixels": 640 * 784}, {**_PATCHES, "max_pixels": 128 * 784}),
    "qwen3_vl": (
        {**_PATCHES, "patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": 512 * 1024}},
        {**_PATCHES, "patch_size": 16, "size": {"shortest_edge": 4096, "longest_edge": 4 * 128 * 1024}},
    ),
    "smolvlm": (
        {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}},
        {"size": {"longest_edge": 512}, "max_image_size": {"longest_edge": 512}},
    ),
}
"""Settings of pictures and of clips; Video-LLaVA's picture processor is PIL's with torchvision too."""


def photographs():
    folder = files("todre.scenes") / "photographs"
    return [Image.open(str(one)).convert("RGB") for one in sorted(Path(str(folder)).glob("*.jpg"))]


def moving(photograph, count=4):
    """A clip: a window of three quarters of the photograph that moves to the right and down."""
    width, height = photograph.width * 3 // 4, photograph.height * 3 // 4
    shifts = np.linspace(0, 1, count)
    corners = [(int(s * (photograph.width - width)), int(s * (photograph.height - height))) for s in shifts]
    return np.stack([np.asarray(photograph.crop((x, y, x + width, y + height))) for x, y in corners])


def picture_levels(kit, own):
    """|difference| of every sample, in steps of 8 bits."""
    from transformers import AutoImageProcessor

    changed = replace(kit, image={**kit.image, **own, "do_normalize": False})
    with tempfile.TemporaryDirectory() as folder:
        changed.write(Path(folder))
        pil, stock = (AutoImageProcessor.from_pretrained(folder, backend=name) for name in ("pil", "torchvision"))
    assert (pil.backend, stock.backend) == ("pil", "torchvision")
    apart = []
    for photograph in photographs():
        ours, theirs = (torch.as_tensor(one(photograph, return_tensors="pt")["pixel_values"]) for one in (pil, stock))
        apart.append((ours.double() - theirs.double()).abs().flatten() * 255)
    return torch.cat(apart)


def clip_levels(kit, own):
    """The same for clips."""
    import transformers

    name = VIDEO_CLASSES[kit.processor["processor_class"]]
    own = {**{key: value for key, value in (kit.video or kit.image).items() if key != "image_processor_type"}, **own}
    own |= {"do_normalize": False}
    for older in ("min_pixels", "video_sampling"):
        own.pop(older, None)
    stand_in = PilVideoProcessor(complete(own, FAMILIES[name]), FAMILIES[name])
    stock = getattr(transformers, name)(**own)
    key = stand_in.model_input_names[0]
    apart = []
    for photograph in photographs():
        clip = moving(photograph)
        theirs = stock([clip], do_sample_frames=False, return_tensors="pt")[key]
        apart.append((stand_in([clip])[key].double() - theirs.double()).abs().flatten() * 255)
    return torch.cat(apart)


def measured():
    """(family, levels of pictures or None, levels of clips), one family at a time."""
    for kit in KITS:
        if kit.model_type in PUBLIC:
            image, video = PUBLIC[kit.model_type]
            yield kit.model_type, picture_levels(kit, image) if image else None, clip_levels(kit, video)


def cells(levels):
    if levels is None:
        return ["–", "–", "–"]
    return [f"{levels.max():.0f}", f"{levels.mean():.3f}", f"{(levels > 1.5).double().mean():.3%}"]


def main():
    print("| family | pictures: largest | mean | off by more than 1 | clips: largest | mean | off by more than 1 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for family, pictures, clips in measured():
        print(f"| {family} | {' | '.join([*cells(pictures), *cells(clips)])} |", flush=True)


if __name__ == "__main__":
    main()
