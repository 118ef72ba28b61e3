"""The official layouts are read from folders and archives alike; whatever else comes is one sentence."""

import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from hashlib import md5
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from PIL import Image

from nn.data import datasets, members
from nn.data.datasets import DATASETS, load, sources_in
from rpstheory.errors import ArgumentError, DataError, RpsError

ROOT = Path(__file__).parents[2]
EXCERPTS = os.environ.get("RPS_DATA", "")
needs_excerpts = pytest.mark.skipif(
    not Path(EXCERPTS, "cifar-10-python-small.tar.gz").is_file(),
    reason="RPS_DATA is not the folder of the small archives in official layout",
)


# ------------------------------------------------------------------------------- what is read


def pixels(count, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def text(value):
    raw = value.encode("latin-1") if isinstance(value, str) else value
    short = len(raw) < 256
    return (b"U" + bytes([len(raw)]) if short else b"T" + struct.pack("<i", len(raw))) + raw


def pickled(**items):
    return b"\x80\2}(" + b"".join(text(name) + value for name, value in items.items()) + b"u."


def numbers(values):
    return b"](" + b"".join(b"K" + bytes([int(value)]) for value in values) + b"e"


def names(values):
    return b"](" + b"".join(text(value) for value in values) + b"e"


def batch(images, labels, key="labels"):
    """A batch in the form of Python 2."""
    planes = images.transpose(0, 3, 1, 2).tobytes()
    data = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R(K\1J"
        + struct.pack("<i", len(images))
        + b"M\x00\x0c\x86cnumpy\ndtype\nU\2u1K\0K\1\x87R(K\3U\1|NNN"
        + b"J\xff\xff\xff\xff" * 2
        + b"K\0tb\x89"
        + text(planes)
        + b"tb"
    )
    return pickled(**{"batch_label": text("one"), key: numbers(labels), "data": data})


def records(images, labels, coarse=0):
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    first = [np.zeros((len(images), 1), np.uint8)] * coarse
    return np.hstack([*first, np.array(labels, np.uint8)[:, None], planes]).tobytes()


def split_of(count, classes, seed):
    return pixels(count, seed=seed), np.arange(seed, seed + count) % classes


TEN, HUNDRED = [f"class {i}" for i in range(10)], [f"class {i}" for i in range(100)]
PARTS = [split_of(2, 10, seed) for seed in range(6)]
TRAIN, TEST = split_of(3, 100, 7), split_of(2, 100, 8)


def jpeg(seed, mode="RGB", size=64, quality=75):
    stream = io.BytesIO()
    Image.fromarray(pixels(1, size, seed)[0]).convert(mode).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


CIFAR10_PICKLES = {
    **{f"data_batch_{i + 1}": batch(*PARTS[i]) for i in range(5)},
    "test_batch": batch(*PARTS[5]),
    "batches.meta": pickled(label_names=names(TEN)),
    "readme.html": b"<html>",
}
CIFAR10_RECORDS = {
    **{f"data_batch_{i + 1}.bin": records(*PARTS[i]) for i in range(5)},
    "test_batch.bin": records(*PARTS[5]),
    "batches.meta.txt": "\n".join([*TEN, ""]).encode(),
}
CIFAR100_PICKLES = {
    "train": batch(*TRAIN, key="fine_labels"),
    "test": batch(*TEST, key="fine_labels"),
    "meta": pickled(fine_label_names=names(HUNDRED), coarse_label_names=names(["c"])),
}
CIFAR100_RECORDS = {
    "train.bin": records(*TRAIN, coarse=1),
    "test.bin": records(*TEST, coarse=1),
    "fine_label_names.txt": "\n".join(HUNDRED).encode(),
}
TINY = {
    "wnids.txt": b"n02\nn01\n",
    "words.txt": b"n01\ta cat, a feline\nn02\ta dog\nn03\ta fish\n",
    "val/val_annotations.txt": b"val_1.JPEG\tn01\t0\t0\t1\t1\nval_0.JPEG\tn02\t0\t0\t1\t1\n",
    "val/images/val_0.JPEG": jpeg(0),
    "val/images/val_1.JPEG": jpeg(1, "L"),
    "train/n01/n01_boxes.txt": b"n01_0.JPEG\t0\t0\t1\t1\n",
    "train/n01/images/n01_0.JPEG": jpeg(2),
    "train/n01/images/n01_10.JPEG": jpeg(3),
    "train/n01/images/n01_9.JPEG": jpeg(4),
    "train/n02/images/n02_0.JPEG": jpeg(5, "L"),
}
SETS = {
    "cifar-10-batches-py": CIFAR10_PICKLES,
    "cifar-10-batches-bin": CIFAR10_RECORDS,
    "cifar-100-python": CIFAR100_PICKLES,
    "cifar-100-binary": CIFAR100_RECORDS,
    "tiny-imagenet-200": TINY,
}
FORMS = ("folder", "above", "tar", "tar.gz", "dotted tar.gz", "zip")


def colours(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def expected(folder, train):
    """Images, labels and names of classes."""
    if "10-" in folder:
        chosen = PARTS[:5] if train else PARTS[5:]
        return np.concatenate([p[0] for p in chosen]), np.concatenate([p[1] for p in chosen]), tuple(TEN)
    if "100" in folder:
        return *(TRAIN if train else TEST), tuple(HUNDRED)
    order = (
        ["train/n02/images/n02_0", *(f"train/n01/images/n01_{i}" for i in (0, 9, 10))]
        if train
        else ["val/images/val_1", "val/images/val_0"]
    )
    labels = [0, 1, 1, 1] if train else [1, 0]
    images = np.stack([colours(TINY[f"{name}.JPEG"]) for name in order])
    return images, np.array(labels), ("a dog", "a cat, a feline")


def tar_bytes(files, compressed=True, prefix=""):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz" if compressed else "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def zip_bytes(files, prefix=""):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)
    return stream.getvalue()


def npz_bytes(**arrays):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def laid_out(place, files):
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place


def written(tmp_path, folder, form, files=None):
    files = SETS[folder] if files is None else files
    if form == "folder":
        return laid_out(tmp_path / folder, files)
    if form == "above":
        return laid_out(tmp_path / "above" / folder, files).parent
    path = tmp_path / f"archive.{form.split()[-1]}"
    prefix = ("./" if "dotted" in form else "") + f"{folder}/"
    content = zip_bytes(files, prefix) if form == "zip" else tar_bytes(files, "gz" in form, prefix)
    path.write_bytes(content)
    return path


def both(path, tmp_path, **options):
    return [load(path, train=train, cache=tmp_path / "cache", **options) for train in (True, False)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folder", SETS)
def test_every_layout_is_read_from_folders_and_archives(tmp_path, folder, form):
    path = written(tmp_path, folder, form)
    for dataset, train in zip(both(path, tmp_path), (True, False), strict=True):
        images, labels, classes = expected(folder, train)
        assert np.array_equal(dataset.images, images)
        assert np.array_equal(dataset.labels, labels)
        assert dataset.classes == classes
        assert (dataset.images.dtype, dataset.labels.dtype) == (np.uint8, np.int64)


@pytest.mark.parametrize("folder", SETS)
def test_the_order_in_an_archive_does_not_matter(tmp_path, folder):
    path = written(tmp_path, folder, "tar.gz", dict(reversed(SETS[folder].items())))
    assert np.array_equal(both(path, tmp_path)[0].images, expected(folder, True)[0])


@pytest.mark.parametrize(("name", "folder"), list(zip(DATASETS[1:-1], list(SETS)[::2], strict=True)))
def test_a_named_set_is_found_in_the_root(tmp_path, name, folder, monkeypatch):
    written(tmp_path, folder, "folder")
    assert np.array_equal(both(name, tmp_path, root=tmp_path)[0].images, expected(folder, True)[0])
    monkeypatch.setenv("RPS_DATA", str(tmp_path))
    assert np.array_equal(both(name, tmp_path)[1].images, expected(folder, False)[0])


def test_images_are_mapped_and_not_held(tmp_path):
    assert all(isinstance(each.images, np.memmap) for each in both(written(tmp_path, *CIFAR), tmp_path))


CIFAR = ("cifar-10-batches-py", "tar.gz")


# -------------------------------------------------------------------------------- checksums


def test_files_of_a_layout_with_known_digests_are_official_when_all_agree(tmp_path, monkeypatch):
    layout = datasets.LAYOUTS[0]
    digests = {name: md5(CIFAR10_PICKLES[name]).hexdigest() for name in layout.digests}
    monkeypatch.setattr(datasets, "LAYOUTS", (replace(layout, digests=digests),))
    assert load(written(tmp_path, *CIFAR), cache=tmp_path / "c").checksum == "official"
    other = {**CIFAR10_PICKLES, "test_batch": batch(*PARTS[0])}
    path = written(tmp_path, "cifar-10-batches-py", "folder", other)
    assert load(path, cache=tmp_path / "c").checksum == "not the official file"


def test_an_archive_is_official_when_its_digest_agrees(tmp_path, monkeypatch):
    path, layout = written(tmp_path, "cifar-10-batches-bin", "tar.gz"), datasets.LAYOUTS[1]
    assert load(path, cache=tmp_path / "one").checksum == "not the official file"
    monkeypatch.setattr(datasets, "LAYOUTS", (replace(layout, md5=md5(path.read_bytes()).hexdigest()),))
    assert load(path, cache=tmp_path / "two").checksum == "official"


def test_records_in_a_folder_cannot_be_compared_with_anything(tmp_path):
    path = written(tmp_path, "cifar-10-batches-bin", "folder")
    assert (
        load(path, cache=tmp_path / "c").checksum == "not verified: no official md5 is known for these files"
    )


@needs_excerpts
@pytest.mark.parametrize(("archive", "meta"), [("cifar-10", "batches.meta"), ("cifar-100", "meta")])
def test_the_official_names_of_classes_have_the_digest_of_the_table(archive, meta):
    path = Path(EXCERPTS, f"{archive}-python-small.tar.gz")
    layout = next(each for each in datasets.LAYOUTS if each.archive == f"{archive}-python.tar.gz")
    with tarfile.open(path) as tar:
        content = tar.extractfile(f"{layout.folder}/{meta}").read()
    assert layout.digests[meta] == md5(content).hexdigest()


@needs_excerpts
@pytest.mark.parametrize(
    ("archive", "npz", "choice"),
    [
        ("cifar-10-python-small.tar.gz", "cifar10.npz", None),
        ("cifar-100-python-small.tar.gz", "cifar100.npz", "balanced"),
    ],
)
def test_excerpts_in_official_layout_hold_images_of_the_lossless_arrays(archive, npz, choice, tmp_path):
    held = np.load(Path(EXCERPTS, npz))
    for dataset, split in zip(both(Path(EXCERPTS, archive), tmp_path), ("train", "test"), strict=True):
        images = held[f"{split}_images"]
        if choice:
            assert np.array_equal(dataset.images, images[held[f"{split}_{choice}"]])
            assert np.array_equal(dataset.labels, held[f"{split}_fine_labels"][held[f"{split}_{choice}"]])
        else:
            known = {
                image.tobytes(): label for image, label in zip(images, held[f"{split}_labels"], strict=True)
            }
            assert [known[image.tobytes()] for image in dataset.images] == dataset.labels.tolist()


@needs_excerpts
def test_the_excerpt_of_tiny_imagenet_has_200_and_50_images_a_class(tmp_path):
    train, test = both(Path(EXCERPTS, "tiny-imagenet-200-small.tar.gz"), tmp_path)
    assert np.bincount(train.labels).tolist() == [200] * 20
    assert np.bincount(test.labels).tolist() == [50] * 20
    assert (train.classes[0], train.images.shape[1:]) == ("Egyptian cat", (64, 64, 3))


# ----------------------------------------------------------------------------------- arrays


def test_digits_are_the_bilinear_means_of_the_bundled_ones():
    from sklearn.datasets import load_digits

    small = torch.tensor(load_digits().images)[:, None]  # multiples of 1/64 of whole numbers: exact
    large = torch.nn.functional.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False)
    wanted = (large * 64 * 510 + 1024).to(torch.int64) // 2048
    labels = load_digits().target
    train, test = load("digits"), load("digits", train=False)
    found = {image.tobytes() for image in np.concatenate([train.images, test.images])}
    assert found == {image.tobytes() for image in wanted[:, 0, :, :, None].to(torch.uint8).numpy()}
    for label in range(10):
        count = (labels == label).sum()
        assert (test.labels == label).sum() == round(count / 5)
        assert (train.labels == label).sum() == count - round(count / 5)
    assert (train.images.shape, train.checksum) == ((1438, 32, 32, 1), "bundled with scikit-learn")


GRAY, LABELS = pixels(10)[..., 0], np.arange(10) % 2


@pytest.mark.parametrize(
    "arrays",
    [
        {"train_images": GRAY, "train_labels": LABELS, "test_images": GRAY[:2], "test_labels": LABELS[:2]},
        {"x_train": GRAY, "y_train": LABELS, "x_test": GRAY[:2], "y_test": LABELS[:2, None]},
        {
            "train_images": np.asfortranarray(GRAY), "train_fine_labels": LABELS.astype(np.uint8),
            "test_images": GRAY[:2], "test_fine_labels": LABELS[:2], "other": np.array([b"x"]),
        },
    ],
)  # fmt: skip
def test_an_npz_with_a_test_set_is_read(tmp_path, arrays):
    path = tmp_path / "mine.npz"
    path.write_bytes(npz_bytes(**arrays))
    train, test = both(path, tmp_path)
    assert np.array_equal(train.images, GRAY[..., None])
    assert np.array_equal(test.images, GRAY[:2, ..., None])
    assert train.labels.tolist() == LABELS.tolist()
    assert (train.name, train.classes) == ("mine", ("0", "1"))


def test_an_npz_without_a_test_set_gives_a_fifth_of_each_class(tmp_path):
    path = tmp_path / "mine.npz"
    path.write_bytes(npz_bytes(images=pixels(20).transpose(0, 3, 1, 2), labels=np.arange(20) % 2))
    train, test = both(path, tmp_path)
    assert (np.bincount(train.labels).tolist(), np.bincount(test.labels).tolist()) == ([8, 8], [2, 2])
    every = {image.tobytes() for image in pixels(20)}
    assert {image.tobytes() for image in np.concatenate([train.images, test.images])} == every


def test_constants_of_an_npz_are_those_of_its_training_images(tmp_path):
    path, images = tmp_path / "mine.npz", np.zeros((4, 8, 8, 3), np.uint8)
    images[:2, ..., 0], images[..., 1] = 255, 51
    path.write_bytes(
        npz_bytes(train_images=images, train_labels=LABELS[:4], test_images=images, test_labels=LABELS[:4])
    )
    train = load(path, cache=tmp_path)
    assert (train.mean, train.std) == ((0.5, 0.2, 0.0), (0.5, 1.0, 1.0))


HUGE = (
    b"\x93NUMPY\1\0v\0"
    + b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 8, 8), }".ljust(117)
    + b"\n"
)
OBJECTS = b"\x93NUMPY\1\0v\0" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npz_bytes(a=GRAY), "it holds a; train_images"),
        (npz_bytes(images=GRAY), "it holds images"),
        (npz_bytes(images=GRAY / 2, labels=LABELS), "images holds '<f8'"),
        (npz_bytes(images=GRAY.astype(np.int32), labels=LABELS), "images is int32; uint8"),
        (npz_bytes(images=GRAY[0], labels=LABELS), "images has shape (32, 32)"),
        (npz_bytes(images=GRAY[:0], labels=LABELS[:0]), "images has shape (0, 32, 32)"),
        (npz_bytes(images=GRAY, labels=LABELS[1:]), "labels has shape (9,)"),
        (npz_bytes(images=GRAY, labels=LABELS / 1), "labels holds '<f8'"),
        (npz_bytes(images=GRAY, labels=LABELS - 1), "labels goes from -1 to 0"),
        (npz_bytes(images=GRAY, labels=LABELS + 2**40), "labels goes from"),
        (npz_bytes(images=GRAY, labels=LABELS, class_names=np.array(["one"])), "class names are not 2 texts"),
        (npz_bytes(images=GRAY, labels=LABELS, class_names=np.array(["a", None])), "class_names"),
        (
            npz_bytes(train_images=GRAY, train_labels=LABELS, test_images=pixels(2), test_labels=LABELS[:2]),
            "different shapes",
        ),
        (zip_bytes({"images.npy": HUGE, "labels.npy": HUGE}), "images has 0 bytes"),
        (zip_bytes({"images.npy": OBJECTS, "labels.npy": HUGE}), "images holds '|O'"),
        (zip_bytes({"images.npy": b"", "labels.npy": b""}), "images is no array"),
        (
            zip_bytes({"images.npy": b"\x93NUMPY\1\0v\0" + b"[" * 118, "labels.npy": HUGE}),
            "images is no array",
        ),
    ],
)
def test_arrays_that_are_no_images_and_labels_are_named(tmp_path, content, words):
    refused(tmp_path, "mine.npz", content, words)


# ------------------------------------------------------------------------ what is not there


def test_a_set_that_is_not_there_gets_a_sentence_on_where_to_get_it_and_where_to_put_it(tmp_path):
    words = (
        r"^load: CIFAR-100 is not in .*; get cifar-100-python.tar.gz from https://www.cs.toronto.edu/~kriz/"
        r"cifar.html and put it there, or set RPS_DATA to the folder where it is$"
    )
    with pytest.raises(DataError, match=words):
        load("cifar100", tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"), [("cifar11", "did you mean 'cifar10'?"), ("mist", "one of digits")]
)
def test_an_unknown_name_is_told_the_nearest(name, hint):
    with pytest.raises(ArgumentError) as caught:
        load(name)
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", ["", "a" * 5000, "nul\0", "no/such/place.npz"])
def test_a_strange_path_is_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RpsError) as caught:
        load(name)
    assert str(caught.value).startswith("load: ")


def test_a_folder_with_two_sets_asks_which(tmp_path):
    for folder in ("cifar-10-batches-py", "cifar-100-python"):
        laid_out(tmp_path / "both" / folder, SETS[folder])
    with pytest.raises(DataError, match=r"CIFAR-10 in cifar-10-batches-py/, CIFAR-100 in cifar-100-python/"):
        load(tmp_path / "both")
    laid_out(tmp_path / "both", {"mine.npz": b"", "notes.txt": b""})
    assert [each.name for each in sources_in(tmp_path / "both")] == [
        "cifar-10-batches-py", "cifar-100-python", "mine.npz",
    ]  # fmt: skip


# ------------------------------------------------------------------------------ what is wrong


def refused(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(path, cache=tmp_path / "cache")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [each for each in tmp_path.glob("cache/*") if not each.name.endswith("npz")] == []


WRONG = {
    ("cifar-10-batches-py", "data_batch_3"): [
        (None, "data_batch_3 is missing"),
        (b"", "data_batch_3 is cut off or no pickle"),
        (CIFAR10_PICKLES["data_batch_3"][:-9], "data_batch_3 is cut off or no pickle"),
        (b"(cos\nsystem\nS'true'\no.", "data_batch_3 is a pickle that asks for 'os system'"),
        (CIFAR10_PICKLES["batches.meta"], "data_batch_3 holds no 'data' of 3072 bytes an image"),
        (batch(PARTS[2][0], [1]), "data_batch_3 does not hold as many 'labels' as images"),
        (batch(PARTS[2][0], [1, 10]), "data_batch_3 has 'labels' that are not whole numbers from 0 to 9"),
        (batch(*PARTS[2], key="fine_labels"), "data_batch_3 does not hold as many 'labels'"),
    ],
    ("cifar-10-batches-py", "batches.meta"): [
        (pickled(label_names=names(TEN[:9])), "batches.meta does not name 10 classes"),
        (pickled(label_names=numbers(range(10))), "batches.meta does not name 10 classes"),
        (pickled(names=names(TEN)), "batches.meta holds no list 'label_names'"),
    ],
    ("cifar-100-binary", "train.bin"): [
        (None, "train.bin is missing"),
        (b"", "train.bin has 0 bytes, not whole records of 3074"),
        (CIFAR100_RECORDS["train.bin"][1:], "train.bin has 9221 bytes, not whole records of 3074"),
        (records(TRAIN[0], [0, 100, 0], coarse=1), "train.bin has the label 100; 99 is the largest"),
    ],
    ("cifar-100-binary", "fine_label_names.txt"): [(b"one\n", "does not name 100 classes")],
    ("tiny-imagenet-200", "val/images/val_0.JPEG"): [
        (None, "val/images/val_0.JPEG is missing"),
        (b"", "val_0.JPEG is no whole JPEG file"),
        (jpeg(0)[:-200], "val_0.JPEG is no whole JPEG file"),
        (jpeg(0, size=32), "val_0.JPEG has 32 x 32 pixels, not 64 x 64"),
        (b"\x89PNG\r\n\x1a\n", "val_0.JPEG is no whole JPEG file"),
    ],
    ("tiny-imagenet-200", "val/val_annotations.txt"): [
        (None, "val/val_annotations.txt is missing"),
        (b"\n", "val/val_annotations.txt is empty"),
        (b"val_0.JPEG\tn09\t0\n", "gives 'val_0.JPEG' no class"),
        (b"val_0.JPEG\tn01\nval_0.JPEG\tn02\n", "gives 'val_0.JPEG' no class of wnids.txt, or two"),
    ],
    ("tiny-imagenet-200", "wnids.txt"): [
        (b"n01 n02 n03", "train/n03 holds no JPEG file"),
        (b"n01", "belongs to no class of wnids.txt"),
        (b"n01 n01 n02", "names no class, or one twice"),
        (b"", "names no class, or one twice"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", ["folder", "tar.gz"])
@pytest.mark.parametrize(
    ("folder", "file", "content", "words"),
    [(*where, *case) for where, cases in WRONG.items() for case in cases],
)
def test_a_wrong_file_is_named(tmp_path, folder, file, content, words, form):
    files = {name: each for name, each in {**SETS[folder], file: content}.items() if each is not None}
    path = written(tmp_path, folder, form, files)
    with pytest.raises(DataError) as caught:
        load(path, cache=tmp_path / "cache")
    assert words in str(caught.value)
    assert "; get " in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def member(name, **about):
    """An archive of CIFAR-10 with one more member."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for each, content in [*((f"c/{n}", c) for n, c in CIFAR10_PICKLES.items()), (name, b"")]:
            info = tarfile.TarInfo(each)
            info.size = len(content)
            for field, value in about.items() if each == name else ():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (member("../outside"), "'../outside', which leads out of it"),
        (member("c/../../outside"), "which leads out of it"),
        (member("/etc/outside"), "'/etc/outside', which leads out of it"),
        (member("c/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "'c/link', a link or a device"),
        (member("c/link", type=tarfile.LNKTYPE, linkname="c/data_batch_1"), "'c/link', a link or a device"),
        (member("c/pipe", type=tarfile.FIFOTYPE), "'c/pipe', a link or a device"),
        (member("c/disk", type=tarfile.BLKTYPE), "'c/disk', a link or a device"),
        (member("c/test_batch"), "'c/test_batch' twice"),
        (tar_bytes(CIFAR10_PICKLES, True, "c/")[:-30], "cannot be read"),
        (tar_bytes(CIFAR10_PICKLES, False, "c/")[:20000], "cannot be read (unexpected end"),
        (tar_bytes(CIFAR10_PICKLES, False, "c/")[:-10240], "cannot be read"),
        (
            tar_bytes(CIFAR10_RECORDS, False).replace(b"test_batch.bin\0", b"test_batch.bim\0"),
            "cut off or corrupt",
        ),
        (tar_bytes(CIFAR10_PICKLES, True, "c/")[:-8] + b"\0" * 8, "cannot be read (CRC check failed"),
        (zip_bytes(CIFAR10_PICKLES, "../c/"), "which leads out of it"),
        (zip_bytes(CIFAR10_PICKLES, "c/")[:-9], "cannot be read"),
        (b"", "neither a folder nor a .tar"),
        (b"hello", "neither a folder nor a .tar"),
        (gzip.compress(b"hello" * 1000), "cannot be read"),
        (tar_bytes({"a/b": b""}), "none of the known layouts"),
        (zip_bytes({}), "none of the known layouts"),
    ],
    ids=lambda value: "archive" if isinstance(value, bytes) else value,  # their bytes hold the time
)
def test_an_archive_that_is_hostile_or_broken_is_named(tmp_path, content, words):
    refused(tmp_path, "archive", content, words)
    assert sorted(each.name for each in tmp_path.parent.iterdir() if "outside" in each.name) == []


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("c/link")
    info.external_attr = 0o120777 << 16
    stream = io.BytesIO(zip_bytes(CIFAR10_PICKLES, "c/"))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path, "archive", stream.getvalue(), "'c/link', a link")


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
@pytest.mark.parametrize("limit", ["LARGEST", "WHOLE"])
def test_an_archive_that_would_unpack_to_too_much_is_refused(tmp_path, monkeypatch, form, limit):
    path = written(tmp_path, "cifar-10-batches-py", form, {**CIFAR10_PICKLES, "zeros": bytes(10**6)})
    monkeypatch.setattr(members, limit, 10**5)
    with pytest.raises(DataError, match="bytes, more than|more than 100000 bytes; refused"):
        load(path, cache=tmp_path / "cache")


def test_a_header_that_claims_too_much_is_refused_without_room_for_it(tmp_path):
    info = tarfile.TarInfo("c/data_batch_1")
    info.size = 2**40
    refused(tmp_path, "a.tar.gz", gzip.compress(info.tobuf(tarfile.GNU_FORMAT)), "more than any file")
    info.type, info.size = tarfile.XHDTYPE, 2**33
    refused(tmp_path, "b.tar.gz", gzip.compress(info.tobuf(tarfile.GNU_FORMAT)), "refused")


# ------------------------------------------------------------------------------------- fuzz

SMALL = {
    "cifar10.tar": tar_bytes(CIFAR10_PICKLES, False, "c/"),
    "cifar10.tar.gz": tar_bytes(CIFAR10_PICKLES, True, "c/"),
    "cifar100.zip": zip_bytes(CIFAR100_RECORDS, "c/"),
    "tiny.zip": zip_bytes(TINY, "c/"),
    "tiny.tar": tar_bytes(TINY, False),
    "mine.npz": npz_bytes(images=GRAY[:, :8, :8], labels=LABELS, class_names=np.array(["a", "b"])),
}


@st.composite
def damaged(draw, content):
    """Cut, changed here and there, or with a piece moved."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        change = draw(st.sampled_from(["cut", "byte", "byte", "insert", "move"]))
        if change == "cut":
            del content[place:]
        elif change == "byte" and content:
            content[place] = draw(st.integers(0, 255))
        elif change == "insert":
            content[place:place] = draw(st.binary(max_size=9))
        else:
            content[place:place] = content[: draw(st.integers(0, 600))]
    return bytes(content)


def survives(tmp_path, path):
    try:
        dataset, reason = load(path, cache=tmp_path / "cache"), "load: "
    except RpsError as error:
        dataset, reason = None, str(error)
    assert reason.startswith("load: ")
    assert "\n" not in reason
    if dataset is not None:
        assert len(dataset.images) == len(dataset.labels) > 0
        assert 0 <= dataset.labels.min() <= dataset.labels.max() < len(dataset.classes)
    assert list(tmp_path.glob("cache/.*")) == []


@pytest.mark.parametrize("name", SMALL)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_archive_is_read_or_refused_in_one_sentence(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data.draw(damaged(SMALL[name])))
    survives(tmp_path, path)


FILES = [
    ("cifar-10-batches-py", "data_batch_2"),
    ("cifar-10-batches-py", "batches.meta"),
    ("cifar-100-binary", "train.bin"),
    ("tiny-imagenet-200", "val/val_annotations.txt"),
    ("tiny-imagenet-200", "wnids.txt"),
    ("tiny-imagenet-200", "train/n02/images/n02_0.JPEG"),
]


@pytest.mark.parametrize(("folder", "file"), FILES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_sentence(tmp_path, folder, file, data):
    files = {**SETS[folder], file: data.draw(damaged(SETS[folder][file]))}
    survives(tmp_path, written(tmp_path, folder, "folder", files))


# ------------------------------------------------------------------------------------ cache


def test_a_set_is_decoded_once(tmp_path, monkeypatch):
    path = written(tmp_path, *CIFAR)
    first = load(path, cache=tmp_path / "cache")
    monkeypatch.setattr(datasets, "_read", None)
    assert np.array_equal(load(path, cache=tmp_path / "cache").images, first.images)


def test_a_set_that_has_changed_is_decoded_again(tmp_path):
    path = written(tmp_path, "cifar-100-binary", "folder")
    load(path, cache=tmp_path / "cache")
    (path / "train.bin").write_bytes(records(*TEST, coarse=1))
    assert np.array_equal(load(path, cache=tmp_path / "cache").images, TEST[0])


@pytest.mark.parametrize("file", ["about.json", "train-images.npy", "test-labels.npy"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_cache_is_made_again(tmp_path, file, damage):
    path = written(tmp_path, *CIFAR)
    load(path, cache=tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    kept = (entry / file).read_bytes()
    (entry / file).unlink()
    if damage == "cut":
        (entry / file).write_bytes(kept[:-1])
    assert np.array_equal(load(path, cache=tmp_path / "cache").images, expected(CIFAR[0], True)[0])


def in_a_new_process(code, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_kill_while_decoding_leaves_nothing_that_is_taken_for_a_set(tmp_path):
    path = written(tmp_path, *CIFAR)
    code = (
        "import os, signal, sys\n"
        "from nn.data import datasets\n"
        "datasets._checksum = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "datasets.load(sys.argv[1], cache=sys.argv[2])"
    )
    assert in_a_new_process(code, path, tmp_path / "cache").returncode == -9
    assert [each.name[0] for each in (tmp_path / "cache").iterdir()] == ["."]
    assert np.array_equal(load(path, cache=tmp_path / "cache").images, expected(CIFAR[0], True)[0])


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    path = written(tmp_path, *CIFAR)
    code = (
        "import resource, sys\n"
        "from nn.data.datasets import load\n"
        "from rpstheory.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try:\n    load(sys.argv[1], cache=sys.argv[2])\n"
        "except DataError as error:\n    print(error)"
    )
    done = in_a_new_process(code, path, tmp_path / "cache")
    assert done.stdout.startswith("load: the decoded data cannot be kept in"), done.stderr
    assert "File too large" in done.stdout
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="cannot be kept in .*; make room there or set RPS_CACHE"):
        load(written(tmp_path, *CIFAR), cache=tmp_path / "cache")


def test_two_processes_that_decode_at_once_end_with_one_set(tmp_path):
    path = written(tmp_path, *CIFAR)
    code = (
        "import sys\n"
        "from nn.data import cache, datasets\n"
        "publish = cache._publish\n"
        "def once(place, entry):\n"
        "    cache._publish = publish\n"
        "    datasets.load(sys.argv[1], cache=sys.argv[2])\n"
        "    publish(place, entry)\n"
        "cache._publish = once\n"
        "print(len(datasets.load(sys.argv[1], cache=sys.argv[2])))"
    )
    done = in_a_new_process(code, path, tmp_path / "cache")
    assert done.stdout == "10\n", done.stderr
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize(("variable", "below"), [("RPS_CACHE", ""), ("XDG_CACHE_HOME", "rps-toolkit")])
def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch, variable, below):
    monkeypatch.delenv("RPS_CACHE", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "there"))
    load(written(tmp_path, *CIFAR))
    assert len(list((tmp_path / "there" / below).iterdir())) == 1
