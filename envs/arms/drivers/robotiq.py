"""Robotiq grippers (2F, Hand-E) through the text socket that their URCap opens on a UR controller."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass

from envs.arms.base import ArmError

_ACTIVE = 3  # of the variable STA
_LONGEST = 255  # of positions, speeds and forces


@dataclass(frozen=True)
class RobotiqConfig:
    """A Robotiq gripper.

    Attributes:
        port: Of the URCap's socket.
        speed: Of its travel [0 slowest .. 255].
        force: Of its grip [0 weakest .. 255].
        open_position: What it reports when open; 2F and Hand-E differ a little, see the teach pendant.
        closed_position: What it reports when closed on nothing.

    Raises:
        ValueError: If a number is outside 0..255 or the two positions are equal.
    """

    port: int = 63352
    speed: int = 128
    force: int = 64
    open_position: int = 3
    closed_position: int = 228

    def __post_init__(self) -> None:
        numbers = (self.speed, self.force, self.open_position, self.closed_position)
        if not all(0 <= number <= _LONGEST for number in numbers) or self.open_position == self.closed_position:
            raise ValueError(
                f"a Robotiq's numbers are 0..255, open and closed differ; got speed {self.speed}, force {self.force}, "
                f"open {self.open_position}, closed {self.closed_position}"
            )


class RobotiqGripper:
    """One gripper. Its methods may be called from several threads."""

    def __init__(self, address: str, config: RobotiqConfig, timeout: float = 2.0) -> None:
        """Connects.

        Args:
            address: Of the UR controller.
            config: How it is driven.
            timeout: For the connection and every answer [s].

        Raises:
            ArmError: If it does not answer or was not activated.
        """
        self._config = config
        self._lock = threading.Lock()
        try:
            self._socket = socket.create_connection((address, config.port), timeout)
        except OSError as error:
            raise ArmError(
                f"no Robotiq gripper answers at {address}:{config.port} ({error}): is its URCap installed?"
            ) from error
        if self._get("STA") != _ACTIVE:
            self.close()
            raise ArmError(f"the Robotiq gripper at {address} is not active: activate it on the teach pendant")
        self._set({"SPE": config.speed, "FOR": config.force})

    def read(self) -> float:
        """Returns the measured closedness [0 open .. 1 closed]."""
        config = self._config
        return (self._get("POS") - config.open_position) / (config.closed_position - config.open_position)

    def move(self, closedness: float) -> None:
        """Makes a closedness the one to go to, and returns."""
        config = self._config
        position = config.open_position + closedness * (config.closed_position - config.open_position)
        self._set({"POS": round(position), "GTO": 1})

    def close(self) -> None:
        """Disconnects; the gripper stays as it is."""
        self._socket.close()

    def _get(self, variable: str) -> int:
        answer = self._ask(f"GET {variable}")
        name, _, value = answer.partition(" ")
        if name != variable or not value.strip().isdigit():
            raise ArmError(f"the Robotiq gripper answered {answer!r} when asked for {variable}: is it connected?")
        return int(value)

    def _set(self, values: dict[str, int]) -> None:
        question = "SET " + " ".join(f"{name} {value}" for name, value in values.items())
        answer = self._ask(question)
        if answer != "ack":
            raise ArmError(f"the Robotiq gripper answered {answer!r} to {question!r}: is it connected?")

    def _ask(self, question: str) -> str:
        with self._lock:
            self._socket.sendall(f"{question}\n".encode())
            answer = self._socket.recv(1024)
        if not answer:
            raise ArmError("the Robotiq gripper closed the connection: connect again")
        return answer.decode(errors="replace").strip()
