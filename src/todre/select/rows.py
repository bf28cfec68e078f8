"""Unit rows: the tokens of one sample, normalised so that a product of two is their cosine, whatever their scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from todre.errors import InvalidValueError

# Norms in this range come from sums of squares that neither overflowed nor lost digits to underflow, float32 included.
_SAFE_NORMS = (1e-10, 1e15)
# Tokens that agree in this many leading values are compared in full.
_PREFIX = 16


@dataclass(frozen=True)
class UnitRows:
    """The n tokens of one sample as unit vectors.

    `unit`: (n, d), float32 (float64 for float64 tokens), on the tokens' device; a zero token stays zero, so its cosine
    with every token is 0. `twin`: (n,) int64 on the CPU, for each token the lowest index of an identical one, or None
    where all differ. Matrix products round differently in different rows; reading every result at the twin makes
    identical tokens tie exactly.
    """

    unit: Tensor
    twin: Tensor | None

    def cosines(self, chosen: Tensor) -> Tensor:
        """Cosines of the tokens `chosen` (m,) with every token: (m, n) on the CPU."""
        return self.products(self.unit[chosen.to(self.unit.device)])

    def products(self, vectors: Tensor) -> Tensor:
        """Inner products of `vectors` (m, d) with every token: (m, n) on the CPU, at full precision.

        Autocast is off here, and where the process lets float32 products run at reduced precision (TF32, bfloat16),
        they are taken in float64: a selection must not depend on such switches.
        """
        unit = self.unit
        with torch.autocast(unit.device.type, enabled=False):
            if unit.dtype == torch.float32 and _float32_is_reduced(unit.device):
                unit, vectors = unit.double(), vectors.double()
            result = (vectors.to(unit.dtype) @ unit.T).cpu()
        return result if self.twin is None else result[:, self.twin]


def unit_rows(tokens: Tensor) -> UnitRows:
    """Normalise `tokens` (n, d) of any float dtype; raises InvalidValueError where a value is NaN or infinite."""
    dtype = torch.float64 if tokens.dtype == torch.float64 else torch.float32
    rows = torch.empty(tokens.shape, dtype=dtype, device=tokens.device).copy_(tokens.detach())
    twin = _twins(rows)
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    unsafe = ((norms < _SAFE_NORMS[0]) | ~(norms < _SAFE_NORMS[1])).squeeze(-1).nonzero().squeeze(-1)
    if len(unsafe):
        norms[unsafe] = _rescale(rows, unsafe)
    return UnitRows(rows.div_(norms), twin)


def _rescale(rows: Tensor, unsafe: Tensor) -> Tensor:
    """Divide the rows `unsafe` by their largest magnitude, in place, and return their norms, 1 for a zero row."""
    largest = rows[unsafe].abs().amax(-1, keepdim=True)
    broken = unsafe[~largest.isfinite().squeeze(-1)]
    if len(broken):
        raise InvalidValueError(
            f"x must be finite, but {len(broken)} of its {len(rows)} tokens (the first is token {int(broken[0])}) hold "
            "NaN or infinite values; check the vision tower's precision."
        )
    scaled = rows[unsafe] / torch.where(largest > 0, largest, 1)
    rows[unsafe] = scaled
    norms = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    return torch.where(norms > 0, norms, 1)


def _twins(rows: Tensor) -> Tensor | None:
    """For each row the lowest index of an identical row: (n,) int64 on the CPU; None where all rows differ."""
    first = torch.tensor(_first_equal(rows[:, :_PREFIX]))
    suspects = (torch.bincount(first, minlength=len(rows))[first] > 1).nonzero().squeeze(-1)
    if len(suspects) == 0:
        return None
    twin = torch.arange(len(rows))
    twin[suspects] = suspects[_first_equal(rows[suspects.to(rows.device)])]
    return twin


def _first_equal(rows: Tensor) -> list[int]:
    """For each row the lowest index of a row with the same values (-0 equals 0)."""
    seen: dict[bytes, int] = {}
    return [seen.setdefault(row.tobytes(), index) for index, row in enumerate((rows + 0.0).cpu().numpy())]


def _float32_is_reduced(device: torch.device) -> bool:
    """Whether the process has allowed TF32 or bfloat16 inside float32 matrix products on this device."""
    backends = {"cuda": torch.backends.cuda.matmul, "cpu": getattr(torch.backends.mkldnn, "matmul", None)}
    if device.type not in backends:
        return False
    setting = getattr(backends[device.type], "fp32_precision", None)
    if setting is None:  # torch before 2.9 has one switch for all
        return torch.get_float32_matmul_precision() != "highest"
    return setting not in ("none", "ieee")
