"""Principal components and effective rank of tokens, exact and in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from todre.select.checks import as_count, exact_tokens
from todre.select.rows import unit_rows

# A component with less than this share of the largest variance is rounding noise.
_NOISE = 1e-12


@torch.no_grad()
def component_loadings(x: Tensor, count: int) -> Tensor:
    """How strongly each token loads on each of the first principal components.

    Tokens are the variables and channels the observations: each token is centred over its channels, and the loadings
    are the absolute values of the left singular vectors of the centred tokens, by falling singular value. They come
    from all eigenvectors of the smaller of the two product matrices, (min(n, d), min(n, d)), so that nothing is drawn
    at random; only where singular values are equal are the components not determined. Components without variance have
    loading 0.

    Args:
        x: tokens, (n, d), any float dtype and device.
        count: number of components, 1 ≤ count ≤ n.

    Returns:
        (n, min(count, d)) float64 on the CPU. Identical tokens have identical loadings.

    Raises:
        InvalidValueError: count out of range, or a NaN or infinite value in x.
    """
    count = min(as_count(count, len(x)), x.shape[1])
    tokens = x.detach().double()
    twin = unit_rows(tokens).twin
    centred = tokens - tokens.mean(dim=1, keepdim=True)
    few_tokens = len(tokens) <= tokens.shape[1]
    values, vectors = torch.linalg.eigh(centred @ centred.T if few_tokens else centred.T @ centred)
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    real = values > _NOISE * values[0]
    if not few_tokens:
        vectors = centred @ vectors / values.where(real, 1.0).sqrt()
    loadings: Tensor = vectors.abs().where(real, 0.0).cpu()
    return loadings if twin is None else loadings[twin]


@torch.no_grad()
def effective_rank(x: Tensor) -> float:
    """The effective rank of tokens: the exponential of the entropy of their spectrum.

    With σ the singular values of x and p = σ / Σ σ it is exp(-Σ p ln p): 1 where all tokens point in one direction,
    min(n, d) where all directions are equally strong.

    Args:
        x: tokens, (n, d), any float dtype and device.

    Returns:
        A number from 1 to min(n, d); 1 if all tokens are zero.

    Raises:
        InvalidValueError: x holds a NaN or infinite value.
    """
    tokens = exact_tokens(x)
    squares = tokens @ tokens.T if len(tokens) <= tokens.shape[1] else tokens.T @ tokens
    sigma = torch.linalg.eigvalsh(squares).clamp(min=0).sqrt()
    share = sigma / sigma.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return float(torch.special.entr(share).sum().exp())
