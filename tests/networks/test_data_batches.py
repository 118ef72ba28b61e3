"""A batch is a function of its place alone, holds what the order says, and is moved as a loop would."""

from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from nn.data.augmentation import PAD, crop_flip, normalised
from nn.data.batches import Batches, feed, split
from nn.data.datasets import Dataset, load
from nn.data.order import key, shuffled
from nn.recipes import RECIPES
from nn.training import Training
from rpstheory.errors import ArgumentError, ShapeError

GOLDEN = 0x9E3779B97F4A7C15
WORD = 2**64 - 1


def dataset(count=23, side=8, channels=3, classes=3):
    """Images whose first pixel is their number."""
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return Dataset(
        name="mine", split="train", images=images, labels=np.arange(count) % classes,
        classes=tuple("abc"[:classes]), mean=(0.0,) * channels, std=(1 / 255,) * channels,
        checksum="", form="", path="",
    )  # fmt: skip


def numbers(batch):
    """Which images, where nothing is moved."""
    return batch[0][:, 0, 0, 0].to(torch.int64).tolist()


AUGMENTS = ["none", "crop-flip", "reflect-crop-flip"]


@pytest.mark.parametrize("augment", AUGMENTS)
@given(data=st.data())
def test_any_batch_can_be_made_alone(augment, data):
    whole = Batches(dataset(), 5, seed=7, augment=augment)
    epoch, index = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    wanted = {place: whole.batch(*place) for place in [(e, i) for e in range(4) for i in range(4)]}
    alone = Batches(dataset(), 5, seed=7, augment=augment).batch(epoch, index)
    assert torch.equal(alone[0], wanted[epoch, index][0])
    assert torch.equal(alone[1], wanted[epoch, index][1])


def test_an_epoch_is_its_batches_in_order():
    batches = Batches(dataset(), 5, seed=7, augment="crop-flip")
    for index, (images, labels) in enumerate(batches.epoch(2)):
        assert torch.equal(images, batches.batch(2, index)[0])
        assert torch.equal(labels, batches.batch(2, index)[1])
    assert index + 1 == batches.steps == 4


@given(st.integers(0, 2**64 - 1), st.integers(0, 200))
def test_an_epoch_shows_different_images_and_leaves_out_less_than_a_batch(seed, epoch):
    shown = [number for batch in Batches(dataset(), 5, seed).epoch(epoch) for number in numbers(batch)]
    assert len(shown) == len(set(shown)) == 20


def test_labels_belong_to_their_images():
    for batch in Batches(dataset(), 5, seed=1).epoch(0):
        assert [number % 3 for number in numbers(batch)] == batch[1].tolist()


@given(st.integers(0, 2**64 - 1), st.integers(0, 1000), st.integers(0, 40))
def test_an_order_is_that_of_words_worked_out_one_by_one(seed, epoch, count):
    def mix(word):
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
        return word ^ (word >> 31)

    word = mix((mix((mix((seed + GOLDEN) & WORD) + (epoch + 1) * GOLDEN) & WORD) + GOLDEN) & WORD)
    assert key(seed, epoch, 0) == word
    by_word = sorted(range(count), key=lambda i: mix(((i + 1) * GOLDEN + word) & WORD))
    assert shuffled(count, word).tolist() == by_word


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {
        tuple(numbers(Batches(dataset(), 23, seed).batch(epoch, 0)))
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(orders) == 25


def test_batches_and_epochs_are_moved_in_ways_of_their_own():
    same = dataset(24)
    same.images[:] = same.images[0]
    batches = Batches(same, 6, seed=0, augment="crop-flip")
    seen = {
        image.numpy().tobytes()
        for epoch in range(3)
        for images, _ in batches.epoch(epoch)
        for image in images
    }
    # 81 offsets and 2 flips: of 72 images that repeated one batch or one epoch, at most 24 would differ
    assert len(seen) > 24


@pytest.mark.parametrize("world", [2, 3, 6])
@pytest.mark.parametrize("augment", AUGMENTS)
def test_processes_share_a_batch_as_one_would_have_made_it(world, augment):
    whole = Batches(dataset(), 6, 3, augment).batch(1, 2)
    parts = [Batches(dataset(), 6, 3, augment, rank=rank, world=world).batch(1, 2) for rank in range(world)]
    assert torch.equal(torch.cat([part[0] for part in parts]), whole[0])
    assert torch.equal(torch.cat([part[1] for part in parts]), whole[1])


def test_the_global_generators_are_left_alone():
    torch.manual_seed(0)
    before, other = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - that one is meant
    Batches(dataset(), 5, augment="crop-flip").batch(0, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], other)  # noqa: NPY002


def test_in_order_shows_every_row_once_as_it_is():
    rows = np.array([3, 1, 22, 7, 8])
    batches = Batches(dataset(), 2, augment="crop-flip", rows=rows)
    shown = list(batches.in_order())
    assert [number for batch in shown for number in numbers(batch)] == rows.tolist()
    assert [len(labels) for _, labels in shown] == [2, 2, 1]
    assert [label for _, labels in shown for label in labels.tolist()] == (rows % 3).tolist()


def test_rows_alone_are_shown():
    batches = Batches(dataset(), 2, rows=np.array([3, 1, 22, 7]))
    assert sorted(number for batch in batches.epoch(5) for number in numbers(batch)) == [1, 3, 7, 22]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "a batch of 0"),
        ({"size": 24}, "a batch of 24 came, and there are 23"),
        ({"size": 5, "world": 2}, "multiple of the number of processes"),
        ({"size": 4, "rank": 2, "world": 2}, "process 2 of 2"),
        ({"size": 4, "augment": "crop"}, "did you mean 'crop-flip'?"),
        ({"size": 2, "rows": np.array([0, 23])}, "rows from 0 to 23 came"),
        ({"size": 4, "rows": np.array([-1, 2, 3, 4])}, "rows from -1 to 4 came"),
    ],
)
def test_batches_that_cannot_be_are_refused(options, words):
    with pytest.raises(ArgumentError) as caught:
        Batches(dataset(), **options)
    assert words in str(caught.value)


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (0, 4)])
def test_a_place_outside_an_epoch_is_refused(place):
    with pytest.raises(ArgumentError, match="index 0 … 3 is needed"):
        Batches(dataset(), 5).batch(*place)


# ------------------------------------------------------------------------------- held out


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 20), st.integers(0, 2**64 - 1))
def test_a_split_holds_out_the_share_of_each_class(labels, twentieths, seed):
    each = dataset(len(labels))
    object.__setattr__(each, "labels", np.array(labels))
    kept, held = split(each, twentieths / 20, seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    counts, out = Counter(labels), Counter(each.labels[held].tolist())
    assert all(out[label] == round(twentieths / 20 * count) for label, count in counts.items())


def test_a_split_depends_on_its_seed_alone():
    first, second = split(dataset(200), 0.25, 0), split(dataset(200), 0.25, 0)
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert not np.array_equal(first[1], split(dataset(200), 0.25, 1)[1])


def test_a_share_out_of_range_is_refused():
    with pytest.raises(ArgumentError, match=r"share=1.5 came"):
        split(dataset(), 1.5)


def test_a_feed_tests_on_the_test_set_or_on_what_it_does_not_train_on():
    train, test = load("digits"), load("digits", train=False)
    whole = feed("digits", 100, seed=1)
    assert torch.equal(torch.cat([labels for _, labels in whole.test()]), torch.from_numpy(test.labels))
    held = feed("digits", 100, seed=1, held_out=0.25)
    kept, out = split(train, 0.25)
    assert torch.equal(torch.cat([labels for _, labels in held.test()]), torch.from_numpy(train.labels[out]))
    assert (whole.steps, held.steps) == (len(train) // 100, len(kept) // 100)
    shown = {image.numpy().tobytes() for images, _ in held.train.epoch(0) for image in images}
    tested = {image.numpy().tobytes() for images, _ in held.test() for image in images}
    once = {image.tobytes() for image in train.images[out]} - {
        image.tobytes() for image in train.images[kept]
    }
    assert len(once) == len(tested - shown) == len(out)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ArgumentError, match="leaves 0 to test on and .*; choose more"):
        feed("digits", 10, held_out=1e-9)


def test_a_feed_is_what_training_takes():
    source = feed("digits", 256)
    model = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(64, 10))
    training = Training(model, RECIPES["smoke"], source.steps, seed=0)
    while not training.done:
        training.advance(source.batch(*divmod(training.progress.step, source.steps)))
    assert training.test(source.test()).accuracy > 0.5  # chance is 0.1


# ---------------------------------------------------------------------------- augmentation


@pytest.mark.parametrize(("padding", "mode"), [("zero", "constant"), ("reflect", "reflect")])
@given(
    st.integers(1, 6),
    st.integers(PAD + 1, 9),
    st.integers(PAD + 1, 9),
    st.sampled_from([1, 3]),
    st.integers(0, 99),
)
def test_crop_flip_is_a_loop_over_padded_images(padding, mode, b, h, w, c, seed):
    images = np.random.default_rng(seed).integers(0, 256, (b, h, w, c), np.uint8)
    generator = torch.Generator().manual_seed(seed)
    (tops, lefts), flips = (
        torch.randint(2 * PAD + 1, (2, b, 1), generator=generator).flatten(1).tolist(),
        torch.randint(2, (b, 1), generator=generator).flatten().tolist(),
    )
    padded = np.pad(images, [(0, 0), (PAD, PAD), (PAD, PAD), (0, 0)], mode=mode)
    cut = [
        padded[i, tops[i] : tops[i] + h, lefts[i] : lefts[i] + w][:, :: -1 if flips[i] else 1]
        for i in range(b)
    ]
    moved = crop_flip(torch.from_numpy(images), torch.Generator().manual_seed(seed), padding)
    assert np.array_equal(moved.numpy(), np.stack(cut))


def test_every_offset_and_both_flips_occur():
    image = torch.arange(144, dtype=torch.uint8).view(1, 12, 12, 1).expand(5000, 12, 12, 1)
    moved = crop_flip(image, torch.Generator().manual_seed(0), "reflect")
    # each of 162 is missed by all of 5000 with a chance of at most 162 * (161 / 162)**5000 < 1e-11
    assert len({each.numpy().tobytes() for each in moved}) == 162


def test_images_too_small_to_mirror_are_refused():
    with pytest.raises(ShapeError, match=r"\(1, 4, 9, 3\) came"):
        crop_flip(torch.zeros(1, 4, 9, 3, dtype=torch.uint8), torch.Generator())


def test_an_unknown_padding_is_refused():
    with pytest.raises(ArgumentError, match="padding='edge'"):
        crop_flip(torch.zeros(1, 9, 9, 3, dtype=torch.uint8), torch.Generator(), "edge")


def test_normalising_is_one_float32_product_and_one_sum():
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(2, 16, 16, 3)
    mean, std = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
    found = normalised(images, mean, std)
    for c in range(3):
        scale, shift = np.float32(1 / (255 * std[c])), np.float32(-mean[c] / std[c])
        wanted = images[..., c].numpy().astype(np.float32) * scale + shift
        assert np.array_equal(found[:, c].numpy(), wanted)
    assert (found.dtype, found.shape) == (torch.float32, (2, 3, 16, 16))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_constants_of_other_channels_are_refused():
    with pytest.raises(ShapeError, match="3 means and 3 deviations for 1 channels"):
        normalised(torch.zeros(1, 9, 9, 1, dtype=torch.uint8), (0.5,) * 3, (0.5,) * 3)
