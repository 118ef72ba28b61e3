"""The public strategies give what they say, and every kind of it."""

import json

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from rpstheory import Block, Top, compress, expand, from_json
from rpstheory.conformance import strategies
from rpstheory.errors import ArgumentError

KINDS = strategies.KINDS
QUICK = settings(max_examples=500, database=None, phases=[Phase.generate])


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), most=st.integers(1, 30))
def test_mappings_are_of_the_kind_and_size_asked_for(kind, data, most):
    mapping = data.draw(strategies.mappings((kind,), most=most))
    assert type(mapping) is kind
    assert 1 <= mapping.n <= most
    assert 1 <= mapping.m <= most


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_among_the_mappings(kind):
    assert type(find(strategies.mappings(), lambda s: type(s) is kind, settings=QUICK)) is kind


def test_tiles_are_among_the_blocks():
    tile = find(strategies.mappings((Block,)), lambda s: s.shape is not None and s.chunks > 3, settings=QUICK)
    assert tile.n == tile.shape[0] * tile.shape[1]


@given(strategies.mappings(strategies.SEEDED))
def test_seeded_mappings_come_back_from_their_text(mapping):
    assert json.loads(mapping.to_json())["n"] == mapping.n
    assert from_json(mapping.to_json()) == mapping


@given(strategies.mappings(), st.data())
def test_vectors_fit_their_mapping(mapping, data):
    x, z = data.draw(strategies.weights(mapping)), data.draw(strategies.banks(mapping))
    assert x.dtype == z.dtype == np.int64
    assert compress(mapping, x) @ z == x @ expand(mapping, z)
    assert 0 <= data.draw(strategies.positions(mapping)) < mapping.n


@given(st.integers(0, 9), st.data())
def test_vectors_stay_within_the_largest_entry(largest, data):
    mapping = data.draw(strategies.mappings())
    assert abs(data.draw(strategies.weights(mapping, largest))).max() <= largest


@given(strategies.sizes(most=7, pruning=True))
def test_sizes_of_pruning_keep_no_more_than_there_is(size):
    assert 1 <= size[1] <= size[0] <= 7


@given(strategies.seeds())
def test_seeds_are_words_of_64_bits(seed):
    assert 0 <= seed < 2**64


@pytest.mark.parametrize("kinds", [(), (int,), (Top, str)])
def test_mappings_refuse_kinds_that_are_none(kinds):
    with pytest.raises(ArgumentError, match="mappings: kinds=.* came; pass some of Fold, Hashed"):
        strategies.mappings(kinds)


def test_sizes_refuse_to_be_empty():
    with pytest.raises(ArgumentError, match="sizes: most=0 came; at least 1 is needed; choose most >= 1"):
        strategies.sizes(most=0)


def test_profiles_are_registered():
    strategies.register_profiles()
    profiles = {name: settings.get_profile(name) for name in ("dev", "ci", "nightly")}
    assert profiles["ci"].derandomize
    assert profiles["nightly"].max_examples == 2000
    assert {profile.deadline for profile in profiles.values()} == {None}
