"""Options that several commands take, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from rpstheory.errors import ArgumentError

Root = Annotated[
    Path | None,
    typer.Option("--root", help="Folder with the official data.", show_default="$RPS_DATA, or data"),
]


def options_in(
    who: str, what: str, texts: Iterable[str], such: str, reserved: Collection[str] = ()
) -> dict[str, Any]:
    """Names and values of an option given several times: values are JSON where they can be, else text.

    Args:
        who: The command.
        what: The option.
        texts: NAME=VALUE each.
        such: An example.
        reserved: Names that are no options of the method.

    Raises:
        ArgumentError: If one is not NAME=VALUE, comes twice, or is reserved.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not (mark and name.isidentifier() and value) or name in reserved:
            of = " of the method" if reserved else ""
            raise ArgumentError(f"{who}: {what} {text!r} came; NAME=VALUE{of} is needed, such as {such}")
        if name in found:
            raise ArgumentError(f"{who}: {what} {name} came twice; pass it once")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
