"""Padding on either side, in the middle, and masks that say more than padding."""

from __future__ import annotations

import pytest
import tinymodels as tm
import torch

import todre
from todre.errors import UnsupportedInputError
from todre.runtime.incoming_masks import block_masks_of

METHODS = {
    "stage-1": todre.ToDRE(retain=0.4, stages=(1,)),
    "stage-2": todre.ToDRE(retain=1.0, stages=(2,), threshold=1.0),
    "both": todre.ToDRE(retain=0.4, threshold=1.0),
    "fastv": todre.FastV(layer=2, retain=0.5),
}


@pytest.fixture(params=["next-llama", "next-mistral", "llava"])
def model(request):
    return tm.build(request.param)


def samples(model):
    return [
        tm.sample(model, 6, [(48, 48)], 14, seed=1),
        tm.sample(model, 4, [(24, 48)], 3, seed=2),
        tm.sample(model, 9, [], 2, seed=3),
    ]


def positions(mask):
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


@pytest.mark.parametrize("name", sorted(METHODS))
@torch.no_grad()
def test_trailing_padding_shows_what_follows_the_rows_last_token(model, name):
    """So a right-padded batch goes on where each row ends, and no value there is made up."""
    inputs = tm.batch(model, samples(model), side="right")
    mask = inputs["attention_mask"]
    with todre.prune(model, METHODS[name]):
        together = model(**inputs, position_ids=positions(mask)).logits
        alone = [model(**tm.batch(model, [one])).logits[0] for one in samples(model)]
    for row, expected in enumerate(alone):
        count = len(expected)
        torch.testing.assert_close(together[row, :count], expected, atol=1e-5, rtol=0)
        trailing = together[row, count:]
        torch.testing.assert_close(trailing, expected[-1:].expand_as(trailing), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("steps", [1, 4])
def test_a_right_padded_batch_generates_what_its_rows_do(model, name, steps):
    """The first token of every row is that of the row by itself; the untouched model reads padding there."""
    options = {"max_new_tokens": steps, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with todre.prune(model, METHODS[name]):
        together = model.generate(**tm.batch(model, samples(model), side="right"), **options)
        for row, one in enumerate(samples(model)):
            alone = model.generate(**tm.batch(model, [one]), **options)
            torch.testing.assert_close(together.logits[0][row], alone.logits[0][0], atol=1e-5, rtol=0)
    assert all((logits.std(dim=1) > 0).all() for logits in together.logits)


@pytest.mark.parametrize("name", sorted(METHODS))
@torch.no_grad()
def test_a_hole_in_a_row_is_padding_too(model, name):
    """A mask may hide text in the middle; what is left is as if the hidden tokens were not there."""
    one = tm.sample(model, 8, [(48, 48)], 12, seed=5)
    inputs = tm.batch(model, [one])
    mask = inputs["attention_mask"].clone()
    mask[0, 3:5] = 0
    mask[0, -6:-4] = 0
    real = mask[0].bool()
    short = inputs | {"input_ids": inputs["input_ids"][:, real], "attention_mask": mask[:, real]}
    with todre.prune(model, METHODS[name]):
        got = model(**(inputs | {"attention_mask": mask}), position_ids=positions(mask)).logits[0, real]
        expected = model(**short).logits[0]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
@pytest.mark.parametrize("part", ["model", "base"])
def test_a_mask_of_the_callers_own_is_refused(model, dtype, part):
    """It may hide anything from anything."""
    inputs = tm.batch(model, samples(model)[:1])
    length = inputs["input_ids"].shape[1]
    mask = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
    mask[:, :, length // 2 :, :3] = False
    if dtype != torch.bool:
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(dtype).min)
    called = model if part == "model" else model.model
    with todre.prune(model, METHODS["both"]), pytest.raises(UnsupportedInputError, match="cannot be shortened"):
        called(**(inputs | {"attention_mask": mask}))


def test_a_mask_that_the_model_lays_out_may_hide_padding_alone():
    mask = torch.ones(2, 1, 6, 6, dtype=torch.bool).tril()
    assert block_masks_of(mask, 6) is None
    valid = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]).bool()
    assert block_masks_of(mask & valid[:, None, None], 6, valid) is None
    assert block_masks_of({"sliding_attention": mask.triu(-2), "full_attention": mask}, 6) is None
    blocks = mask.clone()
    blocks[:, :, 3:, :3] = False
    for given in (blocks, {"full_attention": blocks}, mask & valid[:, None, None]):
        with pytest.raises(UnsupportedInputError, match="rows of their own"):
            block_masks_of(given, 6)


@pytest.mark.parametrize("name", sorted(METHODS))
@torch.no_grad()
def test_one_row_of_a_mask_serves_all(model, name):
    inputs = tm.batch(model, samples(model)[:1] * 2)
    mask = inputs["attention_mask"][:1]
    with todre.prune(model, METHODS[name]):
        got = model(**(inputs | {"attention_mask": mask})).logits
        assert torch.equal(got, model(**inputs).logits)
        hiding = torch.cat([torch.zeros_like(mask[:, :2]), mask[:, 2:]], dim=1)
        with pytest.raises(UnsupportedInputError, match="mask of 1 rows"):  # transformers has no answer either
            model(**(inputs | {"attention_mask": hiding}))


@pytest.mark.parametrize("rows", [2, 4])
@pytest.mark.parametrize("what", ["attention_mask", "position_ids"])
def test_rows_that_do_not_fit_are_refused(model, rows, what):
    inputs = tm.batch(model, samples(model))
    given = torch.ones(rows, inputs["input_ids"].shape[1]).long()
    with todre.prune(model, METHODS["both"]), pytest.raises(UnsupportedInputError, match=f"of {rows} rows"):
        model(**(inputs | {what: given}))
