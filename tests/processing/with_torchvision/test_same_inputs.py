"""Without torchvision, the same conversations become the same inputs as through transformers' own processors."""

import pytest
import torch
from processing.kits import HALF
from processing.with_torchvision import cases
from processing.with_torchvision.without import run_without_torchvision

from todre.processing import has_torchvision

FOLDERS = [*(f"{kit}-{layout}" for kit in cases.KITS for layout in cases.LAYOUTS), "smolvlm-separate"]
EQUAL = 1e-6
"""Where nothing is resized: float32 rounding alone."""
PICTURE_LEVELS, CLIP_LEVELS = 10.0, 2.01
"""Largest difference after resizing, in steps of 8 bits. Both libraries round to 8 bits between their two passes, and
for pictures PIL may take the rows first where torchvision takes the columns; frames are resized in one order."""
PICTURE_MEAN, CLIP_MEAN = 0.2, 0.05
"""Mean difference of a tensor, in the same steps."""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    cases.folders(root)
    output = tmp_path_factory.mktemp("output") / "ours.pt"
    run_without_torchvision("processing.with_torchvision.cases", root, output)
    ours = torch.load(output)
    assert not ours["torchvision"]
    assert has_torchvision()
    return ours["results"], cases.run(root)


def test_every_folder_is_compared(results):
    ours, stock = results
    assert ours.keys() == stock.keys()
    assert {folder for folder, _ in stock} == set(FOLDERS)


def pairs(results, folder):
    ours, stock = results
    for (name, case), theirs in stock.items():
        if name == folder:
            yield case, ours[name, case], theirs


@pytest.mark.parametrize("folder", FOLDERS)
def test_ids_grids_and_shapes(results, folder):
    for case, ours, stock in pairs(results, folder):
        assert ours["prompts"] == stock["prompts"], case
        assert list(ours["inputs"]) == list(stock["inputs"]), case
        for name, theirs in stock["inputs"].items():
            value = ours["inputs"][name]
            assert (value.shape, value.dtype) == (theirs.shape, theirs.dtype), (case, name)
            if not name.startswith("pixel_values"):
                assert torch.equal(value, theirs), (case, name)


@pytest.mark.parametrize("folder", FOLDERS)
def test_pixels(results, folder):
    level = 1 / (255 * 0.25) if "smolvlm" not in folder and "qwen3" not in folder else 1 / (255 * HALF[0])
    for case, ours, stock in pairs(results, folder):
        for name, theirs in stock["inputs"].items():
            if not name.startswith("pixel_values"):
                continue
            apart = (ours["inputs"][name] - theirs).abs()
            frames = name == "pixel_values_videos" or ("clip" in case or "frame" in case)
            most, mean = (CLIP_LEVELS, CLIP_MEAN) if frames else (PICTURE_LEVELS, PICTURE_MEAN)
            assert apart.max() <= most * level, (case, name, float(apart.max() / level))
            assert apart.mean() <= mean * level, (case, name, float(apart.mean() / level))


@pytest.mark.parametrize("folder", FOLDERS)
def test_pixels_that_need_no_resizing(results, folder):
    compared = 0
    for case, ours, stock in pairs(results, folder):
        if not case.startswith("exact"):
            continue
        for name, theirs in stock["inputs"].items():
            if not name.startswith("pixel_values"):
                continue
            value = ours["inputs"][name]
            if folder.startswith("smolvlm"):
                if case == "exact clip" and not folder.endswith("separate"):
                    continue  # one file of settings: frames go to twice the tower's side and back
                if case == "exact picture":
                    value, theirs = value[:, :-1], theirs[:, :-1]  # the whole picture, last, is always scaled down
            assert (value - theirs).abs().max() <= EQUAL, (case, name)
            compared += 1
    assert compared == (1 if folder.startswith("smolvlm") and not folder.endswith("separate") else 2)
