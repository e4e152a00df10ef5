"""How well an encoder's tokens say where things are in the simulated scene."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from envs.bar import progress
from envs.simulation.arm import DOWN, MujocoArm, MujocoArmConfig
from envs.simulation.objects import TRAINING_OBJECTS, sample_object
from envs.simulation.scene_config import MANIPULATION_SCENE
from envs.tasks.manipulation import OBJECT_HIGH, OBJECT_LOW
from envs.tasks.reach import HELD_OUT
from planner.diagnostics.probe_program import ProbeConfig
from world_model.base import Encoder
from world_model.checkpoints.checkpoint import find_checkpoint
from world_model.encoders.folder import load_encoder

IMAGE_SIZE = 168
NAMES = ("object x", "object y", "gripper x", "gripper y", "gripper z")


class Head(nn.Module):
    """Positions as sums of what each patch says, weighted by how much it has to say."""

    def __init__(self, tokens: int, width: int, hidden: int = 128) -> None:
        super().__init__()
        outputs = len(NAMES)
        self.network = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 2 * outputs)
        )
        self.places = nn.Parameter(torch.zeros(tokens, outputs))
        self.bias = nn.Parameter(torch.zeros(tokens, outputs))

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B K"]:
        """Returns the positions."""
        weight, offset = self.network(tokens).chunk(2, dim=-1)
        return ((3.0 * weight + self.bias).softmax(dim=1) * (self.places + offset)).sum(dim=1)


def look(config: ProbeConfig) -> None:
    """Learns to read the scene from an encoder's tokens and prints how well that goes.

    Raises:
        ValueError: If there is no such encoder.
    """
    folder = config.encoder or find_checkpoint(str(config.checkpoint)) / "encoder"
    encoder = load_encoder(folder).eval()
    images, positions = draw_scenes(config.images + config.images // 5, config.seed)
    errors, spread = probe(encode(encoder, images), positions, config)
    print(f"{folder}: {encoder.tokens} tokens of width {encoder.width}; {config.images} images to learn from, ", end="")
    print(f"{len(errors)} to judge by [mm]\n{'':12}{'rms':>8}{'median':>8}{'always the middle, rms':>26}")
    for index, name in enumerate(NAMES):
        rms, median = errors[:, index].square().mean().sqrt(), errors[:, index].abs().median()
        print(f"{name:12}{1e3 * rms:8.1f}{1e3 * median:8.1f}{1e3 * spread[index]:26.1f}")


def draw_scenes(count: int, seed: int) -> tuple[UInt8[np.ndarray, "B h w 3"], Float[np.ndarray, "B 5"]]:
    """Returns images of a training object and an arm, in four of ten just over it, and both's positions [m]."""
    generator = np.random.default_rng(HELD_OUT + seed)
    arm = MujocoArm(MujocoArmConfig(MANIPULATION_SCENE, IMAGE_SIZE))
    images, positions = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8), np.empty((count, len(NAMES)))
    for index in progress(range(count), desc="draw", unit="image"):
        place = generator.uniform(OBJECT_LOW, OBJECT_HIGH)
        hand = generator.uniform((0.34, -0.22, 0.03), (0.68, 0.22, 0.36))
        if generator.random() < 0.4:
            near = np.clip(place + generator.normal(0.0, 0.04, 2), (0.34, -0.24), (0.68, 0.24))
            hand = np.array([*near, generator.uniform(0.07, 0.2)])
        instance = sample_object(TRAINING_OBJECTS, generator)
        arm.set_pose(np.array([*hand, *DOWN, generator.random()]))
        on_table = np.array([*place, instance.height / 2])
        arm.objects[0].place(instance, on_table, float(generator.uniform(-np.pi, np.pi)))
        images[index], positions[index] = arm.render(IMAGE_SIZE), (*place, *arm.pose()[:3])
    arm.close()
    return images, positions


@torch.no_grad()
def encode(encoder: Encoder, images: UInt8[np.ndarray, "B h w 3"]) -> Float[Tensor, "B N D"]:
    """Returns the images' tokens."""
    parts = [torch.from_numpy(images[first : first + 64]) for first in range(0, len(images), 64)]
    return torch.cat([encoder(encoder.preprocess(part)) for part in progress(parts, desc="encode", unit="batch")])


def probe(
    tokens: Float[Tensor, "B N D"], positions: Float[np.ndarray, "B K"], config: ProbeConfig
) -> tuple[Float[Tensor, "b K"], Float[Tensor, " K"]]:
    """Returns a trained head's errors on the images that were kept back [m], and the spread of all positions [m].

    Tokens are standardised patch by patch first, as a patch's mean is most of what it says.
    """
    torch.manual_seed(config.seed)
    known, wanted = config.images, torch.from_numpy(positions).float()
    mean, std = tokens[:known].mean(0), tokens[:known].std(0)
    tokens = ((tokens - mean) / (std + 0.1 * std.mean())).clamp(-8.0, 8.0)
    middle, spread = wanted[:known].mean(0), wanted[:known].std(0)
    targets = (wanted - middle) / spread
    head = Head(*tokens.shape[1:])
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, config.steps, pct_start=0.05)
    for _ in progress(range(config.steps), desc="probe", unit="step"):
        chosen = torch.randint(0, known, (256,))
        loss = (head(tokens[chosen]) - targets[chosen]).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        guessed = torch.cat([head(part) for part in tokens[known:].split(256)]) * spread + middle
    return guessed - wanted[known:], spread
