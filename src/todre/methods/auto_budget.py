"""Automatic budgets: how many tokens a picture keeps, from its own tokens.

A method's `retain` may be an `AutoBudget` in place of a number. The runtime then counts for each picture, and gives the
method that number. Nothing is trained. Read are the picture's tokens, and whether its pixels hold text.
"""

from __future__ import annotations

import dataclasses
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from todre.errors import InvalidValueError
from todre.fields import Checked, Wording
from todre.fields.kinds import Positive, Retain, Share
from todre.fields.texts import number_of

if TYPE_CHECKING:
    from todre.methods.views.visual_tokens import VisualTokens

Rule = Literal["rank", "energy", "coverage"]
AUTO = "auto"
"""The automatic budget with default settings; all others begin with this word."""
THRESHOLDS: dict[Rule, float] = {"rank": 4.0, "energy": 0.995, "coverage": 0.93}
"""Thresholds where none is given, by rule; docs/auto.md says where from."""


@dataclass(frozen=True, kw_only=True)
class AutoBudget(Checked):
    """A budget that follows each picture's own tokens.

    Newline tokens are no part of the picture, and are not counted by the rules; floor and ceiling are of all tokens.

    Args:
        rule: `rank`: the effective rank, exp of the entropy of the normalised singular values, times the threshold;
            `energy`: the fewest directions that hold the threshold's share of the spectral energy; `coverage`: the
            fewest tokens, by greedy k-center, that have every other token within the threshold's cosine.
        threshold: above 0, and for energy and coverage at most 1; None means the rule's own in `THRESHOLDS`.
        floor: fewest tokens that a picture keeps, a share of its tokens or a count.
        ceiling: most tokens that a picture keeps, a share of its tokens or a count. Where floor and ceiling cross in a
            small picture, the floor holds.
        text: a picture keeps its ceiling if more than this share of its tokens holds thin strokes, as letters do
            (`VisualTokens.text_share`); None counts such a picture as any other. Where pixels are not known, as in
            `todre.prune_embeddings`, it does nothing.
    """

    rule: Rule = "coverage"
    threshold: Positive | None = None
    floor: Retain = 0.05
    ceiling: Retain = 1.0
    text: Share | None = 0.1

    def __post_init__(self) -> None:
        if self.threshold is None:
            object.__setattr__(self, "threshold", THRESHOLDS[self.rule])
        if self.rule != "rank" and self.cut > 1:
            raise InvalidValueError(
                f"AutoBudget.threshold must be in (0, 1] for the rule {self.rule!r}, not {self.cut:g}; it is a "
                f"{'share of energy' if self.rule == 'energy' else 'cosine'}."
            )
        if isinstance(self.floor, int) == isinstance(self.ceiling, int) and self.floor > self.ceiling:
            raise InvalidValueError(
                f"AutoBudget.floor={self.floor:g} is more than ceiling={self.ceiling:g}; lower the floor, or raise the "
                "ceiling."
            )

    @property
    def cut(self) -> float:
        """The threshold as a number."""
        return THRESHOLDS[self.rule] if self.threshold is None else float(self.threshold)

    def count(self, visual: VisualTokens) -> int:
        """Number of tokens that one picture keeps, from its floor to its ceiling.

        Args:
            visual: the tokens of one picture, one clip or one frame, at least one.
        """
        n = len(visual)
        least, most = count_of(self.floor, n), count_of(self.ceiling, n)
        share = visual.text_share if self.text is not None else None
        if share is not None and self.text is not None and share > self.text:
            return max(least, most)
        return max(least, min(self._wanted(visual), most))

    def _wanted(self, visual: VisualTokens) -> int:
        from todre.select import coverage_count, effective_rank, energy_rank

        places = (~visual.host.newline).nonzero().flatten()
        if not len(places):
            return 0
        content = visual.embeddings if len(places) == len(visual) else visual.embeddings[visual.here(places)]
        if self.rule == "rank":
            return max(1, round(self.cut * effective_rank(content)))
        return energy_rank(content, self.cut) if self.rule == "energy" else coverage_count(content, self.cut)

    @classmethod
    def of_plain(cls, value: Any) -> AutoBudget | None:
        """The budget that a text or a mapping describes; None if it describes none.

        Args:
            value: `auto`, `auto-RULE` or `auto-RULE-THRESHOLD`, such as `auto-coverage-0.9`; or the fields by name,
                `rule` among them.

        Raises:
            InvalidValueError: a text begins with `auto` and names no rule, or a field has a value that cannot be used.
        """
        if isinstance(value, dict):
            known = {field.name for field in dataclasses.fields(cls)}
            return cls(**value) if "rule" in value and set(value) <= known else None
        if not isinstance(value, str) or value.partition("-")[0] != AUTO:
            return None
        _, *parts = value.split("-", 2)
        cut = number_of(parts[1]) if len(parts) == 2 else None
        if (parts and parts[0] not in get_args(Rule)) or (len(parts) == 2 and cut is None):
            raise InvalidValueError(
                f"There is no automatic budget {value[:60]!r}; write auto, auto-RULE or auto-RULE-THRESHOLD with one "
                f"of the rules {', '.join(get_args(Rule))}, such as auto-coverage-0.9."
            )
        return cls(threshold=cut, **({"rule": parts[0]} if parts else {}))  # type: ignore[arg-type]

    def to_plain(self) -> dict[str, Any]:
        """All fields, ready for JSON, as `of_plain` takes them."""
        return dataclasses.asdict(self)

    def __format__(self, spec: str) -> str:
        """The text, whatever the format, so that it stands where a number would."""
        return str(self)

    def __str__(self) -> str:
        """`auto` for the defaults, else the rule and its threshold."""
        return AUTO if self == type(self)() else f"{AUTO}-{self.rule}-{self.cut:g}"


SelectRetain = Annotated[
    Retain | AutoBudget | Literal["auto"],
    Wording("'auto', a fraction in (0, 1] such as 0.1, or a whole number of tokens from 1, such as 288"),
]
"""Budget of a method that selects before the LLM: a number, or automatic.

The text `auto` becomes an `AutoBudget`, so that a method never holds the text.
"""


def count_of(retain: float, n: int) -> int:
    """Number of tokens to keep of `n`, at most n.

    Args:
        retain: a count (int), or a fraction (float), which means max(1, round(retain * n)).
        n: number of tokens.
    """
    if isinstance(retain, numbers.Integral):
        return min(int(retain), n)
    return min(n, max(1, round(float(retain) * n)))
