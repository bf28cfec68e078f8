"""Crop skip against loops over pixels and transformers' own processor."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from processing.kits import KITS

from todre.errors import InvalidValueError
from todre.methods.crop_skip import CropSkip
from todre.methods.views.vision_tower import Cut, Tiles
from todre.processing import load_processor
from todre.tower.tiles import cuts_of, in_thumbnail

SIDE = 24


@pytest.fixture(scope="module")
def processed(tmp_path_factory):
    """Factory of the tiles that a processor makes of an array (height, width, 3).

    It returns their cut too.
    """
    kit = next(kit for kit in KITS if kit.model_type == "llava_next_video")
    processor = load_processor(kit.write(tmp_path_factory.mktemp("processor"))).image_processor
    config = SimpleNamespace(
        image_grid_pinpoints=processor.image_grid_pinpoints, vision_config=SimpleNamespace(image_size=SIDE)
    )

    def make(picture):
        tiles = processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"][0]
        return Tiles(tiles, cuts_of(config, {"image_sizes": torch.tensor([picture.shape[:2]])}))

    return make


def smooth(height, width):
    """A picture that its thumbnail shows as well as its crops do."""
    rows, columns = np.linspace(0, 255, height)[:, None], np.linspace(255, 0, width)[None]
    return np.stack(np.broadcast_arrays(rows, columns, (rows + columns) / 2), axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size", [(96, 96), (48, 90), (90, 48), (60, 96), (96, 71), (40, 120), (150, 50)])
def test_the_thumbnail_lies_where_the_processor_put_the_picture(processed, size):
    """A smooth picture adds little beyond its thumbnail, its mirror image much more."""
    tiles = processed(smooth(*size))
    (beyond,) = tiles.beyond_thumbnail()
    mirrored = torch.cat([tiles.pixels[:1].flip(-1), tiles.pixels[1:]])
    (wrong,) = Tiles(mirrored, tiles.cuts).beyond_thumbnail()
    assert float(beyond.max()) < 0.02
    assert bool((wrong > 20 * beyond).all())


def test_the_crop_with_detail_stays(processed):
    picture = smooth(96, 96)
    picture[60:90, 10:40] = np.random.default_rng(0).integers(0, 256, (30, 30, 3))
    tiles = processed(picture)
    assert CropSkip(retain=1).choose_tiles(tiles).tolist() == [True, False, False, True, False]
    assert CropSkip(retain=1.0, tau=0.1).choose_tiles(tiles).tolist() == [True, False, False, True, False]
    assert CropSkip(retain=1.0, tau=100.0).choose_tiles(tiles).tolist() == [True] + [False] * 4
    assert bool(CropSkip(retain=1.0).choose_tiles(tiles).all())


def test_difference_of_numbers_one_by_one():
    """A thumbnail of one colour stays that colour when enlarged; padding adds nothing."""
    cut = Cut(2, 1, 30, 40)  # 24 high and 32 wide in crops of 32: 20 rows of padding above, as many below
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    pixels[0] = torch.tensor([0.5, -1.0, 2.0])[:, None, None]
    (beyond,) = Tiles(pixels, [cut]).beyond_thumbnail()
    for crop in range(2):
        total = 0.0
        for channel in range(3):
            for row in range(32):
                if 20 <= crop * 32 + row < 44:
                    line = pixels[crop + 1, channel, row].double() - float(pixels[0, channel, 0, 0])
                    total += float(line.square().sum())
        assert float(beyond[crop]) == pytest.approx((total / (3 * 32 * 32)) ** 0.5, rel=1e-5)


cuts = st.builds(Cut, st.integers(1, 3), st.integers(1, 3), st.integers(5, 400), st.integers(5, 400))


@given(cuts, st.integers(1, 64))
def test_the_picture_touches_two_edges_and_lies_in_the_middle(cut, side):
    top, left, height, width = cut.content(side)
    over_height, over_width = cut.rows * side - height, cut.columns * side - width
    assert min(over_height, over_width) == 0
    assert min(height, width) > 0
    assert (top, left) == (over_height // 2, over_width // 2)


@given(cuts, st.integers(1, 6))
def test_tokens_of_crops_are_found_in_the_thumbnail(cut, side):
    """Compare by the centre of each token, in pixels, one by one.

    Places next to an edge may go to either side.
    """
    found = in_thumbnail(cut, side)
    assert found.shape == (cut.rows * cut.columns, side**2)
    top, left, height, width = cut.content(side * 16)
    for crop in range(len(found)):
        for token in range(side**2):
            row = (crop // cut.columns * side + token // side) * 16 + 8
            column = (crop % cut.columns * side + token % side) * 16 + 8
            for at, start, length, place in (
                (row, top, height, int(found[crop, token]) // side),
                (column, left, width, int(found[crop, token]) % side),
            ):
                exact = min(max((at - start) / length * side, 0.0), side - 1e-9)
                assert place <= exact + 1e-5
                assert exact - 1e-5 <= place + 1


@given(st.integers(0, 10**6), st.sampled_from([0.25, 0.5, 1.0, 1, 2]))
def test_each_picture_keeps_its_own_share(seed, retain):
    generator = torch.Generator().manual_seed(seed)
    pictures = [Cut(2, 2, 40, 40), Cut(0, 0, 9, 9), Cut(1, 3, 20, 60)]
    pixels = torch.randn(10, 3, 6, 6, generator=generator)
    method = CropSkip(retain=retain)
    together = method.choose_tiles(Tiles(pixels, pictures))
    apart = [
        method.choose_tiles(Tiles(part, [cut])) for part, cut in zip(pixels.split([5, 1, 4]), pictures, strict=True)
    ]
    assert torch.equal(together, torch.cat(apart))
    left = [int(part.sum()) - 1 for part in apart]
    assert left == [
        max(1, round(4 * retain)) if isinstance(retain, float) else retain,
        0,
        max(1, round(3 * retain)) if isinstance(retain, float) else retain,
    ]


@pytest.mark.parametrize("values", [{"retain": 0}, {"retain": 1.5}, {"tau": -0.1}, {"tau": float("inf")}, {"tau": "x"}])
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(InvalidValueError, match=next(iter(values))):
        CropSkip(**values)
