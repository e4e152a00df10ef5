"""The plan server over loopback: what it is for, who is let in, and requests that cannot be done."""

import importlib
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType

import msgpack
import numpy as np
import pytest
import torch
from background import held, running, wait_until
from plan_servers import (
    GOAL,
    HORIZON,
    PLAIN,
    SMALL,
    SPEC,
    START,
    TOKEN,
    Held,
    healthy,
    held_planner,
    look,
    make_plan_server,
    plans,
    speak,
    url,
    want,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus

from envs.arms.remote.client import PlanClient, ServerError
from envs.arms.remote.listen import ListenConfig
from envs.arms.remote.messages import pack, unpack
from envs.spec import Goal, Observation
from planner.control.controller import Controller, ControllerConfig
from planner.search.cem import CEM
from planner.serving.requests import RequestError, read_request
from planner.subgoals.listed import ListedConfig
from tests.imagining import MODEL, make_imagining_server
from tests.small_models import ACTIONS
from world_model.toy import ToyWorldModel

__all__ = ["held_planner", "url"]  # fixtures


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))
    return importlib.import_module("planner.serving.program")


# What it is for


def test_a_served_plan_is_the_controllers_own(url):
    controller = Controller(ToyWorldModel(), CEM(SMALL), SPEC)
    controller.reset([want(GOAL)], seed=3)
    with PlanClient(url) as client:
        assert client.metadata["action_spec"] == SPEC.to_dict()
        assert (client.metadata["period"], client.metadata["horizon"]) == (SPEC.period, HORIZON)
        client.reset([want(GOAL)], seed=3)
        for time_seen in (1.5, 1.75):
            served = client.infer(look(START, time_seen))
            action, plan = controller.step(look(START, time_seen))
            np.testing.assert_array_equal(served["actions"][0], action)
            assert served["actions"].shape == (HORIZON, 7)
            assert (served["cost"], served["evaluations"]) == (plan.cost, plan.evaluations)
            assert (served["time"], served["goal"]) == (time_seen, 0)


def test_the_first_plan_towards_a_goal_comes_with_its_picture():
    one, other = (Goal(np.full((8, 8, 3), level, np.uint8), GOAL) for level in (1, 2))
    config = ControllerConfig(subgoals=ListedConfig(steps=(2,)))
    with running(make_plan_server(controller=config).run) as url, PlanClient(url) as client:
        for _ in range(2):
            client.reset([one, other], seed=0)
            answers = [client.infer(look(START)) for _ in range(4)]
            assert [answer["goal"] for answer in answers] == [0, 0, 1, 1]
            assert ["goal_image" in answer for answer in answers] == [True, False, True, False]
            for answer, goal in ((answers[0], one), (answers[2], other)):
                np.testing.assert_array_equal(answer["goal_image"], goal.image)


def test_a_goals_mask_reaches_the_planner():
    image, mask = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8), np.zeros((16, 16), bool)
    mask[:8] = True
    controller, costs = Controller(MODEL, CEM(SMALL), ACTIONS), []
    seen = Observation(np.full((16, 16, 3), 90, np.uint8), START, 0.0)
    with running(make_imagining_server().run) as url, PlanClient(url) as client:
        for goal in (Goal(image), Goal(image, mask=mask)):
            controller.reset([goal], seed=0)
            client.reset([goal], seed=0)
            costs.append(client.infer(seen)["cost"])
            assert costs[-1] == controller.step(seen)[1].cost
    assert costs[0] != costs[1]


def test_connections_have_their_own_goals(url):
    with PlanClient(url) as one, PlanClient(url) as other:
        sideways = np.array([0, 0.1, 0, 0, 0, 0, 0])
        one.reset([want(START + sideways)], seed=0)
        other.reset([want(START - sideways)], seed=0)
        left, right = one.infer(look(START))["actions"], other.infer(look(START))["actions"]
    assert left[:, 1].sum() > 0.03 and right[:, 1].sum() < -0.03


def test_the_plan_begins_after_the_committed_actions(url):
    committed = np.tile([0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], (2, 1))
    controller = Controller(ToyWorldModel(), CEM(SMALL), SPEC)
    controller.reset([want(GOAL)], seed=0)
    action, _ = controller.step(look(START), committed)
    with PlanClient(url) as client:
        client.reset([want(GOAL)], seed=0)
        np.testing.assert_array_equal(client.infer(look(START), committed)["actions"][0], action)


def test_the_arms_own_bounds_are_kept(url):
    narrow = SPEC.to_dict() | {"low": [-0.001] * 7, "high": [0.001] * 7}
    with PlanClient(url) as client:
        client.reset([want(GOAL)], seed=0, action_spec=narrow)
        assert np.abs(client.infer(look(START))["actions"]).max() <= 0.001
        with pytest.raises(ServerError, match="do not mean the same"):
            client.reset([want(GOAL)], seed=0, action_spec=narrow | {"frame": "tool"})


def test_a_client_is_understood_that_speaks_as_openpis_do():
    config = ListenConfig(port=0, token=TOKEN)
    with running(make_plan_server(config=config).run) as url:
        headers = {"Authorization": f"Api-Key {TOKEN}"}
        with speak(url, max_size=None, additional_headers=headers) as policy:
            assert msgpack.unpackb(policy.recv())["checkpoint"] == "toy"
            observation = {"observation/image": np.zeros((8, 8, 3), np.uint8), "observation/state": START}
            policy.send(pack(observation | {"goal/image": np.zeros((8, 8, 3), np.uint8), "goal/state": GOAL}))
            first = msgpack.unpackb(policy.recv())
            assert first["actions"][b"shape"] == [HORIZON, 7]
            policy.send(pack(observation))  # the goal is given once
            assert unpack(policy.recv(decode=False))["actions"].shape == (HORIZON, 7)
            policy.send(pack(observation | {"prompt": "pick up the block"}))
            answer = policy.recv()  # an error is a text frame
            assert isinstance(answer, str) and "unknown 'prompt'" in answer


def test_the_client_needs_numpy_websockets_and_msgpack_alone(url):
    program = f"""
import sys
import numpy, msgpack, websockets.sync.client
missing = {{"torch", "gymnasium", "mujoco", "jaxtyping", "scipy", "yaml", "PIL", "transformers"}}
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
before = set(sys.modules)
from envs.arms.remote.client import PlanClient
from envs.spec import Goal
theirs = {{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)
assert theirs <= {{"envs", "numpy", "msgpack", "websockets"}}, theirs
class Seen:
    image, pose, time = numpy.zeros((8, 8, 3), numpy.uint8), numpy.array({START.tolist()}), 0.0
with PlanClient({url!r}) as client:
    client.reset([Goal(Seen.image, Seen.pose)], seed=0)
    print(client.infer(Seen)["actions"].shape)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout.strip() == f"({HORIZON}, 7)", result.stderr


# Requests that cannot be done

MASKED = {"image": PLAIN["image"], "pose": GOAL}


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({}, '"reset" or "observation"'),
        ({"observaton": PLAIN}, "did you mean 'observation'"),
        ({"observation": 3}, "map of names"),
        ({"observation": PLAIN | {"depth": 1}}, "unknown 'observation.depth'"),
        ({"observation": PLAIN | {"image": np.zeros((8, 8, 3), np.float32)}}, "uint8, got float32"),
        ({"observation": PLAIN | {"image": np.zeros((8, 8), np.uint8)}}, "height, width, 3"),
        ({"observation": PLAIN | {"image": np.zeros((1, 2049, 3), np.uint8)}}, "2048 pixels"),
        ({"observation": PLAIN | {"image": np.zeros((0, 8, 3), np.uint8)}}, "1 to 2048"),
        ({"observation": PLAIN | {"image": b"JFIF"}}, "got a bytes"),
        ({"observation": PLAIN | {"pose": START[:6]}}, "the pose is 7 numbers"),
        ({"observation": PLAIN | {"pose": START * np.nan}}, "the pose is 7 numbers"),
        ({"observation": PLAIN | {"pose": START * 1000}}, "the pose is 7 numbers"),
        ({"observation": PLAIN | {"pose": ["a"] * 7}}, "array of numbers"),
        ({"observation": PLAIN | {"time": float("inf")}}, "the time is a finite number"),
        ({"observation": {"image": PLAIN["image"], "pose": START}}, "the time is a finite number, got none"),
        ({"observation": PLAIN, "committed": np.zeros((2, 6))}, "actions of 7 numbers"),
        ({"observation": PLAIN, "committed": np.zeros((33, 7))}, "at most 32"),
        ({"observation": PLAIN, "committed": np.full((1, 7), np.inf)}, "finite"),
        ({"observation": PLAIN, "deadline": -1}, "above 0"),
        ({"observation": PLAIN, "deadline": "soon"}, "got a str"),
        ({"observation": PLAIN, "imagine": True}, "cannot imagine: start it with --imagine"),
        ({"observation": PLAIN, "imagine": 1}, "true or false, got a int"),
        ({"reset": {"goals": [], "seed": 0}}, "1 to 16 goals"),
        ({"reset": {"goals": [{"image": PLAIN["image"]}], "seed": 0}}, "goal 0: the pose"),
        ({"reset": {"goals": [{"image": PLAIN["image"], "pose": GOAL}] * 17}}, "1 to 16 goals"),
        (
            {"reset": {"goals": [MASKED | {"mask": np.ones((8, 7), np.uint8)}]}},
            "goal 0: a goal's mask must be as large",
        ),
        ({"reset": {"goals": [MASKED | {"mask": np.ones((8, 8))}]}}, "of bool or uint8, got .* float64"),
        ({"reset": {"goals": [MASKED | {"mask": "all"}]}}, "got a str"),
        ({"reset": {"goals": [MASKED | {"mask": np.zeros((8, 8), np.uint8)}]}}, "nothing of the goal would count"),
        ({"reset": {"goals": [MASKED | {"mask": np.ones((8, 8), np.uint8)}]}}, "toy model looks at no image"),
        ({"reset": {"goals": [{"image": PLAIN["image"], "pose": GOAL}], "seed": -1}}, "seed"),
        ({"reset": {"goals": [{"image": PLAIN["image"], "pose": GOAL}], "action_spec": {"names": 3}}}, "list of words"),
        ({"observation/image": PLAIN["image"], "observation/joint_position": START}, "did you mean"),
        ({"observation/image": PLAIN["image"], "observation/state": START, "seed": 1}, "come with"),
    ],
)
def test_a_request_that_cannot_be_done_is_answered_with_one_line_and_the_next_is_done(url, request_, why):
    with PlanClient(url) as client:
        with pytest.raises(ServerError, match=why) as error:
            client._connection.request(request_)
        assert "\n" not in str(error.value) and len(str(error.value)) < 400
        client.reset([want(GOAL)], seed=0)
        assert client.infer(look(START))["actions"].shape == (HORIZON, 7)


def test_a_plan_without_a_goal_is_refused(url):
    with PlanClient(url) as client, pytest.raises(ServerError, match="no goal yet"):
        client.infer(look(START))


def test_a_deadline_narrows_the_controllers_own_time_and_only_for_once(held_planner):
    held_planner.let_go.set()
    server = make_plan_server(held_planner, controller=ControllerConfig(planning_time=5.0))
    with running(server.run) as url, PlanClient(url) as client:
        client.reset([want(GOAL)], seed=0)
        asked = time.monotonic()
        for deadline in (2.0, None, 100.0):
            client.infer(look(START), deadline=deadline)
        left = [deadline - asked for deadline in held_planner.deadlines]
    assert left[0] <= 2.5 < 4.5 < left[1] < left[2] < 8.0


def test_a_deadline_that_passed_before_its_turn_is_said_and_nothing_is_planned(held_planner):
    with running(make_plan_server(held_planner).run) as url, PlanClient(url) as first, PlanClient(url) as second:
        for client in (first, second):
            client.reset([want(GOAL)], seed=0)
        with ThreadPoolExecutor(2) as pool:
            slow = pool.submit(first.infer, look(START))
            assert wait_until(lambda: len(held_planner.begun) == 1)
            late = pool.submit(second.infer, look(START), None, 0.05)
            time.sleep(0.2)
            held_planner.let_go.set()
            assert slow.result()["actions"].shape == (2, 7)
            with pytest.raises(ServerError, match=r"deadline of 0\.05 s was over"):
                late.result()
    assert len(held_planner.begun) == 1


def test_an_answer_that_came_too_late_is_not_taken_for_the_next_ones(held_planner):
    with running(make_plan_server(held_planner).run) as url, PlanClient(url, timeout=0.3) as client:
        client.reset([want(GOAL)], seed=0)
        for _ in range(2):
            with pytest.raises(ServerError, match=r"did not answer|still works"):
                client.infer(look(START, 1.0))
        held_planner.let_go.set()
        assert wait_until(lambda: len(held_planner.begun) == 2)
        assert client.infer(look(START, 3.0))["time"] == 3.0


# Several clients


def test_health_limits_and_others_are_served_while_a_plan_is_made(held_planner):
    with running(make_plan_server(held_planner).run) as url, ThreadPoolExecutor(1) as pool:
        with PlanClient(url) as first, PlanClient(url) as second:
            first.reset([want(GOAL)], seed=0)
            pool.submit(first.infer, look(START))
            assert wait_until(lambda: len(held_planner.begun) == 1)
            assert healthy(url)
            with pytest.raises(ServerError, match="unknown"):
                second._connection.request({"nonsense": 1})
            held_planner.let_go.set()


def test_clients_take_turns_however_much_one_of_them_asks(url):
    request = pack({"observation": PLAIN})
    with speak(url) as greedy, PlanClient(url) as modest:
        greedy.recv()
        greedy.send(pack({"reset": {"goals": [{"image": PLAIN["image"], "pose": GOAL}], "seed": 0}}))

        def flood() -> None:
            with suppress(ConnectionClosed):
                while True:
                    greedy.send(request)

        def take() -> None:
            with suppress(ConnectionClosed):
                while True:
                    greedy.recv()

        threads = [threading.Thread(target=act) for act in (flood, take)]
        for thread in threads:
            thread.start()
        modest.reset([want(GOAL)], seed=0)
        for _ in range(20):
            assert modest.infer(look(START))["actions"].shape == (HORIZON, 7)
        greedy.socket.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def test_a_client_is_not_read_faster_than_its_rate():
    with running(make_plan_server(config=ListenConfig(port=0, rate=20.0)).run) as url, PlanClient(url) as client:
        begun = time.monotonic()
        for _ in range(9):
            with pytest.raises(ServerError):
                client._connection.request({})
        assert time.monotonic() - begun >= 8 / 20


def test_who_leaves_while_its_plan_waits_is_forgotten(held_planner):
    with running(make_plan_server(held_planner).run) as url, PlanClient(url) as staying:
        staying.reset([want(GOAL)], seed=0)
        before = held()[0]
        with ExitStack() as stack:
            leavers = [stack.enter_context(speak(url)) for _ in range(3)]
            for leaver in leavers:
                leaver.recv()
                leaver.send(pack({"reset": {"goals": [{"image": PLAIN["image"], "pose": GOAL}], "seed": 0}}))
                leaver.recv()
            for leaver in leavers:
                leaver.send(pack({"observation": PLAIN}))
            assert wait_until(lambda: len(held_planner.begun) == 1)
            for leaver in leavers:
                leaver.socket.shutdown(socket.SHUT_RDWR)  # without a word
        assert wait_until(lambda: held()[0] == before)
        held_planner.let_go.set()
        assert staying.infer(look(START))["cost"] == 1.0
    assert len(held_planner.begun) == 2  # the one that was being made, and the one of who stayed


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda *_: torch.zeros(2) + torch.zeros(3), "the planner failed, its log has more: The size of tensor"),
        (lambda *_: {}["nothing"], "closed the connection"),
    ],
)
def test_a_planner_that_breaks_does_so_for_who_asked_alone(held_planner, monkeypatch, broken, told):
    held_planner.let_go.set()
    with running(make_plan_server(held_planner).run) as url, PlanClient(url) as asking, PlanClient(url) as other:
        for client in (asking, other):
            client.reset([want(GOAL)], seed=0)
        with monkeypatch.context() as change:
            change.setattr(Held, "plan", broken)
            with pytest.raises(ServerError, match=told):
                asking.infer(look(START))
        assert other.infer(look(START))["cost"] == 1.0


# Who is let in


@pytest.mark.parametrize("address", ["0.0.0.0", "", "::", "192.168.1.5", "example.org", "localhost.example.org"])
def test_an_address_off_loopback_needs_a_token(address):
    with pytest.raises(ValueError, match="name a token"):
        ListenConfig(address)
    ListenConfig(address, token=TOKEN)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_token(address):
    assert ListenConfig(address).token is None


def test_the_program_refuses_in_one_line(serve, capsys):
    with pytest.raises(SystemExit) as stopped:
        serve.main(["--address", "0.0.0.0"])
    assert "token" in f"{stopped.value}{capsys.readouterr().err}"


@pytest.mark.parametrize("token", ["short", "with a space in it!", "nach-außen-sechzehn", "", "line\nbreak-of-sixteen"])
def test_a_weak_or_unsendable_token_is_refused(token):
    with pytest.raises(ValueError, match="printable ASCII"):
        ListenConfig(token=token)


def test_only_who_knows_the_token_is_let_in_off_loopback():
    config = ListenConfig("0.0.0.0", 0, TOKEN)
    with running(make_plan_server(config=config).run) as everywhere:
        url = everywhere.replace("0.0.0.0", "127.0.0.1")
        assert healthy(url)
        for wrong in (None, TOKEN[:-1], TOKEN + "x", TOKEN.upper()):
            with pytest.raises(ServerError, match=r"needs its token \(HTTP 401\)"):
                PlanClient(url, wrong)
        with pytest.raises(InvalidStatus):
            speak(url, additional_headers={"Authorization": TOKEN}).__enter__()
        assert plans(url, TOKEN)
        with speak(url, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as bearer:
            assert unpack(bearer.recv(decode=False))["horizon"] == HORIZON


def test_a_page_in_a_browser_is_not_let_in(url):
    with pytest.raises(InvalidStatus, match="403"):
        speak(url, additional_headers={"Origin": "https://example.org"}).__enter__()


def test_one_client_too_many_is_told_so_until_another_leaves():
    with running(make_plan_server(config=ListenConfig(port=0, connections=2)).run) as url:
        with PlanClient(url), PlanClient(url) as second:
            with pytest.raises(ServerError, match=r"2 clients already \(HTTP 503\)"):
                PlanClient(url)
            second.close()
            assert plans(url)


def test_what_is_no_plan_server_is_named():
    with pytest.raises(ServerError, match="nobody listens there"):
        PlanClient("ws://127.0.0.1:9")
    with pytest.raises(ServerError, match="ws://address:port"):
        PlanClient("http://127.0.0.1:9")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        with pytest.raises(ServerError, match="no connection"):
            PlanClient(f"ws://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.2)


# The program


def test_the_program_serves_the_planner_of_a_planning_file(serve, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("planner:\n  algorithm: cem\n  horizon: 3\n  samples: 8\n  iterations: 1\n  elites: 2\n")
    config = serve.ServeConfig("toy", plan, port=0)
    with running(serve.make_server(config).run) as url, PlanClient(url) as client:
        assert client.metadata["horizon"] == 3 and client.metadata["goal_pose"]
        client.reset([want(GOAL)], seed=0)
        assert client.infer(look(START))["actions"].shape == (3, 7)


@pytest.mark.slow
def test_the_program_serves_the_bundled_checkpoint_until_it_is_told_to_stop():
    command = [sys.executable, "scripts/serve.py", "--plan", "scripts/configs/plan/reach.yaml", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}) as run:
        assert run.stdout is not None
        url = run.stdout.readline().split()[-1]
        with PlanClient(url, timeout=60) as client:
            assert client.metadata["image_size"] == 96 and not client.metadata["goal_pose"]
            seen = Observation(np.zeros((128, 128, 3), np.uint8), START, 0.0)
            client.reset([Goal(seen.image)], seed=0)
            assert client.infer(seen)["actions"].shape == (1, 7)
        run.terminate()
        assert run.wait(20) == 0
        assert run.stdout.read().strip() == "stopped"


def test_a_checkpoint_of_joints_takes_as_many_numbers_as_it_has():
    seen = {"observation": PLAIN | {"pose": np.zeros(6)}}
    observation = read_request(seen, 6, False, 0.0, False).observation
    assert observation is not None and observation.pose.shape == (6,)
    goal = {"reset": {"goals": [{"image": PLAIN["image"]}], "seed": 0}}
    assert read_request(goal, 6, False, 0.0, False).goals[0].pose is None
    with pytest.raises(RequestError, match="the pose is 6 numbers, got"):
        read_request({"observation": PLAIN | {"pose": np.zeros(7)}}, 6, False, 0.0, False)
