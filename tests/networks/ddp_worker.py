"""Two ranks of a data-parallel run, and one process alone: python ddp_worker.py OUT."""

import os
import sys

import torch
import torch.distributed as dist
import torch.nn as tnn
from torch.nn.parallel import DistributedDataParallel

import nn


def model():
    torch.manual_seed(0)
    net = tnn.Sequential(tnn.Linear(40, 50), tnn.Tanh(), tnn.Linear(50, 40), tnn.Tanh(), tnn.Linear(40, 4))
    return nn.share(net.double(), 5, include="*")


def train(net, rank, world, steps=5):
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for step in range(steps):
        x = torch.randn(8, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        part = x[rank::world]
        optimizer.zero_grad()
        net(part).square().mean().backward()
        optimizer.step()


def main():
    out, other = sys.argv[1], os.fork()
    rank = 0 if other else 1
    dist.init_process_group("gloo", init_method=f"file://{out}/store", rank=rank, world_size=2)
    net = model()
    train(DistributedDataParallel(net), rank, 2)
    torch.save(net.state_dict(), f"{out}/{rank}.pt")
    dist.destroy_process_group()
    if rank:
        os._exit(0)
    net = model()
    train(net, 0, 1)
    torch.save(net.state_dict(), f"{out}/alone.pt")
    sys.exit(os.waitpid(other, 0)[1])


if __name__ == "__main__":
    main()
