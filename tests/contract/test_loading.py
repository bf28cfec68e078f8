"""What `src/todre/loading/model.py` and `hub.py` take for granted of loading, here and from the hub."""

from __future__ import annotations

import inspect

import pytest
import tinymodels as tm
import torch
from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText

LOCAL = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("llava")
    tm.build("llava", layers=1).save_pretrained(path)
    return path


class TestHere:
    """A folder of safetensors."""

    def test_the_auto_class_says_what_was_missing(self, folder, tmp_path):
        weights = load_file(folder / "model.safetensors")
        name = sorted(weights)[0]
        (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
        save_file({key: value for key, value in weights.items() if key != name}, tmp_path / "model.safetensors")
        _, info = AutoModelForImageTextToText.from_pretrained(tmp_path, **LOCAL)
        assert len(info["missing_keys"]) == 1
        _, info = AutoModelForImageTextToText.from_pretrained(folder, **LOCAL)
        assert not info["missing_keys"]

    @pytest.mark.parametrize(("asked", "got"), [(torch.bfloat16, torch.bfloat16), ("auto", torch.float32)])
    def test_dtype_is_taken(self, folder, asked, got):
        model, _ = AutoModelForImageTextToText.from_pretrained(folder, dtype=asked, **LOCAL)
        assert model.dtype == got
        assert model.device == torch.device("cpu")

    @pytest.mark.parametrize("backend", ["sdpa", "eager"])
    def test_the_attention_backend_reaches_the_decoders_config(self, folder, backend):
        model, _ = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation=backend, **LOCAL)
        assert model.config.get_text_config(decoder=True)._attn_implementation == backend
        assert model.get_decoder().config._attn_implementation == backend

    def test_one_that_is_unknown_is_an_error_of_two_kinds(self, folder):
        with pytest.raises((ValueError, ImportError)):
            AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="no-such", **LOCAL)

    def test_a_config_comes_alone(self, folder):
        config = AutoConfig.from_pretrained(str(folder))
        assert config.model_type == "llava"
        assert config.get_text_config(decoder=True).model_type == "llama"
        assert config.vision_config.model_type == "clip_vision_model"

    def test_code_from_a_checkpoint_runs_only_on_demand(self, folder):
        AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=False, **LOCAL)


class TestHub:
    """Nothing is fetched here: names of arguments and errors."""

    def test_a_repository_is_described_with_its_files(self):
        assert {"revision", "files_metadata"} <= set(inspect.signature(HfApi.model_info).parameters)

    def test_a_snapshot_is_taken_of_named_files(self):
        names = set(inspect.signature(snapshot_download).parameters)
        assert {"revision", "allow_patterns", "local_files_only"} <= names

    def test_the_cache_is_asked_for_one_file(self):
        assert list(inspect.signature(try_to_load_from_cache).parameters)[:2] == ["repo_id", "filename"]
        assert try_to_load_from_cache("nobody/nothing-at-all", "config.json", revision=None) is None

    def test_errors_are_told_apart(self):
        assert issubclass(GatedRepoError, RepositoryNotFoundError)
        assert issubclass(HFValidationError, ValueError)
        assert issubclass(LocalEntryNotFoundError, OSError)
        assert issubclass(RevisionNotFoundError, OSError)
