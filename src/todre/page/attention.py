"""Attention of text to the picture by layer, and the threshold of stage 2."""

from __future__ import annotations

from collections.abc import Sequence
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
    words = f"Measured without pruning, for the answer “{found['said']}”. {rule(name, method, deciding)}{blind}"
    return f'<div class="todre-pair">{drawn}</div><p>{escape(words)}</p>'


def rule(name: str, method: ToDRE, deciding: Sequence[int]) -> str:
    """What stage 2 drops, and when, in words.

    Args:
        name: what the method is called.
        method: its settings.
        deciding: the layers after which it decides.
    """
    last = method.ratio_over == "last"
    what, ahead = "the picture", ""
    if method.floor:
        tokens = f"the {method.floor} tokens" if method.floor > 1 else "the one token"
        what = f"all of the picture but {tokens} that {'the last text token' if last else 'text'} attends to most,"
    if method.ahead == "layers":
        ahead = ", and by estimate in every later layer with full attention too"
    elif method.ahead == "candidates" and len(deciding) > 1:
        ahead = ", and by estimate in the later ones of these layers too"
    words = (
        f"{name} drops {what} after layer {', '.join(map(str, deciding))} where both directions lie below "
        f"{100 * method.threshold:g} %{ahead}."
    )
    return words + (" Of text, its last token alone counts there; the bars show all of it." if last else "")


def stage2_of(wish: Wish) -> tuple[str, ToDRE]:
    """(name, method) whose stage 2 is drawn."""
    for name in wish.methods:
        method = method_of(name, wish.share)
        if isinstance(method, ToDRE) and 2 in method.stages:
            return name, method
    return ToDRE.name, ToDRE()
