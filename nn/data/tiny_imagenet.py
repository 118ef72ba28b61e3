"""Tiny ImageNet (Stanford CS231n): JPEG files of 64 x 64 pixels in folders, some of them gray.

wnids.txt                      the classes, in the order of labels
words.txt                      their names
train/WNID/images/*.JPEG       the training set
val/val_annotations.txt        file, WNID and box of
val/images/*.JPEG              what is tested on, since the official test set has no labels
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nn.data.layouts import Content, Empty, Layout
from nn.data.members import Broken, Members
from rpstheory.errors import MissingError

SIDE = 64
WNIDS, WORDS, ANNOTATIONS = "wnids.txt", "words.txt", "val/val_annotations.txt"
_PILLOW_TROUBLE = (OSError, SyntaxError, ValueError, LookupError, OverflowError, RuntimeError, TypeError)


class Images(NamedTuple):
    """The images of a split: where each belongs, and its label."""

    place: dict[str, int]
    labels: list[int]


def read(members: Members, folder: str, empty: Empty) -> Content:
    """Decode a set.

    Raises:
        Broken: If a file is missing, cut off or otherwise wrong.
        MissingError: If Pillow is not installed.
    """
    texts = {
        name.removeprefix(folder): content.decode("utf-8", "replace")
        for name, content in members.read([folder + name for name in (WNIDS, WORDS, ANNOTATIONS)])
    }
    for name in (WNIDS, WORDS, ANNOTATIONS):
        if name not in texts:
            raise Broken(f"{name} is missing")
    wnids = texts[WNIDS].split()
    if not wnids or len(set(wnids)) < len(wnids):
        raise Broken(f"{WNIDS} names no class, or one twice")
    splits = {
        "train": _train(members.below(folder + "train"), folder, wnids),
        "test": _validation(texts[ANNOTATIONS], folder, wnids),
    }
    arrays = {split: empty(split, (len(each.labels), SIDE, SIDE, 3)) for split, each in splits.items()}
    _decode(members, splits, arrays, folder)
    words = dict(line.partition("\t")[::2] for line in texts[WORDS].splitlines())
    return Content(
        {split: np.array(each.labels, np.int64) for split, each in splits.items()},
        tuple(words.get(wnid, "").strip() or wnid for wnid in wnids),
        {},
    )


def _files(members: Members, folder: str) -> list[str]:
    texts = [folder + name for name in (WNIDS, WORDS, ANNOTATIONS)]
    return [*texts, *members.below(folder + "train"), *members.below(folder + "val/images")]


def _train(names: list[str], folder: str, wnids: list[str]) -> Images:
    """The training images by class, and in a class by number.

    Raises:
        Broken: If a class has none, or an image no class.
    """
    number = {wnid: i for i, wnid in enumerate(wnids)}
    found = []
    for name in names:
        _, wnid, *rest = name.removeprefix(folder).split("/")
        if not name.endswith(".JPEG"):
            continue
        if wnid not in number or len(rest) != 2 or rest[0] != "images":
            raise Broken(f"{name} belongs to no class of {WNIDS}")
        found.append((number[wnid], len(rest[1]), rest[1], name))
    without = set(range(len(wnids))).difference(label for label, *_ in found)
    if without:
        raise Broken(f"train/{wnids[min(without)]} holds no JPEG file")
    found.sort()
    return Images({name: i for i, (*_, name) in enumerate(found)}, [label for label, *_ in found])


def _validation(annotations: str, folder: str, wnids: list[str]) -> Images:
    """The validation images in the order of their annotations.

    Raises:
        Broken: If there are none, or one has no class or comes twice.
    """
    number = {wnid: i for i, wnid in enumerate(wnids)}
    images = Images({}, [])
    for line in filter(str.strip, annotations.splitlines()):
        file, wnid, *_ = (*line.split("\t"), "")
        name = f"{folder}val/images/{file}"
        if wnid not in number or name in images.place:
            raise Broken(f"{ANNOTATIONS} gives {file[:80]!r} no class of {WNIDS}, or two")
        images.place[name] = len(images.labels)
        images.labels.append(number[wnid])
    if not images.labels:
        raise Broken(f"{ANNOTATIONS} is empty")
    return images


def _decode(
    members: Members, splits: dict[str, Images], arrays: dict[str, NDArray[np.uint8]], folder: str
) -> None:
    where = {name: (split, i) for split, images in splits.items() for name, i in images.place.items()}
    missing = dict.fromkeys(where)
    with _quiet():
        for name, content in members.read(where.keys()):
            split, i = where[name]
            arrays[split][i] = _pixels(name.removeprefix(folder), content)
            del missing[name]
    if missing:
        raise Broken(f"{next(iter(missing)).removeprefix(folder)} is missing")


def _pixels(name: str, content: bytes) -> NDArray[np.uint8]:
    """A JPEG file as colours.

    Raises:
        Broken: If it is cut off, no JPEG, or of another size.
        MissingError: If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise MissingError("load: Tiny ImageNet needs Pillow; pip install 'rps-toolkit[nn]'") from None
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if image.size != (SIDE, SIDE):
                raise Broken(f"{name} has {image.size[0]} x {image.size[1]} pixels, not {SIDE} x {SIDE}")
            return np.asarray(image.convert("RGB"))
    except (*_PILLOW_TROUBLE, Image.DecompressionBombError) as error:
        text = (str(error) or type(error).__name__).splitlines()[0]
        raise Broken(f"{name} is no whole JPEG file ({text[:80]})") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's remarks on metadata, which is not used here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


TINY_IMAGENET = Layout(
    key="tiny-imagenet",
    name="Tiny ImageNet",
    form="JPEG files",
    folder="tiny-imagenet-200",
    archive="tiny-imagenet-200.zip",
    md5="90528d7ca1a48142e341f4ef8d21d0de",
    home="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    shown_by=(WNIDS, WORDS),
    digests={},
    files=_files,
    read=read,
)
