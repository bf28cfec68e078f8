"""The records that a method is shown at each place where it acts, and its answers.

In order of the forward:

* `vision_tower`: `Tiles` and `Patches` before the tower, answered with tiles or units; `TowerContext` inside it,
  answered with a `Merging`.
* `visual_tokens`: `VisualTokens`, one sample's tokens before the LLM, answered with a mask, indices or a `Selection`.
* `decoder_layer`: `ReduceContext` after a decoder layer, answered with a `Reduction` (`reduction`); `ParkedView` when
  parked tokens come back, answered with states.
* `answers`: checks of these answers.

The runtime and the tower's hooks fill these records and act on the answers.
"""
