"""Two processes train as one."""

import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent


def test_two_ranks_equal_one_process(tmp_path):
    command = [sys.executable, str(HERE / "ddp_worker.py"), str(tmp_path)]
    subprocess.run(command, check=True, timeout=120)
    left, right, alone = (torch.load(tmp_path / f"{name}.pt") for name in ("0", "1", "alone"))
    for name, value in alone.items():
        assert torch.equal(left[name], right[name])
        assert torch.allclose(left[name], value, rtol=1e-12, atol=1e-14)
