"""Decoded data sets in folders that appear whole or not at all, opened by mapping them into memory.

    CACHE/NAME-HASH/
        train-images.npy    train-labels.npy
        test-images.npy     test-labels.npy
        about.json          classes, constants, what was checked

The hash is of where the files are, their sizes and times, and the version of this format: other files, or
files that have changed, are decoded anew. Old folders can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nn.data.layouts import Empty, Shape
from rpstheory.errors import DataError

VERSION = 1
SPLITS = ("train", "test")
_PIECE = 2**24  # bytes


@dataclass(frozen=True)
class About:
    """What is known of a decoded set beside its images and labels.

    Attributes:
        name: Of the set.
        form: Of the files it was read from.
        classes: Their names in the order of labels.
        mean: Of each channel, to normalise with.
        std: Likewise.
        checksum: Whether these are the official files.
    """

    name: str
    form: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    checksum: str


class Decoded(NamedTuple):
    """A data set with both splits.

    Attributes:
        about: What is known of it.
        images: Of "train" and "test".
        labels: Likewise.
    """

    about: About
    images: dict[str, NDArray[np.uint8]]
    labels: Mapping[str, NDArray[np.int64] | NDArray[np.uint8]]


Decode = Callable[[Empty], tuple[About, dict[str, NDArray[np.int64]]]]
"""Fills the images of each split and returns the rest."""


def default_cache() -> Path:
    """Where decoded sets are kept: $RPS_CACHE, or a folder of the user's cache.

    Raises:
        DataError: If the user has none.
    """
    if given := os.environ.get("RPS_CACHE"):
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rps-toolkit"
    except RuntimeError:
        raise DataError("load: there is no home folder to cache data in; set RPS_CACHE to a folder") from None


def cached(cache: Path, name: str, stamp: list[Any], decode: Decode) -> Decoded:
    """A decoded set, from the cache if it is there.

    Args:
        cache: Folder of all decoded sets.
        name: Begins the name of this one.
        stamp: What it depends on.
        decode: Called if it is not there.

    Raises:
        DataError: If the cache cannot be written.
    """
    digest = hashlib.sha256(json.dumps([VERSION, stamp]).encode()).hexdigest()
    entry = cache / f"{name[:40]}-{digest[:16]}"
    if (found := _opened(entry)) is None:
        _make(cache, entry, decode)
        found = _opened(entry)
    if found is None:
        raise DataError(f"load: {entry} was changed while it was made; delete it")
    return found


def _opened(entry: Path) -> Decoded | None:
    """The set in a folder; None if it is not there or damaged."""
    try:
        record: dict[str, Any] = json.loads((entry / "about.json").read_text(encoding="utf-8"))
        tuples = {name: tuple(value) for name, value in record.items() if isinstance(value, list)}
        about = About(**record | tuples)
        images = {split: np.load(entry / f"{split}-images.npy", mmap_mode="r") for split in SPLITS}
        labels = {split: np.load(entry / f"{split}-labels.npy") for split in SPLITS}
    except (OSError, ValueError, TypeError, AttributeError, EOFError):
        return None
    fits = all(images[s].ndim == 4 and labels[s].shape == images[s].shape[:1] for s in SPLITS)
    return Decoded(about, images, labels) if fits else None


def _make(cache: Path, entry: Path, decode: Decode) -> None:
    """Decode into a folder beside, and give it its name when it is complete.

    Raises:
        DataError: If the cache cannot be written.
    """
    with _written(cache):
        cache.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=cache))
    try:
        about, labels = decode(lambda split, shape: _empty(cache, place / f"{split}-images.npy", shape))
        with _written(cache):
            for split in SPLITS:
                _write(place / f"{split}-labels.npy", labels[split])
            (place / "about.json").write_text(json.dumps(asdict(about), indent=1), encoding="utf-8")
            _publish(place, entry)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _publish(place: Path, entry: Path) -> None:
    """Rename; whoever was first has made the same, but what is damaged gives way.

    Raises:
        OSError: If it cannot be renamed.
    """
    for path in place.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    if _opened(entry) is None:
        shutil.rmtree(entry, ignore_errors=True)
        try:
            place.rename(entry)
        except OSError:
            if _opened(entry) is None:
                raise


def _empty(cache: Path, path: Path, shape: Shape) -> NDArray[np.uint8]:
    """A mapped array whose room on the disk is taken: writing to it cannot fail later.

    Raises:
        DataError: If there is no room.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    left = int(np.prod(shape, dtype=np.int64))
    with _written(cache), path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        while left:
            left -= stream.write(bytes(min(left, _PIECE)))
    return np.lib.format.open_memmap(path, mode="r+")


def _write(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as stream:
        np.save(stream, array)


@contextmanager
def _written(cache: Path) -> Iterator[None]:
    """Trouble with the disk as one sentence.

    Raises:
        DataError: In place of it.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"load: the decoded data cannot be kept in {cache} ({error.strerror or error}); make room there "
            "or set RPS_CACHE to another folder"
        ) from None
