"""VidCom²: more tokens for unusual frames, and each frame's most unusual tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.fields.kinds import Positive
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens

_WIDTHS = tuple(2.0**power for power in range(-3, 2))


@dataclass(frozen=True, kw_only=True)
class VidCom2(Method):
    """Compress the frames of a clip by how unique they are.

    Based on "Video Compression Commander: Plug-and-Play Inference Acceleration for Video Large Language Models"
    (VidCom², arXiv 2505.14454). Features are the half of the channels that vary least over the clip, normalised. A
    token's likeness to a centre is the sum over α in {1/8, …, 2} of exp(-d²/2α), with d its distance to the centre.
    Frame t keeps a share of its tokens in proportion to 1 + σ_t - mean σ, with σ the softmax of minus the mean likeness
    of its tokens to the clip's centre, divided by the temperature. Each frame keeps the tokens that are least like the
    clip's centre and its own.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count; 0.25 in the paper. Clips and pictures
            get equal fractions by largest remainder. Frames divide their clip's budget by largest remainder too, each
            with at least one token where possible. Newline tokens are kept first, within the budget (unless they alone
            would use it up).
        temperature: temperature of the softmax over frames.
        positions, per: see `Method`; `frame` is refused.
    """

    retain: SelectRetain = 0.25
    temperature: Positive = 0.01

    name: ClassVar[str] = "vidcom2"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "more for unique frames, and their most unique tokens (clips)"
    paper: ClassVar[str] = "arXiv 2505.14454"
    card: ClassVar[Card] = Card(
        venue="EMNLP 2025",
        acts=("select",),
        needs=("frames",),
        follows="The released code, which differs from the paper (low-variance channels, sums of Gaussians, normalised "
        "tokens). It rounds each frame's count; here the total is exact, as in vLLM. A picture is a clip of one frame.",
    )

    def __post_init__(self) -> None:
        if self.per == "frame":
            raise InvalidValueError(
                "VidCom² compares frames, so per='frame' leaves it nothing to compare; use per='clip'."
            )

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep in each frame the tokens least like the centres of clip and frame."""
        from todre.methods.shared.apportion import apportion, at_least_one
        from todre.methods.shared.budgets import shares
        from todre.methods.shared.grouping import best, newlines_first, tiles

        if not bool((visual.frame > 0).any()):
            raise UnsupportedInputError(
                "VidCom² compares the frames of a clip, and there is no clip of two frames or more; "
                "use a method for pictures, such as divprune."
            )
        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        clips: dict[int, list[Tensor]] = {}
        for frame in tiles(visual):
            clips.setdefault(int(visual.picture[frame[0]]), []).append(frame)
        sizes = [sum(len(frame) for frame in frames) for frames in clips.values()]
        for frames, share in zip(clips.values(), shares(room, sizes), strict=True):
            likeness, uniqueness = _judged(visual.embeddings, frames)
            emphasis = (uniqueness / self.temperature).softmax(dim=0)
            scale = (1 + emphasis - emphasis.mean()).tolist()
            lengths = [len(frame) for frame in frames]
            weights = [factor * length for factor, length in zip(scale, lengths, strict=True)]
            quotas = at_least_one(apportion(share, weights, lengths))
            for frame, alike, quota in zip(frames, likeness, quotas, strict=True):
                keep[frame[best(-alike, quota)]] = True
        return keep


def _judged(embeddings: Tensor, frames: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Likeness of each frame's tokens to their centres, and uniqueness of each frame.

    Returns:
        The likenesses, a list with one (m,) float64 tensor per frame; and the uniqueness, (frames,) float64.
    """
    import torch

    clip = embeddings[torch.cat(frames)]
    varies = clip.double().var(dim=0, unbiased=False)
    calm = varies.argsort(stable=True)[: max(1, embeddings.shape[1] // 2)]
    tokens = torch.nn.functional.normalize(clip[:, calm].double(), dim=1)
    parts = tokens.split([len(frame) for frame in frames])
    to_clip = [_likeness(part, tokens.mean(dim=0)) for part in parts]
    to_frame = [_likeness(part, part.mean(dim=0)) for part in parts]
    uniqueness = -torch.stack([alike.mean() for alike in to_clip])
    return [a + b for a, b in zip(to_clip, to_frame, strict=True)], uniqueness


def _likeness(tokens: Tensor, centre: Tensor) -> Tensor:
    """Likeness of tokens (m, c) to a centre (c,): Gaussians of their distance, summed."""
    distance = (tokens - centre).square().sum(dim=1)
    alike = distance.new_zeros(len(tokens))
    for width in _WIDTHS:
        alike = alike + (-distance / (2 * width)).exp()
    return alike
