"""The CUDA text, compiled as plain C++ and played by one thread, equals the reference to the bit.

A phase of the kernels is a loop over its threads here, run forwards and backwards: what depended on
the order of threads would be a race. Shared memory begins as NaN and ends in a canary, so that space
left unset or overrun is noticed. The GPU itself is asked only by the tests marked ``gpu``.
"""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpstheory import Block, Chunk, Fold, Hashed, KeepBernoulli, KeepExact, Top
from rpstheory.errors import BackendError, ShapeError
from rpstheory.hashing import NARROW
from rpstheory.kernels import cuda, reference

STAGE = r"""
#include <cstring>
#define ONE_THREAD_PLAYS_ALL
#define KERNEL extern "C" void
#define DEVICE static inline
#define SHARED extern double2
#define TURN(k, n) (backwards ? (n) - 1 - (k) : (k))
#define EACH(i, n) for (int k_ = 0, i = TURN(0, n); k_ < (n); i = TURN(++k_, n))
#define EACH_THREAD(i) EACH(i, (int)blockDim.x)
#define EACH_WARP(w) EACH(w, (int)blockDim.x / 32)
#define EACH_LANE(i) EACH(i, 32)
#define ADD_TO(address, value) (*(address) += (value))
struct double2 { double x, y; };
struct Index { unsigned int x; };
extern "C" { double2 arena[1 << 15]; int backwards; Index blockIdx, blockDim, gridDim; }
template <class To, class From> static To same_bits(From from) {
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
#define BITS_OF(number) same_bits<long long>(number)
#define NUMBER_OF(bits) same_bits<double>(bits)
static inline unsigned long long multiply_add(unsigned a, unsigned b, unsigned long long c) {
    return (unsigned long long)a * b + c;
}
"""
CANARY = 2**15 * 16

seeds = st.integers(0, 2**64 - 1)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "stage.cpp").write_text(STAGE + cuda.source(), encoding="utf-8")
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    command += ["-Wno-unknown-pragmas", "-Wno-unused-variable", "-Wno-sign-compare"]
    subprocess.run([*command, "-o", "stage.so", "stage.cpp"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "stage.so"))


def play(stage, launch):
    """Run a launch block by block, threads forwards in even blocks and backwards in odd ones."""
    kinds = {np.int32: ctypes.c_int, np.uint64: ctypes.c_uint64}
    arguments = [
        ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else kinds[type(a)](int(a))
        for a in launch.arguments
    ]
    arena = np.frombuffer((ctypes.c_uint8 * CANARY).in_dll(stage, "arena"), dtype=np.uint8)
    for name, value in (("blockDim", launch.threads), ("gridDim", launch.blocks)):
        ctypes.c_uint.in_dll(stage, name).value = value
    for block in range(launch.blocks):
        ctypes.c_uint.in_dll(stage, "blockIdx").value = block
        ctypes.c_int.in_dll(stage, "backwards").value = block % 2
        arena[:] = 255  # as float64: NaN
        getattr(stage, launch.kernel)(*arguments)
        assert np.all(arena[launch.shared :] == 255)


def nothing(size):
    return np.full(size, 255, dtype=np.uint8)


def assert_same(stage, mapping, seed, device, rowwise=False, kernel=None):
    count = 5
    cells = np.tile(np.arange(mapping.n), (count, 1))
    signs = np.empty_like(cells)
    play(stage, cuda.plan_draw(mapping, seed, cells, signs, device, nothing))
    expected_cells, expected_signs = reference.draw_many(mapping, seed, count)
    assert np.array_equal(cells, expected_cells)
    assert np.array_equal(signs, expected_signs)

    shape = (2, count, mapping.n) if rowwise else (2, mapping.n)
    x, y = np.random.default_rng(seed).integers(-1000, 1001, shape).astype(float)
    a, b = (cuda.rows(np, "x", v, mapping.n, count) for v in (x, y))
    out = np.full(count, np.nan)
    launch = cuda.plan_products(mapping, a, b, seed, out, device, nothing)
    assert kernel in (None, launch.kernel)
    play(stage, launch)
    expected = reference.inner_products(mapping, x, y, seed, count)
    assert np.array_equal(out * float(mapping.rescale), expected)


roomy = cuda.Device(processors=1, shared=CANARY - 4096)
tight = cuda.Device(processors=2, shared=400)  # everything goes to device memory
devices = st.sampled_from([roomy, tight])


@given(st.integers(1, 600), st.integers(1, 300), seeds, devices, st.booleans())
def test_fold(stage, n, m, seed, device, rowwise):
    assert_same(stage, Fold(n, m, 0), seed, device, rowwise)


@pytest.mark.parametrize(("n", "m"), [(4096, 512), (4000, 500), (64, 16), (200, 1000), (129, 128)])
def test_fold_in_shared_memory(stage, n, m):
    assert_same(stage, Fold(n, m, 0), 2**64 - 2, roomy, kernel="fold_staged")


@pytest.mark.parametrize(("n", "m"), [(4096, 512), (1000, 47), (5, 99)])
def test_fold_where_shared_memory_is_too_small(stage, n, m):
    assert_same(stage, Fold(n, m, 0), 7, tight, kernel="fold")


@given(st.integers(1, 600), st.integers(1, 300), seeds, devices, st.booleans())
def test_hashed(stage, n, m, seed, device, rowwise):
    assert_same(stage, Hashed(n, m, 0), seed, device, rowwise)


@given(st.integers(1, 600), st.integers(1, 300), st.data(), seeds, devices)
def test_chunk_and_block(stage, n, m, data, seed, device):
    length = data.draw(st.integers(1, m))
    for kind in (Chunk, Block):
        assert_same(stage, kind(n, m, 0, length), seed, device)


@given(st.integers(1, 600), st.data(), seeds, st.booleans())
def test_keep(stage, n, data, seed, rowwise):
    m = data.draw(st.integers(1, n))
    for kind in (KeepBernoulli, KeepExact):
        assert_same(stage, kind(n, m, 0), seed, roomy, rowwise, "keep")


@pytest.mark.parametrize("kind", [Fold, Hashed])
@pytest.mark.parametrize("m", [NARROW, NARROW + 1])
def test_banks_around_the_narrow_range(stage, kind, m):
    assert_same(stage, kind(300, m, 0), 3, cuda.Device(processors=1, shared=2**17))


def test_the_text_compiles_for_a_gpu(tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")
    (tmp_path / "cuda.cu").write_text(cuda.source(), encoding="utf-8")
    command = ["nvcc", "-std=c++17", "-arch=sm_80", "-Werror", "all-warnings", "-ptx", "cuda.cu"]
    subprocess.run(command, cwd=tmp_path, check=True)
    text = (tmp_path / "cuda.ptx").read_text(encoding="utf-8")
    for kernel in ("fold_staged", "fold", "scatter", "keep", "draw_chunks", "draw_keep"):
        assert f".entry {kernel}(" in text


def test_rows_names_the_shape_that_does_not_fit():
    with pytest.raises(ShapeError, match=r"x has shape \(3,\).* n=4"):
        cuda.rows(np, "x", np.ones(3), 4, 2)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        (Top(np.ones(3), 2), "no GPU kernel draws Top"),
        (Block(4, 4, 0, (2, 2), (2, 2)), "2-D tiles"),
        (Hashed(3, cuda.WIDEST + 1, 0), "up to"),
        (KeepExact(cuda.LIMIT + 1, 1, 0), "up to"),
    ],
)
def test_what_no_gpu_kernel_serves_is_refused(mapping, said):
    with pytest.raises(BackendError, match=said):
        cuda.check_served(mapping)


SERVED = [
    Fold(4096, 512, 0),
    Fold(1000, 47, 0),
    Fold(1000, 3, 0),
    Fold(100_000, 5000, 0),
    Hashed(4096, 512, 0),
    Hashed(1000, 2**21, 0),
    Chunk(4096, 512, 0, 24),
    Block(4096, 512, 0, 24),
    KeepBernoulli(4096, 512, 0),
    KeepExact(4095, 512, 0),
]


@pytest.mark.gpu
@pytest.mark.parametrize("mapping", SERVED, ids=str)
def test_the_gpu_draws_what_the_mapping_says(mapping):
    cells, signs = cuda.draw(mapping, 2**64 - 2, 4)
    expected_cells, expected_signs = reference.draw_many(mapping, 2**64 - 2, 4)
    assert np.array_equal(cells, expected_cells)
    assert np.array_equal(signs, expected_signs)


@pytest.mark.gpu
@pytest.mark.parametrize("rowwise", [False, True])
@pytest.mark.parametrize("mapping", SERVED, ids=str)
def test_gpu_products_equal_the_reference_on_integers(mapping, rowwise):
    shape = (2, 40, mapping.n) if rowwise else (2, mapping.n)
    x, y = np.random.default_rng(0).integers(-1000, 1001, shape).astype(float)
    expected = reference.inner_products(mapping, x, y, 9, 40)
    assert np.array_equal(cuda.inner_products(mapping, x, y, 9, 40), expected)


@pytest.mark.gpu
def test_the_gpu_takes_vectors_that_are_there_already():
    import cupy

    mapping, x = Fold(4096, 512, 0), np.arange(4096.0)
    expected = reference.inner_products(mapping, x, x, 0, 3)
    there = cupy.asarray(x)
    assert np.array_equal(cuda.inner_products(mapping, there, there, 0, 3), expected)
