"""Attention of text to the picture by layer, and the threshold of stage 2."""

from __future__ import annotations

from html import escape

from todre.analysis.migration import GROUPS, attention_of
from todre.analysis.questions import PictureQuestion
from todre.clips import Clip
from todre.errors import UnsupportedInputError
from todre.hf.decoder import decoder_of
from todre.loading.model import Loaded
from todre.methods.todre import ToDRE
from todre.page.answering import SETTINGS, method_of
from todre.page.svg import share_bars
from todre.page.wish import Wish
from todre.running import Media
from todre.scenes import Question

_TEXT, _VISUAL = list(GROUPS).index("text"), list(GROUPS).index("visual")


def attention(loaded: Loaded, picture: Media, wish: Wish) -> str:
    """A drawing for each direction that can be, of the unpruned model's prefill.

    The measurement is that of `todre analyze migration`; the threshold is that of the first ToDRE among the methods, or
    of `todre`.

    Raises:
        UnsupportedInputError: a clip.
        UnsupportedModelError: a layer's attention cannot be followed.
    """
    if isinstance(picture, Clip):
        raise UnsupportedInputError(
            "Attention by layer is measured for a picture, and this is a clip; drop a picture, or choose an example."
        )
    question = Question(text=wish.question, answer="", task="asked")
    asked = PictureQuestion(picture="picture", question=question, open=lambda: picture)
    (found,) = attention_of(loaded, [asked], SETTINGS.max_new_tokens)
    masses = {int(layer): mass for layer, mass in found["prefill"].items()}
    name, method = stage2_of(wish)
    deciding = method.reduce_after(decoder_of(loaded.model).n_layers)
    drawn, blind = "", ""
    for asking, target, title in (
        (_TEXT, _VISUAL, "attention of text to the picture, by layer"),
        (_VISUAL, _TEXT, "attention of the picture to text, by layer"),
    ):
        if found["uniform"][asking][target]:
            values = {layer: mass[asking][target] for layer, mass in masses.items()}
            drawn += share_bars(values, title, method.threshold, deciding)
        else:
            blind = " Here the picture stands before the text and cannot see it, which counts as below."
    where = ", ".join(map(str, deciding))
    words = (
        f"Measured without pruning, for the answer “{found['said']}”. {name} drops the picture after layer {where} "
        f"where both directions lie below {100 * method.threshold:g} %.{blind}"
    )
    return f'<div class="todre-pair">{drawn}</div><p>{escape(words)}</p>'


def stage2_of(wish: Wish) -> tuple[str, ToDRE]:
    """(name, method) whose stage 2 is drawn."""
    for name in wish.methods:
        method = method_of(name, wish.share)
        if isinstance(method, ToDRE) and 2 in method.stages:
            return name, method
    return ToDRE.name, ToDRE()
