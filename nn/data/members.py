"""Files in a folder or an archive, read into memory one by one; nothing is ever extracted.

A file is known by its path inside, with ``/``. In archives only plain files count: links, devices, absolute
paths and ``..`` are refused, and so is whatever would unpack to more than any of the data sets does.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, final

LARGEST = 2**28  # bytes of one file; the largest official one has 2^27.3
WHOLE = 2**31  # bytes that an archive may unpack to
GZIP = b"\x1f\x8b"
DEPTH = 4  # folders below a folder of data

_TROUBLE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, OSError, ValueError, LookupError, OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip


class Broken(Exception):
    """A file that is not what it should be; the message goes on after its name."""


class Members(ABC):
    """The files in one place.

    Attributes:
        path: Folder or archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def top(self) -> list[str]:
        """Files at most one folder deep."""

    @abstractmethod
    def below(self, folder: str) -> list[str]:
        """All files below a folder."""

    @abstractmethod
    def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Those of the files that are there, in any order; to be read to the end.

        Raises:
            Broken: If something is cut off, too large or otherwise wrong.
        """

    @abstractmethod
    def stamp(self, names: Collection[str]) -> list[Any]:
        """Sizes and times, which change when the files do."""

    @property
    def md5(self) -> str | None:
        """Of the archive; None for a folder."""
        return None


@final
class Folder(Members):
    """A folder and what is below it."""

    def top(self) -> list[str]:
        """Files at most one folder deep."""
        return list(self._walk("", 1))

    def below(self, folder: str) -> list[str]:
        """All files below a folder."""
        return list(self._walk(folder.rstrip("/"), DEPTH))

    def _walk(self, folder: str, depth: int) -> Iterator[str]:
        with _named(folder or "."):
            entries = sorted(os.scandir(self.path / folder), key=lambda entry: entry.name)
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_file():
                yield name
            elif depth and entry.is_dir() and os.access(entry.path, os.R_OK | os.X_OK):
                yield from self._walk(name, depth - 1)

    def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Those of the files that are there."""
        for name in wanted:
            path = self.path / name
            if path.is_file():
                with _named(name):
                    require_small(name, path.stat().st_size)
                    content = path.read_bytes()
                yield name, content

    def stamp(self, names: Collection[str]) -> list[Any]:
        """Sizes and times."""
        with _named("a file"):
            return [[str(self.path)], *([name, *_stat(f"{self.path}/{name}")] for name in sorted(names))]


class Archive(Members):
    """One file that holds others; every reading goes through it once, from its beginning to its end."""

    @cached_property
    def _names(self) -> list[str]:
        return [name for name, _ in self._files(())]

    def top(self) -> list[str]:
        """Files at most one folder deep."""
        return [name for name in self._names if name.count("/") <= 1]

    def below(self, folder: str) -> list[str]:
        """All files below a folder."""
        return [name for name in self._names if name.startswith(folder.rstrip("/") + "/")]

    def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Those of the files that are there."""
        for name, content in self._files(frozenset(wanted)):
            if content is not None:
                yield name, content

    def stamp(self, names: Collection[str]) -> list[Any]:
        """Sizes and times."""
        with _named("the archive"):
            return [str(self.path), *_stat(str(self.path))]

    @property
    def md5(self) -> str:
        """Of the archive."""
        with _named("the archive"), self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest()

    @abstractmethod
    def _plain(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | None]]:
        """Every plain file, with its content if it is wanted."""

    def _files(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | None]]:
        seen: set[str] = set()
        files = self._plain(wanted)
        while True:
            with _named("the archive"):
                found = next(files, None)
            if found is None:
                return
            if found[0] in seen:
                raise Broken(f"the archive holds {found[0]!r} twice")
            seen.add(found[0])
            if not _is_clutter(found[0]):
                yield found


@final
class Tar(Archive):
    """A .tar or .tar.gz."""

    def _plain(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | None]]:
        with self.path.open("rb") as raw:
            stream = _Bounded(gzip.GzipFile(fileobj=raw) if _first(self.path, 2) == GZIP else raw)
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                while (info := tar.next()) is not None:
                    if info.isdir():
                        continue
                    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                        raise Broken(f"the archive holds {info.name!r}, a link or a device; refused")
                    name = inside(info.name)
                    require_small(name, info.size)
                    held = tar.extractfile(info) if name in wanted else None
                    yield name, None if held is None else held.read()
            # tarfile takes any wrong header for the end: look whether it is
            stream.seek(tar.offset)
            if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise Broken("the archive is cut off or corrupt")
            while stream.read(2**20):  # to the end, where the checksum is
                pass


@final
class Zip(Archive):
    """A .zip or .npz."""

    def _plain(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | None]]:
        with zipfile.ZipFile(self.path) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > WHOLE:
                raise Broken(f"the archive would unpack to more than {WHOLE} bytes; refused")
            for info in infos:
                if info.is_dir():
                    continue
                if info.external_attr >> 28 == 0o12:
                    raise Broken(f"the archive holds {info.filename!r}, a link; refused")
                name = inside(info.filename)
                require_small(name, info.file_size)
                yield name, archive.read(info) if name in wanted else None


class _Bounded(io.RawIOBase):
    """A stream that ends in an error where an archive would unpack to more than any data set."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.taken = stream, 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            Broken: If they are too many.
        """
        if not 0 <= size <= LARGEST + tarfile.BLOCKSIZE:
            raise Broken(f"the archive holds a part of more than {LARGEST} bytes; refused")
        return self._counted(self.stream.read(size))

    def _counted(self, content: bytes) -> bytes:
        self.taken += len(content)
        if self.taken > WHOLE:
            raise Broken(f"the archive would unpack to more than {WHOLE} bytes; refused")
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        while whence == os.SEEK_SET and self.stream.tell() < offset:
            if not self.read(min(2**20, offset - self.stream.tell())):
                break
        return self.stream.tell() if self.stream.tell() == offset else self.stream.seek(offset, whence)

    def tell(self) -> int:
        return self.stream.tell()


def members_of(path: Path) -> Members:
    """The files in a folder or an archive, which is known by its first bytes.

    Raises:
        Broken: If it cannot be opened, or is none.
    """
    if path.is_dir():
        return Folder(path)
    with _named("the file"):
        begin = _first(path, 262) if path.is_file() else b""
    if begin.startswith(GZIP) or begin.endswith(b"ustar"):
        return Tar(path)
    if begin.startswith(b"PK"):
        return Zip(path)
    raise Broken("it is neither a folder nor a .tar, .tar.gz, .zip or .npz")


def inside(name: str) -> str:
    """A name in an archive as a path below it.

    Raises:
        Broken: If it leads out.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
        raise Broken(f"the archive holds {name!r}, which leads out of it; refused")
    return str(path)


def require_small(name: str, size: int) -> None:
    """Do nothing if a file is not larger than any official one.

    Raises:
        Broken: If it is.
    """
    if not 0 <= size <= LARGEST:
        raise Broken(f"{name} has {size} bytes, more than any file of these data sets")


def _first(path: Path, count: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(count)


def _is_clutter(name: str) -> bool:
    """Whether a file is one that packing on other systems adds."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith("._")


def _stat(path: str) -> list[int]:
    """Size and times; nothing where there is no file."""
    if not os.path.exists(path):
        return []
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Trouble with a file as one kind of error.

    Raises:
        Broken: In place of all that reading archives raises.
    """
    try:
        yield
    except _TROUBLE as error:
        text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise Broken(f"{what} cannot be read ({text[:100]})") from None
