"""Scores that spread over a graph of similar tokens (G-Prune, arXiv 2501.02268)."""

from __future__ import annotations

import torch
from torch import Tensor

from todre.select.gram import gram_of
from todre.select.rows import unit_rows


@torch.no_grad()
def propagation_scores(x: Tensor, threshold: float = 0.5, temperature: float = 0.03, steps: int = 5) -> Tensor:
    """The norm that reaches each token along edges, divided by its number of edges.

    Edges join tokens whose cosine is at least `threshold`; every token has an edge to itself. With A the softmax of
    cosine / temperature over the edges of each row, the score of token v is (w A^steps)_v / degree_v, where w are the
    tokens' norms. The matrix of edges is held, (n, n).

    Args:
        x: tokens, (n, d), any float dtype and device.
        threshold: smallest cosine of an edge.
        temperature: temperature of the softmax, above 0.
        steps: number of times that information is passed on, at least 0.

    Returns:
        (n,) float64 on the CPU. Identical tokens have identical scores.

    Raises:
        InvalidValueError: a value in x is NaN or infinite.
    """
    tokens = x.detach().double()
    rows = unit_rows(tokens)
    cosines = gram_of(rows)
    cosines.fill_diagonal_(1.0)
    edges = cosines >= threshold
    passing = (cosines / temperature).masked_fill_(~edges, -torch.inf).softmax(dim=1)
    score: Tensor = torch.linalg.vector_norm(tokens, dim=1).cpu()
    for _ in range(steps):
        score = score @ passing
    score = score / edges.sum(dim=1)
    return score if rows.twin is None else score[rows.twin]
