"""One question about pictures and clips under a method, and its answer."""

from __future__ import annotations

from todre.running.model_inputs import Media, QuestionWarning, build_inputs
from todre.running.one_answer import Answer, Settings, answer, media_facts

__all__ = ["Answer", "Media", "QuestionWarning", "Settings", "answer", "build_inputs", "media_facts"]
