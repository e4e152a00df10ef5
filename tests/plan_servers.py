"""Plan servers with the exact toy model, and how tests speak to them."""

import threading
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import websockets.sync.client
from background import running

from envs.arms.remote.client import PlanClient
from envs.arms.remote.listen import ListenConfig
from envs.spec import ActionSpec, Goal, Observation
from planner.base import Plan
from planner.control.controller import Controller, ControllerConfig
from planner.search.cem import CEM, CEMConfig
from planner.serving.server import Offer, PlanServer
from world_model.toy import TOY_ACTION_SPEC, ToyWorldModel

SPEC = TOY_ACTION_SPEC
START = np.array([0.4, 0.0, 0.3, np.pi, 0.0, 0.0, 0.0])
GOAL = np.array([0.5, -0.1, 0.2, np.pi, 0.0, 0.0, 0.3])
TOKEN = "a-token-of-sixteen"
SMALL = CEMConfig(samples=16, iterations=2, elites=4, kept_elites=2)
HORIZON = CEM(SMALL).horizon
PLAIN = {"image": np.zeros((8, 8, 3), np.uint8), "pose": START, "time": 0.0}


def look(pose: np.ndarray, time: float = 0.0) -> Observation:
    return Observation(np.zeros((8, 8, 3), np.uint8), pose, time)


def want(pose: np.ndarray) -> Goal:
    return Goal(np.zeros((8, 8, 3), np.uint8), pose)


class Held:
    """A planner that plans nothing until it is let go, and remembers what it was asked."""

    horizon = 2

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.begun: list[float] = []  # when
        self.deadlines: list[float | None] = []

    def plan(self, score, spec, guesses, generator, deadline=None) -> Plan:
        self.deadlines.append(deadline)
        self.begun.append(time.monotonic())
        assert self.let_go.wait(20)
        return Plan(guesses[0] + 0.01, 1.0, torch.tensor([2.0, 1.0]), 1)


def make_plan_server(planner=None, config: ListenConfig | None = None, controller: ControllerConfig | None = None):
    model = ToyWorldModel()

    def make_controller(spec: ActionSpec) -> Controller:
        return Controller(model, planner or CEM(SMALL), spec, controller)

    offer = Offer("toy", SPEC, HORIZON if planner is None else planner.horizon, None, goal_pose=True)
    return PlanServer(make_controller, offer, config or ListenConfig(port=0, silence=5.0, rate=1000.0))


@pytest.fixture
def url() -> Iterator[str]:
    with running(make_plan_server().run) as address:
        yield address


@pytest.fixture
def held_planner() -> Iterator[Held]:
    planner = Held()
    yield planner
    planner.let_go.set()


def healthy(url: str) -> bool:
    with urllib.request.urlopen(url.replace("ws://", "http://") + "/healthz", timeout=5) as response:
        return response.status == 200


def speak(url: str, **settings) -> websockets.sync.client.ClientConnection:
    """A bare websocket, such as others' clients use."""
    return websockets.sync.client.connect(url, compression=None, close_timeout=0.5, **settings)


def plans(url: str, token: str | None = None) -> bool:
    with PlanClient(url, token) as client:
        client.reset([want(GOAL)], seed=0)
        return client.infer(look(START))["actions"].shape == (HORIZON, 7)
