"""PixelPrune against a double loop; kept blocks restore the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.errors import InvalidValueError
from todre.methods.pixelprune import PixelPrune
from todre.methods.views.vision_tower import Patches

STD = (0.27, 0.26, 0.28)


def picture(frames, rows, columns, seed, colours=3, noise=0.0):
    """Units of a few flat colours, so that neighbours are often alike, (units, p)."""
    generator = np.random.default_rng(seed)
    palette = generator.normal(size=(colours, 4 * 3 * 2))
    units = palette[generator.integers(0, colours, frames * rows * columns)]
    return torch.from_numpy(units + noise * generator.normal(size=units.shape)).float()


def distance(one, other, metric):
    away = np.abs(one - other)
    return {"max": away.max(), "mean": away.mean(), "rms": np.sqrt((away**2).mean())}[metric]


def brute(units, frames, rows, columns, tau, metric, std):
    """Source of each unit by definition, with restored neighbours."""
    scale = np.tile(np.repeat(np.array(std), 2), 4) if tau else 1.0
    pixels = units.double().numpy().reshape(frames, rows, columns, -1) * scale
    like = lambda one, other: distance(one, other, metric) <= tau  # noqa: E731
    source = np.zeros((frames, rows, columns), dtype=int)
    for frame in range(frames):
        restored = pixels[frame].copy()
        for row in range(rows):
            for column in range(columns):
                here = (frame * rows + row) * columns + column
                source[frame, row, column] = here
                if row == column == 0:
                    continue
                if row == 0:
                    guess = (row, column - 1)
                elif column == 0:
                    guess = (row - 1, column)
                else:
                    a, b, c = restored[row, column - 1], restored[row - 1, column], restored[row - 1, column - 1]
                    guess = (row - 1, column) if like(c, a) and not like(c, b) else (row, column - 1)
                if like(pixels[frame, row, column], restored[guess]):
                    restored[row, column] = restored[guess]
                    source[frame, row, column] = source[frame][guess]
    return source.flatten().tolist()


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 3),
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    seed=st.integers(0, 9999),
    tau=st.sampled_from([0.0, 0.1, 0.4]),
    metric=st.sampled_from(["max", "mean", "rms"]),
)
def test_equals_the_double_loop(frames, rows, columns, seed, tau, metric):
    units = picture(frames, rows, columns, seed, noise=0.2 if tau else 0.0)
    patches = Patches(units, [(frames, rows, columns)], 2)
    source = PixelPrune(tau=tau, metric=metric, std=STD).leave_out(patches)
    assert source.tolist() == brute(units, frames, rows, columns, tau, metric, STD)


def test_pictures_do_not_see_each_other():
    parts = [picture(1, 4, 5, 0), picture(2, 3, 3, 1), picture(1, 1, 6, 2)]
    grids = [(1, 4, 5), (2, 3, 3), (1, 1, 6)]
    together = PixelPrune().leave_out(Patches(torch.cat(parts), grids, 2))
    apart, start = [], 0
    for part, grid in zip(parts, grids, strict=True):
        apart.append(PixelPrune().leave_out(Patches(part, [grid], 2)) + start)
        start += len(part)
    assert torch.equal(together, torch.cat(apart))


def test_nothing_is_lost_at_zero():
    units = picture(1, 8, 8, 3)
    source = PixelPrune().leave_out(Patches(units, [(1, 8, 8)], 2))
    assert torch.equal(units[source], units)
    assert len(source.unique()) < 64


@pytest.mark.parametrize("metric", ["max", "mean", "rms"])
def test_errors_do_not_build_up(metric):
    slope = torch.linspace(0, 1, 64)[:, None].expand(64, 24).contiguous()
    source = PixelPrune(tau=0.05, metric=metric, std=(1.0, 1.0, 1.0)).leave_out(Patches(slope, [(1, 1, 64)], 2))
    assert float((slope[source] - slope).abs().max()) <= 0.05 + 1e-6
    assert 10 < len(source.unique()) < 30


@pytest.mark.parametrize("flat", [True, False])
def test_flat_and_random_pictures(flat):
    units = torch.zeros(48, 24) if flat else torch.randn(48, 24)
    source = PixelPrune().leave_out(Patches(units, [(1, 6, 8)], 2))
    assert source.tolist() == ([0] * 48 if flat else list(range(48)))


def test_the_channels_are_scaled_each_by_its_own():
    units = torch.zeros(2, 4, 3, 2)
    units[1, :, 1] = 1.0
    given = Patches(units.flatten(1), [(1, 1, 2)], 2)
    assert PixelPrune(tau=0.2, std=(0.9, 0.1, 0.9)).leave_out(given).tolist() == [0, 0]
    assert PixelPrune(tau=0.2, std=(0.1, 0.9, 0.1)).leave_out(given).tolist() == [0, 1]


def test_settings():
    assert PixelPrune().tower_after(32) == (0,)
    assert PixelPrune.from_dict(PixelPrune(tau=0.1, std=STD).to_dict()) == PixelPrune(tau=0.1, std=STD)
    for wrong in ({"tau": -0.1}, {"tau": True}, {"metric": "l1"}, {"std": (0.5, 0.5)}, {"std": (0.5, 0.5, 0.0)}):
        with pytest.raises(InvalidValueError):
            PixelPrune(**wrong)
