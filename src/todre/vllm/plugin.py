"""The entry point of vLLM's plugins: the pruned architectures by their names."""

from __future__ import annotations

from todre.vllm.families import FAMILIES


def register() -> None:
    """Register the names of the pruned architectures.

    vLLM imports their classes once a config asks for one. Called in every process of vLLM, sometimes more than once.
    Models that name no such architecture are untouched.
    """
    from vllm import ModelRegistry

    known = ModelRegistry.get_supported_archs()
    for family in FAMILIES:
        if family.pruned not in known:
            ModelRegistry.register_model(family.pruned, family.target)
