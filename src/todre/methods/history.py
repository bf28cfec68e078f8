"""History: the newest screen whole, older ones less, unchanged regions once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from todre.errors import InvalidValueError
from todre.fields.kinds import Cosine, Natural, Retain, Seed, Share
from todre.fields.marks import Range, Wording
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal

Ranker = Literal["random", "diversity", "uniform"]
Least = Annotated[
    Natural | Share,
    Wording("a share of a screen in [0, 1] such as 0.02, or a whole number of tokens from 0, such as 8"),
]


@dataclass(frozen=True, kw_only=True)
class History(Method):
    """Divide a budget over the screens of a history by age and by what changed.

    The rule is todre's own. It follows what arXiv 2603.26041 reports of the past screenshots of GUI agents: recent ones
    need more tokens than distant ones, and tokens drawn at random do better than chosen ones, as they keep the layout.
    A screen is a picture, or a frame of a clip, with its newline tokens; the last of a sample is the newest. A token of
    an older screen is a repeat if its cosine to the token in the same place of the next screen is at least `change`,
    where both screens have the same layout. So what stays the same is kept in the newest screen that shows it, and the
    newest screen has no repeats.

    The budget is spent in this order: the floors, from newest to oldest; the newest screen, up to its share; the
    older screens, of which one of age g with m tokens that are no repeats gets c·m·γ^g of them, with one factor c for
    all (no less than its floor, no more than m); the rest of the newest screen; repeats, by age in the same way. Every
    screen has one order of its tokens and keeps the first of them: pictures before newline tokens, repeats last. So
    what it keeps under two budgets is nested, also when screens are added at the end.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. A single screen keeps it by `ranker`.
        gamma: γ, the factor on what a screen gets for each newer screen; 1 is equal shares of what changed.
        floor: least tokens of every screen, a share of the screen or a count, as far as it has tokens that are no
            repeats.
        newest: share kept of the newest screen, before older ones get more than their floors.
        change: cosine from which a token is a repeat; None means that nothing is one.
        ranker: order within a screen: `random`, a draw of its own; `diversity`, greedy k-center from the token nearest
            to the centre; `uniform`, evenly spaced along the sequence, each gap halved in turn.
        seed: seed of the draws; the draw of a screen depends on it and on the sizes of the screens up to it.
        positions, per: see `Method`; with `image` or `clip` only the frames of a clip have a history, `frame` is
            refused.
    """

    retain: Retain = 0.25
    gamma: Share = 0.5
    floor: Least = 0.02
    newest: Annotated[float, Range(above=0, most=1, called="a share")] = 1.0
    change: Cosine | None = 0.95
    ranker: Ranker = "random"
    seed: Seed = 0

    name: ClassVar[str] = "history"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "the newest screen whole, older ones less, unchanged regions once"
    paper: ClassVar[str] = "arXiv 2603.26041"
    card: ClassVar[Card] = Card(
        venue="arXiv 2026",
        acts=("select",),
        needs=("screens",),
        follows="The paper's observations, of which the abstract was read; the rule and its numbers are todre's own. "
        "Models whose tiles are pictures of their own (InternVL, Idefics 3) have a screen for each tile; give them one "
        "tile per picture. In a later turn the pictures of that turn alone are a history.",
    )

    def __post_init__(self) -> None:
        if self.per == "frame":
            raise InvalidValueError(
                "history divides a budget over screens, so per='frame' leaves it nothing to divide; use per='sample'."
            )

    def signals(self) -> tuple[Signal, ...]:
        """Request the place of each token, to compare screens."""
        from todre.tensors.token_facts import Signal

        return () if self.change is None else (Signal("grid"),)

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep the first tokens of each screen, as many as age and change allow."""
        import torch

        from todre.methods.shared.grouping import screens

        found = screens(visual)
        repeats = _repeats(visual, found, self.change)
        tiers = [_tiers(visual, screen, repeat) for screen, repeat in zip(found, repeats, strict=True)]
        fresh = [int((~repeat).sum()) for repeat in repeats]
        quotas = self._quotas(budget(self.retain, len(visual)), [len(screen) for screen in found], fresh)
        drawn = _drawn(found, self.seed)
        keep = torch.zeros(len(visual), dtype=torch.bool, device=visual.device)
        for parts, quota in zip(tiers, quotas, strict=True):
            left = quota
            for part in parts:
                count = min(left, len(part))
                keep[self._first(visual, part, drawn, count)] = True
                left -= count
        return keep

    def _quotas(self, total: int, sizes: list[int], fresh: list[int]) -> list[int]:
        """Tokens that each screen keeps, `total` in all.

        Args:
            total: at most the sum of `sizes`.
            sizes: tokens of each screen, oldest first.
            fresh: tokens of each screen that are no repeats.
        """
        from todre.methods.shared.apportion import apportion, apportion_between

        sizes, fresh = sizes[::-1], fresh[::-1]
        least = [min(_least(self.floor, size), own) for size, own in zip(sizes, fresh, strict=True)]
        quotas = [min(own, max(0, total - sum(least[:age]))) for age, own in enumerate(least)]
        whole = max(1, round(self.newest * sizes[0]))
        quotas[0] = max(quotas[0], min(whole, total - sum(quotas[1:])))
        weights = [own * self.gamma**age for age, own in enumerate(fresh)]
        room = total - quotas[0]
        if room > sum(quotas[1:]):
            quotas[1:] = apportion_between(room, weights[1:], quotas[1:], fresh[1:])
        quotas[0] = min(sizes[0], total - sum(quotas[1:]))
        again = [size - own for size, own in zip(sizes, fresh, strict=True)]
        weights = [size * self.gamma**age for age, size in enumerate(again)]
        more = apportion(total - sum(quotas), weights, again)
        return [quota + added for quota, added in zip(quotas, more, strict=True)][::-1]

    def _first(self, visual: VisualTokens, part: Tensor, drawn: Tensor, count: int) -> Tensor:
        """The first `count` tokens of a part of a screen, in the order of the ranker.

        Args:
            visual: the tokens.
            part: (m,) int64 on the host, tokens of the part, ascending.
            drawn: (n,) int64 on the host, the place of each token in its screen's draw.
            count: at most m.

        Returns:
            (count,) int64, on the device of the tokens.
        """
        from todre.select import k_center_order, pivot_center

        if count in (0, len(part)):
            return visual.here(part[:count])
        if self.ranker == "random":
            return visual.here(part[drawn[part].argsort()[:count]])
        if self.ranker == "uniform":
            return visual.here(part[_halving(len(part))[:count]])
        where = visual.here(part)
        x = visual.embeddings[where]
        return where[k_center_order(x, count, pivot_center(x))]


def _least(floor: float, size: int) -> int:
    """Tokens that `floor` means for a screen of `size` tokens; a share is rounded."""
    return min(size, floor if isinstance(floor, int) else round(floor * size))


def _tiers(visual: VisualTokens, screen: Tensor, repeat: Tensor) -> list[Tensor]:
    """A screen's tokens in parts, on the host: picture, newline tokens, repeats."""
    newline = visual.host.newline[screen]
    return [screen[~repeat & ~newline], screen[~repeat & newline], screen[repeat]]


def _repeats(visual: VisualTokens, found: list[Tensor], change: float | None) -> list[Tensor]:
    """For each screen, which of its tokens the next screen repeats.

    Identical tokens always repeat. Values are fetched from the device once.

    Returns:
        (m,) bool for each screen, on the host.
    """
    import torch

    from todre.tensors.transfer import fetch

    repeats = [torch.zeros(len(screen), dtype=torch.bool, device="cpu") for screen in found]
    if change is None:
        return repeats
    pairs = [at for at in range(len(found) - 1) if _same_layout(visual, *found[at : at + 2])]
    alike = []
    for at in pairs:
        older, newer = (visual.embeddings[visual.here(screen)] for screen in found[at : at + 2])
        a, b = (torch.nn.functional.normalize(x.float(), dim=1) for x in (older, newer))
        alike.append(((a * b).sum(dim=1) >= change) | (older == newer).all(dim=1))
    for at, repeat in zip(pairs, fetch(alike), strict=True):
        repeats[at] = repeat
    return repeats


def _same_layout(visual: VisualTokens, older: Tensor, newer: Tensor) -> bool:
    """True if two screens have the same tiles and rasters, token by token."""
    places = visual.host
    facts = (places.tile, places.row, places.column)
    return len(older) == len(newer) and all(bool((fact[older] == fact[newer]).all()) for fact in facts)


def _drawn(found: list[Tensor], seed: int) -> Tensor:
    """The place of each token in a random order of its screen, (n,) int64 on the host."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    place = torch.empty(sum(len(screen) for screen in found), dtype=torch.int64, device="cpu")
    for screen in found:
        order = torch.randperm(len(screen), generator=generator, dtype=torch.int64, device="cpu")
        place[screen[order]] = torch.arange(len(screen), dtype=torch.int64, device="cpu")
    return place


def _halving(n: int) -> Tensor:
    """The numbers below n in the order of their bits reversed, (n,) int64 on the host."""
    import torch

    bits = max(1, (n - 1).bit_length())
    order = sorted(range(n), key=lambda number: int(f"{number:0{bits}b}"[::-1], 2))
    return torch.tensor(order, dtype=torch.int64, device="cpu")
