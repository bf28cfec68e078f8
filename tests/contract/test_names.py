"""Every name that `src/todre` imports from transformers, or looks up in one of its files, is there."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES, processor_class_from_name

import todre
from todre.geometry.table import LAYOUTS
from todre.hf.families import FAMILIES
from todre.hf.refused import REFUSED
from todre.processing.families import BY_PROCESSOR

SOURCE = Path(todre.__file__).parent
PACKAGES = ("transformers", "huggingface_hub")


def imported():
    """(room, module, name) of every import, those inside functions too."""
    for file in sorted(SOURCE.rglob("*.py")):
        room = str(file.relative_to(SOURCE))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
                yield from ((room, node.module, alias.name) for alias in node.names)
            if isinstance(node, ast.Import):
                yield from ((room, alias.name, "") for alias in node.names if alias.name.split(".")[0] in PACKAGES)


@pytest.mark.parametrize(("room", "module", "name"), sorted(set(imported())))
def test_an_import_is_there(room, module, name):
    """Also those that are made only when they are needed."""
    found = importlib.import_module(module)
    assert not name or hasattr(found, name), f"{room} imports {name} from {module}, which has no such name"


def test_something_is_imported():
    assert len(set(imported())) > 20


def test_the_caches_keyword_is_spelled_in_one_room():
    """Releases rename it; `todre.hf` reads it off each module's own signature."""
    spelled = {
        str(file.relative_to(SOURCE))
        for file in SOURCE.rglob("*.py")
        if "past_key_values" in file.read_text(encoding="utf-8") and "hf" not in file.relative_to(SOURCE).parts
    }
    assert not spelled


RULES = {
    "cohere2_vision": ["get_optimal_tiled_canvas"],
    "gemma4": ["get_aspect_ratio_preserving_size"],
    "got_ocr2": ["get_optimal_tiled_canvas"],
    "kimi_k25": ["navit_resize"],
    "lfm2_vl": ["_get_grid_layout", "_is_image_too_large", "smart_resize"],
    "llama4": ["find_supported_resolutions", "get_best_fit", "get_max_res_without_distortion"],
    "ovis2": ["get_min_tile_covering_grid", "get_optimal_tiled_canvas"],
    "perception_lm": ["_find_closest_aspect_ratio", "_fit_image_to_canvas"],
}
"""Functions and methods that `todre.geometry` looks up in the image processor that it was given, by family."""


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, names in RULES.items() for name in names])
def test_a_rule_is_in_the_file_of_the_familys_image_processor(family, name):
    """Read, not imported: some of these files need torchvision."""
    folder = Path(transformers.__file__).parent / "models" / family
    text = (folder / f"image_processing_{family}.py").read_text(encoding="utf-8")
    defined = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    assert name in defined


def test_rules_are_those_that_are_looked_up():
    looked_up = set()
    for file in (SOURCE / "geometry").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "rule_of":
                looked_up.add(ast.literal_eval(node.args[1]))
    assert looked_up
    assert looked_up <= {name for names in RULES.values() for name in names}


def test_the_auto_class_maps_types_to_names():
    """`todre models` and `todre.loading.model` go by it."""
    known = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    assert {"llava", "llava_next", "qwen2_5_vl"} <= set(known)
    for name in known.values():
        first = name if isinstance(name, str) else name[0]
        assert first.isidentifier()


def test_tables_name_types_that_some_release_knows():
    """A misspelt type would never be found: every one is known, or belongs to a newer release."""
    known = set(CONFIG_MAPPING_NAMES)
    newer = {
        "apertus1p5",
        "hy_v4_vl",
        "inkling2_loop",
        "dots3_note",
        "granite_docling",
        "inkling2",
        "lfm3_vl",
        "minicpm_ocr",
        "mistral_large4",
        "molmo2",
    }
    newer |= {"muse_spark", "unlimited_ocr"}
    assert (set(FAMILIES) | set(REFUSED) | set(LAYOUTS)) - known <= newer


@pytest.mark.parametrize("name", sorted(BY_PROCESSOR))
def test_processors_are_found_by_name(name):
    assert processor_class_from_name(name).__name__ == name


def test_processors_are_found_by_model_type():
    assert PROCESSOR_MAPPING_NAMES["qwen2_vl"] == "Qwen2VLProcessor"


def test_models_say_where_their_parts_are():
    """`todre.runtime.attachment`, `hf.decoder`, `hf.wrappers` and `timing` ask a model for these."""
    asked = ("base_model", "get_decoder", "get_input_embeddings", "device", "dtype")
    assert not [name for name in asked if not hasattr(transformers.PreTrainedModel, name)]
    assert "decoder" in inspect.signature(transformers.PreTrainedConfig.get_text_config).parameters
