"""Pruning before and during training: scores, masks of an exact size, and the weights they leave.

A mask is what a network keeps of its compressible weights, the same weights that :func:`nn.share` would
share, in the same number: sharing in m cells and pruning to m weights stand at one budget.
"""

from __future__ import annotations

from nn.pruning.masks import Masks, collapsed, keep_largest, masked, masks_in, masks_of
from nn.pruning.methods import METHODS, prune

__all__ = ["METHODS", "Masks", "collapsed", "keep_largest", "masked", "masks_in", "masks_of", "prune"]
