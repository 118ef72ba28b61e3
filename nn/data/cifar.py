"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), as Python pickles and as binary records.

Both hold an image as three planes of 32 x 32 bytes, red, green and blue. In the binary layout a record is
its label, preceded by the coarse one in CIFAR-100, and the planes. The digests are those that the home page
and the usual readers give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nn.data.layouts import Content, Empty, Layout
from nn.data.members import Broken, Members
from nn.data.pickles import unpickled

SIDE = 32
PIXELS = 3 * SIDE * SIDE
HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"


class Part(NamedTuple):
    """The images and labels of one file."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Form:
    """What a reader has to know of one of the four layouts.

    Attributes:
        train: Files of the training set, in order.
        test: File of the test set.
        meta: File with the names of the classes.
        classes: How many there are.
        part: Reads a file of images.
        names: Reads the names of the classes.
    """

    train: tuple[str, ...]
    test: str
    meta: str
    classes: int
    part: Callable[[bytes, int], Part]
    names: Callable[[bytes], list[Any]]

    @property
    def files(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.train, self.test, self.meta)


def read(form: Form, members: Members, folder: str, empty: Empty) -> Content:
    """Decode a set.

    Raises:
        Broken: If a file is missing, cut off or otherwise wrong.
    """
    contents = {name.removeprefix(folder): each for name, each in members.read(_files(form, members, folder))}
    missing = [name for name in form.files if name not in contents]
    if missing:
        raise Broken(f"{', '.join(missing)} is missing")
    digests = {name: hashlib.md5(each, usedforsecurity=False).hexdigest() for name, each in contents.items()}
    classes = _named(form.meta, form.names, contents.pop(form.meta))
    if len(classes) != form.classes or not all(type(name) is str and name for name in classes):
        raise Broken(f"{form.meta} does not name {form.classes} classes")
    labels = {}
    for split, files in (("train", form.train), ("test", (form.test,))):
        parts = [_named(name, form.part, contents.pop(name), form.classes) for name in files]
        images = empty(split, (sum(len(part.labels) for part in parts), SIDE, SIDE, 3))
        np.concatenate([part.images for part in parts], out=images)
        labels[split] = np.concatenate([part.labels for part in parts])
    return Content(labels, tuple(classes), digests)


def _files(form: Form, members: Members, folder: str) -> list[str]:
    return [folder + name for name in form.files]


def _named(name: str, reader: Callable[..., Any], *arguments: Any) -> Any:
    """What a reader makes of a file.

    Raises:
        Broken: With the name of the file, if it is broken.
    """
    try:
        return reader(*arguments)
    except Broken as reason:
        raise Broken(f"{name} {reason}") from None


def _pickled_part(labels: str, content: bytes, classes: int) -> Part:
    """Images and labels of a pickle.

    Raises:
        Broken: If it does not hold them.
    """
    batch = unpickled(content)
    pixels, numbers = batch.get("data"), batch.get(labels)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
        raise Broken(f"holds no 'data' of {PIXELS} bytes an image")
    if type(numbers) is not list or len(numbers) != len(pixels):
        raise Broken(f"does not hold as many {labels!r} as images")
    if not all(type(number) is int and 0 <= number < classes for number in numbers):
        raise Broken(f"has {labels!r} that are not whole numbers from 0 to {classes - 1}")
    return _part(pixels, np.array(numbers, np.int64))


def _binary_part(coarse: int, content: bytes, classes: int) -> Part:
    """Images and labels of records, each with ``coarse`` bytes before its label.

    Raises:
        Broken: If they are not whole records, or a label is out of range.
    """
    size = coarse + 1 + PIXELS
    if not content or len(content) % size:
        raise Broken(f"has {len(content)} bytes, not whole records of {size}")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    labels = records[:, coarse].astype(np.int64)
    if labels.max() >= classes:
        raise Broken(f"has the label {labels.max()}; {classes - 1} is the largest")
    return _part(records[:, coarse + 1 :], labels)


def _part(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Part:
    return Part(pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels)


def _pickled_names(key: str, content: bytes) -> list[Any]:
    """Names of the classes.

    Raises:
        Broken: If there are none.
    """
    names = unpickled(content).get(key)
    if type(names) is not list:
        raise Broken(f"holds no list {key!r}")
    return names


def _lines(content: bytes) -> list[Any]:
    return [line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]


def _layout(form: Form, digests: dict[str, str], /, **about: str) -> Layout:
    return Layout(
        **about,
        home=HOME,
        shown_by=form.files,
        digests=digests,
        files=partial(_files, form),
        read=partial(read, form),
    )


CIFAR10_PICKLES = _layout(
    Form(
        train=tuple(f"data_batch_{i}" for i in range(1, 6)), test="test_batch", meta="batches.meta",
        classes=10, part=partial(_pickled_part, "labels"), names=partial(_pickled_names, "label_names"),
    ),
    {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    key="cifar10", name="CIFAR-10", form="Python pickles",
    folder="cifar-10-batches-py", archive="cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
)  # fmt: skip
CIFAR10_RECORDS = _layout(
    Form(
        train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)), test="test_batch.bin",
        meta="batches.meta.txt", classes=10, part=partial(_binary_part, 0), names=_lines,
    ),
    {},
    key="cifar10", name="CIFAR-10", form="binary records",
    folder="cifar-10-batches-bin", archive="cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
)  # fmt: skip
CIFAR100_PICKLES = _layout(
    Form(
        train=("train",), test="test", meta="meta",
        classes=100, part=partial(_pickled_part, "fine_labels"),
        names=partial(_pickled_names, "fine_label_names"),
    ),
    {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    key="cifar100", name="CIFAR-100", form="Python pickles",
    folder="cifar-100-python", archive="cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
)  # fmt: skip
CIFAR100_RECORDS = _layout(
    Form(
        train=("train.bin",), test="test.bin", meta="fine_label_names.txt",
        classes=100, part=partial(_binary_part, 1), names=_lines,
    ),
    {},
    key="cifar100", name="CIFAR-100", form="binary records",
    folder="cifar-100-binary", archive="cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
)  # fmt: skip
LAYOUTS = (CIFAR10_PICKLES, CIFAR10_RECORDS, CIFAR100_PICKLES, CIFAR100_RECORDS)
