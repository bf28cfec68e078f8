"""Places of kept tokens: exact in every dtype, and in prompts of several media; vLLM is not needed."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from todre.vllm.budget_field import packed_retain
from todre.vllm.families import family_of
from todre.vllm.place_channels import CHANNELS, PlaceShifts, with_places, without_places
from todre.vllm.unpruned_prompt import is_pruned, places, positions

PICTURE, TEXT = 3, 9
FAMILY = family_of("qwen2_vl")


@dataclass(frozen=True)
class Place:
    offset: int
    length: int


@dataclass(frozen=True)
class Feature:
    modality: str
    data: Any
    mm_position: Place


def picture(rows, columns, offset, length, retain):
    data = {"todre_retain_image": SimpleNamespace(data=packed_retain(retain)[0]), "grid": (rows, columns)}
    return Feature("image", data, Place(offset, length))


def number(tokens, media):
    """Written out token by token: text counts on, pictures have rows and columns, text goes on behind the largest."""
    grids = {each.mm_position.offset: each.data["grid"] for each in media}
    found, now, place = [], 0, 0
    while place < len(tokens):
        if place in grids:
            rows, columns = grids[place]
            found += [(now, now + row, now + column) for row in range(rows) for column in range(columns)]
            place += rows * columns
            now += max(rows, columns)
        else:
            found.append((now,) * 3)
            place, now = place + 1, now + 1
    return torch.tensor(found).T, now - len(tokens)


def full(kind, data):
    rows, columns = data["grid"]
    return [PICTURE] * (rows * columns)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_places_are_exact_in_every_dtype(dtype):
    one = torch.tensor([0, 1, 127, 128, 255, 256, 257, 4097, 65535, 65536, 16_777_215])
    given = torch.stack([one, one.flip(0), one.roll(3)], dim=1)
    rows = torch.randn(len(given), 5, dtype=dtype)
    carried = with_places(rows, given)
    assert carried.dtype == dtype
    assert carried.shape[1] == 5 + CHANNELS
    back, found = without_places([carried[:4], carried[4:]])
    assert torch.equal(torch.cat(back), rows)
    assert torch.equal(found, given)


def test_a_step_adds_its_places_once():
    shifts = PlaceShifts(8, torch.device("cpu"))
    buffer = torch.arange(24).reshape(3, 8)
    step = buffer[:, :5]
    where = torch.tensor([False, True, False, True, False])
    shifts.put(torch.tensor([[0, 1, 2], [3, 4, 5]]), where)
    shifts.add(step)
    wanted = torch.arange(24).reshape(3, 8)
    wanted[:, 1] += torch.tensor([0, 1, 2])
    wanted[:, 3] += torch.tensor([3, 4, 5])
    assert torch.equal(buffer, wanted)
    shifts.add(step)
    assert torch.equal(buffer, wanted)


def test_text_behind_tall_and_wide_pictures_is_as_unpruned():
    """Between and behind two pictures that are pruned and one that is not."""
    tall, wide, whole = (6, 4), (2, 9), (3, 3)
    tokens = [TEXT, TEXT, *[PICTURE] * 3, TEXT, *[PICTURE] * 9, TEXT, TEXT, *[PICTURE] * 2, TEXT]
    media = [picture(*tall, 2, 3, 3), picture(*whole, 6, 9, 1.0), picture(*wide, 17, 2, 0.1)]
    pruned = [is_pruned(FAMILY, each) for each in media]
    assert pruned == [True, False, True]
    found, behind = positions(tokens, media, pruned, full, number)
    # 0 1 | picture at 2, 6 tall | text 8 | picture at 9, 3 tall | text 12 13 | picture at 14, 9 wide | text 23
    text = [0, 1, 2, 2, 2, 8, *[9] * 9, 12, 13, 14, 14, 23]
    assert found[0].tolist() == text
    assert found[:, 15:].tolist() == [text[15:]] * 3
    assert found[:, 6:15].tolist() == [[9] * 9, [9, 9, 9, 10, 10, 10, 11, 11, 11], [9, 10, 11] * 3]
    assert behind == 24 - len(tokens)


def test_the_places_of_one_picture():
    found = places("image", {"grid": (2, 3)}, [PICTURE] * 6, number)
    assert found.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 1, 1], [0, 1, 2]]


def test_ready_made_embeddings_and_unknown_media_are_not_pruned():
    assert not is_pruned(FAMILY, Feature("image", {"grid": (2, 2)}, Place(0, 4)))
    assert not is_pruned(FAMILY, Feature("audio", {"grid": (2, 2)}, Place(0, 4)))
    assert not is_pruned(FAMILY, Feature("image", None, Place(0, 4)))
