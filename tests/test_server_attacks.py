"""The plan server and those who mean it harm: none of them crashes it, and none leaves anything behind."""

import asyncio
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest
from background import held, resident_bytes, running, wait_until
from plan_servers import GOAL, HORIZON, PLAIN, START, healthy, look, make_plan_server, plans, speak, url, want
from websockets.exceptions import ConnectionClosed, InvalidStatus

from envs.arms.remote.client import PlanClient, ServerError
from envs.arms.remote.listen import ListenConfig
from envs.arms.remote.messages import pack

__all__ = ["url"]  # a fixture

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def open_raw(url: str) -> socket.socket:
    host, port = url.removeprefix("ws://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def shake_hands(url: str) -> socket.socket:
    raw = open_raw(url)
    raw.sendall(HANDSHAKE)
    assert b"101" in raw.recv(4096)
    return raw


def closed_by_the_server(raw: socket.socket) -> bool:
    try:
        while raw.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_unreadable_bytes_end_the_connection_and_nobody_elses(url):
    with PlanClient(url) as other:
        other.reset([want(GOAL)], seed=0)
        for bad in (b"", b"\xc1", b"\x80" * 9, "text", pack({"a": 1})[:-1], b"\xdf\xff\xff\xff\xff"):
            with speak(url) as client:
                client.recv()
                client.send(bad)
                assert isinstance(client.recv(), str)
                with pytest.raises(ConnectionClosed):
                    client.recv()
                assert client.close_code == 1007
        assert other.infer(look(START))["actions"].shape == (HORIZON, 7)


def test_a_message_that_is_too_long_ends_the_connection():
    with running(make_plan_server(config=ListenConfig(port=0, message_bytes=10_000)).run) as url:
        with PlanClient(url) as client, pytest.raises(ServerError, match="closed the connection"):
            client._connection.request({"reset": bytes(10_001)})
        assert plans(url)


def test_a_client_that_is_silent_in_its_handshake_or_deaf_to_pings_is_dropped():
    with running(make_plan_server(config=ListenConfig(port=0, silence=0.3, connections=2)).run) as url:
        silent, slow, deaf = open_raw(url), open_raw(url), shake_hands(url)
        slow.sendall(b"GET / HTTP/1.1\r\n")
        deaf.sendall(b"\x82\xfe\xff")  # the beginning of a frame
        for raw in (silent, slow, deaf):
            assert closed_by_the_server(raw)
            raw.close()
        assert plans(url)


def test_a_client_that_takes_no_answers_is_dropped(url):
    before = resident_bytes()
    raw = shake_hands(url)
    ping = b"\x89\xfd\0\0\0\0" + bytes(125)
    with pytest.raises(OSError, match=r"reset|pipe"):
        for _ in range(20_000):
            raw.sendall(ping * 64)
    raw.close()
    assert resident_bytes() - before < 200 * 2**20
    assert plans(url)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """A message with some bytes changed, cut out or doubled."""
    whole = bytearray(data)
    for _ in range(chance.randint(0, 4)):
        i = chance.randrange(len(whole) or 1)
        match chance.randrange(3):
            case 0 if whole:
                whole[i] = chance.randrange(256)
            case 1:
                del whole[i : i + chance.randint(1, 20)]
            case _:
                whole[i:i] = whole[i : i + chance.randint(1, 20)]
    return bytes(whole)


def attack(url: str, chance: random.Random) -> None:
    """Does one client's worth of mischief."""
    if chance.random() < 0.3:
        with open_raw(url) as raw:
            if chance.random() < 0.5:
                raw.sendall(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n")
            raw.sendall(chance.randbytes(chance.randint(0, 500)))
        return
    if chance.random() < 0.2:
        with shake_hands(url) as raw:
            raw.sendall(chance.randbytes(chance.randint(1, 500)))
        return
    good = [{"observation": PLAIN}, {"reset": {"goals": [{"image": PLAIN["image"], "pose": GOAL}], "seed": 1}}]
    with suppress(ConnectionClosed, InvalidStatus), speak(url) as client:
        for _ in range(chance.randint(1, 5)):
            client.send(damaged(pack(chance.choice(good)), chance))
            if chance.random() < 0.7:
                client.recv(timeout=10)
        if chance.random() < 0.3:
            with suppress(OSError):
                client.socket.shutdown(socket.SHUT_RDWR)


def fuzz(url: str, attacks: int, seed: int) -> None:
    chances = [random.Random(f"{seed} {i}") for i in range(attacks)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(partial(attack, url), chances))


def nothing_leaks(url: str, attacks: int) -> None:
    """Fuzzes twice; what is held afterwards is what was held before, and plans are still made."""
    with PlanClient(url) as client:
        client.reset([want(GOAL)], seed=0)
        fuzz(url, attacks, seed=0)
        before, memory = held(), resident_bytes()
        fuzz(url, attacks, seed=1)
        assert client.infer(look(START))["actions"].shape == (HORIZON, 7)
        assert wait_until(lambda: held() <= before), f"{held()} file descriptors and threads, {before} before"
        assert resident_bytes() - memory < 32 * 2**20
    assert plans(url) and healthy(url)


def test_a_fuzzed_protocol_neither_stops_the_server_nor_leaves_anything_behind(url):
    nothing_leaks(url, attacks=30)


@pytest.mark.slow
def test_a_protocol_fuzzed_for_long_neither_stops_the_server_nor_leaves_anything_behind(url):
    nothing_leaks(url, attacks=10_000)


def crowd(url: str, clients: int) -> list[int]:
    """Opens so many connections at once and returns the HTTP status of each."""

    async def knock() -> tuple[int, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*url.removeprefix("ws://").split(":"))
        writer.write(HANDSHAKE)
        return int((await reader.readline()).split()[1]), writer

    async def gather() -> list[int]:
        answers = await asyncio.gather(*[knock() for _ in range(clients)])
        for _, writer in answers:
            writer.close()
        return [status for status, _ in answers]

    return asyncio.run(gather())


def a_crowd_does_no_harm(url: str, clients: int) -> None:
    with PlanClient(url) as client:
        client.reset([want(GOAL)], seed=0)
        crowd(url, clients)
        before, memory = held(), resident_bytes()
        with ThreadPoolExecutor(1) as pool:
            statuses = pool.submit(crowd, url, clients)
            while not statuses.done():
                assert client.infer(look(START))["actions"].shape == (HORIZON, 7)
            before = (before[0], before[1] + 1)
        assert len(statuses.result()) == clients
        assert statuses.result().count(101) == 7  # 8 with the one that plans
        assert statuses.result().count(503) == clients - 7
        assert wait_until(lambda: held() <= before)
        assert resident_bytes() - memory < 32 * 2**20
    assert wait_until(lambda: plans(url))


def test_fifty_clients_at_once_do_no_harm(url):
    a_crowd_does_no_harm(url, 50)


@pytest.mark.slow
def test_a_thousand_clients_at_once_do_no_harm(url):
    a_crowd_does_no_harm(url, 1000)
