"""What training a shared model costs beside the dense one: time, memory, what is kept for backward.

    python -m benchmarks.steps [--quick] [--rounds 9] [--json FILE]

ResNet-20 and VGG-11, 128 images of 32 x 32 pixels, SGD with momentum; dense and shared models take turns
in one process. Memory, each in a fresh process:

- allocator: the peak of what torch's allocator holds, model included, from the profiler's memory events. It
  is exact and the same in every run, but sees neither numba's buffers nor oneDNN's;
- process: the peak of the resident set while model, optimizer and steps are made, less what was resident
  before; it sees all, to within what the system's allocator keeps back.
"""

import json
import resource
import subprocess
import sys
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as tnnf

import nn
from benchmarks.layers import (
    THREADS,
    compared,
    heading,
    met,
    parsed,
    show_ratios,
    show_times,
    take_turns,
    timed,
    verdict,
    write,
)
from nn.models import resnet20, vgg11

SCHEMA = "benchmarks.steps/1"
BATCH = 128
MODELS = {"ResNet-20": resnet20, "VGG-11": vgg11}
COMPRESSIONS = (10, 100)
AGAIN = "dense, again"  # what the ratio of two equal models is shows the noise
PEAK_MODEL = "VGG-11"
SLOWER = {"at most": 1.03}
AT_REST, WITH_MOMENTUM = {"at most": 600_000}, {"at most": 1_200_000}


def built(name, compression):
    """A model with weights that are the same in every run; compression 0 is the dense one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[name]()
    return nn.share(model, compression=compression, inplace=True) if compression else model


def images(batch=BATCH):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, 32, 32, generator=generator), torch.arange(batch) % 10


def training(model, batch=BATCH):
    """The optimizer, and a function of no argument that takes one step."""
    x, y = images(batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step():
        optimizer.zero_grad(set_to_none=True)
        tnnf.cross_entropy(model(x), y).backward()
        optimizer.step()

    return optimizer, step


def label(compression):
    return f"{compression}x" if compression else "dense"


# ----------------------------------------------------------------------------------------------- time


def step_times(name, threads, rounds):
    torch.set_num_threads(threads)
    steps = {label(c): training(built(name, c))[1] for c in (0, *COMPRESSIONS)}
    steps[AGAIN] = training(built(name, 0))[1]
    times = take_turns(steps, rounds)
    ratios = [compared(times, label(c), "dense", SLOWER) for c in COMPRESSIONS]
    ratios.append(compared(times, AGAIN, "dense", {}))
    return {"model": name, "threads": threads, "seconds": timed(times), "ratios": ratios}


# ------------------------------------------------------------------------------------------------ bytes


def size(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def held(name, compression):
    """Bytes between steps, and those of the file."""
    model = built(name, compression)
    optimizer, step = training(model, batch=2)
    step()
    optimizer.zero_grad(set_to_none=True)
    rest = nn.report(model).resident_bytes
    momentum = size(t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t))
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        if compression:
            nn.save(model, str(path))
        disk = path.stat().st_size if compression else nn.report(model).disk_bytes
    return {"file": disk, "rest": rest, "with momentum": rest + momentum}


def kept(name, compression):
    """What one forward pass keeps for backward: numbers in all, and those not held by the model itself."""
    model = built(name, compression)
    x, y = images()
    own = {t.untyped_storage().data_ptr() for t in chain(model.parameters(), model.buffers(), (x, y))}
    every, made = {}, {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        every[storage.data_ptr()] = storage
        if storage.data_ptr() not in own:
            made[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = tnnf.cross_entropy(model(x), y)
    found = {"kept": sum(s.nbytes() for s in every.values()), "made": sum(s.nbytes() for s in made.values())}
    del loss
    return found


# ---------------------------------------------------------------------------------------- peak of memory


def resident(which):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {which}")


def forget_peak():
    """The greatest resident set so far is forgotten, where the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def process_peak(name, compression):
    """In a process of its own, which has taken a step of a small model before."""
    training(MODELS[name](widths=(8, 16, 32, 64, 64)) if name == "VGG-11" else MODELS[name](), batch=2)[1]()
    nn.share(torch.nn.Linear(64, 64), compression=4).weight.sum().backward()
    forgotten, before = forget_peak(), resident("VmRSS")
    _, step = training(built(name, compression))
    step()
    step()
    after = resident("VmHWM") if forgotten else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return after - before


def allocator_peak(name, compression):
    """The peak of torch's allocator over building a model and two steps."""
    torch.profiler.profile(profile_memory=True).__enter__().__exit__(None, None, None)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        _, step = training(built(name, compression))
        step()
        step()
    now = most = 0
    for event in sorted(seen.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


PEAKS = {"allocator": allocator_peak, "process": process_peak}


def peak(kind, name, compression, runs):
    """Bytes, from fresh processes: the median of some; the allocator's are the same in all."""
    command = [sys.executable, "-m", "benchmarks.steps", "--peak", f"{kind},{name},{compression}"]
    found = []
    for _ in range(runs if kind == "process" else 1):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{command}: exit {done.returncode}\n{done.stderr}")
        found.append(json.loads(done.stdout))
    return sorted(found)[len(found) // 2]


# ----------------------------------------------------------------------------------------------- the tables


def show_bytes(name, row):
    print(f"\n{name}, bytes")
    for compression, each in row.items():
        print(f"  {compression:8}" + "".join(f"{what} {value:>14,}   " for what, value in each.items()))


def memory(name, runs):
    rows = {label(c): held(name, c) | kept(name, c) for c in (0, *COMPRESSIONS)}
    if name == PEAK_MODEL:
        for c in (0, COMPRESSIONS[-1]):
            rows[label(c)] |= {f"{kind} peak": peak(kind, name, c, runs) for kind in PEAKS}
    return rows


def bars(rows):
    """(what, value, bar) of the greatest compression."""
    dense, shared = rows["dense"], rows[label(COMPRESSIONS[-1])]
    return [
        ("file", shared["file"], AT_REST),
        ("parameters and buffers at rest", shared["rest"], AT_REST),
        ("the same with momentum", shared["with momentum"], WITH_MOMENTUM),
        ("kept for backward", shared["kept"], {"at most": dense["kept"]}),
        *((f"{kind} peak", shared[f"{kind} peak"], {"at most": dense[f"{kind} peak"]}) for kind in PEAKS),
    ]


def main():
    given = parsed(__doc__, 9, 3, ("--peak", "", "for the child processes: kind,model,compression"))
    if given.peak:
        kind, name, compression = given.peak.split(",")
        print(PEAKS[kind](name, int(compression)))
        return
    record = heading(SCHEMA, given) | {"batch": BATCH, "bytes": {}, "steps": []}
    for name in MODELS:
        record["bytes"][name] = memory(name, max(1, given.rounds // 3))
        show_bytes(name, record["bytes"][name])
    record["bars"] = [
        {"what": what, "value": value, "bar": bar, "met": met(value, bar)}
        for what, value, bar in bars(record["bytes"][PEAK_MODEL])
    ]
    print(f"\n{PEAK_MODEL} at {COMPRESSIONS[-1]}x")
    for each in record["bars"]:
        print(f"  {each['what']:34}{each['value']:>14,}{verdict(each['value'], each['bar'])}")
    for threads in THREADS:
        for name in MODELS:
            record["steps"].append(run := step_times(name, threads, given.rounds))
            print(f"\n{name}, one step of {BATCH} images, threads: {threads}, rounds: {given.rounds}")
            show_times(run["seconds"])
            show_ratios(run["ratios"])
    write(given.json, record)


if __name__ == "__main__":
    main()
