"""What is special to thumbnails, crops and newlines: counts for any size, and where interpolated tokens lie."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from geometry.cases import PICTURES
from geometry.oracle import check
from geometry.probes import pictured, tiny, with_processor
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import LlavaOnevisionConfig
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

from todre.geometry import ClipShape, Picture, count_visual_tokens, visual_token_boxes
from todre.hf.anyres import anyres, packing_of
from todre.hf.encoding import Encoding

sides = st.integers(1, 3000)
FAMILIES = ["llava_next", "llava_next_video", "llava_onevision"]


def packed(model, sizes, features):
    """What the model makes of tower tokens (tiles, n, channels) of pictures of these (width, height)."""
    sizes = torch.tensor([(height, width) for width, height in sizes])
    base = model.base_model
    newline = torch.full((features[0].shape[-1],), float("nan"), dtype=torch.float64)
    options = (
        {"vision_aspect_ratio": model.config.vision_aspect_ratio} if "onevision" in model.config.model_type else {}
    )
    if not options:
        options["vision_feature_select_strategy"] = "default"
    result, _ = base.pack_image_features(features, sizes, image_newline=newline, **options)
    return result


def tiles(model, width, height):
    """How many tiles the processor cuts such a picture into, the thumbnail included."""
    config = model.config
    return image_size_to_num_patches((height, width), config.image_grid_pinpoints, config.vision_config.image_size)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(sides, sides)
@example(1, 1)
@example(20_000, 100)
@example(100, 20_000)
def test_as_many_boxes_as_the_model_packs_tokens(name, width, height):
    probe = pictured(PICTURES[name])
    config = probe.model.config
    side = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    features = torch.zeros(tiles(probe.model, width, height), side, 1, dtype=torch.float64)
    tokens = packed(probe.model, [(width, height)], [features])[0]
    boxes = visual_token_boxes(probe.processor, config, [(width, height)])
    assert len(boxes) == len(tokens)
    assert [box.kind == "newline" for box in boxes] == torch.isnan(tokens[:, 0]).tolist()
    assert count_visual_tokens(config, (width, height)) == (len(boxes), len(features))
    for box in boxes:
        assert 0 <= box.left <= box.right <= width
        assert 0 <= box.top <= box.bottom <= height
    assert sum(box.area for box in boxes if box.kind == "thumbnail") == pytest.approx(width * height)


@pytest.mark.parametrize("size", [(600, 600), (610, 300), (333, 500)])
def test_interpolated_tokens_lie_where_their_weights_say(size):
    """Patches that carry the place of their centre: what torch interpolates of them is a token's centre."""
    probe, (width, height) = pictured(PICTURES["llava_onevision"]), size
    config = copy.deepcopy(probe.model.config)
    config.vision_aspect_ratio = "anyres_max_99"
    whole, kept = (
        [box for box in visual_token_boxes(probe.processor, each, [size]) if box.kind in ("crop", "newline")]
        for each in (config, probe.model.config)
    )
    rows, small = (sum(box.kind == "newline" for box in boxes) for boxes in (whole, kept))
    columns, narrow = len(whole) // rows - 1, len(kept) // small - 1
    assert (small, narrow) < (rows, columns)
    middle = whole[rows // 2 * (columns + 1) + columns // 2]
    across, down = middle.right - middle.left, middle.bottom - middle.top
    x = (middle.left + middle.right) / 2 + across * (torch.arange(columns) - columns // 2)
    y = (middle.top + middle.bottom) / 2 + down * (torch.arange(rows) - rows // 2)
    places = torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)]).double()[None]
    expected = torch.nn.functional.interpolate(places, (small, narrow), mode="bilinear")[0].flatten(1).T
    compared = 0
    for box, (x, y) in zip([box for box in kept if box.kind == "crop"], expected.tolist(), strict=True):
        if box.left > 0 and box.top > 0 and box.right < width and box.bottom < height:
            compared += 1
            assert (box.left + box.right) / 2 == pytest.approx(x, abs=1e-4)
            assert (box.top + box.bottom) / 2 == pytest.approx(y, abs=1e-4)
    assert compared >= 10
    assert sum(box.area for box in kept) == pytest.approx(width * height)


def test_one_picture_and_a_clip_is_one_picture():
    """OneVision looks once at pictures only where a prompt has several; clips do not count."""
    probe = pictured(PICTURES["llava_onevision"])
    video = SimpleNamespace(size={"height": 20, "width": 20}, do_resize=True, do_center_crop=None)
    processor = with_processor(probe.processor.image_processor, video, vision_feature_select_strategy="full")
    config = tiny("llava_onevision", "llava_onevision").config
    both = visual_token_boxes(processor, config, [ClipShape(30, 20, 2), Picture(60, 60)])
    alone = visual_token_boxes(processor, config, [Picture(60, 60)])
    assert [box.kind for box in both[: 2 * 9 + 1]] == ["grid"] * 18 + ["newline"]
    assert [(box.kind, box.left, box.top) for box in both[19:]] == [(box.kind, box.left, box.top) for box in alone]
    assert {box.image for box in both[19:]} == {1}


def test_several_pictures_are_looked_at_once_each():
    assert check(pictured(PICTURES["llava_onevision"]), [(60, 60), (30, 90)]) == 2 * (25 + 1)


def packed_tiles(config, width, height):
    """The tile of each crop token as the runtime tells methods, (rows, columns)."""
    arguments = {"image_sizes": torch.tensor([(height, width)])}
    call = Encoding(packing_of(config), config, arguments, [0], [], {}, 0, 0, torch.device("cpu"))
    tile = anyres(call)[0].tile
    side = config.vision_config.image_size // config.vision_config.patch_size
    crops = tile[side * side :]
    assert set(tile[: side * side].tolist()) == {0}
    rows = int((crops < 0).sum())
    grid = crops.view(rows, -1)
    assert set(grid[:, -1].tolist()) == {-1}
    return grid[:, :-1]


@pytest.mark.parametrize(("width", "height"), [(2304, 2304), (1536, 1536), (768, 2304), (2304, 768), (4000, 3000)])
def test_a_token_of_a_shrunk_grid_is_of_a_tile_that_it_covers(width, height):
    """A shrunk token covers patches of neighbouring tiles at most, so it may be of either and of no third one."""
    pinpoints = [[384 * row, 384 * column] for row in range(1, 7) for column in range(1, 7)]
    vision = {"model_type": "siglip_vision_model", "image_size": 384, "patch_size": 14}
    config = LlavaOnevisionConfig(vision_config=vision, image_grid_pinpoints=pinpoints)
    assert config.vision_aspect_ratio == "anyres_max_9"
    whole = LlavaOnevisionConfig(
        vision_config=vision, image_grid_pinpoints=pinpoints, vision_aspect_ratio="anyres_max_99"
    )
    shrunk, full = packed_tiles(config, width, height), packed_tiles(whole, width, height)
    assert shrunk.numel() < full.numel()
    (rows, columns), (all_rows, all_columns) = shrunk.shape, full.shape
    for row in range(rows):
        top, bottom = int(row * all_rows / rows), min(all_rows, math.ceil((row + 1) * all_rows / rows) + 1)
        for column in range(columns):
            left = int(column * all_columns / columns)
            right = min(all_columns, math.ceil((column + 1) * all_columns / columns) + 1)
            covered = full[max(0, top - 1) : bottom, max(0, left - 1) : right]
            assert bool((covered == shrunk[row, column]).any()), (row, column)
