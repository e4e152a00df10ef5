"""Messages between machines: msgpack with arrays in it, no pickle. NumPy and msgpack only.

An array travels as the map ``{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [2, 3]}``, in C order:
the layout of openpi's clients and servers (openpi_client/msgpack_numpy.py), so that they understand ours.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from envs.ranges import check_range

PROTOCOL = 1
"""Version of what the messages mean; each side tells it on connect."""

DTYPES = ("|u1", "<i4", "<i8", "<f4", "<f8")
"""What an array may consist of, as NumPy writes it."""


class MessageError(ValueError):
    """Bytes are no message of ours, or a value does not fit into one."""


@dataclass(frozen=True)
class MessageLimits:
    """What a message from elsewhere may hold, so that nobody's bytes become more than a few times their own memory.

    Attributes:
        message_bytes: Length of a message.
        entries: Entries of all its maps and lists together; an array's shape counts, its numbers do not.
        dimensions: Axes of an array.

    Raises:
        ValueError: If a limit is not positive.
    """

    message_bytes: int = 16 * 2**20
    entries: int = 4096
    dimensions: int = 4

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "message_bytes", "entries", "dimensions", of="a message's ")


def pack(message: dict[str, Any]) -> bytes:
    """Returns a message of None, truth values, numbers, strings, bytes, lists, maps and arrays as bytes.

    Raises:
        MessageError: If it holds anything else or an array of a kind that does not travel.
    """
    packer = msgpack.Packer(default=_pack_array)
    try:
        return packer.pack(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"a message cannot hold this: {error}") from error


def unpack(data: bytes, limits: MessageLimits | None = None) -> dict[str, Any]:
    """Returns the message that bytes hold, whoever sent them; its arrays are copies and may be written to.

    Raises:
        MessageError: If they are no message within the limits. Nothing else is raised, whatever the bytes are.
    """
    limits = limits or MessageLimits()
    if len(data) > limits.message_bytes:
        raise MessageError(f"a message has at most {limits.message_bytes} bytes, got {len(data)}")
    reader = _Reader(limits)
    try:
        message = msgpack.unpackb(
            data,
            object_hook=reader.read_map,
            list_hook=reader.read_list,
            ext_hook=_refuse_extension,
            max_array_len=limits.entries,
            max_map_len=limits.entries,
        )
    except MessageError:
        raise
    except ValueError as error:
        raise MessageError(f"these {len(data)} bytes are no msgpack message: {error or type(error).__name__}") from None
    if not isinstance(message, dict):
        raise MessageError(f"a message is a map with names, got a {type(message).__name__}")
    return message


class _Reader:
    """Turns msgpack's maps and lists, innermost first, into ours, and counts what they hold."""

    def __init__(self, limits: MessageLimits) -> None:
        self._limits = limits
        self._entries = 0

    def read_list(self, values: list[Any]) -> list[Any]:
        """Returns the list."""
        self._count(values)
        return values

    def read_map(self, values: dict[Any, Any]) -> Any:
        """Returns the map, or the array or number that it stands for."""
        self._count(values.values())
        if b"__ndarray__" in values:
            return _unpack_array(values, self._limits.dimensions)
        if b"__npgeneric__" in values:
            return _unpack_number(values)
        if not all(isinstance(name, str) for name in values):
            raise MessageError("a map's names are strings, got bytes")
        return values

    def _count(self, values: Collection[Any]) -> None:
        """Adds to the entries read so far and refuses the one extension type that msgpack reads by itself."""
        if any(isinstance(value, msgpack.Timestamp) for value in values):
            raise MessageError("a message has no msgpack timestamps; a time is a number [s]")
        self._entries += len(values)
        if self._entries > self._limits.entries:
            raise MessageError(f"a message has at most {self._limits.entries} entries in maps and lists, this has more")


def _pack_array(value: Any) -> Any:
    """Returns an array as the map that stands for it, and a NumPy number as a number."""
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a {type(value).__name__} (known: None, bool, numbers, str, bytes, list, dict, np.ndarray)")
    if value.dtype.str not in DTYPES:
        raise TypeError(f"an array of {value.dtype} (known: {', '.join(np.dtype(name).name for name in DTYPES)})")
    return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": list(value.shape)}


def _unpack_array(values: dict[Any, Any], dimensions: int) -> np.ndarray:
    """Returns the array that a map stands for."""
    if values.keys() != {b"__ndarray__", b"data", b"dtype", b"shape"}:
        raise MessageError("an array in a message has exactly __ndarray__, data, dtype and shape")
    data, dtype, shape = values[b"data"], values[b"dtype"], values[b"shape"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        told = repr(dtype[:20]) if isinstance(dtype, str) else type(dtype).__name__
        raise MessageError(f"an array's dtype is one of {', '.join(DTYPES)}, got {told}")
    if not isinstance(shape, list) or len(shape) > dimensions:
        raise MessageError(f"an array's shape is a list of at most {dimensions} lengths")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise MessageError("an array's lengths are whole numbers from 0 up")
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if not isinstance(data, bytes) or len(data) != expected:
        told = f"{len(data)} bytes" if isinstance(data, bytes) else f"a {type(data).__name__}"
        raise MessageError(f"an array of shape {shape} and dtype {dtype} has {expected} bytes of data, got {told}")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _unpack_number(values: dict[Any, Any]) -> int | float:
    """Returns the number that openpi's map for a NumPy scalar stands for."""
    number = values.get(b"data")
    if values.keys() != {b"__npgeneric__", b"data", b"dtype"} or not isinstance(number, int | float):
        raise MessageError("a NumPy number in a message has exactly __npgeneric__, dtype and data, an int or a float")
    return number


def _refuse_extension(code: int, data: bytes) -> Any:
    """Raises: our messages have no extension types."""
    raise MessageError(f"a message has no msgpack extension types, got type {code} with {len(data)} bytes")
