"""Training through nn.fit, beside the loop that one would write with torch alone, on the same batches.

    python -m benchmarks.throughput [--quick] [--rounds 7] [--steps 12] [--busy] [--device cuda] [--json FILE]

ResNet-20, random pixels in the size of CIFAR, 128 images a batch, cut and flipped as in the recipe `short`;
the test set is a sixth of the training set, as that of CIFAR-10 is a fifth. Two short epochs each, from the
end of the first step, when everything is loaded, to the end of the second test: steps, data, testing, the
scores, files and progress that nn.fit adds. The loop makes the same updates; the check is that its weights
come out with the same bits on a CPU.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as tnnf
from safetensors.torch import load_file

from benchmarks import layers
from benchmarks.layers import compared, heading, parsed, show_ratios, show_times, timed, write
from nn.data import feed
from nn.fitting import fit
from nn.models.registry import build
from nn.recipes import recipe_of

SCHEMA = "benchmarks.throughput/1"
BAR = {"at most": 1.1}
EPOCHS, BATCH = 2, 128
PRECISIONS = {
    "float32": {"precision": "float32", "channels_last": False},
    "bfloat16, channels last": {},  # as in the recipe
}


def noise(folder, steps):
    """An .npz of so many batches."""
    draw = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", steps * BATCH), ("test", steps * BATCH // 6)):
        arrays[f"{split}_images"] = draw.integers(0, 256, (count, 32, 32, 3), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 10
    np.savez(folder / "noise.npz", **arrays)
    return folder / "noise.npz"


def through_fit(data, recipe, device):
    """Seconds, and the final weights."""
    ticks = []

    def watch(row):
        if "epoch" in row or not ticks:
            torch.cuda.synchronize() if device == "cuda" else None
            ticks.append(layers.clock())

    with tempfile.TemporaryDirectory() as out:
        fitted = fit(data, "resnet20", "dense", 1, recipe, out=out, device=device, watch=watch)
        state = load_file(fitted.folder / "round-0" / "state.safetensors")
    weights = {name[6:]: value for name, value in state.items() if name.startswith("model.")}
    return ticks[-1] - ticks[0], weights


def bare(data, recipe, device):
    """The same, written out."""
    source = feed(data, BATCH, 0, recipe.augment)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("resnet20", 10, 3).to(device)
    form = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model.to(memory_format=form)
    cast = partial(torch.autocast, device, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )
    start = None
    for epoch in range(EPOCHS):
        model.train()
        for index in range(source.steps):
            x, y = source.batch(epoch, index)
            x, y = x.to(device, memory_format=form), y.to(device)
            optimizer.param_groups[0]["lr"] = recipe.rate(epoch * source.steps + index, source.steps)
            optimizer.zero_grad()
            with cast():
                logits = model(x)
            tnnf.cross_entropy(logits.float(), y).backward()
            optimizer.step()
            if start is None:
                torch.cuda.synchronize() if device == "cuda" else None
                start = layers.clock()
        model.eval()
        right = 0
        with torch.no_grad():
            for x, y in source.test():
                x, y = x.to(device, memory_format=form), y.to(device)
                with cast():
                    right += (model(x).argmax(1) == y).sum()
        int(right)
    return layers.clock() - start, model.state_dict()


def measured(data, recipe, device, rounds):
    contestants = {"nn.fit": through_fit, "bare loop": bare}
    times = {name: [] for name in contestants}
    for turn in range(rounds):
        weights = {}
        for name in list(contestants)[:: -1 if turn % 2 else 1]:
            seconds, weights[name] = contestants[name](data, recipe, device)
            times[name].append(seconds)
        one, other = weights.values()
        if device == "cpu" and not all(torch.equal(value, other[name]) for name, value in one.items()):
            raise SystemExit("nn.fit and the bare loop came to different weights: they did not do the same")
    return times


def main():
    given = parsed(__doc__, 7, 3, ("--steps", 12, "of an epoch"), ("--device", "cpu", "cpu or cuda"))
    record = heading(SCHEMA, given) | {"steps": given.steps, "device": given.device, "runs": []}
    with tempfile.TemporaryDirectory() as folder:
        data = noise(Path(folder), given.steps)
        for name, changes in PRECISIONS.items():
            times = measured(data, recipe_of("short", epochs=EPOCHS, **changes), given.device, given.rounds)
            run = {"precision": name, "threads": torch.get_num_threads(), "seconds": timed(times)}
            run["ratios"] = [compared(times, "nn.fit", "bare loop", BAR)]
            record["runs"].append(run)
            print(f"\nResNet-20, {EPOCHS} epochs of {given.steps} steps on {given.device}, {name}")
            show_times(run["seconds"])
            show_ratios(run["ratios"])
    write(given.json, record)


if __name__ == "__main__":
    main()
