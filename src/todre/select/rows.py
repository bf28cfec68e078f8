"""The tokens of one sample as unit vectors, whose products are cosines."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from todre.errors import InvalidValueError

# Norms in this range come from sums of squares without overflow or underflow, even in float32.
_SAFE_NORMS = (1e-10, 1e15)
# Tokens that agree in this many leading values are compared in full.
_PREFIX = 16
_ODD = np.uint64(0x9E3779B97F4A7C15)
# Tokens gathered at once for a product, few enough to stay in the processor's cache.
_ROWS = 256
# Tokens whose products with each other are not divided further.
_LEAF = 96


@dataclass(frozen=True)
class UnitRows:
    """The n tokens of one sample as unit vectors.

    The unit vectors are never written out: products are scaled instead. Matrix products round differently in different
    rows; reading each token's result at its twin makes identical tokens tie exactly.

    Attributes:
        tokens: (n, d), float32 (float64 for float64 tokens), the caller's own where they need no conversion.
        scale: (n,), one over each token's norm; 0 for a zero token, so that its cosine with every token is 0.
        twin: (n,) int64 on the CPU, for each token the lowest index of an identical token; None where all differ.
    """

    tokens: Tensor
    scale: Tensor
    twin: Tensor | None
    _gathered: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def alive(self) -> Tensor:
        """Tokens that are not zero, (n,) bool on the CPU."""
        return (self.scale > 0).cpu()

    def total(self) -> Tensor:
        """Sum of all unit tokens, (d,)."""
        with torch.autocast(self.tokens.device.type, enabled=False):
            return self.scale @ self.tokens

    def cosines(self, chosen: Tensor) -> Tensor:
        """Cosines of the tokens `chosen` (m,) with every token, (m, n) on the CPU."""
        chosen = chosen.to(self.tokens.device)
        found = self._multiplied(self._gather("left", chosen), self.scale[chosen], None)
        return found if self.twin is None else found[:, self.twin]

    def between(self, chosen: Tensor, others: Tensor) -> Tensor:
        """Cosines of the tokens `chosen` (m,) with the tokens `others` (p,).

        Returns:
            (m, p) on the CPU.
        """
        if 3 * len(others) > 2 * len(self.tokens):  # gathering would cost more than it saves
            return self.cosines(chosen)[:, others]
        chosen, place = chosen.to(self.tokens.device), None
        if self.twin is not None:
            others, place = self.twin[others].unique(return_inverse=True)
        vectors, scale = self._gather("left", chosen), self.scale[chosen]
        parts = [self._multiplied(vectors, scale, part) for part in others.split(_ROWS)]
        found = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        return found if place is None else found[:, place]

    def among(self, chosen: Tensor) -> Tensor:
        """Cosines of the tokens `chosen` (m,) with each other, (m, m) on the CPU."""
        place = None
        if self.twin is not None:
            chosen, place = self.twin[chosen].unique(return_inverse=True)
        chosen = chosen.to(self.tokens.device)
        gathered, scale = self._gather("left", chosen), self.scale[chosen]
        found = self._product(gathered, scale, gathered, scale)
        return found if place is None else found[place][:, place]

    def upper(self) -> Tensor:
        """Cosines of all pairs of tokens above the diagonal, (n, n) on the CPU.

        What is on and below the diagonal means nothing. Identical tokens may differ in the last digits. The first half
        of the tokens meets the second in one product, and so on in each half: large products are the fastest.
        """
        tokens, scale = self._precise(self.tokens, self.scale)
        found = tokens.new_empty(len(tokens), len(tokens))
        spans = [(0, len(tokens))]
        with torch.autocast(tokens.device.type, enabled=False):
            while spans:
                start, end = spans.pop()
                middle = start if end - start <= _LEAF else (start + end) // 2
                top = end if middle == start else middle
                torch.mm(tokens[start:top], tokens[middle:end].T, out=found[start:top, middle:end])
                spans += [] if middle == start else [(start, middle), (middle, end)]
        return found.mul_(scale).mul_(scale[:, None]).cpu()

    def products(self, vectors: Tensor) -> Tensor:
        """Inner products of `vectors` (m, d) with every unit token, (m, n) on the CPU."""
        found = self._multiplied(vectors, None, None)
        return found if self.twin is None else found[:, self.twin]

    def _gather(self, side: str, index: Tensor) -> Tensor:
        """The tokens at `index`, in a buffer that the next call for this side reuses.

        Fresh memory for each product costs more than the product, because the system hands it out page by page.
        """
        buffer = self._gathered.get(side)
        if buffer is None or len(buffer) < len(index):
            buffer = self.tokens.new_empty(max(len(index), _ROWS), self.tokens.shape[1])
            self._gathered[side] = buffer
        return torch.index_select(self.tokens, 0, index, out=buffer[: len(index)])

    def _multiplied(self, vectors: Tensor, scales: Tensor | None, part: Tensor | None) -> Tensor:
        """Products of `vectors` with unit tokens, at full precision.

        Autocast is off here. Where the process lets float32 products run at reduced precision (TF32, bfloat16), the
        products are computed in float64: a selection must not depend on such switches.

        Args:
            vectors: (m, d).
            scales: (m,) factors of `vectors`; None for 1.
            part: indices of the unit tokens; None for all.
        """
        tokens, scale = self.tokens, self.scale
        if part is not None:
            part = part.to(tokens.device)
            tokens, scale = self._gather("right", part), scale[part]
        return self._product(vectors, scales, tokens, scale)

    def _product(self, vectors: Tensor, scales: Tensor | None, tokens: Tensor, scale: Tensor) -> Tensor:
        tokens, scale = self._precise(tokens, scale)
        with torch.autocast(tokens.device.type, enabled=False):
            vectors = vectors.to(tokens.dtype)
            # A few vectors are fastest as the right factor; one alone is a product with a vector.
            found = tokens.mv(vectors[0])[None] if len(vectors) == 1 else (tokens @ vectors.T).T
            found = found * scale if scales is None else found * scale * scales.to(scale.dtype)[:, None]
            return found.cpu().contiguous()

    @staticmethod
    def _precise(tokens: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Both in float64 where float32 products would run at reduced precision."""
        if tokens.dtype == torch.float32 and float32_is_reduced(tokens.device):
            return tokens.double(), scale.double()
        return tokens, scale


def unit_rows(tokens: Tensor) -> UnitRows:
    """Prepare the tokens (n, d) of one sample, of any float dtype.

    Raises:
        InvalidValueError: a value is NaN or infinite.
    """
    dtype = torch.float64 if tokens.dtype == torch.float64 else torch.float32
    rows = tokens.detach().to(dtype).contiguous()
    twin = _twins(rows)
    norms = torch.linalg.vector_norm(rows, dim=-1)
    unsafe = ((norms < _SAFE_NORMS[0]) | ~(norms < _SAFE_NORMS[1])).nonzero().squeeze(-1)
    if len(unsafe):
        rows = rows.clone() if rows.data_ptr() == tokens.data_ptr() else rows
        norms[unsafe] = _rescale(rows, unsafe)
    return UnitRows(rows, norms.reciprocal_(), twin)


def _rescale(rows: Tensor, unsafe: Tensor) -> Tensor:
    """Divide the rows `unsafe` by their largest magnitude, in place.

    Returns:
        Norms of the divided rows, infinite for zero rows.

    Raises:
        InvalidValueError: a value is NaN or infinite.
    """
    largest = rows[unsafe].abs().amax(-1, keepdim=True)
    broken = unsafe[~largest.isfinite().squeeze(-1)]
    if len(broken):
        raise InvalidValueError(
            f"x must be finite, but {len(broken)} of its {len(rows)} tokens (the first is token {int(broken[0])}) hold "
            "NaN or infinite values; check the vision tower's precision."
        )
    scaled = rows[unsafe] / torch.where(largest > 0, largest, 1)
    rows[unsafe] = scaled
    norms = torch.linalg.vector_norm(scaled, dim=-1)
    return torch.where(norms > 0, norms, torch.inf)


def _twins(rows: Tensor) -> Tensor | None:
    """For each row the lowest index of an identical row (-0 equals 0).

    Returns:
        (n,) int64 on the CPU; None if all rows differ.
    """
    prefix = (rows[:, :_PREFIX] + 0.0).cpu().numpy().astype(np.float64).view(np.uint64)
    keys = prefix @ (_ODD ** np.arange(1, prefix.shape[1] + 1, dtype=np.uint64))
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(counts[place] > 1)
    if len(suspects) == 0:
        return None
    twin = torch.arange(len(rows), dtype=torch.int64, device="cpu")
    among = torch.from_numpy(suspects)
    twin[among] = among[_first_equal(rows[among.to(rows.device)])]
    return twin if len(twin) > len(twin.unique()) else None


def _first_equal(rows: Tensor) -> list[int]:
    """For each row the lowest index of a row with the same values (-0 equals 0)."""
    seen: dict[bytes, int] = {}
    return [seen.setdefault(row.tobytes(), index) for index, row in enumerate((rows + 0.0).cpu().numpy())]


def float32_is_reduced(device: torch.device) -> bool:
    """True if the process allows TF32 or bfloat16 inside float32 matrix products."""
    backends = {"cuda": torch.backends.cuda.matmul, "cpu": getattr(torch.backends.mkldnn, "matmul", None)}
    if device.type not in backends:
        return False
    setting = getattr(backends[device.type], "fp32_precision", None)
    if setting is None:  # torch before 2.9 has one switch for all
        return torch.get_float32_matmul_precision() != "highest"
    return setting not in ("none", "ieee")
