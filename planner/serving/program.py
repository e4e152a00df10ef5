"""Serves plans to robots, so that the model may run on another machine than the arm. See scripts/serve.py."""

from __future__ import annotations

from envs.program import program

# isort: split

import asyncio
import logging
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from envs.arms.remote.listen import ListenConfig
from envs.bar import progress
from envs.command_line import config_from_command_line
from envs.config import load_config
from planner.evaluation.config import EvaluateConfig
from world_model.checkpoints.folder import called
from world_model.choices import Precision

if TYPE_CHECKING:  # they import torch, which takes seconds
    from planner.serving.server import PlanServer
    from world_model.base import WorldModel
    from world_model.heads.neighbours import Gallery


@dataclass(frozen=True)
class ServeConfig:
    """What to serve, and to whom.

    Attributes:
        checkpoint: Name of a folder in checkpoints/, or its path; "toy" is the exact test model, which reads the poses
            and not the images.
        plan: YAML file of scripts/evaluate.py, such as scripts/configs/plan/reach.yaml: its planner, objective and
            controller are served; None for their defaults.
        device: Where the model runs: cpu, cuda, mps or auto.
        precision: Of the model: fp32, bf16, or auto for bf16 where the hardware is faster in it.
        address: Where to listen; any but a loopback address needs a token.
        port: TCP port; 0 for any free one.
        token: Secret that a client must know, at least 16 characters.
        connections: Clients at a time.
        imagine: Folder of recordings, in any format that is read without a Reading; with each plan a client may ask for
            the one of their frames that is most like the predicted end. None to imagine nothing.
    """

    checkpoint: str = "franka-tiny"
    plan: Path | None = None
    device: str = "cpu"
    precision: Precision = "fp32"
    address: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    connections: int = 8
    imagine: Path | None = None

    def __post_init__(self) -> None:
        self.listen()

    def listen(self) -> ListenConfig:
        """Returns where to listen and what to take."""
        return ListenConfig(self.address, self.port, self.token, self.connections)


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = config_from_command_line(ServeConfig, "Serves plans to robots.", arguments)
    check_free(config.address, config.port)  # loading a checkpoint takes long
    server = make_server(config)
    asyncio.run(serve(server))


def check_free(address: str, port: int) -> None:
    """Returns if nothing else listens there.

    Raises:
        ValueError: If something does, or this machine has no such address.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            trial.bind(place)
    except OSError as error:
        hint = "is another server running? Choose another --port, or 0 for a free one"
        raise ValueError(f"cannot listen on {address} port {port} ({error.strerror or error}): {hint}") from error


async def serve(server: PlanServer) -> None:
    """Serves until SIGINT or SIGTERM."""
    task = asyncio.ensure_future(server.run(lambda url: print(f"serving plans on {url}", flush=True)))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        print("stopped", flush=True)


def make_server(config: ServeConfig) -> PlanServer:
    """Returns the server of a checkpoint and planning settings.

    Raises:
        ValueError: If there is no such checkpoint, file, recordings or device, or a setting is wrong.
    """
    from planner.evaluation.episodes import load_model, make_controller
    from planner.serving.server import Offer, PlanServer

    if config.imagine is not None and config.checkpoint == "toy":
        raise ValueError("the toy model looks at no images, so it imagines none: leave --imagine out")
    settings = {"checkpoint": config.checkpoint, "device": config.device, "precision": config.precision}
    planning = load_config(EvaluateConfig, config.plan, settings)
    model = load_model(planning)
    size = image_size(config.checkpoint)

    make = partial(make_controller, planning, model)
    horizon = make(model.action_spec).planner.horizon
    gallery = None if config.imagine is None else make_gallery(config.imagine, model)
    offer = Offer(called(config.checkpoint), model.action_spec, horizon, size, planning.takes_goal_pose, gallery)
    return PlanServer(make, offer, config.listen())


def make_gallery(folder: Path, model: WorldModel) -> Gallery:
    """Returns frames of recordings as a model sees them, showing progress.

    Raises:
        DatasetError: If the recordings cannot be read.
    """
    from envs.episodes.open import open_dataset
    from world_model.heads.neighbours import Gallery, gallery_frames
    from world_model.vjepa2_ac import VJEPA2AC

    if not isinstance(model, VJEPA2AC):
        raise ValueError(
            f"--imagine shows what checkpoints of kind {VJEPA2AC.kind} imagine, this is another: leave it out"
        )
    dataset = open_dataset(folder)
    frames = gallery_frames(dataset)
    with progress(total=len(frames), desc=f"frames of {folder}", unit="frame") as bar:
        return Gallery(dataset, frames, model.encoder, bar.update)


def image_size(checkpoint: str) -> int | None:
    """Returns the side of the images that a checkpoint looks at [pixels]; None for the toy model."""
    if checkpoint == "toy":
        return None
    from world_model.checkpoints.checkpoint import read_manifest

    return read_manifest(checkpoint).image_size
