"""Checkpoints on disk: NAME/manifest.yaml, NAME/encoder/ (transformers format), NAME/predictor.safetensors.

Where a critic was trained, NAME/critic.safetensors is there too, and NAME/encoder/whitening.safetensors where tokens
are whitened.

The manifest says everything that planning needs (shapes, action spec, statistics, rate) and the SHA-256 of each file.
Loading is strict and reads nothing but YAML, JSON and safetensors.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from envs.config import dump_config, load_config
from envs.spec import ActionSpec
from world_model.critic import Critic, CriticConfig
from world_model.device import Precision, find_device, resolve_precision
from world_model.encoder import Encoder, EncoderConfig
from world_model.finite import not_finite, some
from world_model.predictor import Predictor, PredictorConfig
from world_model.statistics import Statistics
from world_model.vjepa2_ac import VJEPA2AC
from world_model.weights_file import CheckpointError, file_sha256, write_weights

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
FORMAT = 1
MANIFEST = "manifest.yaml"
ENCODER_CONFIG, ENCODER_WEIGHTS, PREDICTOR_WEIGHTS = (
    "encoder/config.json",
    "encoder/model.safetensors",
    "predictor.safetensors",
)
CRITIC_WEIGHTS = "critic.safetensors"
WHITENING = "encoder/whitening.safetensors"
FILES = frozenset((ENCODER_CONFIG, ENCODER_WEIGHTS, PREDICTOR_WEIGHTS))
ENCODER_FIELDS = (  # of transformers' config.json, those that the encoder's outputs depend on
    "crop_size", "patch_size", "tubelet_size", "in_chans", "hidden_size", "num_attention_heads", "num_hidden_layers",
    "mlp_ratio", "layer_norm_eps", "qkv_bias", "hidden_act",
)  # fmt: skip
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint is and where it comes from.

    Attributes:
        format: Version of this layout.
        name: Of the folder it was written as.
        encoder: Shape of the encoder; image_size is the side of the images it plans with [pixels].
        predictor: Shape of the predictor.
        action_spec: What its actions mean.
        fps: Frames a second of the training windows.
        context: Past frames that its rollouts use.
        statistics: What actions and poses are normalised with.
        weights: Precision of the stored weights.
        licence: Of the weights.
        parent: The checkpoint it was trained from, if any.
        training: How it was made: command, git_commit, data, metrics.
        files: SHA-256 of each file.
        critic: Shape of the critic; None where there is none.
    """

    format: int
    name: str
    encoder: EncoderConfig
    predictor: PredictorConfig
    action_spec: ActionSpec
    fps: float
    context: int
    statistics: Statistics
    weights: Literal["float32", "bfloat16"]
    licence: str
    parent: str | None
    training: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)
    critic: CriticConfig | None = None

    def __post_init__(self) -> None:
        expected = checkpoint_files(self.encoder, self.critic)
        if set(self.files) != expected:
            raise CheckpointError(f"files must be exactly {sorted(expected)}, got {sorted(self.files)}")
        if not self.fps > 0:
            raise CheckpointError(f"fps must be positive, got {self.fps}")


def save_checkpoint(
    directory: str | Path,
    model: VJEPA2AC,
    *,
    training: Mapping[str, Any],
    fps: float | None = None,
    licence: str = "MIT",
    parent: str | None = None,
    weights: Literal["float32", "bfloat16"] = "float32",
) -> Manifest:
    """Writes a checkpoint and returns its manifest; one already there is replaced once all is written.

    Args:
        directory: Where to; its last part becomes the name.
        model: What to write.
        training: How it was made, plain values: command, git_commit, data, metrics.
        fps: Frames a second of the training windows; the action spec's rate if not given.
        licence: Of the weights.
        parent: The checkpoint it was trained from, if any.
        weights: Precision to store; bfloat16 rounds.

    Raises:
        CheckpointError: If the directory is there and is no checkpoint, or weights are not finite.
    """
    directory = Path(directory).resolve()
    if directory.exists() and not (directory / MANIFEST).is_file() and any(directory.iterdir()):
        raise CheckpointError(f"{directory} holds something that is no checkpoint; name another directory")
    directory.parent.mkdir(parents=True, exist_ok=True)
    critic = None if model.critic is None else model.critic.config
    files = checkpoint_files(model.encoder.config, critic)
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        partial.chmod(0o755)
        _write_weights(partial, model, DTYPES[weights])
        manifest = Manifest(
            format=FORMAT,
            name=directory.name,
            encoder=model.encoder.config,
            predictor=model.predictor.config,
            action_spec=model.action_spec,
            fps=float(model.action_spec.rate if fps is None else fps),
            context=model.context,
            statistics=model.statistics,
            weights=weights,
            licence=licence,
            parent=parent,
            training=dict(training),
            files={name: file_sha256(partial / name) for name in sorted(files)},
            critic=critic,
        )
        dump_config(manifest, partial / MANIFEST)
        _replace(directory, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def load_checkpoint(
    name_or_path: str | Path, device: str | torch.device = "cpu", precision: Precision = "fp32"
) -> VJEPA2AC:
    """Returns the world model of a checkpoint, in eval mode and frozen: training unfreezes what it trains.

    Args:
        name_or_path: A folder, or the name of one in checkpoints/.
        device: Where to put it: cpu, cuda, cuda:1, mps, or auto for the best there is.
        precision: Type of the networks' weights in memory, in which they compute; "bf16" is for planning (training
            wants fp32 weights), "auto" takes it where the hardware is faster in it.

    Raises:
        CheckpointError: If there is no such checkpoint, or a file is missing, is not the one that the manifest names,
            or does not fit it.
        ValueError: If there is no such device.
    """
    device = find_device(device)
    dtype = torch.bfloat16 if resolve_precision(precision, device) == "bf16" else torch.float32
    folder = find_checkpoint(name_or_path)
    manifest = read_manifest(folder)
    _verify_files(folder, manifest)
    _check_encoder_config(folder, manifest.encoder)
    with torch.device("meta"):  # no weights are initialised only to be overwritten
        encoder, predictor = Encoder(manifest.encoder), Predictor(manifest.predictor)
        critic = None if manifest.critic is None else Critic(manifest.critic)
    stored = DTYPES[manifest.weights]
    parts: list[tuple[nn.Module, str]] = [(encoder.model, ENCODER_WEIGHTS), (predictor, PREDICTOR_WEIGHTS)]
    if critic is not None:
        parts.append((critic, CRITIC_WEIGHTS))
    for module, name in parts:
        load_weights(module, _read_weights(folder / name, stored), str(folder / name), dtype)
    if encoder.whitening is not None:
        load_weights(encoder.whitening, _read_weights(folder / WHITENING, torch.float32), str(folder / WHITENING))
    try:
        model = VJEPA2AC(encoder, predictor, manifest.action_spec, manifest.statistics, manifest.context, critic)
    except ValueError as error:
        raise CheckpointError(f"{folder / MANIFEST}: {error}") from error
    return model.to(device).requires_grad_(False).eval()


def find_checkpoint(name_or_path: str | Path) -> Path:
    """Returns the folder of a checkpoint: the path itself, or the name in checkpoints/.

    Raises:
        CheckpointError: Listing those that exist.
    """
    for folder in (Path(name_or_path), CHECKPOINTS / name_or_path):
        if (folder / MANIFEST).is_file():
            return folder
    if Path(name_or_path).is_dir():
        raise CheckpointError(f"{name_or_path} is no checkpoint: it has no {MANIFEST}")
    names = sorted(path.parent.name for path in CHECKPOINTS.glob(f"*/{MANIFEST}"))
    raise CheckpointError(f"there is no checkpoint {str(name_or_path)!r}; {CHECKPOINTS} has {names or 'none'}")


def read_manifest(name_or_path: str | Path) -> Manifest:
    """Returns the manifest of a checkpoint without reading its weights.

    Raises:
        CheckpointError: If it is no valid manifest; an unknown key is named with the nearest known one.
    """
    path = find_checkpoint(name_or_path) / MANIFEST
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        version = values.get("format") if isinstance(values, dict) else None
        raise CheckpointError(f"{path} must be of format {FORMAT}, got {version}; a newer version may read it")
    try:
        return load_config(Manifest, values)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def load_weights(
    module: nn.Module, weights: Mapping[str, Tensor], origin: str, dtype: torch.dtype = torch.float32
) -> None:
    """Makes the given tensors the module's parameters; exactly its names and shapes, finite, in the type asked for.

    Raises:
        CheckpointError: Naming missing and unexpected keys, wrong shapes or what is not finite, and `origin`, where
            they come from.
    """
    expected = module.state_dict()
    missing, unexpected = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or unexpected:
        raise CheckpointError(f"{origin}: {some(missing)} missing, {some(unexpected)} unexpected")
    wrong = [
        f"{name} is {tuple(weights[name].shape)}, must be {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if weights[name].shape != tensor.shape
    ]
    if wrong:
        raise CheckpointError(f"{origin}: wrong shapes: {'; '.join(wrong[:5])}")
    broken = not_finite(weights)
    if broken:
        raise CheckpointError(
            f"{origin}: {len(broken)} of {len(weights)} tensors are not finite: {some(broken)}. The training that they "
            "come from diverged; use an earlier checkpoint"
        )
    module.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()}, strict=True, assign=True)


def _write_weights(folder: Path, model: VJEPA2AC, dtype: torch.dtype) -> None:
    (folder / "encoder").mkdir()
    model.encoder.model.config.save_pretrained(folder / "encoder")
    write_weights(folder / ENCODER_WEIGHTS, model.encoder.model.state_dict(), dtype)
    write_weights(folder / PREDICTOR_WEIGHTS, model.predictor.state_dict(), dtype)
    if model.encoder.whitening is not None:
        write_weights(folder / WHITENING, model.encoder.whitening.state_dict())  # small, and divides by small numbers
    if model.critic is not None:
        write_weights(folder / CRITIC_WEIGHTS, model.critic.state_dict(), dtype)


def checkpoint_files(encoder: EncoderConfig, critic: CriticConfig | None) -> frozenset[str]:
    """Returns the names of a checkpoint's files beside the manifest."""
    there = {CRITIC_WEIGHTS: critic is not None, WHITENING: encoder.components is not None}
    return FILES | {name for name, is_there in there.items() if is_there}


def _read_weights(path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a valid safetensors file: {error}") from error
    wrong = sorted(name for name, tensor in weights.items() if tensor.dtype != dtype)
    if wrong:
        raise CheckpointError(f"{path}: the manifest says {dtype}, but {some(wrong)} is {weights[wrong[0]].dtype}")
    return weights


def _verify_files(folder: Path, manifest: Manifest) -> None:
    """Raises CheckpointError if a file is missing or not the one that the manifest was written for."""
    for name, expected in manifest.files.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing, though {MANIFEST} names it")
        found = file_sha256(folder / name)
        if found != expected:
            raise CheckpointError(
                f"{folder / name} is damaged or was replaced: its SHA-256 is {found}, {MANIFEST} says {expected}"
            )


def _check_encoder_config(folder: Path, config: EncoderConfig) -> None:
    """Raises CheckpointError if transformers' config.json describes another encoder than the manifest."""
    path = folder / ENCODER_CONFIG
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    expected = config.to_transformers()
    for name in ENCODER_FIELDS:
        if found.get(name) != getattr(expected, name):
            raise CheckpointError(
                f"{path}: {name} is {found.get(name)!r}, the manifest's encoder has {getattr(expected, name)!r}"
            )


def _replace(directory: Path, partial: Path) -> None:
    """Puts a finished folder in its place; the old one stays whole until then."""
    old = directory.with_name(f".{directory.name}.old.{os.getpid()}")
    if directory.exists():
        directory.rename(old)
    partial.rename(directory)
    shutil.rmtree(old, ignore_errors=True)
