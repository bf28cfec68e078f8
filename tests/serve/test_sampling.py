"""Temperature, top_p, seed, stop and lengths do what OpenAI's parameters of these names do."""

from __future__ import annotations

import openai
import pytest
import torch
from serve.conftest import NAME, RETAIN
from serve.pictures import questions, scene, scene_url

import todre
from todre.running import build_inputs
from todre.serving.text_so_far import TextSoFar

QUESTION = questions(0)[1]


def text_of(completion):
    return completion.choices[0].message.content


def test_the_default_is_greedy_whatever_the_checkpoint_says(ask, served_model):
    config = served_model.model.generation_config
    plain = text_of(ask(QUESTION, 0))
    kept = {name: getattr(config, name) for name in ("do_sample", "temperature", "top_k")}
    try:
        config.update(do_sample=True, temperature=1.9, top_k=3)
        assert {text_of(ask(QUESTION, 0)) for _ in range(4)} == {plain}
        assert {text_of(ask(QUESTION, 0, temperature=0, seed=number)) for number in range(3)} == {plain}
    finally:
        config.update(**kept)


def sampled(reference, seed, temperature, top_p):
    """One token, drawn by hand from the logits of the pruned model."""
    inputs, _ = build_inputs(reference, [scene(0).image], QUESTION)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        with todre.prune(reference.model, todre.ToDRE(retain=RETAIN)), torch.inference_mode():
            logits = reference.model(**inputs).logits[0, -1].float() / temperature
        order = logits.sort(descending=True)
        shares = order.values.softmax(0)
        keep = shares.cumsum(0) - shares < top_p
        allowed = torch.full_like(logits, -torch.inf)
        allowed[order.indices[keep]] = logits[order.indices[keep]]
        token = torch.multinomial(allowed.softmax(0), 1)
    return reference.processor.tokenizer.decode(token, skip_special_tokens=True).strip()


@pytest.mark.parametrize(("temperature", "top_p"), [(2.0, 1.0), (2.0, 0.9), (0.7, 0.5)])
def test_a_token_is_drawn_from_the_distribution_that_was_asked_for(ask, reference, temperature, top_p):
    for seed in range(4):
        got = ask(QUESTION, 0, temperature=temperature, top_p=top_p, seed=seed, max_tokens=1)
        assert text_of(got) == sampled(reference, seed, temperature, top_p)


def test_a_seed_repeats_an_answer_and_no_seed_does_not(ask):
    def several(**options):
        return [text_of(ask("Is there a ring?", 0, temperature=2, **options)) for _ in range(4)]

    assert len(set(several(seed=5))) == 1
    state = torch.random.get_rng_state()
    answers = several() + several()
    assert len(set(answers)) > 1
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_length_cuts_the_answer(ask):
    whole = ask(QUESTION, 0)
    assert (whole.usage.completion_tokens, whole.choices[0].finish_reason) == (2, "stop")
    exact = ask(QUESTION, 0, max_tokens=2)
    assert exact.choices[0].finish_reason == "stop"  # the closing token was the last that fitted
    cut = ask(QUESTION, 0, max_tokens=1)
    assert (cut.usage.completion_tokens, cut.choices[0].finish_reason) == (1, "length")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_before_a_text_of_stop(ask, stream):
    whole = text_of(ask(QUESTION, 0))
    assert len(whole) > 2
    got = ask(QUESTION, 0, stop=["nothing like it", whole[1:3]], stream=stream)
    text = "".join(each.choices[0].delta.content or "" for each in got) if stream else text_of(got)
    assert text == whole[0]


def test_stop_holds_for_one_request(client, ask):
    whole = text_of(ask(QUESTION, 0))
    assert text_of(ask(QUESTION, 0, stop=whole)) == ""
    assert text_of(ask(QUESTION, 0)) == whole
    empty = client.chat.completions.create(
        model=NAME, max_tokens=4, stop=whole, stream=True,
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": scene_url(0)}},
                                               {"type": "text", "text": QUESTION}]}],
    )  # fmt: skip
    assert "".join(each.choices[0].delta.content or "" for each in empty) == ""


# -- the text so far ---------------------------------------------------------------------------------------------------


class Bytes:
    """A tokenizer whose tokens are single bytes, so that characters take several of them."""

    def decode(self, tokens, skip_special_tokens):
        assert skip_special_tokens
        return bytes(tokens).decode(errors="replace")


@pytest.mark.parametrize("text", [" yes ", "a  b\n\nc", "früh 🙂 spät", "  ", "", "one two three", "ab" * 20, "é\n"])
@pytest.mark.parametrize("stop", [(), ("two",), ("\n\n",), ("b",), ("🙂", " spät"), ("aba", "bab"), ("three!",)])
def test_pieces_together_are_the_text(text, stop):
    so_far, pieces, tokens = TextSoFar(Bytes(), stop), [], list(text.encode())
    for token in tokens:
        pieces.append(so_far.add(token))
        if so_far.stopped:
            break
    pieces.append(so_far.rest())
    ends = [len(text[:end].encode()) for end in range(len(text) + 1) if any(each in text[:end] for each in stop)]
    right = text if not ends else text[: min(place for each in stop if (place := text.find(each)) >= 0)]
    assert "".join(pieces) == so_far.text == right.strip()
    assert so_far.stopped == bool(ends)
    assert len(so_far.tokens) == (ends[0] if ends else len(tokens))


def test_pieces_come_as_soon_as_they_are_certain():
    so_far = TextSoFar(Bytes(), ("STOP",))
    assert [so_far.add(token) for token in b"go STOOP"] == ["g", "o", "", "", "", "", " STOO", "P"]


def test_a_whole_answer_of_a_tokenizer_that_rewrites_text(ask, served_model, monkeypatch):
    """As tokenizers make "I'm" of "I 'm": what was there changes, which a stream alone cannot take back."""
    tokenizer = served_model.processor.tokenizer
    plain = tokenizer.decode

    def rewriting(tokens, **options):
        text = plain(tokens, **options)
        return text.upper() if len(tokens) > 2 else text

    question = "describe the picture"
    wanted = text_of(ask(question, 0))
    assert len(wanted.split()) > 2
    monkeypatch.setattr(tokenizer, "decode", rewriting)
    assert text_of(ask(question, 0)) == wanted.upper()
    cut = wanted.upper().split()[2]
    assert text_of(ask(question, 0, stop=cut)) == wanted.upper().partition(cut)[0].strip()
    with pytest.raises(openai.APIError, match="piece by piece"):
        list(ask(question, 0, stream=True))
