"""Token rectangles against an oracle: paint pixels, run the real processor and patch embedding, see what moves."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaNextConfig, LlavaNextModel
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava.modeling_llava import LlavaModel
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from todre.errors import UnsupportedModelError
from todre.geometry import visual_token_boxes

PINPOINTS = [[48, 96], [96, 48], [96, 96], [48, 144], [144, 48]]
PLAIN = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}


def tiny_config(kind, side=48, patch=8):
    vision = CLIPVisionConfig(
        image_size=side,
        patch_size=patch,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    text = LlamaConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=20, head_dim=8
    )
    extra = {"image_grid_pinpoints": PINPOINTS} if kind is LlavaNextConfig else {}
    return kind(vision_config=vision, text_config=text, image_token_id=5, **extra)


def outer(image_processor):
    return SimpleNamespace(
        image_processor=image_processor, num_additional_image_tokens=1, vision_feature_select_strategy="default"
    )


def next_setup(resize=48):
    torch.manual_seed(0)
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": resize}, crop_size={"height": 48, "width": 48}, image_grid_pinpoints=PINPOINTS, **PLAIN
    )
    return processor, LlavaNextModel(tiny_config(LlavaNextConfig)).eval()


def llava_setup(**options):
    torch.manual_seed(0)
    options = {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}} | PLAIN | options
    return LlavaImageProcessorPil(**options), LlavaModel(tiny_config(LlavaConfig)).eval()


@torch.no_grad()
def patches(processor, model, picture):
    """Patch embeddings in sequence order: (visual tokens, channels), NaN where there is a newline token."""
    inputs = processor(images=picture, return_tensors="pt")
    pixels = inputs["pixel_values"].flatten(0, -4).double()
    embed = model.vision_tower.embeddings.patch_embedding.double()
    embedded = embed(pixels).flatten(2).transpose(1, 2)
    if "image_sizes" not in inputs:
        return embedded[0]
    newline = torch.full((embedded.shape[-1],), float("nan"), dtype=torch.float64)
    packed, _ = model.pack_image_features([embedded], inputs["image_sizes"], "default", image_newline=newline)
    return packed[0]


def painted(size, region):
    """A black picture with one white rectangle (left, top, right, bottom)."""
    picture = Image.new("RGB", size)
    picture.paste((255, 255, 255), region)
    return picture


def overlap(box, region):
    across = min(box.right, region[2]) - max(box.left, region[0])
    down = min(box.bottom, region[3]) - max(box.top, region[1])
    return max(across, 0.0) * max(down, 0.0)


def apart(box, region):
    """Whether they do not even touch; a box without area, of a token that saw only padding, still has a place."""
    across = box.right < region[0] or region[2] < box.left
    return across or box.bottom < region[1] or region[3] < box.top


def reach(box, size, side):
    """How far a bicubic filter looks beyond a patch, in original pixels: two samples of the coarser grid."""
    return 3.0 + 3.0 * max(size) / side


def check_painting(processor, model, size, region):
    boxes = visual_token_boxes(outer(processor), model.config, [size])
    before = patches(processor, model, Image.new("RGB", size))
    after = patches(processor, model, painted(size, region))
    assert len(boxes) == before.shape[0]
    for box, old, new in zip(boxes, before, after, strict=True):
        if box.kind == "newline":
            assert torch.isnan(old).all()
            assert box.left == box.right == size[0]
            continue
        assert not torch.isnan(old).any()
        moved = float((new - old).abs().max())
        margin = reach(box, size, 48)
        wide = (region[0] - margin, region[1] - margin, region[2] + margin, region[3] + margin)
        if overlap(box, region) > 0.4 * box.area > 0:
            assert moved > 0, f"{box} lies in the painted region and did not change"
        if apart(box, wide):
            assert moved == 0, f"{box} lies far from the painted region and changed"


sides = st.integers(8, 260)
fractions = st.floats(0.0, 1.0)


def region_of(size, corners):
    """A rectangle of at least a sixth of each side, from four numbers in [0, 1]."""
    result = []
    for length, (a, b) in zip(size, (corners[:2], corners[2:]), strict=True):
        extent = max(length // 6, 1)
        start = int(a * (length - extent))
        result.append((start, min(start + extent + int(b * length / 2), length)))
    (left, right), (top, bottom) = result
    return left, top, right, bottom


@settings(max_examples=40, deadline=None)
@given(sides, sides, st.tuples(fractions, fractions, fractions, fractions))
@example(192, 192, (0.1, 0.2, 0.6, 0.1))
@example(200, 37, (0.9, 0.0, 0.5, 0.0))
@example(31, 150, (0.5, 0.1, 0.5, 0.1))
def test_anyres_tokens_are_those_that_see_the_painted_pixels(width, height, corners):
    processor, model = next_setup()
    check_painting(processor, model, (width, height), region_of((width, height), corners))


@settings(max_examples=25, deadline=None)
@given(sides, sides, st.tuples(fractions, fractions, fractions, fractions), st.booleans())
@example(192, 60, (0.0, 0.0, 0.3, 0.0), True)
@example(70, 107, (0.0, 0.0, 0.0, 0.0), True)
@example(60, 192, (0.3, 0.0, 0.0, 0.0), False)
def test_grid_tokens_are_those_that_see_the_painted_pixels(width, height, corners, pad):
    processor, model = llava_setup(do_pad=pad)
    check_painting(processor, model, (width, height), region_of((width, height), corners))


def ramps(size):
    """Two pictures whose brightness is the x, and the y, coordinate of the pixel's centre (0…1)."""
    width, height = size
    x = np.broadcast_to((np.arange(width) + 0.5) / width, (height, width))
    y = np.broadcast_to(((np.arange(height) + 0.5) / height)[:, None], (height, width))
    return [Image.fromarray(np.rint(values * 255).astype(np.uint8)).convert("RGB") for values in (x, y)]


SETUPS = {
    "anyres": lambda: next_setup(),
    "anyres, tiles scaled up and cropped": lambda: next_setup(resize=56),
    "pad": lambda: llava_setup(do_pad=True),
    "centre crop": lambda: llava_setup(),
    "centre crop of a larger square": lambda: llava_setup(size={"shortest_edge": 60}),
    "padding by the crop": lambda: llava_setup(size={"shortest_edge": 32}),
    "squeezed": lambda: llava_setup(size={"height": 48, "width": 48}),
}


@pytest.mark.parametrize("name", SETUPS)
@pytest.mark.parametrize("size", [(192, 192), (250, 100), (97, 211), (640, 480), (48, 48)])
def test_centres_are_read_back_from_brightness(name, size):
    """With brightness equal to position, a patch's mean tells where it looked, to a pixel or so."""
    processor, model = SETUPS[name]()
    embed = model.vision_tower.embeddings.patch_embedding
    with torch.no_grad():
        embed.weight.fill_(1.0 / embed.weight[0].numel())
    boxes = visual_token_boxes(outer(processor), model.config, [size])
    read = [patches(processor, model, picture)[:, 0].tolist() for picture in ramps(size)]
    compared = 0
    whole = {kind: max(b.area for b in boxes if b.kind == kind) for kind in {b.kind for b in boxes}}
    for box, x, y in zip(boxes, *read, strict=True):
        edge = min(box.left, box.top, size[0] - box.right, size[1] - box.bottom) <= 0
        if box.kind == "newline" or (edge and box.area < 0.999 * whole[box.kind]):
            continue
        compared += 1
        assert (box.left + box.right) / 2 / size[0] == pytest.approx(x, abs=0.02)
        assert (box.top + box.bottom) / 2 / size[1] == pytest.approx(y, abs=0.02)
    assert compared >= 10


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000))
@example(1, 1)
@example(20_000, 100)
@example(100, 20_000)
def test_count_and_bounds_for_any_size(width, height):
    """As many boxes as the model packs tokens, all inside the picture; the thumbnail tiles it."""
    _, model = SETUPS["anyres"]()
    processor = next_setup()[0]
    boxes = visual_token_boxes(outer(processor), model.config, [(width, height)])
    tiles = torch.zeros(1 + _tiles(model.config, (height, width)), 36, 16)
    packed, _ = model.pack_image_features([tiles], torch.tensor([[height, width]]), "default", torch.zeros(16))
    assert len(boxes) == packed[0].shape[0]
    for box in boxes:
        assert 0 <= box.left <= box.right <= width
        assert 0 <= box.top <= box.bottom <= height
    thumbnail = sum(box.area for box in boxes if box.kind == "thumbnail")
    assert thumbnail == pytest.approx(width * height)


def _tiles(config, size):
    from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

    return image_size_to_num_patches(list(size), config.image_grid_pinpoints, config.vision_config.image_size) - 1


def test_several_pictures_follow_each_other():
    processor, model = next_setup()
    sizes = [(192, 192), (50, 20)]
    both = visual_token_boxes(outer(processor), model.config, sizes)
    first, second = (visual_token_boxes(outer(processor), model.config, [size]) for size in sizes)
    assert [box.image for box in both] == [0] * len(first) + [1] * len(second)
    assert both[: len(first)] == first


def test_class_token_of_llava_comes_first():
    processor, model = llava_setup()
    full = outer(processor)
    full.vision_feature_select_strategy = "full"
    boxes = visual_token_boxes(full, model.config, [(30, 20)])
    assert [box.kind for box in boxes[:2]] == ["class", "grid"]
    assert len(boxes) == 37
    next_processor, next_model = next_setup()
    full = outer(next_processor)
    full.vision_feature_select_strategy = "full"
    with pytest.raises(UnsupportedModelError, match="class tokens"):
        visual_token_boxes(full, next_model.config, [(30, 20)])


def test_unknown_family_is_refused_by_name():
    with pytest.raises(UnsupportedModelError, match="'florence2'"):
        visual_token_boxes(None, SimpleNamespace(model_type="florence2"), [(1, 1)])
