"""The roof: verdicts as a table, JSON, Markdown, figures and one self-contained page.

Nothing here measures or judges. matplotlib and rich load inside the functions that draw, so that the
command line starts fast.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "rpstheory.report.record": (
        "Environment", "Report", "Settings", "Summary", "check_writable", "from_json",
        "this_environment", "to_json", "write_text",
    ),
    "rpstheory.report.words": ("summary_lines",),
    "rpstheory.report.table": ("print_report", "verdict_table"),
    "rpstheory.report.explain": ("explain", "explain_text"),
    "rpstheory.report.markdown": ("claims_markdown", "to_markdown"),
    "rpstheory.report.page": ("to_html",),
}  # fmt: skip
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'rpstheory.report' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
