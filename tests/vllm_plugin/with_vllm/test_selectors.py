"""Every method that is served: the same answers as `todre.prune`.

On LLaVA-NeXT, where signals are pooled (InternVL), put back in order (Qwen2.5-VL), and beside deepstack (Qwen3-VL).
"""

import pytest
from vllm_plugin.with_vllm.engines import Question, ask, assert_same, engine, overrides
from vllm_plugin.with_vllm.pictures import SQUARE, WIDE

from todre.errors import UnsupportedModelError
from todre.vllm.served_methods import create, served_names

RETAIN = 0.25
WITHOUT_CLS = ("qwen2_5_vl", "qwen3_vl")
OF_CLS = ("cls-top-k", "fastervlm")
"""Methods that read [CLS] attention and nothing else in its place."""
QUESTIONS = [Question((each,), "what is this ?", RETAIN) for each in (WIDE, SQUARE)]


@pytest.fixture(scope="module", params=["llava_next", "internvl", "qwen2_5_vl", "qwen3_vl"])
def served(request, folder_of, reference_of):
    reference = reference_of(request.param)
    model_type = reference.loaded.model.config.model_type
    with engine(folder_of(request.param), overrides(model_type, retain=RETAIN)) as llm:
        yield llm, reference


def runner_of(llm):
    return llm.llm_engine.model_executor.driver_worker.model_runner


def serve(llm, name):
    """Let a running engine serve another method, as if it had been started with it."""
    runner = runner_of(llm)
    config = runner.model_config.hf_config
    config.todre = {"method": name, "retain": RETAIN}
    old = runner.model.todre
    runner.model.todre = runner.model.stage1(runner.model, config)
    last = runner.model.todre.watch.last
    if last is not None:
        last.load_state_dict(WEIGHTS.setdefault(id(llm), old.watch.last and old.watch.last.state_dict()))


WEIGHTS = {}
"""By engine, the weights of the tower's last layer, which todre loads beside vLLM's."""


@pytest.mark.parametrize("name", served_names())
def test_every_served_method(served, name):
    llm, reference = served
    if reference.loaded.model.config.model_type in WITHOUT_CLS and name in OF_CLS:
        with pytest.raises(UnsupportedModelError, match="has no \\[CLS\\] token"):
            serve(llm, name)
        return
    serve(llm, name)
    method = create(name, RETAIN, runner_of(llm).model.todre.family.positions, {})
    for got, question in zip(ask(llm, reference, QUESTIONS), QUESTIONS, strict=True):
        wanted = reference.says(question, method)
        assert reference.report.visual_tokens_after[0] < reference.report.visual_tokens_before[0]
        assert_same(got, wanted)
