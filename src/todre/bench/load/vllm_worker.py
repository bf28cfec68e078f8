"""Worker extension for vLLM that tells how long its vision tower ran.

vLLM loads the class by its name (`--worker-extension-cls`) and mixes it into its worker; it is called over HTTP where
`VLLM_SERVER_DEV_MODE=1` allows that. vLLM counts the time itself, and has no option of its server to make it do so.
"""

from __future__ import annotations

from typing import Any


class EncoderTimes:
    """Methods that vLLM's worker gets."""

    model_runner: Any

    def time_encoder(self) -> float:
        """Make vLLM count the time of its encoder from now on."""
        self.model_runner.observability_config.enable_mm_processor_stats = True
        return 0.0

    def encoder_seconds(self) -> float:
        """Seconds that the encoder ran since the last call."""
        times = self.model_runner.get_encoder_timing_stats()
        return float(sum(each["encoder_forward_secs"] for each in times.values()))
