"""Small images to train on, and one folder for decoded data: what tests of training share."""

import numpy as np
import pytest


def written(folder, train=256, test=64, channels=3):
    """An archive of four classes of small noisy images."""
    draw, arrays = np.random.default_rng(0), {}
    for split, count in (("train", train), ("test", test)):
        labels = np.arange(count) % 4
        images = draw.integers(0, 120, (count, 8, 8, channels), dtype=np.uint8)
        images[np.arange(count), labels * 2, :, 0] += 130
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    np.savez(folder / "blobs.npz", **arrays)
    return folder / "blobs.npz"


@pytest.fixture(scope="session")
def blobs():
    """Writes such an archive into a folder and gives its path."""
    return written


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """Decoded data are kept away from the user's, once for all tests of a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RPS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
