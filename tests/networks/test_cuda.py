"""Triton's kernels: in its interpreter, as the machine code they become, and on a device where there is one.

Whether Triton interprets is settled when it is imported. So every test of the kernels runs in a process of
its own, where there is no device; with one, they run here too.
"""

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nn.bridge import key_of
from nn.kernels import Piece, cpu, reference
from nn.kernels import rows as rows_of
from rpstheory import Block, Chunk, Fold, Hashed, KeepBernoulli

triton = pytest.importorskip("triton", reason="the kernels need Triton")
from nn.kernels import cuda  # noqa: E402

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
ROOT = Path(__file__).parents[2]

F32, F64 = torch.float32, torch.float64
HALF = (torch.bfloat16, torch.float16)
MAPPINGS = [
    Fold(1000, 351, 1),  # three laps, the last one ragged
    Fold(500, 140, 2),  # laps hardly longer than what a program expands
    Fold(600, 600, 3),  # one lap
    Fold(400, 90, 4),  # several laps in what a program expands
    Fold(50, 3001, 5),  # less than a lap
    Chunk(640, 600, 6, chunk=200),
    Chunk(150, 100, 7, chunk=13),
    Block(1200, 700, 8, block=600),
    Block(100, 65, 9, block=8),
    Hashed(60, 70, 10),
    Hashed(40, 1, 11),
]
FAR = 2**12 if INTERPRETED else 2**14
SEAMS = [0, 16, 37]  # the first position: with the mapping, with a word of signs, with nothing


KINDS, FORMS = [F32, F64, *HALF], [(1, 16), (2, 33), (5, 130), (16, 48)]  # the interpreter takes them in turn
PAIRS = zip(KINDS, FORMS, strict=True) if INTERPRETED else itertools.product(KINDS, FORMS)
PRODUCTS = [(kind, *form) for kind, form in PAIRS]


def on_device(test):
    if INTERPRETED:
        return test
    found = torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(not found, reason="no CUDA device that torch can use")(test))


def here(*tensors):
    moved = [tensor.to(DEVICE, copy=True) for tensor in tensors]
    return moved if len(moved) > 1 else moved[0]


def each_mapping(*kinds):
    """From every seam, in each of these kinds; in the interpreter, which is slow, one of both, in turn."""

    def marked(test):
        cases = [
            pytest.param(
                mapping, first, dtype, id=f"{type(mapping).__name__}-{mapping.n}-{mapping.m}-{first}-{dtype}"
            )
            for place, mapping in enumerate(MAPPINGS)
            for first in ([SEAMS[place % len(SEAMS)]] if INTERPRETED else SEAMS)
            for dtype in ([kinds[place % len(kinds)]] if INTERPRETED else kinds)
        ]
        return on_device(pytest.mark.parametrize(("mapping", "first", "dtype"), cases)(test))

    return marked


class Case:
    """Some weights of a mapping: a bank, factors that change in the middle of runs, values, all at random."""

    def __init__(self, mapping, first, dtype, whole=False):
        self.chance = random.Random(mapping.seed * 100 + first)
        self.generator = torch.Generator().manual_seed(mapping.seed * 100 + first)
        self.mapping, self.first, self.dtype, self.whole = mapping, first, dtype, whole
        self.plan, self.count = cuda.plan_of(mapping), mapping.n - first - self.chance.randrange(3)
        some = [self.chance.randrange(mapping.m) for _ in range(self.chance.choice((0, 1, 3, 6)))]
        self.edges = torch.tensor(sorted({0, *some}))
        self.factors = self.numbers(len(self.edges))
        self.bank = self.numbers(mapping.m)

    def numbers(self, *shape):
        if self.whole:
            return torch.randint(-4, 5, shape, generator=self.generator).to(self.dtype)
        return torch.randn(*shape, generator=self.generator, dtype=self.dtype)

    def expand(self):
        out = torch.empty(self.count, dtype=self.dtype)
        if self.dtype in HALF:
            return reference.expand(self.mapping, self.bank, self.factors, self.edges, self.first, self.count)
        place = (self.edges.numpy(), self.factors.numpy(), self.first)
        cpu.expand(cpu.plan_of(self.mapping), self.bank.numpy(), *place, out.numpy(), 1)
        return out

    def compress(self, values, bank):
        place = (self.edges.numpy(), self.factors.numpy(), self.first)
        cpu.compress(cpu.plan_of(self.mapping), values.numpy(), *place, bank.numpy(), 1)
        return bank

    def table(self):
        """(rows, width, rows that are taken, some twice)."""
        width = self.chance.randint(1, max(1, self.count // 3))
        rows = self.count // width
        return rows, width, torch.randint(rows, (7,), generator=self.generator)

    def place(self):
        return here(self.edges), here(self.factors), self.first


@each_mapping(F32, F64)
def test_weights_are_those_of_the_cpu_to_the_last_bit(mapping, first, dtype):
    case = Case(mapping, first, dtype)
    out = torch.empty(case.count, dtype=dtype, device=DEVICE)
    cuda.expand(case.plan, here(case.bank), *case.place(), out)
    assert (out.cpu() == case.expand()).all()


@each_mapping(F32, F64)
def test_gradients_are_those_of_the_cpu_to_the_last_bit(mapping, first, dtype):
    case = Case(mapping, first, dtype)
    values, bank = case.numbers(case.count), here(case.bank)
    cuda.compress(case.plan, here(values), *case.place(), bank)
    assert (bank.cpu() == case.compress(values, case.bank.clone())).all()


@each_mapping(F32)
def test_rows_are_those_of_the_table_to_the_last_bit(mapping, first, dtype):
    case = Case(mapping, first, dtype)
    count, width, rows = case.table()
    out = torch.empty(len(rows), width, device=DEVICE)
    cuda.expand_rows(case.plan, here(case.bank), *case.place(), here(rows), out)
    assert (out.cpu() == case.expand()[: count * width].view(count, width)[rows]).all()


@each_mapping(F32)
def test_gradients_of_rows_are_those_of_the_cpu_to_the_last_bit(mapping, first, dtype):
    case = Case(mapping, first, dtype)
    _, width, rows = case.table()
    values, bank, expected = case.numbers(len(rows), width), here(case.bank), case.bank.clone()
    cuda.compress_rows(case.plan, here(values), *case.place(), here(rows), bank)
    place = (case.edges.numpy(), case.factors.numpy(), case.first, rows.numpy())
    rows_of._compress_each(*cpu.plan_of(mapping), *place, values.numpy(), expected.numpy(), 0, mapping.m)
    assert (bank.cpu() == expected).all()


@each_mapping(*HALF)
def test_half_precision_is_exact_on_whole_numbers(mapping, first, dtype):
    case = Case(mapping, first, dtype, whole=True)
    out = torch.empty(case.count, dtype=dtype, device=DEVICE)
    cuda.expand(case.plan, here(case.bank), *case.place(), out)
    assert (out.cpu() == case.expand()).all()
    values, bank = here(case.numbers(case.count)), torch.zeros(mapping.m, dtype=dtype, device=DEVICE)
    cuda.compress(case.plan, values, *case.place(), bank)
    exactly = (values.cpu().double(), case.factors.double(), case.edges, first)
    assert (bank.cpu() == reference.compress(mapping, *exactly).to(dtype)).all()


@on_device
@pytest.mark.parametrize(
    "mapping", [MAPPINGS[t] for t in (0, 1, 3, 5)], ids=lambda m: f"{type(m).__name__}-{m.n}-{m.m}"
)
@pytest.mark.parametrize(("dtype", "batch", "columns"), PRODUCTS)
def test_products_equal_those_of_the_weight_on_whole_numbers(mapping, dtype, batch, columns):
    case = Case(mapping, SEAMS[batch % 3], dtype, whole=True)
    count = min(case.count // columns, cuda.TOGETHER + 3)  # one program whole, one ragged
    x, out = case.numbers(batch, columns), torch.empty(batch, count, dtype=dtype, device=DEVICE)
    if count:
        cuda.linear(case.plan, here(x), here(case.bank), *case.place(), out)
    weight = case.expand()[: count * columns].view(count, columns)
    assert (out.cpu() == (x.double() @ weight.double().T).to(dtype)).all()


@on_device
@pytest.mark.parametrize("wrong", [torch.inf, torch.nan])
def test_a_product_reads_no_weight_beyond_its_own(wrong):
    """A row ends inside the columns that a program reads; the next row's weights are not finite."""
    case = Case(Fold(100, 100, 0), 0, F32, whole=True)
    last = case.mapping.cell(torch.arange(80, 100))
    case.bank[last], case.count = wrong, 80
    x, out = case.numbers(3, 20), torch.empty(3, 4, device=DEVICE)
    cuda.linear(case.plan, here(x), here(case.bank), *case.place(), out)
    assert (out.cpu() == x @ case.expand().view(4, 20).T).all()


@on_device
@pytest.mark.parametrize(
    "mapping",
    [
        Fold(2**35 - 16, 5000, 12),  # as many words of signs as the field has values
        Fold(2**33, 2**20 + 7, 13),  # starts of two values, 2^31 apart from the first position
        Hashed(2**30, 2**20 - 3, 14),  # hardly any more starts come from one value
        Chunk(2**33, 2**21, 15, chunk=99),
        Hashed(2**31 - 1, 2**21, 16),  # as many chunks as the field has values
    ],
    ids=lambda m: f"{type(m).__name__}-{m.n}-{m.m}",
)
def test_weights_far_from_the_first_are_those_of_the_mapping(mapping):
    case = Case(mapping, mapping.n - FAR - 3, F64)
    out = torch.empty(case.count, dtype=F64, device=DEVICE)
    cuda.expand(case.plan, here(case.bank), *case.place(), out)
    exactly = (case.factors, case.edges, case.first, case.count)
    assert (out.cpu() == reference.expand(mapping, case.bank, *exactly)).all()


@on_device
def test_rows_and_gradients_far_from_the_first_are_those_of_the_mapping():
    mapping, width = Fold(2**33, 3000, 17), 2**10
    case, rows = Case(mapping, 0, F64, whole=True), torch.tensor([0, 2**23 - 1, 3, 2**22])
    position = rows[:, None] * width + torch.arange(width)
    cell, sign = mapping.cell(position), mapping.sign(position)
    factor = reference.factor(case.factors, case.edges, cell) * sign
    out, bank = torch.empty(4, width, dtype=F64, device=DEVICE), torch.zeros(3000, dtype=F64, device=DEVICE)
    cuda.expand_rows(case.plan, here(case.bank), *case.place(), here(rows), out)
    assert (out.cpu() == case.bank[cell] * factor).all()
    values = case.numbers(4, width)
    cuda.compress_rows(case.plan, here(values), *case.place(), here(rows), bank)
    expected = torch.zeros(3000, dtype=F64).index_add(0, cell.view(-1), (values * factor).view(-1))
    assert (bank.cpu() == expected).all()


@on_device
@pytest.mark.parametrize("kind", [Fold, Hashed])
def test_every_cell_adds_in_order_of_position(kind):
    mapping, large = kind(3, 1, 0), 2.0**60
    sign = mapping.sign(torch.arange(3)).double()
    for values, total in (((large, -large, 1.0), 1.0), ((1.0, large, -large), 0.0)):
        bank = torch.zeros(1, dtype=F64, device=DEVICE)
        place = (torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=F64))
        cuda.compress(
            cuda.plan_of(mapping), here(torch.tensor(values, dtype=F64) * sign), *here(*place), 0, bank
        )
        assert bank.item() == total


@on_device
def test_gradients_larger_than_what_is_sorted_at_once_are_whole(monkeypatch):
    case = Case(Chunk(300, 100, 7, chunk=13), 16, F32)
    values, rows = case.numbers(case.count), torch.tensor([3, 0, 3, 1])
    expected = case.compress(values, torch.zeros(100))
    found, table = (torch.zeros(2, 100, device=DEVICE) for _ in range(2))
    for t, limit in enumerate((cuda.MEETINGS, 50)):
        monkeypatch.setattr(cuda, "MEETINGS", limit)
        cuda.compress(case.plan, here(values), *case.place(), found[t])
        cuda.compress_rows(case.plan, here(values[:80].view(4, 20)), *case.place(), here(rows), table[t])
    assert (found.cpu() == expected).all()
    assert (table[0] == table[1]).all()
    assert (table != 0).any()


def test_only_what_the_hash_of_the_kernels_covers_has_a_plan():
    assert cuda.plan_of(Fold(2**35 - 16, 2**30, 0)) is not None
    for other in (
        Fold(2**35 - 15, 2**30, 0),
        Hashed(2**31, 9, 0),
        Fold(9, 2**30 + 1, 0),
        Block(60, 30, 0, block=(2, 3), shape=(6, 10)),
        KeepBernoulli(60, 30, 0),
    ):
        assert cuda.plan_of(other) is None


def test_products_are_chosen_for_few_rows_and_long_chunks():
    long, short = cuda.plan_of(Fold(2**24, 2**20, 0)), cuda.plan_of(Chunk(2**24, 2**20, 0, chunk=32))
    assert cuda.pays(long, 4096, 4096, cuda.MOST)
    assert not cuda.pays(long, 4096, 4096, cuda.MOST + 1)
    assert not cuda.pays(long, 4096, 4096, 0)
    assert not cuda.pays(short, 4096, 4096, 1)
    assert not cuda.pays(None, 4096, 4096, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device that torch can use")
@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda m: f"{type(m).__name__}-{m.n}-{m.m}")
def test_operators_on_a_device_give_the_bits_of_the_cpu_in_every_run(mapping):
    case = Case(mapping, 0, F32)
    roots, key, pull = case.factors.double().abs() + 1, key_of(mapping), case.numbers(case.count)
    piece = Piece(roots, case.edges, key, 0, case.count, mapping.m, 0.3)
    up, down = piece.expand(case.bank), piece.compress(pull)
    roots, edges = roots.cuda(), case.edges.cuda()
    for _ in range(3):
        bank = case.bank.cuda().requires_grad_()
        found = Piece(roots, edges, key, 0, case.count, mapping.m, 0.3).expand(bank)
        found.backward(pull.cuda())
        assert (found.cpu() == up).all()
        assert (bank.grad.cpu() == down).all()


class Launches:
    """Stands in for a kernel and keeps what it is launched with."""

    def __init__(self, kernel):
        self.kernel, self.found = kernel, []

    def __getitem__(self, grid):
        return lambda *args, **traits: self.found.append((args, traits))


def signature_of(value):
    if isinstance(value, torch.Tensor):
        return "*" + {F32: "fp32", F64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16"}.get(
            value.dtype, str(value.dtype).replace("torch.int", "i")
        )
    if isinstance(value, tuple):
        return tuple(map(signature_of, value))
    return "constexpr" if value is None else "i32" if abs(value) < 2**31 else "i64"


def compiled(kernel, args, traits, capability):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    options = {name: traits[name] for name in ("num_warps", "enable_fp_fusion")}
    named = dict(zip(kernel.arg_names, args, strict=False)) | {
        name: value for name, value in traits.items() if name not in options
    }
    constants = {name: value for name, value in named.items() if name in traits or value is None}
    signature = {
        name: "constexpr" if name in constants else signature_of(named[name]) for name in kernel.arg_names
    }
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=places)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled in the interpreter")
@pytest.mark.parametrize(
    ("mapping", "dtype", "capability"),
    [
        (Fold(2**32, 2**21, 0), torch.bfloat16, 90),
        (Fold(2**32, 2**21, 0), F64, 80),
        (Chunk(2**20, 2**16, 1, chunk=32), F32, 90),
    ],
)
def test_every_kernel_becomes_machine_code(mapping, dtype, capability, monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    names = ("_expand_kernel", "_compress_kernel", "_product_kernel")
    kernels = [Launches(getattr(cuda, name)) for name in names]
    for name, kernel in zip(names, kernels, strict=True):
        monkeypatch.setattr(cuda, name, kernel)
    bank, edges = torch.empty(mapping.m, dtype=dtype), torch.tensor([0, 7])
    place, plan = (edges, torch.ones(2, dtype=dtype), mapping.n - 2**17), cuda.plan_of(mapping)
    rows = torch.tensor([2, 1])
    cuda.expand(plan, bank, *place, torch.empty(2**16, dtype=dtype))
    cuda.expand_rows(plan, bank, *place, rows, torch.empty(2, 100, dtype=dtype))
    cuda.compress(plan, torch.empty(2**16, dtype=dtype), *place, bank)
    cuda.compress_rows(plan, torch.empty(2, 100, dtype=dtype), *place, rows, bank)
    cuda.linear(plan, torch.empty(2, 4096, dtype=dtype), bank, *place, torch.empty(2, 9, dtype=dtype))
    launches = [(each.kernel, *found) for each in kernels for found in each.found]
    assert len(launches) == 5
    for kernel, args, traits in launches:
        code = compiled(kernel, args, traits, capability)
        assert code.asm["cubin"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
def test_the_kernels_pass_these_tests_in_the_interpreter():
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    chosen = "not interpreter and not machine_code and not operators"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, __file__],
        env={**os.environ, "PYTHONPATH": path, "TRITON_INTERPRET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
