"""Methods that select once for each picture, however many questions are asked."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from todre.methods.todre import ToDRE

if TYPE_CHECKING:
    from todre.methods.base import Method
    from todre.methods.views.visual_tokens import VisualTokens


@dataclass(frozen=True, kw_only=True)
class RememberedToDRE(ToDRE):
    """ToDRE that selects once for equal visual tokens; stage 1 ignores the question.

    Args:
        answers: earlier selections, by a digest of the budget, the embeddings and the signals. An automatic budget or
            a guard's floor asks for several budgets of one method.
    """

    answers: dict[bytes, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def select(self, visual: VisualTokens) -> Tensor:
        """Stage 1's selection, from memory if the same visual tokens were seen before."""
        hasher = hashlib.blake2b(str(self.retain).encode(), digest_size=16)
        for values in (visual.embeddings, *visual.signals.values()):
            hasher.update(values.detach().float().cpu().numpy().tobytes())
        key = hasher.digest()
        if key not in self.answers:
            self.answers[key] = super().select(visual)
        return self.answers[key].clone()


def remembering(method: Method) -> Method:
    """`method` with a memory if it is ToDRE and selects before the LLM; else `method`."""
    if type(method) is not ToDRE or not method.selects:
        return method
    fields: dict[str, Any] = {each.name: getattr(method, each.name) for each in dataclasses.fields(method)}
    return RememberedToDRE(**fields)
