"""The tutorial's code runs as it stands, and prints what the tutorial shows."""

import contextlib
import io
import re
from pathlib import Path

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCKS = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", TUTORIAL.read_text(), re.DOTALL)


def test_each_block_prints_what_is_shown_below_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code, shown in BLOCKS:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, names)
        assert not shown or out.getvalue() == shown
    shared, pruned = (names["accuracy"](names[which]) for which in ("shared", "pruned"))
    assert shared > pruned + 0.1
