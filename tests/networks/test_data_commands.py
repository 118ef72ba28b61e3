"""`rps data check` says what is there, and the command starts without what it does not need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nn.data.commands import data
from rpstheory.errors import ArgumentError, DataError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RPS_CACHE", str(tmp_path / "cache"))


def check(*arguments):
    return CliRunner().invoke(data, ["check", *map(str, arguments)])


def saved(path):
    images, labels = np.zeros((6, 8, 8, 3), np.uint8), np.array([0, 1, 1, 0, 1, 1])
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    return path


def test_check_says_what_was_found(tmp_path):
    found = check(saved(tmp_path / "mine.npz"))
    assert found.exit_code == 0
    assert found.output == (
        f"{tmp_path}/mine.npz: mine, NumPy arrays\n"
        "  images: 6 train (2 to 4 a class), 6 test (2 to 4 a class), 8 x 8 x 3\n"
        "  classes: 2\n"
        "  checksum: not verified: no official md5 is known for these files\n"
    )


def test_check_knows_the_digits():
    found = json.loads(check("digits", "--json").output)
    assert (found[0]["train"], found[0]["test"], found[0]["shape"]) == (1438, 359, [32, 32, 1])


def test_check_goes_on_after_a_file_that_cannot_be_read(tmp_path):
    saved(tmp_path / "mine.npz")
    (tmp_path / "broken.tar.gz").write_bytes(b"hello")
    found = check(tmp_path)
    assert found.exit_code == 1
    assert found.output.startswith(f"load: {tmp_path}/broken.tar.gz cannot be read as data: it is neither")
    assert f"{tmp_path}/mine.npz: mine" in found.output


def test_check_of_a_folder_without_data_is_one_sentence(tmp_path):
    found = check(tmp_path)
    assert isinstance(found.exception, DataError)
    assert "holds no data set" in str(found.exception)


def test_check_of_nothing_is_one_sentence(tmp_path):
    found = check(tmp_path / "nothing")
    assert isinstance(found.exception, ArgumentError)
    assert "did you mean" in str(check("cifar11").exception)


def test_check_of_a_named_set_that_is_not_there_is_the_same_as_of_nothing(tmp_path):
    found = check("cifar10", "--root", tmp_path)
    assert isinstance(found.exception, DataError)
    assert f"CIFAR-10 is not in {tmp_path}; get cifar-10-python.tar.gz from" in str(found.exception)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"hello")
    assert check("cifar10", "--root", tmp_path).exit_code == 1


def test_the_command_starts_without_torch_and_numpy():
    code = "import sys, nn.data.commands; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
