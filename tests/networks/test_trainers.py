"""Loops that others wrote train a shared model as they train any other.

Where sums must not depend on their order, every number is a whole one or a multiple of a power of two.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn as tnn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

import nn
from rpstheory.errors import KindError

F64 = torch.float64
ROOT = Path(__file__).parents[2]


def network():
    """A net with an embedding, a norm and a head, shared; always the same."""
    net = tnn.Sequential(tnn.Embedding(60, 16), tnn.Flatten(), tnn.Linear(64, 32), tnn.LayerNorm(32))
    net.extend([tnn.GELU(), tnn.Linear(32, 10)])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 8)
    return nn.share(net, 5, include="*")


def batch(step):
    """Words and classes."""
    words = (torch.arange(8 * 4).view(8, 4) * (7 + step)) % 60
    return words, words.sum(1) % 10


def loss_of(forward, step):
    words, classes = batch(step)
    return tnn.functional.cross_entropy(forward(words).float(), classes)


def same(left, right):
    """Whether two models hold the same numbers under the same names."""
    one, other = left.state_dict(), right.state_dict()
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def momentum(parameters):
    return torch.optim.SGD(parameters, 0.1, momentum=0.9)


def plainly_trained(steps=3, limit=None):
    """The reference: a loop without any help."""
    net = network()
    optimizer = momentum(net.parameters())
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(net, step).backward()
        if limit:
            clip_grad_norm_(net.parameters(), limit)
        optimizer.step()
    return net


def whole(net, **options):
    """The net shared, its parameters whole numbers, every lambda 1, every root of Gamma 2."""
    net = net.double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.arange(parameter.numel()).view(parameter.shape) % 2 * 2 - 1)
        shared = nn.share(net, 4, include="*", **options)
        for parameter in shared.parameters():
            parameter.copy_(torch.arange(parameter.numel()).view(parameter.shape) * 7 % 5 - 2)
    return shared


def images():
    net = tnn.Sequential(
        tnn.Conv2d(2, 8, 3), tnn.ReLU(), tnn.Conv2d(8, 8, 3), tnn.Flatten(), tnn.Linear(32, 4)
    )
    return whole(net), torch.arange(4 * 2 * 36, dtype=F64).view(4, 2, 6, 6) % 7 - 3


def gradients(shared):
    found = [parameter.grad.clone() for parameter in shared.parameters()]
    shared.zero_grad()
    return found


def all_equal(left, right):
    return all(map(torch.equal, left, right))


# ----------------------------------------------------------------------------------- optimizers

OPTIMIZERS = {
    "SGD": (torch.optim.SGD, {"lr": 0.1}),
    "Nesterov": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "Adam": (torch.optim.Adam, {"lr": 0.01}),
    "AdamW": (torch.optim.AdamW, {"lr": 0.01, "amsgrad": True}),
    "RMSprop": (torch.optim.RMSprop, {"lr": 0.001, "momentum": 0.9}),
}


def trained_by(name, **variant):
    net = network()
    kind, options = OPTIMIZERS[name]
    optimizer = kind(net.parameters(), **options, **variant)
    for _ in range(5):
        optimizer.zero_grad()
        loss_of(net, 0).backward()
        optimizer.step()
    return net, optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_learn_and_keep_only_as_much_as_the_bank_has(name):
    net, optimizer = trained_by(name, foreach=False)
    assert loss_of(net, 0) < loss_of(network(), 0)
    kept = [value for value in optimizer.state[net.shared_bank].values() if isinstance(value, torch.Tensor)]
    assert all(value.numel() in (1, net.shared_bank.numel()) for value in kept)
    twin, _ = trained_by(name, foreach=True)
    assert same(net, twin)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "RMSprop"])
def test_fused_optimizers_learn(name):
    net, _ = trained_by(name, fused=True)
    assert loss_of(net, 0) < loss_of(network(), 0)


def test_line_searches_find_their_way():
    net = network()
    optimizer = torch.optim.LBFGS(net.parameters(), line_search_fn="strong_wolfe", max_iter=5)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(net, 0)
        loss.backward()
        return loss

    before = optimizer.step(closure)
    assert loss_of(net, 0) < before


@pytest.mark.parametrize("foreach", [False, True])
def test_clipping_sees_the_bank_as_one_tensor_of_its_own_size(foreach):
    shared, x = images()
    shared(x).sum().backward()
    squares = sum(parameter.grad.square().sum() for parameter in shared.parameters())
    before = gradients(shared)
    shared(x).sum().backward()
    norm = clip_grad_norm_(shared.parameters(), 1e9, foreach=foreach)
    assert norm.square() == pytest.approx(squares.item(), rel=8 * torch.finfo(F64).eps)
    assert all_equal(gradients(shared), before)
    shared(x).sum().backward()
    clip_grad_norm_(shared.parameters(), 1.0, foreach=foreach)
    assert sum(g.square().sum() for g in gradients(shared)) <= 1


# --------------------------------------------------------------------------------- mixed precision


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_autocast_computes_what_it_computes_for_the_dense_model(kind):
    shared = network()
    dense, words = nn.to_dense(shared), batch(0)[0]
    with torch.autocast("cpu", kind):
        out, expected = shared(words), dense(words)
    assert out.dtype == kind
    assert torch.equal(out, expected)
    out.float().square().sum().backward()
    assert shared.shared_bank.grad.dtype == torch.float32
    assert shared.shared_bank.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_a_scaler_of_gradients_learns_under_autocast(kind):
    net, scaler = network(), torch.amp.GradScaler("cpu", init_scale=2.0**8)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", kind):
            loss = loss_of(net, 0)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    assert loss_of(net, 0) < loss_of(network(), 0)


def test_scaling_by_powers_of_two_changes_no_bit_and_overflow_no_parameter():
    net, scaler = network(), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    optimizer = momentum(net.parameters())
    for step in range(3):
        optimizer.zero_grad()
        scaler.scale(loss_of(net, step)).backward()
        scaler.step(optimizer)
        scaler.update()
    assert same(net, plainly_trained())
    optimizer.zero_grad()
    scaler.scale(loss_of(net, 0) * float("inf")).backward()
    scaler.step(optimizer)
    scaler.update()
    assert same(net, plainly_trained())
    assert scaler.get_scale() == 2.0**9


# ------------------------------------------------------------------ how the gradient is computed


def test_channels_last_gives_the_same_outputs_and_gradients():
    shared, x = images()
    expected = shared(x)
    expected.square().sum().backward()
    slopes = gradients(shared)
    last = shared.to(memory_format=torch.channels_last)
    out = last(x.to(memory_format=torch.channels_last))
    assert torch.equal(out, expected)
    out.square().sum().backward()
    assert all_equal(gradients(last), slopes)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_of_activations_give_the_same_gradients(reentrant):
    shared, x = images()
    x.requires_grad_()
    shared(x).square().sum().backward()
    expected = gradients(shared)
    checkpoint(shared, x, use_reentrant=reentrant).square().sum().backward()
    assert all_equal(gradients(shared), expected)
    out = torch.utils.checkpoint.checkpoint_sequential(shared, 2, x, use_reentrant=reentrant)
    out.square().sum().backward()
    assert all_equal(gradients(shared), expected)


def test_gradients_of_parts_add_up_to_that_of_the_whole():
    shared, x = images()
    shared(x).square().sum().backward()
    expected = gradients(shared)
    for part in x.split(1):
        shared(part).square().sum().backward()
    assert all_equal(gradients(shared), expected)


def test_moving_averages_of_the_bank_are_those_of_the_weights():
    shared, x = images()
    average = AveragedModel(shared, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    average.update_parameters(shared)
    first = shared[0].weight.detach().clone()
    with torch.no_grad():
        shared.shared_bank.add_(torch.arange(shared.shared_bank.numel()) % 3 - 1)
    second = shared[0].weight.detach().clone()
    average.update_parameters(shared)
    assert torch.equal(average.module[0].weight, (first + second) / 2)
    assert torch.equal(shared[0].weight, second)
    assert not torch.equal(first, second)
    assert average(x).shape == (4, 4)


@pytest.mark.parametrize("mapping", ["fold", "hashed"])
def test_validation_in_inference_mode_may_come_before_training(mapping):
    shared = nn.share(tnn.Sequential(tnn.Linear(64, 64)), 4, mapping=mapping).double()
    x = torch.ones(2, 64, dtype=F64)
    with torch.inference_mode():
        seen = shared(x)
    out = shared(x)
    out.sum().backward()
    assert torch.equal(out.detach(), seen.clone())
    assert shared.shared_bank.grad.abs().sum() > 0


# --------------------------------------------------------------------------------------- trainers


@pytest.mark.parametrize("limit", [None, 0.1])
def test_fabric_trains_as_the_plain_loop_does_and_brings_checkpoints_back(tmp_path, limit):
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1)
    net = network()
    model, optimizer = fabric.setup(net, momentum(net.parameters()))
    for step in range(3):
        optimizer.zero_grad()
        fabric.backward(loss_of(model, step))
        if limit:
            fabric.clip_gradients(model, optimizer, max_norm=limit)
        optimizer.step()
    assert same(net, plainly_trained(limit=limit))
    fabric.save(tmp_path / "state.ckpt", {"model": model, "optimizer": optimizer})
    other = network()
    again, steps = fabric.setup(other, momentum(other.parameters()))
    fabric.load(tmp_path / "state.ckpt", {"model": again, "optimizer": steps})
    assert same(net, other)
    kept, back = (each.state_dict()["state"][0]["momentum_buffer"] for each in (optimizer, steps))
    assert torch.equal(kept, back)
    assert kept.shape == net.shared_bank.shape


@pytest.mark.parametrize(("precision", "kind"), [("bf16-mixed", torch.bfloat16), ("64-true", F64)])
def test_fabric_computes_in_the_precision_it_is_asked_for(precision, kind):
    lightning = pytest.importorskip("lightning_fabric")
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision=precision)
    words = batch(0)[0]
    found = fabric.setup(network())(words)
    mixed = precision.endswith("mixed")
    with torch.autocast("cpu", kind, enabled=mixed):
        expected = (network() if mixed else network().to(kind))(words)
    assert torch.equal(found, expected.to(found.dtype))


@pytest.fixture
def accelerator():
    accelerate = pytest.importorskip("accelerate")

    def build(**options):
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        accelerate.state.GradientState._reset_state()
        return accelerate.Accelerator(cpu=True, **options)

    yield build
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


@pytest.mark.parametrize("limit", [None, 0.1])
def test_accelerate_trains_as_the_plain_loop_does_and_brings_states_back(tmp_path, accelerator, limit):
    helper, net = accelerator(), network()
    model, optimizer = helper.prepare(net, momentum(net.parameters()))
    for step in range(3):
        optimizer.zero_grad()
        helper.backward(loss_of(model, step))
        if limit:
            helper.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
    expected = plainly_trained(limit=limit)
    assert same(helper.unwrap_model(model), expected)
    helper.save_state(tmp_path)
    with torch.no_grad():
        net.shared_bank.zero_()
    helper.load_state(tmp_path)
    assert same(net, expected)


def test_accelerate_adds_up_the_gradients_of_parts(accelerator):
    helper, net = accelerator(gradient_accumulation_steps=2), network()
    model, optimizer = helper.prepare(net, momentum(net.parameters()))
    for step in range(4):
        with helper.accumulate(model):
            helper.backward(loss_of(model, step))
            optimizer.step()
            optimizer.zero_grad()
    plain = network()
    optimizer = momentum(plain.parameters())
    for step in range(0, 4, 2):
        optimizer.zero_grad()
        (loss_of(plain, step) / 2).backward()
        (loss_of(plain, step + 1) / 2).backward()
        optimizer.step()
    assert same(net, plain)


@pytest.mark.filterwarnings("ignore")  # the trainer warns about itself
def test_the_trainer_of_transformers_resumes_where_it_stopped(tmp_path, accelerator):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=60, n_embd=32, n_layer=1, n_head=2, n_positions=8, bos_token_id=0, eos_token_id=1
    )
    before = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    torch.random.set_rng_state(before)
    words = [torch.arange(8) * (3 + i) % 60 for i in range(16)]
    data = [{"input_ids": each, "labels": each} for each in words]

    def trained(resume=None):
        shared = nn.share(model, 8)
        arguments = transformers.TrainingArguments(
            str(tmp_path),
            max_steps=4,
            save_steps=2,
            per_device_train_batch_size=4,
            learning_rate=0.01,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            logging_strategy="no",
        )
        transformers.Trainer(shared, arguments, train_dataset=data).train(resume_from_checkpoint=resume)
        return shared

    whole_run = trained()
    assert same(trained(str(tmp_path / "checkpoint-2")), whole_run)
    assert not same(whole_run, nn.share(model, 8))


# ------------------------------------------------------------------------------- sharded training


def perceptron():
    """Two layers of whole numbers, whose training by halves and quarters stays exact for three steps."""
    return whole(tnn.Sequential(tnn.Linear(16, 16), tnn.ReLU(), tnn.Linear(16, 8)))


def train(net, rank, world):
    """Three steps; the mean over the ranks is that of the whole batch."""
    optimizer = torch.optim.SGD(net.parameters(), 2.0**-8, momentum=0.5)
    for step in range(3):
        x = (torch.arange(4 * 16, dtype=F64).view(4, 16) * (3 + step)) % 5 - 2
        optimizer.zero_grad()
        (net(x[rank::world]).sum() * (world / 4)).backward()
        optimizer.step()


def message_of(call):
    """What a call that must fail says."""
    try:
        call()
    except (RuntimeError, KindError) as error:
        return str(error)
    return ""


def work(rank, world, store, out):
    """One rank of a run with FSDP2."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    mesh, found = init_device_mesh("cpu", (world,)), {}
    for layers in (False, True):
        net = perceptron()
        for module in (net[0], net[2]) if layers else ():
            fully_shard(module, mesh=mesh)
        fully_shard(net, mesh=mesh)
        found[f"held, layers={layers}"] = net.shared_bank.to_local().numel()
        train(net, rank, world)
        full = {name: value.full_tensor() for name, value in net.state_dict().items()}
        found[f"state, layers={layers}"] = full
    found["outside"] = message_of(lambda: net[0].weight)
    found["save"] = message_of(lambda: nn.save(net, f"{out}/{rank}.safetensors"))
    late = fully_shard(tnn.Sequential(tnn.Linear(64, 64)), mesh=mesh)
    found["late"] = message_of(lambda: nn.share(late, 4, inplace=True))
    found["untouched"] = type(late[0]) is tnn.Linear
    torch.save(found, f"{out}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two ranks found."""
    place = tmp_path_factory.mktemp("fsdp")
    inherited = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), "2", str(place / "store"), str(place)], env=inherited
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    return [torch.load(place / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("layers", [False, True])
def test_fully_sharded_ranks_hold_half_a_bank_and_train_as_one_process(ranks, layers):
    alone = perceptron()
    cells = alone.shared_bank.numel()
    train(alone, 0, 1)
    assert not same(alone, perceptron())
    for found in ranks:
        assert found[f"held, layers={layers}"] == cells // 2
        state = found[f"state, layers={layers}"]
        assert all(torch.equal(state[name], value) for name, value in alone.state_dict().items())


def test_a_gathered_state_loads_into_a_plain_model_and_is_saved(ranks, tmp_path):
    plain = perceptron()
    plain.load_state_dict(ranks[0]["state, layers=True"])
    nn.save(plain, tmp_path / "model.safetensors")
    loaded = nn.load(tmp_path / "model.safetensors", copy.deepcopy(nn.to_dense(plain)))
    assert same(loaded, plain)


def test_what_cannot_be_done_with_a_sharded_bank_says_so(ranks):
    for found in ranks:
        assert "DTensor" in found["outside"]
        assert "save: shared_bank is a DTensor" in found["save"]
        assert "share: 0.weight is a DTensor" in found["late"]
        assert found["untouched"]


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
