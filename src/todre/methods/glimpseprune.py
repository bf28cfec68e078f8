"""GlimpsePrune: tokens that a trained glimpse relates to the question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.errors import InvalidValueError
from todre.fields import Range
from todre.fields.kinds import Count, Retain
from todre.methods.base import Method, budget
from todre.methods.card import Card
from todre.methods.shared.grouping import best
from todre.methods.shared.query_rows import columns_of, fresh_slots

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.glimpse.predictor import View
    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction
    from todre.tensors.attention import AttentionInputs


@dataclass(frozen=True, kw_only=True)
class GlimpsePrune(Method):
    """Keep the visual tokens that a trained glimpse relates to the question.

    Based on "A Glimpse to Compress: Dynamic Visual Token Pruning for Large Vision-Language Models" (GlimpsePrune, arXiv
    2508.01548). The number of kept tokens depends on the picture and the question. The method acts after the layer
    that the weights were trained at.

    Args:
        threshold: probability, in (0, 1), above which a token is kept.
        cap: largest number of visual tokens left, a fraction of those that entered or a count; None for no cap. The
            paper has 0.111.
        least: smallest number of visual tokens left, for questions about something that the picture does not show.
        weights: a file that `python -m todre.glimpse.train` wrote; None for the file that ships with the package, which
            fits the model that ships with it.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    threshold: Annotated[float, Range(above=0, below=1, called="a probability")] = 0.5
    cap: Retain | None = None
    least: Count = 1
    weights: str | None = None

    name: ClassVar[str] = "glimpseprune"
    summary: ClassVar[str] = "what a trained glimpse relates to the question"
    paper: ClassVar[str] = "arXiv 2508.01548"
    card: ClassVar[Card] = Card(
        acts=("reduce",),
        needs=("attention", "hidden", "text", "training"),
        budget="As many as the predictor marks for the picture and question: at least `least`, at most `cap`.",
        follows=(
            "The idea, not the network. The paper appends a learned token to the prompt that runs through the layers; "
            "here learned looks attend to the text's hidden states after a layer and mix its queries of the next one. "
            "The predictor reads these attentions and the embeddings that entered, token by token; the paper's has "
            "layers of attention, conditioned on four depths of the tower. Losses are the paper's, without the "
            "one on answers."
        ),
    )
    reads_attention: ClassVar[bool] = False
    reads_inputs: ClassVar[bool] = True
    file_fields: ClassVar[tuple[str, ...]] = ("weights",)

    def __post_init__(self) -> None:
        if isinstance(self.cap, int) and self.cap < self.least:
            raise InvalidValueError(
                f"GlimpsePrune.least must be at most its cap of {self.cap} tokens, not {self.least}."
            )

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after the layer that the weights were trained at.

        Raises:
            InvalidValueError: the weights cannot be read.
            UnsupportedModelError: the weights are for a decoder of another depth.
        """
        from todre.methods.glimpse.weights import load_trained

        trained = load_trained(self.weights)
        trained.check_depth(n_layers)
        return (trained.glimpse.shape.layer,)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Keep the marked tokens of each row; a row without a question keeps everything."""
        import torch

        from todre.methods.glimpse.weights import load_trained
        from todre.methods.views.reduction import Reduction
        from todre.tensors.columns import PAD, VISUAL

        trained = load_trained(self.weights, context.hidden.device)
        kinds = context.kinds[:, -context.queries :]
        trained.check_embeddings(context.inputs[(kinds != PAD) & (kinds != VISUAL)])
        following, keep = context.peek(), ~context.fresh
        for row, entered in enumerate(context.entered.tolist()):
            slots = fresh_slots(context, row)
            if not len(slots) or not bool(context.text_rows[row].any()):
                keep[row] = True
                continue
            view = _view(context, following, row, columns_of(context, slots))
            with torch.no_grad():
                probability = trained.glimpse(view)[0].sigmoid()
            most = len(slots) if self.cap is None else budget(self.cap, entered)
            count = min(max(int((probability > self.threshold).sum()), self.least), most)
            keep[row, slots[best(probability, count)]] = True
        return Reduction(keep)


def _view(context: ReduceContext, following: AttentionInputs, row: int, columns: Tensor) -> View:
    """Inputs of the glimpse: one row's text, and its visual tokens in `columns`."""
    import torch

    from todre.methods.glimpse.predictor import View

    text = context.text_rows[row]
    return View(
        query=following.query[row : row + 1, :, text],
        states=context.hidden[row : row + 1, text],
        text=text[text][None],
        key=following.key[row : row + 1][:, :, columns],
        inputs=context.inputs[row : row + 1, columns],
        visual=torch.ones(1, len(columns), dtype=torch.bool, device=columns.device),
        scaling=following.scaling,
    )
