"""Messages between machines: what goes through unchanged, and that nobody's bytes do harm."""

import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.arms.remote.messages import DTYPES, MessageError, MessageLimits, pack, unpack


def array_map(**changes) -> dict:
    """The map that stands for a (2, 3) array, with some of its entries changed."""
    values = {b"__ndarray__": True, b"data": bytes(24), b"dtype": "<f4", b"shape": [2, 3]}
    return values | {name.encode(): value for name, value in changes.items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (4, 5, 3), (1, 2, 3, 4)])
def test_an_array_arrives_as_it_was(dtype, shape):
    sent = np.random.default_rng(0).uniform(0, 100, shape).astype(dtype)
    arrived = unpack(pack({"array": sent}))["array"]
    assert arrived.dtype == sent.dtype and arrived.shape == sent.shape
    np.testing.assert_array_equal(arrived, sent)
    arrived[...] = 0  # a copy that may be written to


def test_turned_and_sliced_arrays_arrive_as_they_look():
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for seen in (image[::-1, ::2], image.transpose(1, 0, 2), image[..., ::-1]):
        np.testing.assert_array_equal(unpack(pack({"image": seen}))["image"], seen)


def test_the_rest_of_a_message_arrives_as_it_was():
    message = {"a": None, "b": [True, -1, 2.5, "ü", b"\x00"], "c": {"d": {}}, "nan": [float("inf")]}
    assert unpack(pack(message)) == message


def test_an_array_is_laid_out_as_openpi_does():
    sent = np.arange(6, dtype=np.float32).reshape(2, 3)
    raw = msgpack.unpackb(pack({"actions": sent}))["actions"]
    assert raw == {b"__ndarray__": True, b"data": sent.tobytes(), b"dtype": "<f4", b"shape": [2, 3]}


def test_numpy_numbers_travel_as_numbers_and_openpis_are_read():
    assert unpack(pack({"a": np.float32(0.5), "b": np.int64(3)})) == {"a": 0.5, "b": 3}
    theirs = {"a": {b"__npgeneric__": True, b"data": 0.5, b"dtype": "<f4"}}
    assert unpack(msgpack.Packer().pack(theirs)) == {"a": 0.5}


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.zeros(3, np.complex64), np.zeros(3, ">f4"), np.array(["a"]), {1}, object(), 2**70],
)
def test_what_does_not_travel_is_not_sent(value):
    with pytest.raises(MessageError, match="cannot hold"):
        pack({"value": value})


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (array_map(dtype="|O"), "dtype is one of"),
        (array_map(dtype="O8"), "dtype is one of"),
        (array_map(dtype="|V8"), "dtype is one of"),
        (array_map(dtype="<c16"), "dtype is one of"),
        (array_map(dtype=["<f4"]), "got list"),
        (array_map(shape=[2, 4]), "has 32 bytes of data, got 24"),
        (array_map(shape=[2**40, 2**40]), "bytes of data"),
        (array_map(shape=[2**62, 4, 2**3]), "bytes of data"),
        (array_map(shape=[-2, -3]), "from 0 up"),
        (array_map(shape=[2.0, 3]), "from 0 up"),
        (array_map(shape=[True, 6]), "from 0 up"),
        (array_map(shape=[1, 1, 1, 2, 3]), "at most 4 lengths"),
        (array_map(shape=6), "at most 4 lengths"),
        (array_map(data="x" * 24), "got a str"),
        (array_map(data=None), "got a NoneType"),
        (array_map(more=1), "exactly"),
        ({b"__ndarray__": True}, "exactly"),
        ({b"__npgeneric__": True, b"dtype": "<f4", b"data": "1"}, "an int or a float"),
        ({b"name": 1}, "names are strings"),
        (msgpack.ExtType(7, b"abc"), "extension"),
        (msgpack.Timestamp(0), "timestamp"),
        ([msgpack.Timestamp(0)], "timestamp"),
    ],
)
def test_what_is_wrong_with_a_value_is_said(bad, why):
    with pytest.raises(MessageError, match=why):
        unpack(msgpack.Packer().pack({"value": bad}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x81\x01\x02",  # a number as a name
        b"\x81\xa1\xff\x02",  # not UTF-8
        b"\x93\x01\x02\x03",  # not a map
        b"\xdd\xff\xff\xff\xff",  # a list of 4 billion
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",  # a string of 4 GB
        b"\xc6\xff\xff\xff\xff",
        b"\x81\xa1a" * 5000 + b"\xc0",  # a map in a map in a map ...
        b"\x80\x80",  # two messages
        msgpack.Packer().pack(array_map()),
    ],
)
def test_bytes_that_are_no_message_are_refused(data):
    with pytest.raises(MessageError):
        unpack(data)


def test_a_message_over_a_limit_is_refused():
    with pytest.raises(MessageError, match="at most 100 bytes"):
        unpack(pack({"a": bytes(100)}), MessageLimits(message_bytes=100))
    with pytest.raises(MessageError, match="at most 10 entries"):
        unpack(pack({"a": [[0] * 5] * 2}), MessageLimits(entries=10))
    with pytest.raises(ValueError, match="at least 1"):
        MessageLimits(entries=0)


@pytest.mark.parametrize("entry", [b"\x90", b"\x80", b"\xc0", b"\xdc\x04\x00" + b"\xc0" * 1024])
def test_a_message_takes_little_more_memory_than_its_bytes(entry):
    data = b"\x81\xa1a\xdd" + (500_000).to_bytes(4, "big") + entry * (1_000_000 // len(entry))
    nested = b"\x81\xa1a" + b"\xdc\x04\x00" * 1000 + entry * (1_000_000 // len(entry))
    tracemalloc.start()
    for attack in (data, nested):
        with pytest.raises(MessageError):
            unpack(attack)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2**20


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_give_a_message_or_a_refusal(data):
    try:
        assert isinstance(unpack(data), dict)
    except MessageError:
        pass


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_damaged_message_gives_a_message_or_a_refusal(data):
    whole = bytearray(pack({"observation": {"image": np.zeros((2, 2, 3), np.uint8), "pose": np.zeros(7), "time": 1.5}}))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(unpack(bytes(whole[: data.draw(st.integers(0, len(whole)))])), dict)
    except MessageError:
        pass
