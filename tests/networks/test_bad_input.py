"""Wrong input to plan, share, report and to_dense: one clear sentence, the model untouched."""

import copy
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn as tnn

import nn
from nn.bridge import mapping_of
from rpstheory import Fold
from rpstheory.errors import ArgumentError, DataError, KindError


def net():
    return tnn.Sequential(tnn.Linear(64, 48), tnn.ReLU(), tnn.Linear(48, 32))


class Own:
    """A mapping whose hash says nothing."""

    def __init__(self, n, m, seed):
        self.n, self.m, self.seed, self._fold = n, m, seed, Fold(n, m, seed)

    def __hash__(self):
        return 7

    def __eq__(self, other):
        return self is other

    def cell(self, i):
        return self._fold.cell(i)

    def sign(self, i):
        return self._fold.sign(i)


def test_two_mappings_of_one_size_and_hash_are_two():
    one = nn.share(net(), 4, mapping=Own, seed=1)
    before = one[0].weight.detach().clone()
    nn.share(net(), 4, mapping=Own, seed=2)
    mapping_of.cache_clear()
    assert torch.equal(one[0].weight, before)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (dict(init_std=1e-320), ArgumentError, "0.0001 … 10000"),
        (dict(init_std=1e200), ArgumentError, "0.0001 … 10000"),
        (dict(seed=1.5), KindError, "seed=1.5 came; a whole number"),
        (dict(seed=-1), ArgumentError, "seed=-1 came"),
        (dict(seed="x", overrides={"0": {"compression": 2}}), KindError, "seed='x' came"),
        (dict(overrides=["0"]), KindError, "overrides=.* pass a dict"),
        (dict(init="project", importance=3), KindError, "importance is no dict of tensors"),
        (dict(init="project", importance={"0.weight": 3}), KindError, "importance is no dict of tensors"),
        (dict(exclude="*"), ArgumentError, "but what is excluded"),
    ],
)
def test_wrong_arguments_leave_the_model_untouched(change, error, words):
    model = net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=words):
        nn.share(model, 4, inplace=True, **change)
    assert type(model[0]) is tnn.Linear
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("number", [np.int64(4), np.float32(4), Fraction(4)])
def test_numbers_of_every_kind_are_numbers(number):
    assert nn.plan(net(), number).cells == nn.plan(net(), 4).cells


def test_weights_without_elements_stay():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, where it starts them
        model = tnn.Sequential(tnn.Linear(64, 64), tnn.Linear(64, 0))
    assert nn.share(model, 4, include="*")(torch.ones(2, 64)).shape == (2, 0)


def test_numpy_integers_are_budgets():
    assert nn.plan(net(), budget_params=np.int64(2000)).stored_params <= 2000


def test_budget_that_overrides_leave_nothing_to_is_refused():
    with pytest.raises(ArgumentError, match="overrides for all weights"):
        nn.plan(net(), budget_params=2000, overrides={"*": {"compression": 3}})


@pytest.mark.parametrize("call", [nn.plan, nn.share])
@pytest.mark.parametrize("thing", [3, {"weight": torch.ones(64, 64)}, None, tnn.Linear])
def test_what_is_no_module_is_refused(call, thing):
    with pytest.raises(KindError, match=r"came; a torch.nn.Module is needed"):
        call(thing, 4)


@pytest.mark.parametrize("call", [nn.report, nn.to_dense])
def test_what_is_no_module_has_no_report(call):
    with pytest.raises(KindError, match=r"int came; a torch.nn.Module is needed"):
        call(3)


def test_lazy_modules_are_to_be_run_first():
    with pytest.raises(KindError, match="0 is lazy and has no shape yet"):
        nn.plan(tnn.Sequential(tnn.LazyLinear(8)), 4)


def test_model_without_numbers_can_only_be_planned():
    with torch.device("meta"):
        model = net()
    assert nn.plan(model, 4).cells == 1152
    with pytest.raises(DataError, match=r"meta device.* nn.plan is the dry run"):
        nn.share(model, 4)


def test_weights_of_8_bits_are_left():
    model = tnn.Linear(64, 48)
    model.weight = tnn.Parameter(model.weight.to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(ArgumentError, match="nothing is left to share"):
        nn.plan(model, 4)
    with pytest.raises(KindError, match="float8_e4m3fn"):
        nn.plan(model, 4, include="weight")


class Closed(tnn.Linear):
    def __init_subclass__(cls, **kwargs):
        raise TypeError("no subclass of this, please")


def test_class_that_takes_no_subclass_leaves_the_whole_model_untouched():
    model = tnn.Sequential(tnn.Linear(64, 48), Closed(48, 32))
    with pytest.raises(KindError, match="Closed cannot be shared"):
        nn.share(model, 4, inplace=True)
    assert type(model[0]) is tnn.Linear
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_compiled_model_is_refused():
    model = torch.compile(net(), backend="eager")
    with pytest.raises(KindError, match="share it, then compile it"):
        nn.share(model, 4, inplace=True)
    assert type(model._orig_mod[0]) is tnn.Linear


def test_shared_part_of_a_bigger_model_becomes_dense_and_is_counted_once():
    inner = nn.share(net(), 4)
    model = tnn.Sequential(tnn.Linear(64, 64), inner)
    report = nn.report(model)
    assert report.stored_params == 64 * 64 + 64 + sum(p.numel() for p in inner.parameters())
    dense = nn.to_dense(model)
    assert torch.equal(dense(torch.ones(1, 64)), model(torch.ones(1, 64)))
    assert not any("bank" in name for name, _ in dense.named_parameters())
    layer = nn.to_dense(inner[0])
    assert torch.equal(layer.weight, inner[0].weight)


def test_tied_buffers_are_counted_once():
    model = nn.share(net(), 4)
    bytes_before = nn.report(model).resident_bytes
    buffer = torch.zeros(8)
    model[0].register_buffer("one", buffer)
    model[2].register_buffer("other", buffer)
    assert nn.report(model).resident_bytes == bytes_before + 32


def test_report_of_many_layers_takes_time_in_proportion(monkeypatch):
    calls, model = [], nn.share(tnn.Sequential(*(tnn.Linear(32, 32) for _ in range(20))), 4, mapping="hashed")
    own = type(nn.share(net(), 4)[0].__dict__["_views"]["weight"].bank).gamma
    kind = type(nn.share(net(), 4)[0].__dict__["_views"]["weight"].bank)
    monkeypatch.setattr(kind, "gamma", property(lambda self: calls.append(1) or own.fget(self)))
    nn.report(model)
    assert len(calls) == 1
