"""Answers and likelihoods of batches, on tiny models of several families with their own processors."""

import functools

import pytest
import torch
from processing.kits import FIRST_WORD, KITS, WORDS
from processing.media import clip, picture

import todre
from todre.errors import ContractError, InvalidValueError, UnsupportedInputError
from todre.lmms.generation import Decoding
from todre.lmms.likelihood import continuation_tokens, judge
from todre.lmms.prompts import conversation
from todre.lmms.requests import answer, as_shown
from todre.loading.model import Loaded, load
from todre.processing import apply, load_processor
from todre.processing.downsampling import Shown

FAMILIES = ("llava_next_video", "qwen2_5_vl", "smolvlm", "internvl")
FIRST = todre.ToDRE(retain=0.3, stages=(1,))
BOTH = todre.ToDRE(retain=0.3, threshold=1.0, layers=(2,))
FOUR = Decoding.of({"max_new_tokens": 4})
A, B = picture(50, 40), picture(30, 44, seed=1)


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Name to model and processor."""

    @functools.cache
    def made(name):
        kit = next(kit for kit in KITS if kit.model_type == name)
        folder = kit.write(tmp_path_factory.mktemp(name))
        model = kit.specimen.build("sdpa")
        words = range(FIRST_WORD, FIRST_WORD + len(WORDS))
        with torch.no_grad():  # what is no word says nothing, so that answers are words
            weight = model.get_output_embeddings().weight
            weight[[token for token in range(len(weight)) if token not in words]] = 0
        return Loaded(model, load_processor(folder), name, folder, None)

    return made


def talk(text, *media):
    content = [{"type": "image", "image": each} for each in media]
    return [{"role": "user", "content": [*content, {"type": "text", "text": text}]}]


TALKS = [talk("what is this ?", A), talk("one two three four five six", B, A), talk("here ?", B)]


def facts(reply):
    cost = reply.cost
    return reply.text, cost.prompt_tokens, cost.new_tokens, cost.to_dict()["visual_tokens"]


@pytest.mark.parametrize(
    ("name", "method"),
    [(FAMILIES[0], todre.NoPruning()), (FAMILIES[0], FIRST), *((name, BOTH) for name in FAMILIES)],
)
def test_a_batch_with_differing_counts_of_pictures_equals_its_singles(family, name, method):
    together = answer(family(name), method, TALKS, FOUR)
    alone = [answer(family(name), method, [each], FOUR)[0] for each in TALKS]
    assert list(map(facts, together)) == list(map(facts, alone))
    assert all(reply.cost.rows == 3 and reply.cost.new_tokens == 4 and reply.text for reply in together)
    before, after = ([facts(reply)[3][side] for reply in together] for side in ("before", "after"))
    assert before[1] > before[0] > 0
    assert after == (before if method == todre.NoPruning() else [max(1, round(0.3 * n)) for n in before])
    assert (facts(together[0])[3]["dropped_after"] == 2) is (method is BOTH)


@pytest.mark.parametrize("name", FAMILIES)
def test_text_alone_and_clips(family, name):
    (reply,) = answer(family(name), FIRST, [talk("what is this ?")], FOUR)
    assert reply.text
    assert facts(reply)[3] == {"before": 0, "after": 0, "layer_mean": 0.0, "dropped_after": None}
    video = [{"type": "video", "video": clip(4, 40, 30)}, {"type": "text", "text": "what is this ?"}]
    (reply,) = answer(family(name), FIRST, [[{"role": "user", "content": video}]], FOUR)
    assert 0 < facts(reply)[3]["after"] < facts(reply)[3]["before"]


def test_a_clip_and_a_model_for_pictures_alone():
    video = [{"type": "video", "video": clip(4, 40, 30)}, {"type": "text", "text": "what is this ?"}]
    with pytest.raises(UnsupportedInputError, match="takes pictures and no clips"):
        answer(load(), FIRST, [[{"role": "user", "content": video}]], FOUR)


def test_beams_have_one_cost_each(family):
    reply = answer(family("llava_next_video"), FIRST, TALKS, Decoding.of({"max_new_tokens": 3, "num_beams": 2}))
    plain = answer(family("llava_next_video"), FIRST, TALKS, FOUR)
    assert [facts(each)[3] for each in reply] == [facts(each)[3] for each in plain]


def test_a_stop_string_ends_its_row_alone(family):
    loaded = family("llava_next_video")
    whole = [reply.text for reply in answer(loaded, FIRST, TALKS, Decoding.of({"max_new_tokens": 8}))]
    stop = whole[0].split()[2]
    cut = answer(loaded, FIRST, TALKS, Decoding.of({"max_new_tokens": 8, "until": [stop]}))
    assert [reply.text for reply in cut] == [text.partition(stop)[0].strip() for text in whole]
    assert cut[0].cost.new_tokens == whole[0].split().index(stop) + 1


def logits_in_one_forward(loaded, method, talk, ids):
    """Log-probabilities of `ids` behind the prompt, from one forward over both."""
    inputs, _ = apply(loaded.processor, talk)
    behind = torch.tensor([ids])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], behind], dim=1)
    for name, fill in (("attention_mask", 1), ("mm_token_type_ids", 0), ("token_type_ids", 0)):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], torch.full_like(behind, fill)], dim=1)
    with torch.no_grad(), todre.prune(loaded.model, method):
        logits = loaded.model(**inputs).logits
    return logits[0, -len(ids) - 1 : -1].double().log_softmax(dim=-1)


CONTINUATIONS = [(" two", " three"), (" here and then", " here and"), ()]


@pytest.mark.parametrize(
    ("name", "method", "size"),
    [(FAMILIES[0], todre.NoPruning(), 1), (FAMILIES[0], FIRST, 8), *((name, FIRST, 2) for name in FAMILIES[1:])],
)
def test_likelihoods_are_those_of_one_forward_over_prompt_and_continuation(family, name, method, size):
    loaded = family(name)
    for place, found in enumerate(judge(loaded, method, TALKS, CONTINUATIONS, size)):
        for judged, text in zip(found, CONTINUATIONS[place], strict=True):
            ids = loaded.processor.tokenizer.encode(text.strip(), add_special_tokens=False)
            expected = logits_in_one_forward(loaded, method, TALKS[place], ids)
            chosen = expected[range(len(ids)), ids]
            assert judged.tokens == len(ids)
            assert judged.log_likelihood == pytest.approx(float(chosen.sum()), abs=1e-4)
            assert judged.loss == pytest.approx(-float(chosen.mean()), abs=1e-4)
            assert judged.greedy == (expected.argmax(dim=-1).tolist() == ids)


def test_the_models_own_answer_is_greedy_and_another_is_not(family):
    loaded = family("llava_next_video")
    for talk_, reply in zip(TALKS, answer(loaded, BOTH, TALKS, FOUR), strict=True):
        words = reply.text.split()
        other = "two" if words[-1] != "two" else "three"
        texts = [" " + " ".join(words), " " + " ".join([*words[:-1], other])]
        ((own, wrong),) = judge(loaded, BOTH, [talk_], [texts], 4)
        assert own.greedy
        assert not wrong.greedy
        assert own.log_likelihood > wrong.log_likelihood
        assert own.cost.dropped_after == 2


def test_letters_of_choices_share_a_row(family):
    found = judge(family("llava_next_video"), FIRST, TALKS[:1], [(" one", " two", " three")], 8)
    assert [judged.cost.rows for judged in found[0]] == [1, 1, 1]


class Pairs:
    """A tokenizer of single letters that joins `:a`."""

    def encode(self, text, add_special_tokens):
        return list(text.replace(":a", "@"))


def test_tokens_of_a_continuation():
    assert continuation_tokens(Pairs(), "say:", " b") == (" ", "b")
    assert continuation_tokens(Pairs(), "say:\n", " b") == ("b",)
    assert continuation_tokens(Pairs(), "say:", "ab") == ("a", "b")
    with pytest.raises(InvalidValueError, match="no token"):
        continuation_tokens(Pairs(), "say:", "")


def test_conversations_of_tasks_are_what_processors_take(family):
    text = "what is this ?"
    assert conversation(text, [A]) == talk(text, A)


def test_a_resized_picture_counts_as_the_whole_and_must_have_the_tokens_that_were_promised(family):
    loaded = family("qwen2_5_vl")
    (row,) = answer(loaded, todre.NoPruning(), [conversation("a b", [A])], FOUR)
    tokens = row.cost.visual_before
    assert as_shown(row.cost, Shown((A,), todre.NoPruning())) is row.cost
    cost = as_shown(row.cost, Shown((A,), todre.NoPruning(), (tokens,), (99,)))
    assert (cost.visual_before, cost.visual_after) == (99, tokens)
    with pytest.raises(ContractError, match=f"has {tokens} visual tokens, and {tokens + 1} were expected"):
        as_shown(row.cost, Shown((A,), todre.NoPruning(), (tokens + 1,), (99,)))
