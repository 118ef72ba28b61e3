"""Exported files stay as small as the bank, and say the same."""

import numpy as np
import pytest
import torch
import torch.nn as tnn

import nn
from rpstheory.errors import ArgumentError, DataError

ort = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
pytest.importorskip("onnxscript", reason="the extra export is not installed")

IGNORE = pytest.mark.filterwarnings("ignore")  # the exporter warns about itself


@IGNORE
@pytest.mark.parametrize("mapping", ["fold", "hashed", "chunk"])
def test_onnx_holds_the_bank_once_and_says_the_same(tmp_path, mapping):
    torch.manual_seed(0)
    net = tnn.Sequential(tnn.Conv2d(3, 64, 3), tnn.ReLU(), tnn.Flatten(), tnn.Linear(64 * 36, 128))
    shared, x = nn.share(net, 50, mapping=mapping, include="*").eval(), torch.randn(2, 3, 8, 8)
    path = tmp_path / "small.onnx"
    nn.export_onnx(shared, (x,), path)
    dense = 4 * sum(p.numel() for p in net.parameters())
    held = nn.report(shared).resident_bytes
    assert path.stat().st_size < held + 60_000 < dense / 10
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.allclose(out, shared(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_dense_model_and_a_missing_folder_are_refused(tmp_path):
    net = tnn.Sequential(tnn.Linear(64, 64))
    with pytest.raises(ArgumentError, match="nothing in this model is shared"):
        nn.export_onnx(net, (torch.ones(1, 64),), tmp_path / "x.onnx")
    with pytest.raises(DataError, match="cannot be written"):
        nn.export_onnx(nn.share(net, 4), (torch.ones(1, 64),), tmp_path / "no" / "x.onnx")


@IGNORE
def test_onnx_says_the_same_of_an_embedding(tmp_path):
    torch.manual_seed(0)
    shared = nn.share(tnn.Sequential(tnn.Embedding(100, 32), tnn.Linear(32, 64)), 10, include="*")
    rows, path = torch.tensor([[3, 3, 99]]), str(tmp_path / "model.onnx")
    nn.export_onnx(shared, (rows,), path)
    session = ort.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: rows.numpy()})
    expected = shared(rows).detach().numpy()
    assert abs(found - expected).max() <= 32 * 2**-23 * abs(expected).max()  # 32 products, rounded
