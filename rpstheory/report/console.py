"""A rich console whose reader may leave early."""

from __future__ import annotations

from rich.console import Console


class PatientConsole(Console):
    """Prints as rich does; a closed pipe is an error that the command can answer, not its end."""

    def on_broken_pipe(self) -> None:
        """Say so.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError
