"""Packed questions and their attention, against plain references."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from smol.training.base import write_base

from todre.scenes import Question
from todre.smol.training.attention import chunk_attention
from todre.smol.training.chunks import CHUNK, collate, pack
from todre.smol.training.learner import Learner, answer_loss, build_learner


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    base = write_base(tmp_path_factory.mktemp("base"))
    made = build_learner(base, rank=4, scale=2.0, seed=1, dtype=torch.float32)
    with torch.no_grad():
        for update in made.updates.values():
            update.B.normal_(std=0.1)
    return made


def questions(count: int) -> list[Question]:
    return [Question("count", f"How many{'!' * (i % 5)} {i}?", "no" * (1 + i % 3)) for i in range(count)]


def allowed_by_rule(segments: torch.Tensor, cut: int) -> torch.Tensor:
    """(n, n) mask of one picture, written out token by token."""
    flat = segments.flatten().tolist()
    total = cut + len(flat)
    mask = torch.zeros(total, total, dtype=torch.bool)
    length = segments.shape[-1]
    for i in range(total):
        for j in range(i + 1):
            if i < cut or j < cut:
                mask[i, j] = True
            else:
                a, b = i - cut, j - cut
                mask[i, j] = flat[a] == flat[b] and a // length == b // length
    return mask


@pytest.mark.parametrize("cut", [1, 7, 300])
@pytest.mark.parametrize(("heads", "groups"), [(3, 1), (4, 4), (6, 2)])
def test_chunk_attention_equals_masked_attention(cut: int, heads: int, groups: int) -> None:
    torch.manual_seed(cut)
    count, length, size, batch = 3, 10, 8, 2
    total = cut + count * length
    query = torch.randn(batch, heads, total, size, dtype=torch.float64, requires_grad=True)
    key = torch.randn(batch, groups, total, size, dtype=torch.float64, requires_grad=True)
    value = torch.randn(batch, groups, total, size, dtype=torch.float64, requires_grad=True)
    segments = torch.randint(-1, 3, (batch, count, length)).sort(-1, descending=True).values
    own = (segments[..., :, None] == segments[..., None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
    made, _ = chunk_attention(torch.nn.Identity(), query, key, value, own)
    mask = torch.stack([allowed_by_rule(row, cut) for row in segments])[:, None]
    share = heads // groups
    wanted = F.scaled_dot_product_attention(
        query, key.repeat_interleave(share, 1), value.repeat_interleave(share, 1), attn_mask=mask
    ).transpose(1, 2)
    torch.testing.assert_close(made, wanted, rtol=1e-10, atol=1e-12)
    weights = torch.randn_like(wanted)
    ours = torch.autograd.grad((made * weights).sum(), [query, key, value])
    theirs = torch.autograd.grad((wanted * weights).sum(), [query, key, value])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_chunks_hold_every_question_once_and_whole(learner: Learner) -> None:
    packs = [pack(learner.pieces, questions(n)) for n in (1, 9, 30)]
    chunks = collate(packs)
    assert chunks.tokens.shape[-1] >= CHUNK
    for row, packed in enumerate(packs):
        for index, (tokens, targets) in enumerate(zip(packed.tokens, packed.targets, strict=True)):
            where = chunks.segments[row] == index
            assert where.any(dim=-1).sum() == 1
            assert chunks.tokens[row][where].tolist() == tokens
            assert chunks.targets[row][where].tolist() == targets
            assert chunks.offsets[row][where].tolist() == list(range(len(tokens)))
    assert (chunks.targets[chunks.segments < 0] == -100).all()


def test_a_question_longer_than_a_chunk_stays_whole(learner: Learner) -> None:
    long = Question("word", "why " * 60, "because")
    chunks = collate([pack(learner.pieces, [long, *questions(3)])])
    assert chunks.tokens.shape[-1] == len(pack(learner.pieces, [long]).tokens[0]) > CHUNK


def test_packed_states_equal_each_question_alone(learner: Learner) -> None:
    """The oracle is the decoder as transformers runs it, one unpadded prompt at a time."""
    packs = [pack(learner.pieces, questions(n)) for n in (4, 12)]
    chunks = collate(packs)
    visual = torch.randn(2, 20, 48, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        packed = learner.hidden(visual, chunks)
        decoder, table = learner.model.model.language_model, learner.model.get_input_embeddings()
        decoder.set_attn_implementation("sdpa")
        pieces = learner.pieces
        for row, each in enumerate(packs):
            for index, tokens in enumerate(each.tokens):
                before, rest = torch.tensor(pieces.before), torch.tensor([*pieces.after, *tokens])
                embeds = torch.cat([table(before), visual[row], table(rest)])[None]
                alone = decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state[0, -len(tokens) :]
                torch.testing.assert_close(packed[row][chunks.segments[row] == index], alone, rtol=1e-4, atol=1e-5)
        decoder.set_attn_implementation("todre-chunks")


def test_the_loss_counts_answers_right_only_if_every_token_is(learner: Learner) -> None:
    chunks = collate([pack(learner.pieces, questions(6))])
    hidden = learner.hidden(torch.zeros(1, 5, 48), chunks)
    loss, counts = answer_loss(learner, hidden, chunks)
    chosen = chunks.targets >= 0
    logits = learner.model.lm_head(hidden[chosen])
    assert float(loss.detach()) == pytest.approx(float(F.cross_entropy(logits, chunks.targets[chosen]).detach()))
    assert counts["asked/count"] == 6
    right = 0
    for index in range(6):
        mine = (chunks.segments == index) & chosen
        right += bool((learner.model.lm_head(hidden[mine]).argmax(-1) == chunks.targets[mine]).all())
    assert counts["right/count"] == right
