"""Images a second from a mapped file to a normalised batch, cropped and flipped, beside what one would write.

    python -m benchmarks.augment [--rounds 5] [--images 20000] [--batch 128]

Random pixels in the size of CIFAR, a whole epoch a turn, one core and two. Contestants take turns; the
figure is that of the median round. The bar is 20,000 images a second on two cores.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as tnnf

from nn.data import Batches, Dataset
from nn.data.datasets import PAPERS

BAR = 20_000


def dataset(count, folder):
    path = Path(folder) / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8))
    mean, std = PAPERS["cifar10"]
    labels = np.arange(count) % 10
    return Dataset(
        "noise", "train", np.load(path, mmap_mode="r"), labels, tuple("abcdefghij"), mean, std, "", "", ""
    )


def loop(data, size):
    """Pads, cuts, flips and normalises one image after another, as loaders of single images do."""
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (data.mean, data.std))
    order = torch.randperm(len(data)).tolist()
    for first in range(0, len(order) - size + 1, size):
        made = []
        for i in order[first : first + size]:
            image = torch.from_numpy(data.images[i].copy()).permute(2, 0, 1)
            top, left, flip = (int(torch.randint(most, ())) for most in (9, 9, 2))
            image = tnnf.pad(image, (4, 4, 4, 4))[:, top : top + 32, left : left + 32]
            made.append(((image.flip(2) if flip else image).float() / 255 - mean) / std)
        yield torch.stack(made)


def turn(batches):
    start, seen = time.perf_counter(), 0
    for batch in batches():
        seen += len(batch[0])
    return seen / (time.perf_counter() - start)


def contestants(data, size):
    made = {"image by image": lambda: ((images,) for images in loop(data, size))}
    for augment in ("none", "crop-flip", "reflect-crop-flip"):
        made[f"Batches, {augment}"] = partial(Batches(data, size, augment=augment).epoch, 0)
    return made


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=128)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = dataset(given.images, folder)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rates = {name: [] for name in contestants(data, given.batch)}
            for _ in range(given.rounds):
                for name, batches in contestants(data, given.batch).items():
                    rates[name].append(turn(batches))
            print(f"\n{given.images} images, batch {given.batch}, {threads} threads; the bar is {BAR}")
            for name, each in rates.items():
                print(f"  {name:28}{median(each):10.0f} images/s   ({min(each):.0f} to {max(each):.0f})")


if __name__ == "__main__":
    main()
