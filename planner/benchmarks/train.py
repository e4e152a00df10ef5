"""Training steps on cached latents beside the official recipe, which decodes and encodes every clip in every step."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from envs.bar import progress
from envs.episodes import Episode
from envs.episodes.formats.lerobot import EpisodeDataset, finalize_dataset, read_dataset, write_shard
from envs.episodes.video import VideoCodec, decode_frames
from envs.simulation.arm import arm_action_spec
from envs.tasks.play import PlayConfig, make_play_arm, record_episode
from planner.benchmarks.config import TrainBenchmark
from planner.benchmarks.official_repository import OfficialRepository
from planner.benchmarks.plan import ratio_text
from planner.reporting import figure, table
from world_model.checkpoints.checkpoint import find_checkpoint
from world_model.data.batches import WindowBatches
from world_model.data.latents import build_latents, latent_layout
from world_model.device import find_device
from world_model.encoders.folder import load_encoder
from world_model.encoders.vjepa2 import Encoder, layer_norm
from world_model.training.loop import make_adamw
from world_model.training.processes import Processes
from world_model.training.train import PredictorTrainer, TrainConfig
from world_model.vjepa2_ac import load_vjepa2_ac

CAMERA_CODEC = VideoCodec(pixel_format="yuv420p", quality=23, keyframe_interval=250)  # FFmpeg's defaults
CAMERA_HEIGHT, CAMERA_RATE = 720, 16.0
PARTS = ("decode", "encode", "learn")


@dataclass
class Clock:
    """Seconds spent on each part of a step, summed.

    Attributes:
        seconds: By part.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, part: str, work: Callable[[], Any], device: torch.device) -> Any:
        """Returns what the work does, timed."""
        start = time.perf_counter()
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start
        return result


class OfficialRecipe:
    """The official training step: decode the clips, encode their frames, two dense passes of the predictor, AdamW."""

    def __init__(self, config: TrainBenchmark, dataset: EpisodeDataset, trainer: PredictorTrainer) -> None:
        self.config, self.dataset, self.trainer = config, dataset, trainer
        self.device = find_device(config.device)
        self.model = load_vjepa2_ac(config.checkpoint, self.device)
        self.model.predictor.requires_grad_(True)
        self.encode: Callable[[Tensor], Tensor] = self.model.encoder
        self.predict: Callable[[Tensor, Tensor, Tensor], Tensor] = self.model.predictor
        learning: nn.Module = self.model.predictor
        if config.official is not None:
            repository = OfficialRepository(config.official)
            learning = repository.predictor(self.model.predictor.config, self.model.predictor.state_dict()).train()
            learning.to(self.device)
            self.predict = partial(official_prediction, learning)
            own = self.model.encoder
            assert isinstance(own, Encoder), "the official code has V-JEPA 2's encoder alone"
            encoder = repository.encoder(own.config, own.model.state_dict())
            self.encode = partial(official_tokens, encoder.to(self.device), own.config.tubelet_size)
        self.optimizer = make_adamw((learning,), 1e-5, 0.04)
        self.clock = Clock()

    def step(self, numbers: np.ndarray) -> float:
        """Takes one optimiser step on the numbered windows and returns its loss."""
        batch = self.trainer.batches.gather(self.trainer.windows, numbers).to(self.device)
        images = self.clock.time("decode", lambda: self._decode(numbers), self.device)
        tokens = self.clock.time("encode", lambda: self._tokens(images), self.device)
        return self.clock.time("learn", lambda: self._learn(tokens, batch.actions, batch.poses), self.device)

    def _decode(self, numbers: np.ndarray) -> Tensor:
        """Returns the frames of windows, (B, T, h, w, 3) uint8."""
        clips, windows, rate = [], self.trainer.windows, self.dataset.rate
        for episode, start in zip(*windows.locate(numbers), strict=True):
            place, span = self.dataset.places[episode], (windows.frames - 1) * windows.stride + 1
            frames = decode_frames(place.image_file, place.first_frame(rate) + int(start), span)
            clips.append(frames[:: windows.stride])
        return torch.from_numpy(np.stack(clips))

    @torch.no_grad()
    def _tokens(self, images: Tensor) -> Tensor:
        pixels = self.model.encoder.preprocess(images.flatten(0, 1).to(self.device))
        return layer_norm(self.encode(pixels)).unflatten(0, images.shape[:2])

    def _learn(self, tokens: Tensor, actions: Tensor, poses: Tensor) -> float:
        """Takes a step by teacher forcing and rollout, whose whole history is recomputed at each of its steps."""
        forced = self._forward(tokens[:, :-1], actions, poses[:, :-1])
        fed = torch.cat([tokens[:, :1], forced[:, :1]], dim=1)
        for step in range(2, self.config.rollout_steps + 1):
            following = self._forward(fed, actions[:, :step], poses[:, :step])[:, -1:]
            fed = torch.cat([fed, following], dim=1)
        rolled = (fed[:, 1:] - tokens[:, 1 : self.config.rollout_steps + 1]).abs().mean()
        loss = (forced - tokens[:, 1:]).abs().mean() + rolled
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def _forward(self, tokens: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
        """Returns layer-normed predictions; statistics and residual are ours, done around the official predictor."""
        model = self.model
        normalised = (actions - model.action_mean) / model.action_std, model._from_mean(poses) / model.pose_std
        predicted = self.predict(tokens, *normalised)
        if self.config.official is not None and model.predictor.config.residual:
            predicted = predicted + tokens
        return layer_norm(predicted)


def official_prediction(predictor: nn.Module, tokens: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
    """Returns the official predictor's output, (B, T, N, D)."""
    return predictor(tokens.flatten(1, 2), actions, poses).unflatten(1, tokens.shape[1:3])


def official_tokens(encoder: nn.Module, tubelet: int, pixels: Tensor) -> Tensor:
    """Returns the official encoder's tokens of images (B, 3, S, S), each repeated to one tubelet."""
    return encoder(pixels[:, :, None].expand(-1, -1, tubelet, -1, -1))


def time_training(config: TrainBenchmark, output: Path) -> dict[str, Any]:
    """Returns the measurements for every kind of recording."""
    with tempfile.TemporaryDirectory() as scratch:
        cases = progress(config.recordings, desc="recordings")
        return {"rows": [_time_case(config, kind, Path(scratch) / kind) for kind in cases]}


def _time_case(config: TrainBenchmark, kind: str, scratch: Path) -> dict[str, Any]:
    """Returns the measurements for one kind of recording."""
    device = find_device(config.device)
    source = read_dataset(config.data)
    episodes = _film(config.episodes) if kind == "camera" else (source[i] for i in range(config.episodes))
    dataset = _write(episodes, scratch / "data", CAMERA_CODEC if kind == "camera" else VideoCodec())
    stride = round(dataset.rate / source.rate)
    encoder = load_encoder(find_checkpoint(config.checkpoint) / "encoder").to(device)
    start = time.perf_counter()
    latents = build_latents(dataset, encoder, scratch / "cache")
    cache_seconds = time.perf_counter() - start
    settings = TrainConfig(
        data=scratch / "data", output=scratch / "run", parent=config.checkpoint, device=config.device,
        frames=config.frames, stride=stride, rollout_steps=config.rollout_steps, batch=config.batch, context=1,
        precision="fp32", warmup=0, learning_rate=1e-5, decay="constant", clip=0, evaluate_every=10**9, steps=10**9,
        evaluate_horizon=2,
    )  # fmt: skip
    trainer = PredictorTrainer(settings, encoder, WindowBatches(dataset, latents, stride), Processes(device=device))
    recipe = OfficialRecipe(config, dataset, trainer)
    ours, theirs, differences = [], [], []
    for turn in range(config.turns + 1):
        steps = range(turn * config.steps, (turn + 1) * config.steps)
        clock, losses = Clock(), []
        for step in steps:
            losses.append(clock.time("step", partial(trainer.step, step), device)["total"])
        recipe.clock = Clock()
        expected = [recipe.step(trainer.shuffle.batch(step, config.batch)) for step in steps]
        if turn == 0:  # warming up; and before the two optimisers' rounding has its way
            differences = [abs(a - b) / b for a, b in zip(losses, expected, strict=True)]
            continue
        ours.append(clock.seconds["step"] / config.steps)
        theirs.append({part: seconds / config.steps for part, seconds in recipe.clock.seconds.items()})
    ratios = [sum(parts.values()) / seconds for parts, seconds in zip(theirs, ours, strict=True)]
    frames = sum(dataset.lengths)
    return {
        "recordings": f"{kind}, {dataset.image_shape[1]} x {dataset.image_shape[0]} at {dataset.rate:g} Hz",
        "seconds": median(ours),
        "official_seconds": {part: median(parts[part] for parts in theirs) for part in theirs[0]},
        "ratio": median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "first_loss_difference": differences[0],
        "cache_milliseconds_a_frame": 1000 * cache_seconds / frames,
        "cache_bytes_a_frame": latent_layout(dataset, encoder).bytes / frames,
        "frames": frames,
    }


def _film(episodes: int) -> Iterator[Episode]:
    """Yields episodes of play as a robot's camera records them: 16:9 images at 16 Hz, edges of the square repeated."""
    arm = make_play_arm(CAMERA_HEIGHT)
    arm.action_spec = arm_action_spec(max_translation=0.02, rate=CAMERA_RATE)
    margin = (CAMERA_HEIGHT * 16 // 9 - CAMERA_HEIGHT) // 2
    try:
        for seed in range(episodes):
            seen = record_episode(arm, PlayConfig(frames=97, max_translation=0.02), seed)
            yield replace(seen, images=np.pad(seen.images, ((0, 0), (0, 0), (margin, margin), (0, 0)), mode="edge"))
    finally:
        arm.close()


def _write(episodes: Iterator[Episode], folder: Path, codec: VideoCodec) -> EpisodeDataset:
    """Returns a dataset of the episodes."""
    for shard, episode in enumerate(episodes):
        write_shard(folder, shard, [episode], codec=codec)
    finalize_dataset(folder, "panda-mujoco")
    return read_dataset(folder)


def train_text(config: TrainBenchmark, results: dict[str, Any]) -> str:
    """Returns the table of training steps."""

    def milliseconds(part: str) -> Callable[[dict[str, Any]], str]:
        return lambda row: f"{1000 * row['official_seconds'][part]:.0f}"

    text = table(
        results["rows"],
        {
            "recordings": lambda row: row["recordings"],
            "cached": lambda row: f"{1000 * row['seconds']:.0f} ms",
            "official recipe": lambda row: f"{1000 * sum(row['official_seconds'].values()):.0f} ms",
            **{part: milliseconds(part) for part in PARTS},
            "times faster": lambda row: ratio_text(row, 1),
            "loss difference": lambda row: f"{row['first_loss_difference']:.0e}",
            "cache, a frame": lambda row: (
                f"{row['cache_milliseconds_a_frame']:.1f} ms, {row['cache_bytes_a_frame'] / 1000:.1f} kB"
            ),
        },
    )
    code = "its own encoder and predictor" if config.official else "our modules"
    return (
        f"{text}\n\nOne optimiser step of {config.batch} windows of {config.frames} frames, {config.rollout_steps} "
        f"rollout steps, {config.checkpoint}, float32, median of {config.turns} turns of {config.steps} steps (range). "
        f"The official recipe decodes and encodes every window in every step ({code}); the cache is made once, at the "
        "cost in the last column, decoding included."
    )


def draw_training(results: dict[str, Any], path: Path) -> None:
    """Draws where a step's time goes."""
    with figure(path) as (_, (axes,)):
        names = [row["recordings"] for row in results["rows"]]
        left = np.zeros(len(names))
        for part in PARTS:
            seconds = [row["official_seconds"][part] for row in results["rows"]]
            axes.barh([f"{name}\nofficial recipe" for name in names], seconds, left=left, label=part)
            left += seconds
        axes.barh([f"{name}\ncached" for name in names], [row["seconds"] for row in results["rows"]], color="black")
        axes.set(xlabel="seconds an optimiser step")
