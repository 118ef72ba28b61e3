"""Data sets by name or path: recognised by their files, decoded once, with what is known of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nn.data.arrays import is_npz, read_digits, read_npz
from nn.data.cache import About, Decoded, cached, default_cache
from nn.data.cifar import LAYOUTS as CIFAR
from nn.data.layouts import Content, Empty, Found, Layout, Shape, found_in
from nn.data.members import Broken, Folder, Members, members_of
from nn.data.text import BUNDLED as TOPICS
from nn.data.text import SUFFIX, read_text, read_topics
from nn.data.tiny_imagenet import TINY_IMAGENET
from rpstheory.errors import ArgumentError, DataError

LAYOUTS: tuple[Layout, ...] = (*CIFAR, TINY_IMAGENET)
DATASETS = ("digits", *dict.fromkeys(layout.key for layout in LAYOUTS), TOPICS)
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip", ".npz")
WANTED = (
    "a folder or archive of CIFAR-10, CIFAR-100 or Tiny ImageNet, an .npz of images and labels, or a .txt"
)
ROOT = "data"  # where named sets are looked for, without root= and RPS_DATA

OFFICIAL, OTHER = "official", "not the official file"
UNKNOWN = "not verified: no official md5 is known for these files"
BUNDLED = "bundled with scikit-learn"

Constants = tuple[tuple[float, ...], tuple[float, ...]]
PAPERS: dict[str, Constants] = {  # mean and standard deviation, as the papers normalise
    "cifar10": ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),
    "cifar100": ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
    "tiny-imagenet": ((0.480, 0.448, 0.397), (0.276, 0.269, 0.282)),
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """The training or the test part of a data set: images, or windows of a text.

    Attributes:
        name: Of the data set.
        split: "train" or "test".
        images: uint8 (N, H, W, C), mapped from a file; of a text the bytes of each window, (N, T).
        labels: int64 (N,); of a text the byte after each, uint8 (N, T).
        classes: Their names in the order of labels.
        mean: Of each channel in [0, 1], to normalise with: the papers', or of the training images; none of a
            text.
        std: Likewise.
        checksum: Whether it was read from the official files, in words.
        form: Of the files it was read from.
        path: Of the files; "" for what comes with scikit-learn or Python.
    """

    name: str
    split: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | NDArray[np.uint8]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    checksum: str
    form: str
    path: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def text(self) -> bool:
        """Whether it is a text."""
        return self.images.ndim == 2

    @property
    def what(self) -> str:
        """What there are N of."""
        return "windows" if self.text else "images"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one, as a model takes it: (C, H, W), or (T,)."""
        *sides, last = self.images.shape[1:]
        return (last, *sides)


def load(
    name_or_path: str | Path,
    root: Path | str | None = None,
    *,
    train: bool = True,
    cache: Path | str | None = None,
) -> Dataset:
    """The training or the test set.

    Args:
        name_or_path: digits, cifar10, cifar100, tiny-imagenet, topics; or a folder, a .tar.gz or .zip in one
            of the official layouts, an .npz of images and labels, or a .txt.
        root: Folder with the official folders or archives of named sets; $RPS_DATA, or ``data``, if left out.
        train: The training set; else the test set, for Tiny ImageNet the validation set.
        cache: Folder for decoded sets; $RPS_CACHE, or the user's cache, if left out.

    Raises:
        ArgumentError: If there is neither a data set nor a file of this name.
        DataError: If the data are missing, or not what they should be.
    """
    decoded, path = _decoded(name_or_path, root, default_cache() if cache is None else Path(cache))
    about, split = decoded.about, "train" if train else "test"
    return Dataset(
        name=about.name,
        split=split,
        images=decoded.images[split],
        labels=decoded.labels[split],
        classes=about.classes,
        mean=about.mean,
        std=about.std,
        checksum=about.checksum,
        form=about.form,
        path=path,
    )


def sources_in(path: Path) -> list[Path]:
    """What of a path :func:`load` might read: the path itself, or what lies in the folder.

    Raises:
        DataError: If there is nothing.
    """
    if not path.is_dir():
        return [path]
    with _as_data_error(path, "data"):
        folders = [path / found.folder for found in found_in(Folder(path), LAYOUTS)]
        files = [each for each in sorted(path.iterdir()) if each.name.endswith(SUFFIXES)]
    if not folders + files:
        raise DataError(f"load: {path} holds no data set; {WANTED} is needed")
    return folders + files


def _decoded(name_or_path: str | Path, root: Path | str | None, cache: Path) -> tuple[Decoded, str]:
    """A data set with both splits, and where it is.

    Raises:
        ArgumentError: If there is nothing of this name.
    """
    name = str(name_or_path)
    if name == "digits":
        return _digits(), ""
    if name == TOPICS:
        with _as_data_error(Path(name), "a text"):
            return read_topics(), ""
    path = official(name, root) if name in DATASETS else Path(name_or_path)
    with _as_data_error(path, "data"):
        if not path.exists():
            raise ArgumentError(f"load: {name!r} is neither a file nor a data set; {_hint(name)}")
        path = path.resolve()
        if path.suffix == SUFFIX and path.is_file():
            return read_text(path, UNKNOWN), str(path)
        members = members_of(path)
        found = _only(members) if isinstance(members, Folder) else None
        stamp = members.stamp(found.layout.files(members, found.folder) if found else ())

    def decode(empty: Empty) -> tuple[About, dict[str, NDArray[np.int64]]]:
        with _as_data_error(path, "data"):
            if found is None and is_npz(members):
                return _read_arrays(members, empty)
            return _read(found or _only(members), empty)

    return cached(cache, path.name, stamp, decode), str(path)


def _hint(name: str) -> str:
    near = get_close_matches(name, DATASETS, n=1)
    return f"did you mean {near[0]!r}?" if near else f"one of {', '.join(DATASETS)}, or {WANTED} is needed"


def official(name: str, given: Path | str | None) -> Path:
    """Where a named set is that is not bundled.

    Args:
        name: A key of the known layouts.
        given: Folder to look in; $RPS_DATA, or ``data``, if None.

    Raises:
        DataError: If it is not there.
    """
    root = Path(given if given is not None else os.environ.get("RPS_DATA") or ROOT)
    layouts = [layout for layout in LAYOUTS if layout.key == name]
    for layout in layouts:
        for path in (root / layout.folder, root / layout.archive):
            if path.exists():
                return path
    first = layouts[0]
    raise DataError(
        f"load: {first.name} is not in {root}; get {first.archive} from {first.home} and put it there, or "
        "set RPS_DATA to the folder where it is"
    )


def _only(members: Members) -> Found:
    """The one layout in a place.

    Raises:
        Broken: If there is none, or more than one.
    """
    found = list(found_in(members, LAYOUTS))
    if not found:
        raise Broken(f"it is none of the known layouts; {WANTED} is needed")
    if len(found) > 1:
        places = ", ".join(f"{each.layout.name} in {each.folder or './'}" for each in found)
        raise Broken(f"it holds more than one data set ({places}); pass one of these folders")
    return found[0]


def _read(found: Found, empty: Empty) -> tuple[About, dict[str, NDArray[np.int64]]]:
    layout, members, folder = found
    with _as_data_error(members.path, f"{layout.name}, {layout.form}", layout):
        content = layout.read(members, folder, empty)
        checksum = _checksum(layout, members.md5, content.digests)
    mean, std = PAPERS[layout.key]
    return About(layout.name, layout.form, content.classes, mean, std, checksum), content.labels


def _read_arrays(members: Members, empty: Empty) -> tuple[About, dict[str, NDArray[np.int64]]]:
    images: dict[str, NDArray[np.uint8]] = {}
    content = read_npz(members, _kept(images, empty))
    return _measured(members.path.stem, "NumPy arrays", UNKNOWN, content, images), content.labels


def _digits() -> Decoded:
    images: dict[str, NDArray[np.uint8]] = {}
    content = read_digits(_kept(images, lambda _, shape: np.empty(shape, np.uint8)))
    return Decoded(_measured("digits", "scikit-learn", BUNDLED, content, images), images, content.labels)


def _kept(images: dict[str, NDArray[np.uint8]], empty: Empty) -> Empty:
    """Arrays that can be looked at when they are full."""

    def keep(split: str, shape: Shape) -> NDArray[np.uint8]:
        images[split] = empty(split, shape)
        return images[split]

    return keep


def _measured(
    name: str, form: str, checksum: str, content: Content, images: dict[str, NDArray[np.uint8]]
) -> About:
    """What is known of a set without constants of its own: those of its training images, exactly."""
    means, deviations = [], []
    for channel in range(images["train"].shape[3]):
        counts = np.bincount(images["train"][..., channel].ravel(), minlength=256)
        pixels, values = int(counts.sum()), np.arange(256)
        first, second = int((counts * values).sum()), int((counts * values**2).sum())
        variance = pixels * second - first**2  # times pixels squared
        means.append(first / (255 * pixels))
        deviations.append(sqrt(variance) / (255 * pixels) if variance else 1.0)
    return About(name, form, content.classes, tuple(means), tuple(deviations), checksum)


def _checksum(layout: Layout, archive: str | None, digests: dict[str, str]) -> str:
    if archive == layout.md5:
        return OFFICIAL
    if not layout.digests:
        return UNKNOWN if archive is None else OTHER
    return OFFICIAL if digests == layout.digests else OTHER


@contextmanager
def _as_data_error(path: Path, what: str, layout: Layout | None = None) -> Iterator[None]:
    """Whatever is wrong with files, as one sentence.

    Raises:
        DataError: In place of it.
    """
    try:
        yield
    except (Broken, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        cure = f"get {layout.archive} from {layout.home}" if layout else "pass another path"
        raise DataError(f"load: {path} cannot be read as {what}: {reason}; {cure}") from None
