"""A history over several turns on one cache: a new screen stays whole, earlier ones stay as they were decided."""

from __future__ import annotations

import oracles
import pytest
import tinymodels as tm
import torch
from transformers import DynamicCache
from upstream import CACHE

import todre
from todre.methods.history import History

LAYERS = 8


def turns(model):
    """Two turns of a batch of two: histories of three and two screens, then a screen for each row."""
    first = [tm.sample(model, 5, tm.SIZES[:3], 4, seed=1), tm.sample(model, 3, [tm.SIZES[3], tm.SIZES[0]], 6, seed=2)]
    second = [tm.sample(model, 3, [tm.SIZES[4]], 5, seed=7), tm.sample(model, 2, [tm.SIZES[3]], 4, seed=8)]
    return tm.batch(model, first), tm.batch(model, second)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("ranker", ["random", "diversity", "uniform"])
def test_a_later_screen_is_whole_under_a_count_and_earlier_ones_stay_as_they_were(models, backend, ranker):
    model = models(backend=backend)
    first, second = turns(model)
    start = first["input_ids"].shape[1]
    ids, mask = (torch.cat([first[name], second[name]], dim=1) for name in ("input_ids", "attention_mask"))
    places, visual = tm.positions(mask), ids == model.config.image_token_id
    new = {name: value for name, value in second.items() if name not in ("input_ids", "attention_mask")}
    counts = [int(row.sum()) for row in visual[:, start:]]
    method = History(retain=max(counts), ranker=ranker)
    later = {"input_ids": ids[:, start:], "attention_mask": mask, "position_ids": places[:, start:], **new}
    with todre.prune(model, method) as report, torch.no_grad():
        cache = DynamicCache(config=model.config.text_config)
        model(**first, position_ids=places[:, :start], **{CACHE: cache})
        assert report.visual_tokens_after == [max(counts)] * 2
        gone = torch.zeros(2, LAYERS, ids.shape[1], dtype=torch.bool)
        gone[:, :, :start] = oracles.from_report(report, visual[:, :start], LAYERS)
        got = model(**later, **{CACHE: cache}).logits
        assert report.visual_tokens_before == report.visual_tokens_after == counts
    assert gone.any()
    with torch.no_grad(), oracles.mask_oracle(model, gone[:, :, :start], first["attention_mask"]):
        reference = DynamicCache(config=model.config.text_config)
        model(**first, position_ids=places[:, :start], **{CACHE: reference})
    with torch.no_grad(), oracles.mask_oracle(model, gone, mask):
        expected = model(**{k: v for k, v in later.items() if k != "attention_mask"}, **{CACHE: reference}).logits
    real = mask[:, start:] == 1
    torch.testing.assert_close(got[real], expected[real], atol=1e-5, rtol=0)


def test_the_newest_screen_of_every_row_is_whole(models):
    model = models()
    first, _ = turns(model)
    visual = first["input_ids"] == model.config.image_token_id
    sizes = [tm.lengths(model, tm.sample(model, 5, sizes, 4, seed=1).pictures) for sizes in
             (tm.SIZES[:3], [tm.SIZES[3], tm.SIZES[0]])]  # fmt: skip
    with todre.prune(model, History(retain=0.6, floor=2)) as report, torch.no_grad():
        model(**first)
    for row, (kept, parts) in enumerate(zip(report.kept, sizes, strict=True)):
        n = int(visual[row].sum())
        assert n == sum(parts)
        assert len(kept) == round(0.6 * n)
        newest = [place for place in kept if place >= n - parts[-1]]
        assert len(newest) == min(parts[-1], round(0.6 * n) - 2 * (len(parts) - 1))
