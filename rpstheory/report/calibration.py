"""How often verdicts are wrong, measured by benchmarks/calibration.py, as a section of docs/claims.md."""

from __future__ import annotations

import json
from typing import Any

from rpstheory.errors import DataError

SCHEMA = "benchmarks.calibration/1"


def calibration_markdown(text: str) -> list[str]:
    """The record of a calibration as lines of Markdown.

    Args:
        text: What ``benchmarks.calibration --json`` wrote.

    Raises:
        DataError: If it is not such a record.
    """
    try:
        record = json.loads(text)
        if record["schema"] == SCHEMA:
            return _section(record)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise DataError(
        f"calibration: the file is not a record of {SCHEMA}; pass one that "
        "python -m benchmarks.calibration --json wrote"
    )


def _section(record: dict[str, Any]) -> list[str]:
    design = record["design"]
    rate = design["false_refute"], design["false_confirm"]
    lines = [
        "## What a verdict means",
        "",
        f"Measured {record['started'][:10]}: {len(record['measured'])} kinds of checks went the way of "
        f"`rps verify` {record['seeds']} times each, with independent seeds, at loosened error rates: "
        f"{rate[0]:.0%} to refute what is true, {rate[1]:.0%} to confirm what is off by exactly the "
        f"discrepancy ({design['discrepancy']:.0%}). No share may exceed its rate (exact binomial tests at "
        f"level {record['level']:g}); {'none does' if record['passed'] else '**some do**'}. In brackets the "
        f"{record['confidence']:.0%} interval.",
        "",
        "| kind of check | relation | true: refuted | true: confirmed | off: confirmed |",
        "| :-- | :-- | --: | --: | --: |",
    ]
    for each in record["measured"]:
        off = "; ".join(f"{name} {_share(value)}" for name, value in each["confirmed_though_off"].items())
        cells = (each["kind"], each["relation"], *map(_share, _true(each)), off)
        lines.append("| " + " | ".join(cells) + " |")
    worst = [
        f"{each['what']}, {each['draws']} draws: {each['worst']:.3g} (designed {each['designed']:.3g})"
        for each in record["computed"]
    ]
    return [
        *lines,
        "",
        "For the frequency of an event the chances are computed exactly, over a grid of its probability, "
        "at the rates that `rps verify` uses too; 1.03 times the designed rate is let pass, since counts are "
        "whole numbers. The worst of each:",
        "",
        *(f"- {line}" for line in worst),
        "",
        "What neither shows: a few entries may carry most of a variance, and what they do be rare. A mean is "
        "refuted only after so many draws that an event of chance 1/n, two weights of a pair meeting, was "
        "seen but for the designed chance, and is inconclusive before. Events rarer than that are beyond it: "
        "the two ends of a bank meet once in (m - Z + 1)^2 draws of `Block`.",
        "",
    ]


def _true(each: dict[str, Any]) -> tuple[Any, Any]:
    return each["refuted_though_true"], each["confirmed_and_true"]


def _share(value: Any) -> str:
    if value is None:
        return ""
    low, high = value["interval"]
    return f"{value['share']:.1%} ({low:.1%} to {high:.1%})"
