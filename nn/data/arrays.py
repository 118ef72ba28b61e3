"""Any .npz of images and labels, and the digits that come with scikit-learn.

Arrays are read from the .npz without NumPy's loader, which would believe a header that promises more than
there is: only plain numbers and texts, and only where the file has exactly their bytes.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn.data.layouts import Content, Empty
from nn.data.members import Broken, Members
from nn.data.order import share_of

PAIRS = (("images", "labels"), ("images", "fine_labels"), ("x", "y"))
NAMES = ("class_names", "fine_names")
KEYS = "train_images, train_labels, test_images and test_labels, or images and labels"
TESTED = 0.2  # of a set that is not split
MOST_CLASSES = 2**16
_HEADER = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|\x02\x00....)\{'descr': '?([^']{1,40}?)'?, 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, ?)*\d{0,18})\), \} *\n",
    re.DOTALL,
)
_WHOLE_OR_TEXT = re.compile(r"[<>|][iu][1248]|[<>]U[1-9]\d{0,3}")
DIGITS_SIDE, DIGITS_LARGEST = 8, 16


def is_npz(members: Members) -> bool:
    """Whether an archive is one of arrays.

    Raises:
        Broken: If it cannot be read.
    """
    names = members.top()
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_npz(members: Members, empty: Empty) -> Content:
    """The images and labels of an .npz; a fifth of each class is for testing where they are not split.

    Raises:
        Broken: If it holds none, or ones that do not fit together.
    """
    keys = _keys([name.removesuffix(".npy") for name in members.top()])
    wanted = {f"{key}.npy": key for pair in keys.values() for key in pair}
    wanted |= {f"{key}.npy": key for key in NAMES}
    arrays = {wanted[name]: _array(wanted[name], content) for name, content in members.read(wanted)}
    sets = {split: _checked(*pair, arrays) for split, pair in keys.items()}
    shapes = {images.shape[1:] for images, _ in sets.values()}
    if len(shapes) > 1:
        raise Broken("its training and test images have different shapes")
    count = 1 + max(int(labels.max()) for _, labels in sets.values())
    given = [arrays[name] for name in NAMES if name in arrays]
    known = set(sets[next(iter(sets))][1].tolist())
    if not given and len(known) < count:
        missing = min(set(range(count)) - known)
        raise Broken(
            f"it has labels up to {count - 1} and no training image of class {missing}; number the classes "
            f"from 0 without gaps, or name them in {NAMES[0]}"
        )
    return _content(sets, _class_names(given[0] if given else None, count), empty)


def read_digits(empty: Empty) -> Content:
    """scikit-learn's 1,797 digits at four times their size; a fifth of each class is for testing.

    A pixel is the bilinear mean of its neighbours, worked out in whole numbers, with pixels taken as areas
    (no corners aligned).
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = np.asarray(bunch.images, np.int64)
    weights = _bilinear(DIGITS_SIDE, 4)
    large = weights @ small @ weights.T  # 64 times the mean
    top = DIGITS_LARGEST * 64
    images = ((2 * 255 * large + top) // (2 * top)).astype(np.uint8)[..., None]
    labels = np.asarray(bunch.target, np.int64)
    return _content({"": (images, labels)}, tuple(str(i) for i in range(10)), empty)


def _bilinear(size: int, factor: int) -> NDArray[np.int64]:
    """2 * factor times the weights of ``size`` pixels in each of ``factor * size``."""
    weights = np.zeros((factor * size, size), np.int64)
    for i in range(factor * size):
        low, part = divmod(2 * i + 1 - factor, 2 * factor)
        weights[i, max(low, 0)] += 2 * factor - part
        weights[i, min(low + 1, size - 1)] += part
    return weights


def _content(
    sets: dict[str, tuple[NDArray[Any], NDArray[Any]]], classes: tuple[str, ...], empty: Empty
) -> Content:
    """Copy the images to where they belong, split first if they are not.

    Raises:
        Broken: If they are too few to be split.
    """
    if "" in sets:
        images, labels = sets[""]
        train, test = share_of(labels, TESTED, 0)
        if not (len(train) and len(test)):
            raise Broken(
                f"its {len(labels)} images are too few to keep a fifth of each class for testing; split them"
            )
        sets = {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
    for split, (images, _) in sets.items():
        empty(split, images.shape)[...] = images
    return Content({split: labels.astype(np.int64) for split, (_, labels) in sets.items()}, classes, {})


def _keys(names: list[str]) -> dict[str, tuple[str, str]]:
    """Names of images and labels: of "train" and "test", or of "" where they are not split.

    Raises:
        Broken: If there are none.
    """
    for images, labels in PAIRS:
        both = {split: (f"{split}_{images}", f"{split}_{labels}") for split in ("train", "test")}
        turned = {split: (f"{images}_{split}", f"{labels}_{split}") for split in ("train", "test")}
        for keys in (both, turned, {"": (images, labels)}):
            if all(name in names for pair in keys.values() for name in pair):
                return keys
    raise Broken(f"it holds {', '.join(names)[:200]}; {KEYS} are needed")


def _array(key: str, content: bytes) -> NDArray[Any]:
    """An array of whole numbers or texts.

    Raises:
        Broken: If it is none, or has more or fewer bytes than it says.
    """
    header = _HEADER.match(content)
    if header is None:
        raise Broken(f"{key} is no array")
    descr, fortran, sizes = (group.decode("latin-1") for group in header.groups())
    if not _WHOLE_OR_TEXT.fullmatch(descr):
        raise Broken(f"{key} holds {descr!r}; images are uint8, labels whole numbers, names texts")
    shape = tuple(int(size) for size in sizes.split(",") if size.strip())
    dtype, rest = np.dtype(descr), content[header.end() :]
    if prod(shape) * dtype.itemsize != len(rest):
        raise Broken(f"{key} has {len(rest)} bytes, and not what its shape {shape} needs")
    return np.ndarray(shape, dtype, rest, order="F" if fortran == "True" else "C")


def _checked(
    images_key: str, labels_key: str, arrays: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Images (N, H, W, C) and labels (N,).

    Raises:
        Broken: If they are anything else.
    """
    images, labels = arrays[images_key], arrays[labels_key]
    if images.dtype != np.uint8:
        raise Broken(f"{images_key} is {images.dtype}; uint8 is needed, from 0 to 255")
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise Broken(
            f"{images_key} has shape {arrays[images_key].shape}; (N, H, W) or (N, H, W, 3) is needed"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "ui" or labels.shape != (len(images),):
        raise Broken(
            f"{labels_key} has shape {labels.shape}; a whole number for each of {len(images)} images"
        )
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise Broken(f"{labels_key} goes from {labels.min()} to {labels.max()}; classes count from 0")
    return images, labels


def _class_names(given: NDArray[Any] | None, count: int) -> tuple[str, ...]:
    """Names of the classes, their numbers where none came.

    Raises:
        Broken: If there are fewer than labels.
    """
    if given is None:
        return tuple(str(i) for i in range(count))
    if given.dtype.kind != "U" or given.ndim != 1 or len(given) < count:
        raise Broken(f"its class names are not {count} texts, one for each label")
    return tuple(str(name) for name in given)
