"""What every real arm shares: its threads, its camera, what happens when something fails."""

from __future__ import annotations

import abc
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from envs.arms.base import RELEASE, ArmError, OutOfReach
from envs.arms.drivers.camera import Camera, OpenCVCamera
from envs.arms.drivers.history import PoseHistory
from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec, Observation

logger = logging.getLogger(__name__)

_STATE_PERIOD = 0.01  # seconds between two measured poses
_GRIPPER_PERIOD = 0.05  # seconds between two looks at the gripper
_GRIPPER_STEP = 0.05  # smallest change of closedness that is worth a command
_STOPPED = 0.01  # change of closedness from one look to the next under which a gripper stands
_HOLDS = 0.2  # seconds that a gripper must have stood before it was as closed as it was told, to hold something
_FIRST_IMAGE = 5.0  # seconds that the camera may take to deliver an image once the robot is there
_PATIENCE = 0.5  # seconds that stop() waits for a set-point that is being written


class RealArm(abc.ABC):
    """A `envs.arms.base.StreamingArm` over one robot, which a subclass says in seven short methods how to speak to.

    Four threads: one measures poses, one looks at the gripper, one moves it (so that a gripper command may block), and
    the camera's own. An observation is the newest image with the pose interpolated at the time it was taken. The first
    failure anywhere holds the arm; from then on `send` and `observe` raise it until `connect` is called again. Errors
    on the robot's side are never cleared from here.

    Actions are differences of measured poses, so while a thing keeps the fingers apart an action that changes nothing
    asks for them where they are, which would take the force off them. A gripper that stands before it is as closed as
    it was told keeps its command until it is to open by more than `RELEASE`, as the simulated one does.

    Set ``errors`` to what the vendor's library raises; it becomes an `ArmError` that says what failed.
    """

    errors: tuple[type[Exception], ...] = (OSError, RuntimeError)

    def __init__(self, name: str, camera: Camera, rate: float = 4.0) -> None:
        """Stores how the arm is called and seen; nothing is opened before `connect`.

        Args:
            name: What messages call it, such as "Franka at 172.16.0.2".
            camera: Whose images are observed.
            rate: Control rate of the model that will drive it [Hz].
        """
        high = (0.075, 0.075, 0.075, 0.15, 0.15, 0.15, 1.0)
        self.name = name
        self.camera = camera
        self.action_spec = ActionSpec(POSE_NAMES, POSE_UNITS, tuple(-bound for bound in high), high, "base", rate)
        self._history = PoseHistory()
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()  # of this connection
        self._moving = threading.RLock()
        self._failure: ArmError | None = None
        self._connected = False
        self._closedness = 0.0  # measured
        self._fingers_moved = 0.0  # when they were last seen to
        self._wanted: float | None = None  # closedness asked for by the newest set-point

    # What a robot's own file says.

    @abc.abstractmethod
    def open_robot(self) -> None:
        """Connects; raises `ArmError` if the robot is not ready to move. Must not move it."""

    @abc.abstractmethod
    def read_pose(self) -> tuple[float, Float[np.ndarray, "6"]]:
        """Returns when [monotonic s] a pose was measured and the pose (6,): position [m], Euler angles [rad].

        Raises `ArmError` if the robot can no longer move, such as in a protective stop. Called 100 times a second.
        """

    @abc.abstractmethod
    def write_pose(self, pose: Float[np.ndarray, "6"]) -> None:
        """Makes a pose (6,) the one to follow, and returns at once. Called at least 100 times a second.

        Raises `OutOfReach` if it knows that the robot can't get there, and sends nothing then.
        """

    @abc.abstractmethod
    def read_gripper(self) -> float:
        """Returns the measured closedness [0 open .. 1 closed]; may be called while `move_gripper` blocks."""

    @abc.abstractmethod
    def move_gripper(self, closedness: float) -> None:
        """Moves the gripper to a closedness; may block until it is there."""

    @abc.abstractmethod
    def hold(self) -> None:
        """Holds the robot where it is; may be called by any thread, also when it does not move."""

    @abc.abstractmethod
    def release(self) -> None:
        """Disconnects; may be called when `open_robot` failed half-way."""

    def check_robot(self) -> None:  # noqa: B027 (nothing to look for is an answer)
        """Raises `ArmError` if a library is missing or the robot's computer does not answer; opens nothing."""

    # See `envs.arms.base.StreamingArm`.

    def check_present(self) -> None:
        """Returns within seconds if what the arm needs is there; before a program does what takes long.

        Raises:
            ArmError: If a library is missing, the robot's computer does not answer or the camera can't be opened.
        """
        with self._translated("looking whether it is there"):
            self.check_robot()
            if isinstance(self.camera, OpenCVCamera):
                self.camera.check_present()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """See `StreamingArm.image_shape`."""
        return self.camera.shape

    def connect(self) -> None:
        """See `StreamingArm.connect`. After a failure it starts afresh.

        Raises:
            ArmError: If the robot or the camera is not there or not ready.
        """
        if self._connected and self._failure is None:
            return
        self.close()
        self._failure, self._wanted, self._history = None, None, PoseHistory()
        self._closing = threading.Event()  # a thread that outlives its connection keeps that one's
        try:
            with self._translated("connecting"):
                self.open_robot()
                self._look_at_gripper()
                self._measure()
                self.camera.connect()
        except ArmError:
            self._let_go()
            raise
        self._connected = True
        self._threads = [
            self._start("measuring the pose", self._measure, _STATE_PERIOD),
            self._start("reading the gripper", self._look_at_gripper, _GRIPPER_PERIOD),
            self._start("moving the gripper", self._follow_gripper(), _GRIPPER_PERIOD),
        ]
        try:
            self._wait_for_image()
        except ArmError:
            self.close()
            raise

    def observe(self) -> Observation:
        """See `StreamingArm.observe`.

        Raises:
            ArmError: If the arm is not connected or it, or its camera, failed.
        """
        self._check()
        image, taken = self.camera.newest()
        pose = self._history.at(taken)
        return Observation(image, pose, taken)

    def send(self, set_point: Float[np.ndarray, "7"]) -> None:
        """See `StreamingArm.send`.

        Raises:
            ValueError: If the set-point is not seven finite numbers.
            OutOfReach: If the arm can't get there.
            ArmError: If the arm is not connected or failed.
        """
        set_point = np.asarray(set_point, dtype=np.float64)
        if set_point.shape != (7,) or not np.all(np.isfinite(set_point)):
            raise ValueError(f"a set-point is 7 finite numbers {POSE_NAMES}, got {set_point!r}")
        with self._moving:
            self._check()
            with self._watched("following a set-point"):
                self.write_pose(set_point[:6])
            self._wanted = float(np.clip(set_point[6], 0.0, 1.0))

    def stop(self) -> None:
        """See `StreamingArm.stop`. A set-point sent afterwards moves the arm again.

        Raises:
            ArmError: If the robot could not be told.
        """
        if not self._connected:
            return
        self._wanted = None
        if self._failure is not None:
            self._quietly(self._hold)
            return
        with self._watched("holding"):
            self._hold()

    def close(self) -> None:
        """See `StreamingArm.close`."""
        if not self._connected:
            return
        self._closing.set()
        self._connected = False
        self._quietly(self._hold)
        for thread in self._threads:
            thread.join(timeout=_PATIENCE)
        self._let_go()

    # Inside.

    def _wait_for_image(self) -> None:
        """Returns when there is an image that was taken after the first pose was measured."""
        connected = time.monotonic()
        while self.camera.newest()[1] < connected:
            self._check()
            if time.monotonic() > connected + _FIRST_IMAGE:
                raise ArmError(f"{self.name}: the camera delivered no new image within {_FIRST_IMAGE} s of the robot")
            time.sleep(0.005)

    def _measure(self) -> None:
        measured, pose = self.read_pose()
        if not np.all(np.isfinite([measured, *pose])):
            raise ArmError(f"{self.name}: the pose that is measured is no pose, {pose}: look at the robot")
        self._history.add(measured, np.append(pose, self._closedness))

    def _look_at_gripper(self) -> None:
        read = self.read_gripper()
        if not np.isfinite(read):
            raise ArmError(f"{self.name}: the gripper's measured closedness is {read}: look at the gripper")
        closedness = float(np.clip(read, 0.0, 1.0))
        if abs(closedness - self._closedness) > _STOPPED:
            self._fingers_moved = time.monotonic()
        self._closedness = closedness

    def _follow_gripper(self) -> Callable[[], None]:
        """Returns the step of the thread that moves the gripper: to the newest wish, when it changed enough."""
        last = self._closedness

        def step() -> None:
            nonlocal last
            wanted = self._wanted
            if wanted is None or wanted == last or (abs(wanted - last) < _GRIPPER_STEP and wanted not in (0.0, 1.0)):
                return
            if self._holds(last) and self._closedness - RELEASE <= wanted < last:
                return
            last = wanted
            self.move_gripper(wanted)

        return step

    def _holds(self, told: float) -> bool:
        """Returns whether the fingers stand before they are as closed as they were told."""
        return told > self._closedness + _GRIPPER_STEP and time.monotonic() - self._fingers_moved > _HOLDS

    def _start(self, doing: str, step: Callable[[], None], period: float) -> threading.Thread:
        """Starts and returns a thread that takes a step each period until the arm is closed or a step fails."""
        closing = self._closing

        def run() -> None:
            try:
                while not closing.wait(period):
                    with self._translated(doing):
                        step()
            except ArmError as error:
                self._fail(error, closing)  # kept: whoever speaks to the arm next is told
            finally:
                self._fail(ArmError(f"{self.name}: {doing} ended with an unforeseen error"), closing)

        thread = threading.Thread(target=run, name=f"{self.name}: {doing}", daemon=True)
        thread.start()
        return thread

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """Turns what the vendor's library raises into an `ArmError`."""
        try:
            yield
        except ArmError:
            raise
        except self.errors as error:
            raise ArmError(f"{self.name}: {doing} failed: {error}") from error

    @contextlib.contextmanager
    def _watched(self, doing: str) -> Iterator[None]:
        """Translates errors and keeps the first as the arm's failure; a pose out of reach is none."""
        try:
            with self._translated(doing):
                yield
        except OutOfReach:
            raise
        except ArmError as error:
            self._fail(error, self._closing)
            raise

    def _fail(self, failure: ArmError, closing: threading.Event) -> None:
        """Keeps the first failure of a connection that is not closed, and holds."""
        if self._failure is None and not closing.is_set():
            self._failure = failure
            self._history.fail(failure)
            logger.error("%s; holding", failure)
            self._quietly(self._hold)

    def _check(self) -> None:
        if not self._connected:
            raise ArmError(f"{self.name} is not connected: call connect() first")
        if self._failure is not None:
            raise ArmError(str(self._failure)) from self._failure

    def _hold(self) -> None:
        """Holds after the set-point that is being written, but does not wait for ever for a write that hangs."""
        free = self._moving.acquire(timeout=_PATIENCE)
        try:
            self.hold()
        finally:
            if free:
                self._moving.release()

    def _let_go(self) -> None:
        for step in (self.camera.close, self.release):
            self._quietly(step)

    def _quietly(self, step: Callable[[], Any]) -> None:
        """Takes a step of giving up; that it fails too is only logged."""
        try:
            step()
        except (ArmError, *self.errors) as error:
            logger.warning("%s: %s", self.name, error)
