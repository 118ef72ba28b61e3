"""Records of benchmarks that take hours: a line of JSON for each, and tables of them in Markdown."""

import fcntl
import json
import os

from rpstheory.report.files import write_text


def read(path):
    """All that there are."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add(path, record):
    """One more, beside those that other processes wrote meanwhile; all of them, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        records = [*read(path), record]
        write_text(path, "".join(json.dumps(each) + "\n" for each in records), path.stem)
    finally:
        os.close(turn)
    return records


def table(head, rows):
    """In Markdown; all columns but the first hold numbers."""
    rule = ["--:" if place else ":--" for place in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])
