"""The pickles of CIFAR are read, and no other pickle does anything at all."""

import pickle
import pickletools
import struct

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given

from nn.data.members import Broken
from nn.data.pickles import unpickled


def text(value):
    raw = value.encode("latin-1") if isinstance(value, str) else value
    short = len(raw) < 256
    return (b"U" + bytes([len(raw)]) if short else b"T" + struct.pack("<i", len(raw))) + raw


def array(pixels, code=b"u1", order=b"|", shape=None, raw=None):
    """The instructions that Python 2 wrote for an array of one byte a number."""
    shape = pixels.shape if shape is None else shape
    sizes = b"".join(b"J" + struct.pack("<i", size) for size in shape)
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R(K\1("
        + sizes
        + b"tcnumpy\ndtype\n"
        + text(code)
        + b"K\0K\1\x87R(K\3"
        + text(order)
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89"
        + text(pixels.tobytes() if raw is None else raw)
        + b"tb"
    )


def numbers(values):
    return b"](" + b"".join(b"K" + bytes([value]) for value in values) + b"e"


def texts(values):
    return b"](" + b"".join(text(value) for value in values) + b"e"


def dictionary(**items):
    return b"\x80\2}(" + b"".join(text(name) + value for name, value in items.items()) + b"u."


PIXELS = np.arange(6, dtype=np.uint8).reshape(2, 3)
BATCH = dictionary(batch_label=text("one"), labels=numbers([1, 255]), data=array(PIXELS), names=texts("ab"))


ENCODED = b"c_codecs\nencode\nq\0X\xc8\0\0\0" + b"a" * 200 + b"q\1X\6\0\0\0latin1q\2\x86R"
AGAIN = b"h\0h\1h\2\x86R"  # the same text, encoded once more


def doubled(times):
    """A list that holds twice a list that holds twice …: short, and without end where it is written out."""
    return b"]q\0" + b"".join(b"]h%cah%caq%c" % (n, n, n + 1) for n in range(times))


class Calls:
    """What a hostile file would hold: making it out of a pickle makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.folder),)


def same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert type(value) is type(other[name])
        assert np.array_equal(value, other[name])


def test_a_batch_as_python_2_wrote_it_is_what_pickle_makes_of_it():
    same(unpickled(BATCH), pickle.loads(BATCH, encoding="latin-1"))


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("kind", ["u1", "<i8", ">i2", "<f4", "?"])
def test_arrays_of_numbers_that_were_written_today_come_back(protocol, kind):
    made = {"data": PIXELS.astype(kind), "labels": [0, 300, 70000, -1], "ready": True, "n": {"a": b"b"}}
    same(unpickled(pickle.dumps(made, protocol)), made)


def test_bytes_that_python_3_wrote_in_protocol_2_come_back():
    content = pickle.dumps({"data": np.arange(250, dtype=np.uint8), "raw": bytes(range(256))}, 2)
    assert b"_codecs\nencode" in content
    found = unpickled(content)
    assert found["data"].tolist() == list(range(250))
    assert found["raw"] == bytes(range(256))


@pytest.mark.parametrize("change", [(b"latin1", b"rot_13"), (b"X", b"Y"), (b"\xc3\xbf", b"\xc4\xbf")])
def test_nothing_but_bytes_is_encoded(change):
    content = pickle.dumps({"raw": b"\xff" * 3}, 2)
    assert change[0] in content
    with pytest.raises(Broken):
        unpickled(content.replace(*change))


def test_fortran_order_comes_back():
    made = {"data": np.asfortranarray(PIXELS)}
    same(unpickled(pickle.dumps(made, 4)), made)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_called_that_pickle_would_call(protocol, tmp_path):
    content = pickle.dumps({"data": Calls(tmp_path / "called")}, protocol)
    with pytest.raises(Broken):
        unpickled(content)
    assert not (tmp_path / "called").exists()
    pickle.loads(content)
    assert (tmp_path / "called").exists()


HOSTILE = {
    "a class, old form": b"(S'true'\nios\nsystem\n.",
    "a class, older form": b"(cos\nsystem\nS'true'\no.",
    "a new object": b"\x80\2cos\nsystem\nU\4true\x85\x81.",
    "a name from the stack": b"\x80\4\x8c\2os\x8c\6system\x93\x8c\4true\x85R.",
    "an extension": b"\x80\2\x82\1.",
    "something persistent": b"\x80\2U\1aQ.",
    "an array class as the function": b"\x80\2cnumpy\nndarray\nK\1\x85R.",
    "another constructor": b"\x80\2cnumpy.core.multiarray\nscalar\n)R.",
    "NumPy's own loader": b"\x80\2cnumpy\nload\nU\1a\x85R.",
    "a number as the function": b"\x80\2K\1)R.",
    "many dimensions": dictionary(data=array(PIXELS, shape=(1,) * 8 + (6,))),
    "a text that is encoded again and again": dictionary(a=ENCODED, b=AGAIN),
    "objects": dictionary(data=array(PIXELS, code=b"O8")),
    "fields": dictionary(data=array(PIXELS, code=b"V6")),
    "texts": dictionary(data=array(PIXELS, code=b"S6")),
    "too large a shape": dictionary(data=array(PIXELS, shape=(2**31 - 1, 2**31 - 1))),
    "a negative shape": dictionary(data=array(PIXELS, shape=(-2, -3))),
    "no bytes": dictionary(data=array(PIXELS, shape=(0, 2), raw=b"")),
    "an unknown order": dictionary(data=array(PIXELS, order=b"!")),
    "a state for a list": b"\x80\2]K\1b.",
    "a list": b"\x80\2].",
    "two dictionaries": b"\x80\2}}.",
    "nothing": b"\x80\2.",
    "a key that is no text": b"\x80\2}K\1K\1s.",
    "a key that is deeply nested": b"\x80\2})" + b"\x85" * 300_000 + b"K\1s.",
    "a memo far away": b"\x80\2}r\xff\xff\xff\x7fj\xff\xff\xff\x7f0.",
    "more than there is": b"\x80\2}X\xff\xff\xff\x7fa.",
    "an endless program": b"\x80\2}" + b"N" * 2_000_001 + b".",
    "more after the end": BATCH + b".",
    "an unknown instruction": b"\x80\2\xff.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_pickle_is_refused_with(content):
    with pytest.raises(Broken):
        unpickled(content)


@pytest.mark.parametrize(
    "name", [doubled(20), b"]" * 100_000 + b"a" * 99_999 + b"q\x14"], ids=["shared", "deep"]
)
def test_nothing_but_texts_is_a_name_however_long_it_would_be_written_out(name):
    with pytest.raises(Broken, match="asks for something without a name"):
        unpickled(b"\x80\4" + name + b"h\x14h\x14\x93.")


def test_a_text_is_encoded_once():
    assert unpickled(dictionary(a=ENCODED))["a"] == b"a" * 200


@pytest.mark.parametrize("length", range(len(BATCH)))
def test_a_batch_that_is_cut_off_is_refused(length):
    with pytest.raises(Broken):
        unpickled(BATCH[:length])


@given(st.integers(0, len(BATCH) - 1), st.integers(0, 255))
def test_a_changed_byte_leaves_plain_values_or_is_refused(place, value):
    check(BATCH[:place] + bytes([value]) + BATCH[place + 1 :])


INSTRUCTIONS = st.sampled_from([instruction.code.encode("latin-1") for instruction in pickletools.opcodes])


@given(st.lists(INSTRUCTIONS | st.binary(max_size=5) | st.just(b"(") | st.just(b"}")))
@example([b"(", b"t", b"t"])
@example([b"}", b"(", b"u", b"e"])
def test_any_program_leaves_plain_values_or_is_refused(parts):
    check(b"\x80\2" + b"".join(parts) + b".")


def check(content):
    try:
        found, reason = unpickled(content), ""
    except Broken as error:
        found, reason = {}, str(error)
    assert type(found) is dict
    assert all(type(key) is str for key in found)
    assert "\n" not in reason
