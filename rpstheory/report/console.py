"""A rich console whose reader may leave early, and bars with the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from rpstheory.errors import Stopped

if TYPE_CHECKING:
    from rich.progress import TaskID

    from rpstheory.verification import Progress


class PatientConsole(Console):
    """Prints as rich does; a closed pipe is an error that the command can answer, not its end."""

    def on_broken_pipe(self) -> None:
        """Say so.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError


@contextmanager
def bars(stopped: str) -> Iterator[Progress]:
    """A bar for each stage that is reported, with the time left; on a terminal only.

    Args:
        stopped: What an interrupt says.

    Raises:
        Stopped: At an interrupt.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    stages: dict[str, TaskID] = {}

    def report(stage: str, done: float, whole: float) -> None:
        if stage not in stages:
            stages[stage] = bar.add_task(stage)
        bar.update(stages[stage], completed=done, total=whole)

    try:
        with bar:
            yield report
    except KeyboardInterrupt:
        raise Stopped(stopped) from None
