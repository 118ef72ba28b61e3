"""Crops and flips of a batch at once, in bytes; then one multiplication and one addition to normalise.

Images are padded with 4 black or mirrored pixels on every side, and each is cut to its size at an offset of
its own and turned left to right with a chance of one half. The two are one choice of a source pixel for
each pixel, so that a batch is moved once. Padding comes before normalising, as in the usual pipelines: a
black pixel becomes -mean / std, not 0.

The pixels are moved by NumPy, in one thread: a batch of CIFAR is less than a megabyte, and on a busy machine
torch's threads wait for each other longer than that takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rpstheory.errors import ArgumentError, ShapeError

Padding = Literal["zero", "reflect"]
PAD = 4


def crop_flip(images: torch.Tensor, generator: torch.Generator, padding: Padding = "zero") -> torch.Tensor:
    """Each image cut from its padded self at random, and flipped or not.

    Args:
        images: uint8 (b, h, w, c) on the CPU.
        generator: Draws, first, b offsets of rows and b of columns from 0 … 8, and then b flips.
        padding: "zero" or "reflect", where the border itself is not repeated.

    Returns:
        uint8 (b, h, w, c).

    Raises:
        ShapeError: If the images are not four-dimensional, or too small to be mirrored.
        ArgumentError: If there is no such padding.
    """
    if images.ndim != 4 or min(images.shape[1:3]) <= PAD:
        raise ShapeError(
            f"crop_flip: images of {tuple(images.shape)} came; (b, h, w, c) above {PAD} is needed"
        )
    if padding not in ("zero", "reflect"):
        raise ArgumentError(f"crop_flip: padding={padding!r} came; 'zero' or 'reflect' is needed")
    b, h, w, c = images.shape
    tops, lefts = torch.randint(2 * PAD + 1, (2, b, 1), generator=generator).numpy()
    flips = torch.randint(2, (b, 1), generator=generator).numpy()
    rows = np.arange(h) + tops - PAD
    columns = np.where(flips == 1, np.arange(w)[::-1], np.arange(w)) + lefts - PAD
    inner_rows, inner_columns = _mirrored(rows, h), _mirrored(columns, w)
    first = w * (h * np.arange(b)[:, None] + inner_rows)
    pixels = images.numpy().reshape(b * h * w, c)
    moved = pixels.take(first[:, :, None] + inner_columns[:, None, :], axis=0)
    if padding == "zero":
        moved[rows != inner_rows] = 0
        moved.swapaxes(1, 2)[columns != inner_columns] = 0
    return torch.from_numpy(moved)


def normalised(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(x / 255 - mean) / std as ``x * scale + shift`` in float32.

    Args:
        images: uint8 (b, h, w, c) on the CPU.
        mean: Of each channel.
        std: Likewise.

    Returns:
        float32 (b, c, h, w), in memory channels last.

    Raises:
        ShapeError: If there is not one mean and one deviation for each channel.
    """
    b, h, w, c = images.shape
    if len(mean) != c or len(std) != c:
        raise ShapeError(
            f"normalised: {len(mean)} means and {len(std)} deviations for {c} channels; pass one each"
        )
    centre, width = np.tile(mean, w), np.tile(std, w)
    made = images.numpy().reshape(b * h, w * c).astype(np.float32)
    made *= (1 / (255 * width)).astype(np.float32)
    made += (-centre / width).astype(np.float32)
    return torch.from_numpy(made).view(b, h, w, c).permute(0, 3, 1, 2)


def _mirrored(places: NDArray[Any], size: int) -> NDArray[Any]:
    """Places outside 0 … size - 1 mirrored at the nearest border pixel."""
    return size - 1 - np.abs(size - 1 - np.abs(places))
