"""Probability of a token when only some visual tokens are left after a layer.

The other visual tokens are really dropped, not masked.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from todre.analysis.prompts import Prompts
from todre.hf.decoder import decoder_of
from todre.loading.model import Loaded
from todre.methods.base import Method
from todre.pruning import prune
from todre.tensors.columns import PAD, VISUAL

if TYPE_CHECKING:
    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction


@dataclass(frozen=True, kw_only=True)
class KeepOnly(Method):
    """Method that keeps, after a layer, only the visual tokens named for each row.

    Args:
        layer: count of layers run; if it is the depth of the decoder, everything is kept.
        kept: for each row, the kept tokens as 0-based indices among the row's visual tokens.
        early: count of layers run when the tokens leave, at most `layer`. If it is smaller, the layers between run on
            fewer tokens; `states` then replace the output of these layers, so that the result is the same.
        states: (q, d) hidden states of the whole prompt after `layer`; needed where `early` is smaller.
        columns: (q,) int8 class of each token of the prompt (`todre.tensors.columns`); needed where `early` is smaller.
    """

    layer: int
    kept: tuple[tuple[int, ...], ...]
    early: int
    states: Tensor | None = field(default=None, compare=False, repr=False)
    columns: Tensor | None = field(default=None, compare=False, repr=False)

    name: ClassVar[str] = "keep-only"
    reads_attention: ClassVar[bool] = False

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Layers where tokens leave, and where the states are replaced."""
        return tuple(sorted({self.early, self.layer})) if self.layer < n_layers else ()

    def reduce(self, context: ReduceContext) -> Reduction:
        """Drop tokens that a row does not keep; later, put in the states of a full run."""
        from todre.methods.views.reduction import Reduction

        keep = torch.ones_like(context.visual)
        if context.layer == self.early:
            for row, kept in enumerate(self.kept):
                visual = context.visual[row].nonzero().flatten()
                keep[row, visual] = False
                keep[row, visual[list(kept)]] = True
            return Reduction(keep)
        return Reduction(keep, hidden=self._states(context))

    def _states(self, context: ReduceContext) -> Tensor:
        assert self.states is not None
        assert self.columns is not None
        hidden = context.hidden.clone()
        visual = (self.columns == VISUAL).nonzero().flatten()
        for row, kept in enumerate(self.kept):
            left = self.columns != VISUAL
            left[visual[list(kept)]] = True
            real = context.kinds[row, -context.queries :] != PAD
            hidden[row, real] = self.states[left].to(hidden.dtype)
        return hidden


class Prober:
    """Probabilities of one token after one prompt, with only some visual tokens left.

    Args:
        loaded: model and processor.
        prompts: a single prompt.
        token: id of the token whose probability is measured, as the first one generated.
        rows: most rows of one forward. `generate` makes the rows as several return sequences of one prompt, so that
            the picture is encoded once.
    """

    def __init__(self, loaded: Loaded, prompts: Prompts, token: int, rows: int) -> None:
        self.loaded, self.prompts, self.token, self.rows = loaded, prompts, token, rows
        self.states: dict[int, Tensor] = {}
        handles = [
            layer.register_forward_pre_hook(functools.partial(self._keep_states, index))
            for index, layer in enumerate(decoder_of(loaded.model).layers)
        ]
        try:
            self.full = self._probabilities(1)[0]
        finally:
            for handle in handles:
                handle.remove()

    def _keep_states(self, layer: int, module: Any, args: tuple[Any, ...]) -> None:
        self.states[layer] = args[0][0].detach()

    def after(self, layer: int, early: int, kept: Sequence[tuple[int, ...]]) -> list[float]:
        """The token's probability for each entry of `kept`, the tokens left after `layer`.

        Args:
            layer: count of layers run.
            early: at most `layer`; see `KeepOnly`.
            kept: 0-based indices among the visual tokens, a tuple for each probability.
        """
        found: list[float] = []
        for start in range(0, len(kept), self.rows):
            part = tuple(kept[start : start + self.rows])
            shortcut = early < layer and any(part)  # a method is not called where no row holds a visual token
            method = KeepOnly(
                layer=layer,
                kept=part,
                early=early if shortcut else layer,
                states=self.states[layer] if shortcut else None,
                columns=self.prompts.kinds[0] if shortcut else None,
            )
            with prune(self.loaded.model, method):
                found += self._probabilities(len(part))
        return found

    @torch.inference_mode()
    def _probabilities(self, rows: int) -> list[float]:
        device = self.loaded.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            output = self.loaded.model.generate(
                **self.prompts.inputs,
                do_sample=True,  # greedy decoding returns one sequence only; the logits do not depend on the draw
                num_beams=1,
                num_return_sequences=rows,
                max_new_tokens=1,
                output_logits=True,
                return_dict_in_generate=True,
            )
        found: list[float] = output.logits[0].float().softmax(dim=-1)[:, self.token].tolist()
        return found
