"""Patch labels lie where the image processor and LLaVA-NeXT's packing put the pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from todre.scenes import Scene, SceneObject, make_scene
from todre.scenes.vocabulary import SHAPES
from todre.tiny.data import SIZES
from todre.tiny.heads import symbolic_features
from todre.tiny.labels import (
    GROUPS,
    KINDS,
    NUM_FEATURES,
    PRESENCE,
    fine_labels,
    one_hot,
    patch_owners,
    thumbnail_labels,
    tile_labels,
    tile_presence,
)
from todre.tiny.model import build_image_processor


def lit_scene(size, row, column):
    """A black picture with one white 16 × 16 square whose top left corner is cell (row, column) of 8 pixels."""
    width, height = size
    owners = np.zeros((height, width), np.uint8)
    owners[8 * row : 8 * row + 16, 8 * column : 8 * column + 16] = 1
    thing = SceneObject(
        kind="shape",
        x=8 * column + 8.0,
        y=8 * row + 8.0,
        half_width=8,
        half_height=8,
        colour="red",
        shape="square",
        size="small",
    )
    image = Image.fromarray(np.repeat((owners * 255)[..., None], 3, axis=2))
    return Scene(0, "train", image, (thing,), owners, "plain", [])


@pytest.mark.parametrize("size", SIZES)
def test_labelled_patches_are_the_bright_patches(size):
    processor = build_image_processor()
    width, height = size
    for row, column in ((0, 0), (3, 5), (height // 8 - 2, width // 8 - 2), (10, 4)):
        scene = lit_scene(size, row, column)
        pixels = processor(scene.image, return_tensors="np")["pixel_values"][0].mean(axis=1)
        labels = tile_labels(scene)
        assert labels.shape == (len(pixels), 144, len(GROUPS))
        bright = pixels.reshape(-1, 12, 8, 12, 8).mean(axis=(2, 4)).reshape(-1, 144)
        share = (bright - bright.min()) / (bright.max() - bright.min())
        assert np.array_equal(labels[1:, :, 0] > 0, share[1:] > 0.5)
        assert not ((labels[0, :, 0] > 0) & (share[0] < 0.02)).any()
        assert (labels[0, :, 0] > 0)[share[0] > 0.5].all()


@pytest.mark.parametrize("size", SIZES)
def test_symbolic_tokens_are_as_many_and_in_the_order_of_the_stock_packing(size, untrained):
    """Pack tile labels by the stock code, as if they were features, and compare."""
    model, _ = untrained
    scene = make_scene(5, "val", size)
    tiles = torch.from_numpy(one_hot(tile_labels(scene)))
    sizes = torch.tensor([[size[1], size[0]]])
    newline = torch.full((NUM_FEATURES,), -7.0)
    packed, _ = model.model.pack_image_features([tiles], sizes, "default", image_newline=newline)
    rng = np.random.default_rng([0])
    while True:
        features = symbolic_features([scene], True, rng)[0]
        if features[:144, :-1].equal(tiles[0]):
            break
    marked = packed[0].eq(-7.0).all(-1)
    assert torch.equal(marked, features[:, -1] == 1)
    assert torch.equal(packed[0][~marked], features[~marked][:, :-1])


def test_single_tile_layout_is_thumbnail_and_one_newline():
    features = symbolic_features([make_scene(1)], False, np.random.default_rng(0))[0]
    assert torch.equal(features[:, -1].nonzero().flatten(), torch.tensor([144]))


def test_patch_owner_is_the_object_with_most_pixels_if_it_has_an_eighth():
    owners = np.zeros((16, 16), np.uint8)
    owners[:8, :8] = np.r_[[2] * 5, [1] * 3]
    owners[8, 8:16] = 3
    owners[8:12, 0:8] = 3
    assert patch_owners(owners, 2, 2).tolist() == [[2, 0], [3, 3]]


def test_presence_of_the_thumbnail_is_the_union_of_the_crops():
    for seed, size in enumerate(SIZES * 3):
        present = tile_presence(make_scene(seed, "val", size))
        assert np.array_equal(present[0], present[1:].max(axis=0))
        names = {o.name for o in make_scene(seed, "val", size).objects if o.kind == "shape"}
        assert {PRESENCE[i] for i in present[0].nonzero()[0] if PRESENCE[i].split()[1] in SHAPES} == names


def test_one_hot_has_one_mark_for_each_group_that_applies():
    labels = fine_labels(make_scene(2))
    marks = one_hot(labels)
    assert np.array_equal(marks.sum(-1), (labels >= 0).sum(-1))
    assert set(np.unique(thumbnail_labels(make_scene(2))[:, 0])) <= set(range(len(KINDS)))
