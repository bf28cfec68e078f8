"""Fits: find a method's numbers for one model from a few prompts.

A module belongs here if it returns a method that holds fitted numbers, whose `to_dict` is the whole result. Every fit
takes a model and batches of arguments of the model's forward, as a processor makes them; labels are not needed. The
same model and batches give the same numbers.
"""

from __future__ import annotations

from todre.calibrate.fitprune import fit_fitprune
from todre.calibrate.gsearch import fit_gsearch
from todre.calibrate.psigmoid import fit_psigmoid
from todre.calibrate.vflowopt import fit_vflowopt
from todre.calibrate.vtw import fit_vtw

__all__ = ["fit_fitprune", "fit_gsearch", "fit_psigmoid", "fit_vflowopt", "fit_vtw"]
