"""Fits: find a method's numbers for one model and a few prompts, and return the method that holds them.

Every fit takes the model and batches of what its forward takes, as a processor makes them (labels are not needed), and
returns a method whose `to_dict` is its whole result. The same model and batches give the same numbers.
"""

from __future__ import annotations

from todre.calibrate.fitprune import fit_fitprune
from todre.calibrate.gsearch import fit_gsearch
from todre.calibrate.psigmoid import fit_psigmoid
from todre.calibrate.vflowopt import fit_vflowopt
from todre.calibrate.vtw import fit_vtw

__all__ = ["fit_fitprune", "fit_gsearch", "fit_psigmoid", "fit_vflowopt", "fit_vtw"]
