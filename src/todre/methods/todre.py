"""ToDRE: few, diverse visual tokens before the LLM; none once vision has faded."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.fields import Items, Range
from todre.fields.kinds import Attended, Layer, Layers, Natural, Seed
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, Preset, budget
from todre.methods.card import Card
from todre.methods.shared.fading import LATE, Ahead, RatioOver, Ratios, keep_attended, look_ahead
from todre.methods.shared.layers import resolve_layer, resolve_layers

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction
    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal

Diversity = Literal["max_sum", "k_center"]
Pivot = Literal["auto", "cls", "random", "center", "farthest", "received"]
Newlines = Literal["rank", "keep", "last"]
STAGE_2 = ("layers", "threshold", "ratio_over", "floor", "ahead", "horizon", "admissible")
"""Fields of `ToDRE` that stage 2 alone reads."""


@dataclass(frozen=True, kw_only=True)
class ToDRE(Method):
    """Prune visual tokens in two stages, by diversity and by task relevance.

    Based on "ToDRE: Visual Token Pruning via Diversity and Task Awareness for Efficient Large Vision-Language Models"
    (arXiv 2505.18757). The defaults are version 2; `ToDRE.v1` is version 1. Algorithm 1 of version 1 prints plain dot
    products over all tokens; this code follows its eq. 4 and 5 (cosine, over the tokens not yet chosen).

    Args:
        retain: visual tokens kept by stage 1, a fraction of each sample's tokens or a count.
        diversity: `max_sum` (v2: each pick has the smallest summed cosine to those chosen) or `k_center` (v1, eq. 4:
            the smallest maximum).
        pivot: the first pick. `cls`: highest [CLS] attention in the tower's last layer (section 4.1), among thumbnail
            tokens where a picture has crops; `received`: highest mean attention received, for towers without [CLS];
            `auto`: the first of these two that the vision tower offers, else `random` (version 2 finds that a random
            pivot costs little); `random`; `center`: nearest to the mean direction; `farthest`: farthest from all
            others.
        layers: where stage 2 decides: fractions of the depth (rounded down) or counts of layers run, 1-based. With 32
            layers, 7/8 is layer 28: its attention decides, and the last 4 layers see no picture.
        threshold: τ of section 4.2; both ratios of eq. 7 must lie below it. An undefined ratio (no query qualifies)
            counts as below, but without any text after the picture nothing is dropped. A low ratio need not mean that
            vision is finished: smol looks away for some layers and reads the picture later (docs/stage2.md).
            The four settings below are this project's own, and change nothing as they stand.
        ratio_over: the text queries of eq. 7: all text after a picture (`text`, as printed), or the last token alone
            (`last`), from which the answer is predicted.
        floor: visual tokens that stay where stage 2 drops the others, a count: those that text attends to most at that
            layer, of all pictures and turns of the sample. Later layers keep fewer where they lost some of
            these in an earlier turn. 0 leaves none, as printed.
        ahead: what must be below the threshold too before tokens leave: nothing more (`no`, as printed); the ratios at
            all later `layers` (`candidates`); those of every later layer with full attention (`layers`). They are
            estimates: the present hidden states, given to the later layer's own norm and projections to queries and
            keys. Each layer looked at costs these projections of all tokens, a sixth to a quarter of a layer, and only
            where the ratio itself is low; counts of FLOPs leave that out. `PruningReport.ratios_ahead` shows them.
        horizon: a layer measured on the model, before which nothing is dropped, a fraction or a count as in `layers`.
            Earlier `layers` are left out; if none is left, the horizon itself is the only one. `todre analyze
            calibrate` measures it.
        stages: the stages to run, 1 and 2.
        newlines: `rank` ranks AnyRes newline tokens like others; `keep` keeps them all, within the budget; `last` keeps
            them only where there is room beyond all others.
        admissible: average eq. 7 over the queries that can see a key of the other kind; False averages over all.
        seed: seed for the random pivot.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    diversity: Diversity = "max_sum"
    pivot: Pivot = "auto"
    layers: Layers = (7 / 8,)
    threshold: Attended = 0.10
    ratio_over: RatioOver = "text"
    floor: Natural = 0
    ahead: Ahead = "no"
    horizon: Layer | None = None
    stages: Annotated[tuple[Annotated[int, Range(least=1, most=2)], ...], Items(least=1, ascending=True)] = (1, 2)
    newlines: Newlines = "rank"
    admissible: bool = True
    seed: Seed = 0

    name: ClassVar[str] = "todre"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "diverse tokens before the LLM, none after vision has faded (v2)"
    paper: ClassVar[str] = "arXiv 2505.18757v2"
    card: ClassVar[Card] = Card(
        acts=("select", "reduce"),
        needs=("attention",),
        budget="Stage 1 is exact; stage 2 keeps all or nothing.",
        follows="No code was published. Eq. 4 and 5 (cosine, over the tokens not yet chosen) rather than algorithm 1's "
        "plain products; one pool over all tiles; queries that can see no key of the other kind are left out of eq. 7. "
        "Without a [CLS] the pivot is what receives most attention; version 2 takes a random one (pivot='random').",
    )

    @classmethod
    def v1(cls, **fields: Any) -> ToDRE:
        """Version 1: greedy k-center, four candidate layers, τ = 0.03.

        Source: section 4 and appendix C. It is as printed. On smol, with the threshold 0.1, its early layers dropped
        pictures that answers still needed; at 0.03 it did with a twentieth of the tokens or fewer (docs/stage2.md), and
        on rendered pages at every budget (docs/findings.md). The report warns.
        """
        defaults: dict[str, Any] = {
            "diversity": "k_center",
            "layers": (1 / 2, 5 / 8, 6 / 8, 7 / 8),
            "threshold": 0.03,
        }
        return cls(**(defaults | fields))

    @property
    def selects(self) -> bool:
        """True if stage 1 runs."""
        return 1 in self.stages

    def signals(self) -> tuple[Signal, ...]:
        """Request the tower's last layer if the pivot needs it and tokens are dropped."""
        from todre.tensors.token_facts import Signal

        chooses = self.selects and not (isinstance(self.retain, float) and self.retain == 1.0)
        return (Signal(self.pivot, even=True),) if chooses and self.pivot in ("auto", "cls", "received") else ()

    def select(self, visual: VisualTokens) -> Tensor:
        """Stage 1: keep exactly `budget` tokens, starting from the pivot (section 4.1)."""
        keep, open_, k = self._open(visual)
        candidates = visual.here(open_.nonzero().flatten())
        chosen = candidates if k >= len(candidates) else self._chosen(visual, candidates, open_, k)
        return keep.index_fill(0, chosen, True)

    def order(self, visual: VisualTokens) -> Tensor:
        """The tokens that stage 1 keeps in the order of choosing, (k,) int64.

        Newline tokens that are kept whatever they are come first.
        """
        import torch

        keep, open_, k = self._open(visual)
        candidates = visual.here(open_.nonzero().flatten())
        chosen = self._chosen(visual, candidates, open_, min(k, len(candidates)))
        return torch.cat([keep.nonzero().flatten(), chosen])

    def _chosen(self, visual: VisualTokens, candidates: Tensor, open_: Tensor, k: int) -> Tensor:
        """The k tokens that are chosen from `candidates`, in order."""
        from todre.select import k_center_order, max_sum_order

        pool = visual.embeddings if len(candidates) == len(visual) else visual.embeddings[candidates]
        choose = max_sum_order if self.diversity == "max_sum" else k_center_order
        return candidates[choose(pool, k, self._pivot(visual, pool, open_))]

    def _open(self, visual: VisualTokens) -> tuple[Tensor, Tensor, int]:
        """Tokens kept whatever they are, those to choose from, and how many to choose.

        Returns:
            (n,) bool on the tokens' device; (n,) bool on the host; and a count, which may exceed the tokens to choose
            from.
        """
        import torch

        n = len(visual)
        k = budget(self.retain, n)
        keep = torch.zeros(n, dtype=torch.bool, device=visual.device)
        open_ = torch.ones(n, dtype=torch.bool, device="cpu")
        if self.newlines == "keep":
            newlines = int(visual.host.newline.sum())
            if newlines and newlines >= k:
                raise InvalidValueError(
                    f"retain={self.retain} keeps {k} of {n} visual tokens, which the {newlines} newline tokens alone "
                    "use up; raise retain or use newlines='rank'."
                )
            keep |= visual.newline
            open_, k = ~visual.host.newline, k - newlines
        elif self.newlines == "last":
            open_ = ~visual.host.newline
            spare = visual.here(visual.host.newline.nonzero().flatten())[: max(0, k - int(open_.sum()))]
            keep, k = keep.index_fill(0, spare, True), k - len(spare)
        return keep, open_, k

    def _pivot(self, visual: VisualTokens, pool: Tensor, open_: Tensor) -> Tensor | int:
        """Place of the pivot within `pool`."""
        import torch

        from todre.select import pivot_center, pivot_farthest

        if self.pivot == "center":
            return pivot_center(pool)
        if self.pivot == "farthest":
            return pivot_farthest(pool)
        may = visual.host.known & visual.host.pivots & open_
        # Features that were encoded for another method may bring its signals, which are not what was asked for.
        saliency = next((visual.signals[each] for each in self.signals() if each in visual.signals), None)
        unknown = saliency is None or not bool(may.any())
        if self.pivot == "random" or (self.pivot == "auto" and unknown):
            generator = torch.Generator().manual_seed(self.seed)
            return int(torch.randint(len(pool), (1,), generator=generator, dtype=torch.int64, device="cpu"))
        if unknown or saliency is None:
            raise UnsupportedInputError(
                f"No saliency is known for these pictures, which pivot={self.pivot!r} needs; "
                "encode pictures inside todre.prune(...), or use pivot='random'."
            )
        saliency = saliency[visual.here(open_.nonzero().flatten())]
        here = visual.here(may[open_])
        return saliency.masked_fill(~here | saliency.isnan(), float("-inf")).argmax()

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Stage 2's candidate layers, as counts of layers run."""
        if 2 not in self.stages:
            return ()
        layers = resolve_layers(self.layers, n_layers)
        if self.horizon is None:
            return layers
        first = resolve_layer(self.horizon, n_layers, "horizon")
        return tuple(layer for layer in layers if layer >= first) or (first,)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Stage 2: drop the visual tokens of samples in which cross-modal attention faded.

        Source: section 4.2, eq. 7; `ratio_over`, `floor`, `ahead` and `horizon` are this project's own.
        """
        from todre.methods.views.reduction import Reduction

        here = Ratios.of(context, self.admissible, self.ratio_over)
        faded = here.below(self.threshold)
        later = look_ahead(context, self.ahead, faded, self.admissible, self.ratio_over)
        for ratios in later.values():
            faded = faded & ratios.below(self.threshold)
        keep = keep_attended(context, self.floor, self.ratio_over) if self.floor else ~context.visual
        return Reduction(
            keep | ~faded[:, None],
            here.to_visual,
            here.to_text,
            faded=faded & (context.visual.sum(dim=1) > self.floor),
            early=self.horizon is None and context.layer < resolve_layer(LATE, context.n_layers),
            ahead={layer: (ratios.to_visual, ratios.to_text) for layer, ratios in later.items()},
        )


PRESETS = (
    Preset(
        "todre-v1",
        ToDRE.v1,
        ToDRE,
        "diverse tokens by greedy k-center, dropped at one of four layers (v1)",
        "arXiv 2505.18757v1",
        card=dataclasses.replace(
            ToDRE.card,
            follows=f"{ToDRE.card.follows} On smol, with the threshold 0.1, its early layers dropped pictures that "
            "answers still needed, at 0.03 with a twentieth of the tokens or fewer (docs/stage2.md). todre-ahead and "
            "its like are meant to prevent that.",
        ),
    ),
    Preset(
        "todre-patches",
        functools.partial(ToDRE, newlines="last"),
        ToDRE,
        "version 2 on patches; newline tokens only where there is room",
        card=dataclasses.replace(
            ToDRE.card,
            follows="This project's own (docs/findings.md): on todre-tiny max-sum kept many newline tokens, "
            "which are one and the same vector. Otherwise as todre.",
        ),
        settings=tuple(field.name for field in dataclasses.fields(ToDRE) if field.name != "newlines"),
    ),
    Preset(
        "todre-stage-2",
        functools.partial(ToDRE, stages=(2,)),
        ToDRE,
        "no visual token after vision has faded (ToDRE's stage 2 alone)",
        "arXiv 2505.18757v2",
        card=Card("", ("reduce",), ("attention",), "Everything is kept, or nothing.", ToDRE.card.follows),
        settings=("positions", *STAGE_2),
    ),
)
