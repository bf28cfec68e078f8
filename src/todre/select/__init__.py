"""Choice of k of n tokens: pure tensor functions, exact, ties to the lowest index.

Most functions choose by diversity, some by coverage; those of `budget_signals` say how many to choose. They know tokens
as vectors only; the methods handle pictures, tiles, budgets and newline tokens. On the CPU exact algorithms save work
(`k_center_bounds`, `max_sum_blocks`, `cosine_blocks`, `lazy_coverage`); on an accelerator nothing is read back
(`device_loops`, `triton_kernels`, `queued_coverage`).
"""

from __future__ import annotations

from todre.select.budget_signals import coverage_count, coverage_radius, energy_rank, normalised_entropy
from todre.select.components import component_loadings, effective_rank
from todre.select.coverage import coverage_order, coverage_orders, facility_order, facility_orders
from todre.select.distances import distances
from todre.select.diversity import k_center, k_center_order, max_sum, max_sum_order
from todre.select.dpp import dpp_order
from todre.select.gram import gram
from todre.select.likeness import likeness
from todre.select.marginal_relevance import mmr_order
from todre.select.max_min import max_min_order
from todre.select.pivots import pivot_center, pivot_farthest, pivot_isolated, pivot_random
from todre.select.propagation import propagation_scores
from todre.select.suppression import unsuppressed
from todre.select.thinning import thin

__all__ = [
    "component_loadings",
    "coverage_count",
    "coverage_order",
    "coverage_orders",
    "coverage_radius",
    "distances",
    "dpp_order",
    "effective_rank",
    "energy_rank",
    "facility_order",
    "facility_orders",
    "gram",
    "k_center",
    "k_center_order",
    "likeness",
    "max_min_order",
    "max_sum",
    "max_sum_order",
    "mmr_order",
    "normalised_entropy",
    "pivot_center",
    "pivot_farthest",
    "pivot_isolated",
    "pivot_random",
    "propagation_scores",
    "thin",
    "unsuppressed",
]
