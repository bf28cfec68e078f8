"""What is refused at startup, in one sentence; and what installing todre does to vLLM: nothing."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from vllm_plugin.with_vllm.engines import engine, overrides

from todre.errors import ContractError, UnsupportedInputError
from todre.vllm.contract import TESTED, check_engine, check_names
from todre.vllm.families import FAMILIES


def test_installing_todre_changes_no_architecture_of_vllm():
    """In a fresh process, with and without the plugin."""
    program = (
        "import json, sys\n"
        "from vllm import ModelRegistry\n"
        "from vllm.plugins import load_general_plugins\n"
        "load_general_plugins(); load_general_plugins()\n"
        "known = {name: repr(model) for name, model in ModelRegistry.models.items()}\n"
        "heavy = [name for name in sys.modules if name.startswith('todre.') and 'vllm' not in name]\n"
        "print(json.dumps([known, heavy]))\n"
    )

    def found(plugins):
        environment = {**os.environ, "VLLM_PLUGINS": plugins}
        out = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(out.stdout.splitlines()[-1])

    (without, none), (beside, loaded) = found("nothing"), found("todre")
    assert none == []
    assert set(loaded) <= {"todre.errors", "todre.hf", "todre.hf.keywords"}
    added = {family.pruned for family in FAMILIES}
    assert set(beside) - set(without) == added
    assert {name: model for name, model in beside.items() if name not in added} == without


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"method": "fastv"}, "it acts inside the LLM"),
        ({"method": "cdpruner"}, "it reads the question"),
        ({"method": "evit"}, "it acts in the vision tower"),
        ({"method": "tode"}, "There is no method 'tode'; did you mean 'todre'"),
        ({"retain": 0.0}, "retain"),
        ({"retian": 0.1}, "did you mean 'retain'"),
        ({"options": {"positions": "original"}}, "settled in vLLM"),
        ({"options": {"pivot": "received"}, "method": "cls-top-k"}, "pivot"),
    ],
)
def test_settings_that_cannot_be_served_stop_the_start(folder_of, settings, sentence):
    with pytest.raises(Exception, match=sentence) as caught, engine(folder_of("llava"), overrides("llava", **settings)):
        pass
    assert "Traceback" not in str(caught.value)


def test_a_signal_that_the_tower_has_not_stops_the_start(folder_of):
    settings = overrides("llava", method="cls-top-k")
    with pytest.raises(Exception, match=r"has no \[CLS\] token"), engine(folder_of("llava-siglip"), settings):
        pass


def test_a_budget_among_the_processors_arguments_stops_the_start(folder_of):
    with (
        pytest.raises(Exception, match="todre_retain in --mm-processor-kwargs is read by nobody at startup"),
        engine(folder_of("llava"), overrides("llava"), mm_processor_kwargs={"todre_retain": 0.5}),
    ):
        pass


def config(**options):
    """As much of vLLM's config as the check reads."""
    compilation = {"compile_mm_encoder": False, "cudagraph_mm_encoder": False}
    parallel = {"tensor_parallel_size": 1, "pipeline_parallel_size": 1, "prefill_context_parallel_size": 1}
    multimodal = {"video_pruning_rate": None, "mm_encoder_tp_mode": "weights", "mm_encoder_only": False}
    lora = {"enable_tower_connector_lora": False}
    parts = [
        {name: options.get(name, value) for name, value in part.items()}
        for part in (compilation, parallel, multimodal, lora)
    ]
    compiled, shared, media, lora = (SimpleNamespace(**part) for part in parts)
    return SimpleNamespace(
        compilation_config=compiled,
        parallel_config=shared,
        model_config=SimpleNamespace(multimodal_config=media),
        lora_config=lora,
    )


@pytest.mark.parametrize(
    "option",
    [
        {"compile_mm_encoder": True},
        {"cudagraph_mm_encoder": True},
        {"tensor_parallel_size": 2},
        {"pipeline_parallel_size": 2},
        {"prefill_context_parallel_size": 2},
        {"mm_encoder_only": True},
        {"video_pruning_rate": 0.5},
        {"mm_encoder_tp_mode": "data"},
        {"enable_tower_connector_lora": True},
    ],
)
def test_options_of_the_engine_that_go_past_the_pruning(option):
    check_engine(config())
    with pytest.raises(UnsupportedInputError, match="cannot be combined"):
        check_engine(config(**option))


def test_this_vllm_is_a_tested_one():
    import vllm

    assert vllm.__version__ in TESTED


@pytest.mark.parametrize(
    ("needed", "sentence"),
    [
        ({"vllm.multimodal.processing:Gone": ()}, "has not Gone"),
        ({"vllm.multimodal.gone:Gone": ()}, "has not Gone"),
        (
            {"vllm.multimodal.processing:PromptReplacement": ("modality", "gone")},
            "has not the argument 'gone' of PromptReplacement",
        ),
    ],
)
def test_a_name_that_vllm_lacks_is_told_in_one_sentence(needed, sentence):
    check_names()
    with pytest.raises(ContractError, match=sentence):
        check_names(needed)
