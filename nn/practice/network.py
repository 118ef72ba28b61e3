"""A network that is over, as the parts of practice look at it."""

from __future__ import annotations

from nn.advice.inputs import Layer, layers_of
from nn.advice.trained import Trained, trained

__all__ = ["Layer", "Trained", "layers", "trained"]


def layers(network: Trained, patches: int) -> list[Layer]:
    """Every convolution and linear layer that images go through, with patches of as many images.

    Args:
        network: Whose.
        patches: Of each layer, one of an image, at a place drawn at random.
    """
    return layers_of(network.model, network.images(patches)[0])
