"""Files written whole or not at all, with one sentence when that is impossible."""

from __future__ import annotations

import os
from pathlib import Path

from rpstheory.errors import DataError


def check_writable(path: Path | str, owner: str) -> None:
    """Make sure, before hours of work, that ``path`` can be written; leave it as it is.

    Args:
        path: File to write later.
        owner: Who asks, for the message: "json", "html", "figure".

    Raises:
        DataError: If the folder is missing or not writable, or the path is a folder.
    """
    target = Path(path).resolve()
    folder = target.parent
    if target.is_dir():
        reason = "it is a folder"
    elif not folder.is_dir():
        reason = f"the folder {folder} does not exist"
    elif not os.access(target if _is_stream(target) else folder, os.W_OK):
        reason = "no permission"
    else:
        return
    raise DataError(f"{owner}: {path} cannot be written ({reason}); choose another path")


def write_bytes(path: Path | str, content: bytes, owner: str) -> None:
    """Write a file so that a reader sees the old one or the whole new one.

    A symbolic link is followed; a pipe or a terminal is written to as it is.

    Args:
        path: File to write.
        content: All of it.
        owner: Who writes, for the message.

    Raises:
        DataError: If the file cannot be written.
    """
    check_writable(path, owner)
    target = Path(path) if _is_stream(Path(path)) else Path(path).resolve()
    try:
        if _is_stream(target):
            with target.open("wb") as stream:
                stream.write(content)
            return
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{owner}: {path} cannot be written ({error.strerror or error}); choose another path"
        ) from None


def write_text(path: Path | str, text: str, owner: str) -> None:
    """Write UTF-8 text so that a reader sees the old file or the whole new one.

    Args:
        path: File to write.
        text: All of it.
        owner: Who writes, for the message.

    Raises:
        DataError: If the file cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "replace"), owner)


def _is_stream(path: Path) -> bool:
    """A pipe, a terminal or an open descriptor: not a file that could be replaced."""
    return path.parts[:2] == ("/", "dev") or (path.exists() and not path.is_file() and not path.is_dir())
