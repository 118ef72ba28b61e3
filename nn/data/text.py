"""Text as bytes, cut into windows: what comes next is asked once of every byte but the first.

A window is a number of bytes, and its labels are the bytes that come after each of them; what is left at the
end is left out. The last tenth of a text is for testing. Bytes need no vocabulary, and of any two texts the
perplexities can be compared.
"""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np

from nn.data.cache import About, Decoded
from nn.data.members import Broken, require_small

BUNDLED = "topics"
SUFFIX = ".txt"
WINDOW = 128  # bytes
TESTED = 10  # one in so many is for testing
CLASSES = tuple(map(str, range(256)))


def read_text(path: Path, checksum: str) -> Decoded:
    """A file in windows.

    Args:
        path: Of the file.
        checksum: What is known of it.

    Raises:
        Broken: If it cannot be read, or is too large, too short or no UTF-8.
    """
    require_small("the text", path.stat().st_size)
    return windows(path.read_bytes(), About(path.stem, "text, UTF-8", CLASSES, (), (), checksum))


def read_topics() -> Decoded:
    """The English of Python's own help(), topics in the order of their names; it differs between versions.

    Raises:
        Broken: If this Python has none.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise Broken("this Python comes without pydoc_data") from None
    text = "".join(words for _, words in sorted(topics.items()))
    version = f"Python {platform.python_version()}"
    about = About(BUNDLED, f"pydoc_data of {version}", CLASSES, (), (), f"bundled with {version}")
    return windows(text.encode(), about)


def windows(text: bytes, about: About) -> Decoded:
    """A text in windows to train on and, of its last tenth, to test on.

    Raises:
        Broken: If it is too short, or no UTF-8.
    """
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise Broken(f"byte {error.start} is no UTF-8") from None
    first = len(text) - len(text) // TESTED
    parts = {"train": text[:first], "test": text[first:]}
    if len(parts["test"]) <= WINDOW:
        least = TESTED * (WINDOW + 1)
        raise Broken(f"it has {len(text)} bytes, and windows of {WINDOW} for testing need {least}")
    held = {split: _whole(np.frombuffer(part, np.uint8)) for split, part in parts.items()}
    images = {split: tokens[:-1].reshape(-1, WINDOW) for split, tokens in held.items()}
    labels = {split: tokens[1:].reshape(-1, WINDOW) for split, tokens in held.items()}
    return Decoded(about, images, labels)


def _whole(tokens: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """As many as fill windows, and the one that comes after the last of them."""
    return tokens[: (len(tokens) - 1) // WINDOW * WINDOW + 1]
