"""The golden files of the official code, and small random models of every kind."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec
from world_model.base import LatentState
from world_model.compact import CompactModel
from world_model.encoders.readout import Readout, ReadoutConfig
from world_model.encoders.vjepa2 import Encoder, EncoderConfig, layer_norm
from world_model.heads.ways import InverseDynamics
from world_model.heads.ways_config import InverseDynamicsConfig, InverseDynamicsShape, JudgeShape
from world_model.importing.official import load_official
from world_model.predictors.compact import CompactDynamics, DynamicsConfig
from world_model.predictors.vjepa2_ac import Predictor, PredictorConfig
from world_model.statistics import Statistics
from world_model.vjepa2_ac import VJEPA2AC

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_FILES = ("vjepa2_ac_tiny", "vjepa2_ac_tiny_extrinsics")
ACTIONS = ActionSpec(POSE_NAMES, POSE_UNITS, (-0.1,) * 7, (0.1,) * 7, "base", 4.0)
STATISTICS = Statistics((0.01,) * 7, (0.04,) * 7, (0.4, 0.1, 0.3, 0.0, 0.1, 0.2, 0.5), (0.2,) * 7)


def golden_model(name: str = "vjepa2_ac_tiny") -> VJEPA2AC:
    """The official code's small random weights, read from its own checkpoint layout."""
    return load_official(
        GOLDEN / f"{name}.pt",
        image_size=64,
        encoder_heads=3,
        predictor_heads=4,
        max_frames=4,
        extrinsics="extrinsics" in name,
    )


def golden_outputs(name: str = "vjepa2_ac_tiny") -> dict[str, Tensor]:
    """What the official code makes of them, tokens split by frame: (B, T, N, D)."""
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    tokens = ("encoder_tokens", "latents", "pred_T1", "pred_T2", "pred_T3", "rollout_latents")
    return {key: value.unflatten(1, (-1, 16)) if key in tokens else value for key, value in tensors.items()}


def randomise(module: torch.nn.Module, seed: int = 0) -> None:
    """Fills all parameters with numbers large enough that every one of them shows in the outputs."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)


def small_predictor(**changes: object) -> Predictor:
    """A random predictor of 2 x 3 patches of width 12."""
    values: dict = {"token_width": 12, "width": 24, "depth": 2, "heads": 2, "mlp_ratio": 2.0, "max_frames": 6}
    predictor = Predictor(PredictorConfig(**{**values, "grid_height": 2, "grid_width": 3, **changes}))
    randomise(predictor)
    return predictor


def small_model(context: int = 2, **changes: object) -> VJEPA2AC:
    """A random world model that sees 2 x 2 patches of width 12, with statistics that matter."""
    encoder = small_encoder()
    randomise(encoder)
    predictor = small_predictor(grid_height=2, grid_width=2, **changes)
    return VJEPA2AC(encoder, predictor, ACTIONS, STATISTICS, context)


def small_encoder() -> Encoder:
    """An encoder that makes 2 x 2 patches of width 12."""
    return Encoder(EncoderConfig(image_size=16, width=12, depth=1, heads=2, patch_size=8, mlp_ratio=2.0))


def small_compact(latents: int = 2, pooling: str = "grid") -> CompactModel:
    """A random compact model that sees 2 x 2 patches and has latents of 5 numbers."""
    shape = ReadoutConfig(4, 12, latents, 5, pooling, narrow=3, hidden=8, heads=2)  # type: ignore[arg-type]
    dynamics = CompactDynamics(DynamicsConfig(5 * latents, width=16, depth=2))
    model = CompactModel(small_encoder(), Readout(shape), dynamics, ACTIONS, STATISTICS)
    randomise(model)
    return model.freeze()


def eager_model() -> CompactModel:
    """A small model with inverse dynamics that always have something to do, much the same."""
    model, judge = small_compact(), JudgeShape(code=4, reader=8, longest=6, width=16, depth=1)
    torch.manual_seed(0)
    policy = InverseDynamics(InverseDynamicsConfig(10, 7, 7, InverseDynamicsShape(judge, modes=3)))
    with torch.no_grad():
        policy.judge.count.get_parameter("1.bias")[1] = 50.0
        policy.first.centres[:] = -1.0
    model.add_head("inverse_dynamics", policy)
    return model.freeze()


def random_state(frames: int, tokens: int = 4, width: int = 12, seed: int = 0) -> LatentState:
    """Latents and poses of some frames of a random motion."""
    generator = torch.Generator().manual_seed(seed)
    poses = torch.rand(1, frames, 7, generator=generator) * 0.3 + 0.3
    return LatentState(layer_norm(torch.randn(1, frames, tokens, width, generator=generator)), poses)


def random_actions(*shape: int, seed: int = 1) -> Tensor:
    """Actions of a few centimetres and a tenth of a radian, (*shape, 7)."""
    return 0.1 * torch.rand(*shape, 7, generator=torch.Generator().manual_seed(seed)) - 0.05
