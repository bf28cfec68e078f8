"""Formulas of a seeded grammar of our own, and pictures of them as the image-to-LaTeX model takes them.

The grammar writes what both matplotlib's mathtext and the model know: letters, scripts, fractions, roots, sums,
integrals and functions. Scripts are always braced, the lower one first.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.mathtext import math_to_image
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 128, 512
"""Pixels of the model's pictures."""
DPI, MARGIN = 220, 12
"""Resolution and white margin, chosen by hand on ten formulas: the model reads small print badly."""
LETTERS = tuple("abcdfghkmnpqrstuvxyzABCDEFGHLMNPRSTVXZ")
GREEK = tuple(
    rf"\{name}" for name in ("alpha", "beta", "gamma", "delta", "lambda", "mu", "pi", "rho", "sigma", "phi", "omega")
)
INDICES = ("i", "j", "k", "n", "m", "0", "1", "2", r"\mu", r"\nu")
POWERS = ("2", "3", "n", "k", "2n", "-1", "i")
FUNCTIONS = (r"\sin", r"\cos", r"\log", r"\exp")
RELATIONS = ("=", "=", "=", r"\leq", r"\sim", r"\to")


def formula(rng: random.Random) -> str:
    """One formula: two sides and a relation, of 12 to 48 characters."""
    while True:
        text = f"{_side(rng, 2)} {rng.choice(RELATIONS)} {_side(rng, 3)}"
        if 12 <= len(text) <= 48:
            return text


def formulas(seed: int, count: int) -> Sequence[str]:
    """The first `count` different formulas of a seed."""
    rng = random.Random(f"formulas {seed}")
    found: dict[str, None] = {}
    while len(found) < count:
        found[formula(rng)] = None
    return list(found)


def _side(rng: random.Random, most: int) -> str:
    terms = [_term(rng, 1) for _ in range(rng.randint(1, most))]
    return "".join(term if not at else f" {rng.choice('+-')} {term}" for at, term in enumerate(terms))


def _term(rng: random.Random, depth: int) -> str:
    kind = rng.random()
    if not depth or kind < 0.45:
        return _atom(rng)
    if kind < 0.62:
        return rf"\frac{{{_short(rng)}}}{{{_short(rng)}}}"
    if kind < 0.72:
        return rf"\sqrt{{{_short(rng)}}}"
    if kind < 0.82:
        return f"{_letter(rng)}({_short(rng)})"
    if kind < 0.90:
        return rf"{rng.choice(FUNCTIONS)} {_letter(rng)}"
    if kind < 0.95:
        index = rng.choice("ijkn")
        return rf"\sum_{{{index}={rng.choice('01')}}}^{{{rng.choice(('n', 'N', '3'))}}} {_letter(rng)}_{{{index}}}"
    return rf"\int_{{{rng.choice('0a')}}}^{{{rng.choice('1b')}}} {_letter(rng)} d{rng.choice('xtz')}"


def _short(rng: random.Random) -> str:
    parts = [_atom(rng) for _ in range(rng.randint(1, 2))]
    return f" {rng.choice('+-')} ".join(parts)


def _atom(rng: random.Random) -> str:
    base, kind = _letter(rng), rng.random()
    if kind < 0.4:
        return base
    if kind < 0.6:
        return f"{base}_{{{rng.choice(INDICES)}}}"
    if kind < 0.8:
        return f"{base}^{{{rng.choice(POWERS)}}}"
    return f"{rng.randint(2, 9)} {base}" if kind < 0.9 else str(rng.randint(1, 99))


def _letter(rng: random.Random) -> str:
    return rng.choice(LETTERS) if rng.random() < 0.7 else rng.choice(GREEK)


def picture(text: str) -> NDArray[np.float32]:
    """A formula in black on white, fitted into the model's picture; around it black, as the model's own loader pads.

    Returns:
        (HEIGHT, WIDTH), from 0 to 1.
    """
    file = io.BytesIO()
    with rc_context({"mathtext.fontset": "cm"}):
        math_to_image(f"${text}$", file, dpi=DPI, format="png")
    image = Image.open(file).convert("L")
    rows, columns = np.nonzero(np.asarray(image) < 160)
    image = image.crop((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    page = Image.new("L", (image.width + 2 * MARGIN, image.height + 2 * MARGIN), 255)
    page.paste(image, (MARGIN, MARGIN))
    scale = min(WIDTH / page.width, HEIGHT / page.height)
    size = max(1, round(page.width * scale)), max(1, round(page.height * scale))
    canvas = Image.new("L", (WIDTH, HEIGHT), 0)
    canvas.paste(page.resize(size, Image.Resampling.BILINEAR), ((WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2))
    return np.asarray(canvas, dtype=np.float32) / 255


_WRAPPERS = re.compile(
    r"\\(?:begin|end)\{(?:equation|aligned|align|displaymath|array|eqnarray|split|gathered|gather)\*?\}"
    r"(?:\{[lcr|]*\})?"
)
_SPACES = re.compile(r"\\(?:hspace|kern|vspace)\*?\s*(?:\{[^{}]*\}|-?[\d.]+\s*[a-z]{2})|\\\\")
_LOOKS = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|scriptstyle|bigg?|Bigg?|bigl|bigr|mathop|limits|nolimits|mathrm|mathit"
    r"|mathbf|boldsymbol|mbox|text|textit|rm|it|bf|quad|qquad|operatorname)(?![a-zA-Z])\*?|\\[,;:! \[\]]|[$&~]"
)
_STACKED = re.compile(
    r"\\underset\{([^{}]*)\}\{\s*\\overset\{([^{}]*)\}\{\s*(\\sum)\s*\}\s*\}"
    r"|\\overset\{([^{}]*)\}\{\s*\\underset\{([^{}]*)\}\{\s*(\\sum)\s*\}\s*\}"
)
_SAME = {
    r"\tfrac": r"\frac", r"\dfrac": r"\frac", r"\varphi": r"\phi", r"\le": r"\leq", r"\rightarrow": r"\to",
    r"\longrightarrow": r"\to", r"\varrho": r"\rho", r"\imath": "i", r"\jmath": "j", r"\leqslant": r"\leq",
}  # fmt: skip


def read_as(text: str) -> str:
    """What a piece of LaTeX says, without what only changes its look.

    Left out are wrappers, spaces, braces, sizes and fonts; limits set above and below a sum count as its scripts.
    """
    for word, other in _SAME.items():
        text = re.sub(re.escape(word) + r"(?![a-zA-Z])", lambda _, other=other: other, text)
    text = _LOOKS.sub("", _SPACES.sub("", _WRAPPERS.sub("", text)))
    text = _STACKED.sub(lambda m: f"{m[3] or m[6]}_{m[1] or m[5]}^{m[2] or m[4]}", text)
    return re.sub(r"[\s{}]", "", text)
