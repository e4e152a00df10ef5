"""Whether a robot's computer can be reached, before anything speaks to it."""

from __future__ import annotations

import socket

from envs.arms.base import ArmError

PATIENCE = 5.0
"""Seconds that a computer may take to answer."""


def check_reachable(name: str, address: str, port: int, hint: str, seconds: float = PATIENCE) -> None:
    """Returns if something listens at an address; the connection is closed at once.

    Args:
        name: What messages call the robot.
        address: Of its computer.
        port: That its interface listens on.
        hint: What to look at if it does not answer.
        seconds: Patience.

    Raises:
        ArmError: If nothing does.
    """
    try:
        socket.create_connection((address, port), seconds).close()
    except TimeoutError as error:
        raise ArmError(f"{name} did not answer within {seconds:g} s on port {port}: {hint}") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise ArmError(f"{name} cannot be reached on port {port} ({why}): {hint}") from error
