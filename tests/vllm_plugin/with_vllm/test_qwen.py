"""Qwen-VL: kept tokens at their own rows and columns; the same answers as transformers and `todre.prune`."""

from types import SimpleNamespace

import pytest
import torch
from vllm.model_executor.layers.rotary_embedding.mrope import MRotaryEmbedding
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
from vllm_plugin.with_vllm.engines import Question, ask, assert_same, engine, overrides
from vllm_plugin.with_vllm.pictures import SQUARE, picture

import todre
from todre.clips import clip_of_frames
from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.vllm.budget_field import packed_retain
from todre.vllm.placed_model import check_positions
from todre.vllm.position_tables import check_in_table

SERVED = 0.4
"""The budget of requests that name none."""
WIDE, TALL = picture(0, 100, 40), picture(1, 32, 120)
RETAINS = (0.25, 0.1, 5, 400, "all", None)
ONE = [Question((each,), "what is this ?", retain) for each in (WIDE, TALL, SQUARE) for retain in RETAINS]
TWO = [Question(each, "what is this and this ?", 0.1) for each in ((WIDE, TALL), (TALL, SQUARE), (SQUARE, WIDE))]


def clip(count, width, height, fps):
    return clip_of_frames([picture(10 + number, width, height) for number in range(count)], fps=fps)


# transformers 5.19 numbers text behind a clip by rows and columns alone, vLLM by time too, so these clips are short.
CLIPS = [
    Question((each,), "what is this video ?", retain)
    for each in (clip(4, 48, 24, 4), clip(5, 24, 40, 4))
    for retain in (0.25, 0.1, 3, "all")
]
BOTH = [Question((TALL, clip(4, 48, 24, 4)), "what is this and this video ?", retain) for retain in (0.25, "all")]
MIXED = [*ONE, *TWO, *CLIPS, *BOTH]


def method(retain):
    """Stage 1 as it is served."""
    retain = {"all": 1.0, None: SERVED}.get(retain, retain)
    return todre.ToDRE(retain=retain, stages=(1,), per="image", positions="original")


def options():
    """Steps so short that pictures are cut in two."""
    return {"max_num_batched_tokens": 64, "limit_mm_per_prompt": {"image": 2, "video": 1}}


@pytest.fixture(scope="module", params=["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def untouched(name, folder_of, reference_of):
    """What vLLM without todre's architecture says to the questions that keep everything."""
    with engine(folder_of(name), **options()) as llm:
        whole = [Question(each.pictures, each.text) for each in MIXED if each.retain == "all"]
        return [ask(llm, reference_of(name), [each])[0] for each in whole]


@pytest.fixture(scope="module")
def served(name, untouched, folder_of, reference_of):
    with engine(folder_of(name), overrides(name, retain=SERVED), **options()) as llm:
        yield llm, reference_of(name)


def model_of(llm):
    return llm.llm_engine.model_executor.driver_worker.model_runner.model


def test_what_keeps_all_is_bit_equal_to_vllm_without_todre(served, untouched):
    llm, reference = served
    assert [ask(llm, reference, [each])[0] for each in MIXED if each.retain == "all"] == untouched


def test_in_a_batch_of_mixed_budgets_and_again_from_the_caches(served):
    llm, reference = served
    expected = [reference.says(each, method(each.retain)) for each in MIXED]
    for got, wanted in zip(ask(llm, reference, MIXED), expected, strict=True):
        assert_same(got, wanted)
    for question, wanted in list(zip(MIXED, expected, strict=True))[::3]:
        assert_same(ask(llm, reference, [question])[0], wanted)


def test_positions_matter_to_these_models(served):
    """With all kept tokens at their picture's corner, answers differ by far more than what is allowed."""
    llm, reference = served
    shifts = model_of(llm).todre_shifts
    put = type(shifts).put
    question = Question((picture(5, 100, 48),), "what is this ?", 0.3)
    try:
        type(shifts).put = lambda self, places, where: put(self, torch.zeros_like(places), where)
        wrong = ask(llm, reference, [question])[0]
    finally:
        type(shifts).put = put
    right = reference.says(question, method(0.3))
    with pytest.raises(AssertionError):
        assert_same(wrong, right, atol=1e-2)


def test_tables_of_rotations_reach_four_times_as_far_as_prompts(served):
    """As vLLM makes them where it drops tokens itself."""
    llm, reference = served
    model = model_of(llm)
    assert model.todre_table == 4 * reference.loaded.model.config.text_config.max_position_embeddings
    tables = [module for module in model.modules() if isinstance(module, MRotaryEmbedding)]
    lengths = {len(module.cos_sin_cache) for module in tables}
    assert lengths == {model.todre_table}
    far = torch.arange(model.todre_table)[-1:] / tables[0].base ** (torch.arange(0, 32, 2) / 32)
    assert torch.allclose(tables[0].cos_sin_cache[-1], torch.cat([far.cos(), far.sin()]), atol=1e-3)
    check_in_table(model.todre_table, model.todre_table)
    with pytest.raises(UnsupportedInputError, match=r"position 10 before pruning.* ends at 9;"):
        check_in_table(11, 10)


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"uses_mrope": False}, UnsupportedModelError, "has one axis"),
        ({"use_ubatching": True}, UnsupportedInputError, "--enable-dbo cannot be combined"),
        ({"draft": True}, UnsupportedInputError, "--speculative-config with a draft model cannot be combined"),
    ],
)
def test_engines_in_which_places_would_be_lost_are_refused(given, error, sentence):
    draft = SimpleNamespace(uses_draft_kv_cache=lambda: given.get("draft", False))

    def config(**options):
        return SimpleNamespace(
            model_config=SimpleNamespace(uses_mrope=options.get("uses_mrope", True)),
            parallel_config=SimpleNamespace(use_ubatching=options.get("use_ubatching", False)),
            speculative_config=draft if "draft" in options else None,
        )

    check_positions(config())
    with pytest.raises(error, match=sentence):
        check_positions(config(**given))


def test_the_scheduler_reserves_the_largest_budget(served):
    llm, _ = served
    config = llm.llm_engine.model_executor.driver_worker.model_runner.model_config
    processor = MULTIMODAL_REGISTRY.create_processor(config)
    counts = {"image": 1, "video": 1}

    def most():
        return processor.info.get_mm_max_tokens_per_item(seq_len=1024, mm_counts=counts)

    whole = most()
    settings = config.hf_config.todre
    try:
        config.hf_config.todre = {**settings, "retain": 0.1, "max_retain": 0.25}
        shorter = most()
    finally:
        config.hf_config.todre = settings
    assert set(whole) == set(counts)
    assert shorter["image"] == round(whole["image"] / 4)
    assert shorter["video"] < whole["video"]


def test_a_long_clip_is_numbered_as_vllm_numbers_it_unpruned(served):
    """Text behind a pruned clip, and behind one whose time goes beyond its sides."""
    llm, _ = served
    model = model_of(llm)
    grid = torch.tensor([9, 4, 8])
    fields = {
        "video_grid_thw": SimpleNamespace(data=grid),
        "second_per_grid_ts": SimpleNamespace(data=torch.tensor(1.5)),
        "timestamps": SimpleNamespace(data=[0.5 + 2 * step for step in range(9)]),
    }
    ids = model.full_ids("video", fields)
    behind, before = [7, 8, 9], [10, 11]

    def numbered(middle, retain):
        data = {**fields, "todre_retain_video": SimpleNamespace(data=packed_retain(retain)[0])}
        place = PlaceholderRange(offset=len(before), length=len(middle))
        feature = MultiModalFeatureSpec(data=data, modality="video", identifier="a", mm_position=place)
        return model.get_mrope_input_positions([*before, *middle, *behind], [feature])

    whole, delta = numbered(ids, 1.0)
    short, later = numbered(ids[:6], 0.1)
    assert torch.equal(short[:, -3:], whole[:, -3:])
    assert torch.equal(short[:, :2], whole[:, :2])
    assert torch.equal(short[:, 2:8], whole[:, 2:3].expand(3, 6))
    assert later + len(before) + 6 + len(behind) == delta + whole.shape[1]
