"""The README's example prints what the README shows."""

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
EXAMPLE = re.search(r"```python\n(import nn\n.*?)```\n\n```text\n(.*?)```", README.read_text(), re.DOTALL)


def test_example_prints_what_is_shown_and_writes_its_file(tmp_path, monkeypatch):
    code, shown = EXAMPLE.groups()
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    assert out.getvalue() == shown
    assert 126_816 < (tmp_path / "resnet20.safetensors").stat().st_size < 150_000
