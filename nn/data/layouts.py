"""The official layouts: which files show one, where it comes from, and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nn.data.members import Members

Shape = tuple[int, int, int, int]
Empty = Callable[[str, Shape], NDArray[np.uint8]]
"""Makes the array that the images of "train" or "test" are decoded into."""


class Content(NamedTuple):
    """What a reader found, beside the images.

    Attributes:
        labels: Of "train" and "test".
        classes: Their names in the order of labels.
        digests: md5 of every file of which it is known.
    """

    labels: dict[str, NDArray[np.int64]]
    classes: tuple[str, ...]
    digests: dict[str, str]


@dataclass(frozen=True)
class Layout:
    """One form in which a data set is given out.

    Attributes:
        key: Of the data set: "cifar10".
        name: Of the data set: "CIFAR-10".
        form: Of the files.
        folder: Their official folder.
        archive: The official archive.
        md5: Of that archive.
        home: Where to get it.
        shown_by: Files, of which at least two are there.
        digests: md5 of official files, where they are known.
        files: All files that are read.
        read: Decodes them.
    """

    key: str
    name: str
    form: str
    folder: str
    archive: str
    md5: str
    home: str
    shown_by: tuple[str, ...]
    digests: dict[str, str]
    files: Callable[[Members, str], list[str]]
    read: Callable[[Members, str, Empty], Content]


class Found(NamedTuple):
    """A layout in a place.

    Attributes:
        layout: Which.
        members: The place.
        folder: Inside it, with a slash at the end if there is one.
    """

    layout: Layout
    members: Members
    folder: str


def found_in(members: Members, layouts: tuple[Layout, ...]) -> Iterator[Found]:
    """Every layout that files at the top of a place, or one folder below, show.

    Raises:
        Broken: If the place cannot be read.
    """
    folders: dict[str, set[Any]] = {}
    for name in members.top():
        folder, slash, file = name.rpartition("/")
        folders.setdefault(folder + slash, set()).add(file)
    for folder, files in sorted(folders.items()):
        for layout in layouts:
            if len(files.intersection(layout.shown_by)) >= 2:
                yield Found(layout, members, folder)
