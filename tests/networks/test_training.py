"""One training: its state goes on to the same bytes, and its numbers are those worked out without it."""

from dataclasses import replace

import pytest
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

import nn
from nn.models.registry import build
from nn.pruning import masks_of, prune
from nn.recipes import Recipe, recipe_of
from nn.training import LIMIT, Diverged, Score, Training
from rpstheory.errors import DataError

STEPS = 3
PLAIN = Recipe("plain", 2, batch=8, lr=0.05, augment="none")
RECIPES = {
    "short": recipe_of("short", epochs=2, batch=8),
    "average": replace(PLAIN, ema=0.9, clip=1.0),
    "adamw": replace(PLAIN, optimizer="adamw", lr=1e-3, channels_last=True, ema=0.5),
    "float16": replace(PLAIN, precision="float16"),
}


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, 16, 16, generator=generator), torch.randint(10, (8,), generator=generator)


def network(method="dense"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("resnet8", 10, 3)
        if method == "shared":
            return nn.share(model, 10, inplace=True)
        return prune(model, "magnitude", 10, inplace=True) if method == "pruned" else model


def training(recipe, method="dense"):
    return Training(network(method), recipe, STEPS, seed=1)


class Table(tnn.Module):
    """Logits that are parameters, so that every number of a step is known in closed form."""

    def __init__(self, rows):
        super().__init__()
        self.logits = tnn.Parameter(torch.tensor(rows))

    def forward(self, x):
        return self.logits[: len(x)]


# ------------------------------------------------------------------------------------- the state


@pytest.mark.parametrize("method", ["dense", "shared", "pruned"])
@pytest.mark.parametrize("name", RECIPES)
def test_training_goes_on_to_the_same_bytes_from_any_step(name, method):
    whole, states = training(RECIPES[name], method), []
    while not whole.done:
        states.append(whole.to_bytes())
        whole.advance(batch(whole.progress.step))
    for state in states:
        again = training(RECIPES[name], method)
        again.from_bytes(state)
        assert again.to_bytes() == state
        while not again.done:
            again.advance(batch(again.progress.step))
        assert again.to_bytes() == whole.to_bytes()


@pytest.mark.parametrize("name", ["short", "adamw"])
def test_state_that_is_read_lies_in_memory_as_it_lay(name):
    """Kernels for other orders may round otherwise."""
    one, other = training(RECIPES[name]), training(RECIPES[name])
    one.advance(batch(0))
    other.from_bytes(one.to_bytes())

    def strides(each):
        held = each.optimizer.state_dict()["state"]
        states = {(i, name): value for i, row in held.items() for name, value in row.items()}
        everything = dict(each.model.named_parameters()) | each.average | states
        return {
            name: [stride for stride, size in zip(value.stride(), value.shape, strict=True) if size > 1]
            for name, value in everything.items()
        }

    assert strides(other) == strides(one)
    assert [27, 1, 9, 3] in strides(one).values()  # channels last


def test_scale_of_float16_is_part_of_the_state():
    one, other = training(RECIPES["float16"]), training(RECIPES["float16"])
    one.advance(batch(0))
    one.scaler.update(512.0)
    other.from_bytes(one.to_bytes())
    assert other.scaler.get_scale() == one.scaler.get_scale() == 512.0


def test_state_of_another_model_or_recipe_is_refused():
    state = training(PLAIN).to_bytes()
    for other in (training(RECIPES["average"]), training(PLAIN, "pruned")):
        with pytest.raises(DataError, match="cannot be gone on from"):
            other.from_bytes(state)


# ----------------------------------------------------------------------------------- the numbers


def test_average_forgets_its_beginning_and_is_what_is_tested():
    """Worked out beside it: the decay of step t is min(ema, (1 + t) / (10 + t))."""
    each = training(RECIPES["average"])
    wanted = {name: value.detach().clone() for name, value in each.model.named_parameters()}
    for step in range(2 * STEPS):
        each.advance(batch(step))
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in each.model.named_parameters():
            wanted[name].lerp_(value.detach(), 1 - decay)
    assert all(torch.equal(each.average[name], value) for name, value in wanted.items())
    own = {name: value.clone() for name, value in each.model.state_dict().items()}
    found = each.test([batch(50), batch(51)])
    assert all(torch.equal(own[name], value) for name, value in each.model.state_dict().items())
    each.model.load_state_dict(own | each.average)
    each.model.eval()
    with torch.no_grad():
        logits = [each.model(batch(seed)[0]) for seed in (50, 51)]
    losses = [tnnf.cross_entropy(y, batch(seed)[1], reduction="sum").double()
              for y, seed in zip(logits, (50, 51), strict=True)]  # fmt: skip
    right = sum(int((y.argmax(1) == batch(seed)[1]).sum()) for y, seed in zip(logits, (50, 51), strict=True))
    assert found == Score(float((losses[0] + losses[1]) / 16), right / 16)


def test_smoothing_is_of_the_training_loss_alone():
    rows = [[1.0, 2.0, 4.0]] * 4
    each = Training(Table(rows), replace(PLAIN, smoothing=0.3), STEPS, 0)
    x, y = torch.zeros(4, 1, 1, 1), torch.tensor([0, 1, 2, 2])
    logs = torch.tensor(rows).log_softmax(1)
    plain = -logs[torch.arange(4), y].mean()
    smoothed = 0.7 * plain - 0.3 * logs.mean()
    assert each.test([(x, y)]).loss == pytest.approx(float(plain), rel=1e-6)  # a few roundings of 6e-8
    assert each.advance((x, y)) == pytest.approx(float(smoothed), rel=1e-6)


def test_scores_of_an_epoch_count_every_image_that_was_trained_on():
    each, losses, right = training(PLAIN), [], 0
    for step in range(STEPS):
        x, y = batch(step)
        before = network()
        before.load_state_dict(each.model.state_dict())
        right += int((before.train()(x).argmax(1) == y).sum())
        losses.append(each.advance((x, y)))
    train, _ = each.end_epoch([batch(9)])
    assert train == Score(sum(8 * loss for loss in losses) / 24, right / 24)
    assert (each.progress.seen, each.progress.right, each.progress.loss) == (0, 0, 0.0)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_dropped_weights_stay_0_under_momentum_and_decay(optimizer):
    each = training(replace(PLAIN, optimizer=optimizer, weight_decay=0.1, lr=1e-3), "pruned")
    for step in range(STEPS):
        each.advance(batch(step))
    parameters = dict(each.model.named_modules())
    for name, mask in masks_of(each.model).items():
        weight = parameters[name.rpartition(".")[0]].weight
        assert torch.equal(weight != 0, mask)


# ------------------------------------------------------------------------------------ divergence


@pytest.mark.parametrize(
    ("logit", "diverges"), [(0.0, False), (LIMIT - 1, False), (2 * LIMIT, True), (float("inf"), True)]
)
def test_divergence_is_a_loss_without_a_way_back_and_not_one_at_chance(logit, diverges):
    each = Training(Table([[logit, 0.0]] * 4), replace(PLAIN, lr=1e-9), STEPS, 0)
    wrong = torch.zeros(4, 1, 1, 1), torch.ones(4, dtype=torch.int64)
    if not diverges:
        each.advance(wrong)
        each.end_epoch([wrong])
        return
    before = each.to_bytes()
    with pytest.raises(Diverged, match="the loss of step 0 is"):
        each.advance(wrong)
    assert each.to_bytes() == before
    each.progress.seen, each.progress.step = 1, 2 * STEPS
    with pytest.raises(Diverged, match="the test loss after step"):
        each.end_epoch([wrong])


def test_large_test_loss_before_the_end_is_no_divergence_and_one_that_is_no_number_is():
    """Statistics of batch norm lag behind the weights, and the test is by them."""
    wrong = torch.zeros(4, 1, 1, 1), torch.ones(4, dtype=torch.int64)
    for logit in (2 * LIMIT, float("inf"), float("nan")):
        each = Training(Table([[logit, 0.0]] * 4), PLAIN, STEPS, 0)
        each.progress.seen, each.progress.step = 1, STEPS
        if logit == 2 * LIMIT:
            assert each.end_epoch([wrong])[1].loss == 2 * LIMIT
        else:
            with pytest.raises(Diverged, match="the test loss after step 2 is"):
                each.end_epoch([wrong])


def test_last_step_that_leaves_the_numbers_is_seen_by_the_test():
    each = Training(Table([[0.0, 0.0]] * 4), replace(PLAIN, epochs=1, lr=1e30, momentum=0.0), 1, 0)
    x, y = torch.zeros(4, 1, 1, 1), torch.tensor([0, 0, 0, 1])
    each.advance((x, y))
    with pytest.raises(Diverged, match="the test loss after step 0"):
        each.end_epoch([(x, 1 - y)])
