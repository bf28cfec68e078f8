"""Families without positions of rows and columns: the same answers as transformers and `todre.prune`."""

import pytest
from vllm_plugin.with_vllm.engines import Question, ask, assert_same, engine, overrides
from vllm_plugin.with_vllm.pictures import ONE, TWO, picture

import todre
from todre.clips import clip_of_frames

SERVED = 0.4
"""The budget of requests that name none."""
NAMES = ("llava", "llava-siglip", "llava_next", "llava_onevision", "internvl")
AS_PUBLISHED = ("llava_next", "llava_onevision")
"""Pruned with weights named as on the hub; the others with names as recent transformers save them."""
CHUNK = {"llava_onevision": 288}
"""Tokens of a step; vLLM's encoder cache must hold a picture of OneVision, of which it knows no largest."""


def method(retain):
    """Stage 1 as it is served."""
    retain = {"all": 1.0, None: SERVED}.get(retain, retain)
    return todre.ToDRE(retain=retain, stages=(1,), per="image", positions="compact")


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def untouched(name, published, folder_of, reference_of):
    """What vLLM without todre's architecture says to the questions that keep everything."""
    reference = reference_of(name)
    folder = folder_of(name) if name == "internvl" else published(name)
    with engine(folder, max_num_batched_tokens=CHUNK.get(name, 64)) as llm:
        whole = [each for each in ONE if each.retain == "all"]
        return [ask(llm, reference, [without_budget(each)])[0] for each in whole]


@pytest.fixture(scope="module")
def served(name, untouched, published, folder_of, reference_of):
    """The engine in chunks of 64 tokens, and the reference."""
    reference = reference_of(name)
    model_type = reference.loaded.model.config.model_type
    options = {"max_num_batched_tokens": CHUNK.get(name, 64)}
    folder = published(name) if name in AS_PUBLISHED else folder_of(name)
    with engine(folder, overrides(model_type, retain=SERVED), **options) as llm:
        yield llm, reference


def without_budget(question):
    return type(question)(question.pictures, question.text)


def test_what_keeps_all_is_bit_equal_to_vllm_without_todre(served, untouched):
    llm, reference = served
    whole = [each for each in ONE if each.retain == "all"]
    assert [ask(llm, reference, [each])[0] for each in whole] == untouched


def test_in_a_batch_of_mixed_budgets_and_again_from_the_caches(served):
    llm, reference = served
    expected = [reference.says(each, method(each.retain)) for each in ONE]
    assert reference.report.visual_tokens_after[0] < reference.report.visual_tokens_before[0]
    for got, wanted in zip(ask(llm, reference, ONE), expected, strict=True):
        assert_same(got, wanted)
    for question, wanted in list(zip(ONE, expected, strict=True))[:4]:
        assert_same(ask(llm, reference, [question])[0], wanted)


def test_two_pictures(served):
    llm, reference = served
    for got, question in zip(ask(llm, reference, TWO), TWO, strict=True):
        assert_same(got, reference.says(question, method(question.retain)))


def test_clips_of_onevision(folder_of, reference_of):
    reference = reference_of("llava_onevision")
    clips = [clip_of_frames([picture(10 + n, 48, 32) for n in range(count)], fps=4) for count in (4, 3)]
    questions = [Question((each,), "what is this video ?", retain) for each in clips for retain in (0.25, 5, "all")]
    options = {"max_num_batched_tokens": 288, "limit_mm_per_prompt": {"image": 2, "video": 1}}
    with engine(folder_of("llava_onevision"), overrides("llava_onevision", retain=SERVED), **options) as llm:
        for got, question in zip(ask(llm, reference, questions), questions, strict=True):
            assert_same(got, reference.says(question, method(question.retain)))
