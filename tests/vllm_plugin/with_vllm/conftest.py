"""These tests run vLLM itself, in an environment that has it (`make test-vllm`)."""

import os

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_CI_ENV": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}

import pytest
import torch
from vllm_plugin.with_vllm import checkpoints
from vllm_plugin.with_vllm.engines import Reference

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """folder_of("llava") → a checkpoint's folder, written once."""
    root = tmp_path_factory.mktemp("checkpoints")

    def at(name):
        folder = root / name
        return folder if folder.exists() else checkpoints.write(name, folder)

    return at


@pytest.fixture(scope="session")
def published(folder_of, tmp_path_factory):
    """published("llava") → the same checkpoint with its tower's weights named as on the hub."""
    root = tmp_path_factory.mktemp("published")

    def at(name):
        folder = root / name
        return folder if folder.exists() else checkpoints.as_published(folder_of(name), folder)

    return at


@pytest.fixture(scope="session")
def reference_of(folder_of):
    """reference_of("llava") → the checkpoint in transformers, loaded once."""
    found = {}

    def at(name):
        if name not in found:
            found[name] = Reference(folder_of(name))
        return found[name]

    return at
