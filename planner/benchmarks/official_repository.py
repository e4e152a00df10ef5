"""The official repository's own code, from a checkout of github.com/facebookresearch/vjepa2, to run beside ours."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import types
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from planner.search.official_cem import OfficialCEMConfig
from world_model.encoders.vjepa2 import EncoderConfig
from world_model.importing.official import encoder_to_transformers
from world_model.predictors.vjepa2_ac import PredictorConfig
from world_model.statistics import Statistics
from world_model.vjepa2_ac import VJEPA2AC

WorldStep = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(frames (S, T, N, D), actions (S, T, 7), poses (S, T, 7)) to the next frame (S, 1, N, D) and pose (S, 1, 7)."""


class OfficialRepository:
    """Builds the official modules in our shapes and runs the official planner.

    Its code imports timm for stochastic depth alone, which no inference uses; without timm a stand-in serves.
    """

    def __init__(self, directory: Path) -> None:
        """Takes the checkout's folder.

        Raises:
            ValueError: If that is no such checkout.
        """
        if not (directory / "src" / "models" / "ac_predictor.py").is_file():
            raise ValueError(
                f"{directory} is no checkout of the official repository: it has no src/models/ac_predictor.py; "
                "git clone https://github.com/facebookresearch/vjepa2 and name its folder"
            )
        if str(directory) not in sys.path:
            sys.path.insert(0, str(directory))
        if "timm" not in sys.modules and importlib.util.find_spec("timm") is None:
            layers = types.ModuleType("timm.models.layers")
            layers.drop_path = lambda x, probability=0.0, training=False: x  # type: ignore[attr-defined]
            sys.modules |= {name: types.ModuleType(name) for name in ("timm", "timm.models")}
            sys.modules["timm.models.layers"] = layers
        self._planning = importlib.import_module("notebooks.utils.mpc_utils")
        self._planning.logger.setLevel(logging.WARNING)
        logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)  # it sets up logging for everyone
        warnings.filterwarnings("ignore", message=".*sdp_kernel.*", category=FutureWarning)

    def predictor(self, config: PredictorConfig, weights: dict[str, Tensor] | None = None) -> nn.Module:
        """Returns the official predictor of a shape, with our weights where given; their names are the same.

        Raises:
            ValueError: If the official code has no such predictor.
        """
        if config.pose_size != config.action_size:
            raise ValueError("the official predictor has poses as long as its actions")
        module = importlib.import_module("src.models.ac_predictor")
        patch = 16
        predictor = module.VisionTransformerPredictorAC(
            img_size=(config.grid_height * patch, config.grid_width * patch),
            patch_size=patch,
            num_frames=2 * config.max_frames,
            tubelet_size=2,
            embed_dim=config.token_width,
            predictor_embed_dim=config.width,
            depth=config.depth,
            num_heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            action_embed_dim=config.action_size,
            use_extrinsics=config.extrinsics,
        )
        if weights is not None:
            predictor.load_state_dict(weights, strict=True)
        return predictor.eval()

    def encoder(self, config: EncoderConfig, weights: dict[str, Tensor] | None = None) -> nn.Module:
        """Returns the official encoder of a shape, with our weights where given (its code needs einops).

        Raises:
            ValueError: If einops is missing.
        """
        if importlib.util.find_spec("einops") is None:
            raise ValueError("the official encoder's code needs einops: pip install einops")
        module = importlib.import_module("src.models.vision_transformer")
        encoder = module.VisionTransformer(
            img_size=(config.image_size, config.image_size),
            patch_size=config.patch_size,
            num_frames=16 if config.tubelet_size > 1 else config.tubelet_size,
            tubelet_size=config.tubelet_size,
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rope=True,
        ).eval()
        if weights is not None:
            named = {name: tensor for name, tensor in encoder.state_dict().items() if name != "pos_embed"}
            for name, tensor in encoder_to_transformers(named).items():  # views of the encoder's own tensors
                tensor.copy_(weights[name])
        return encoder.requires_grad_(False)

    def world_step(self, model: VJEPA2AC) -> WorldStep:
        """Returns what the official notebook's world model does, with the official predictor and a model's weights.

        What the official code lacks, statistics and the residual output of our own checkpoints, is done around it.
        """
        config, width = model.predictor.config, model.predictor.config.token_width
        predictor = self.predictor(config, model.predictor.state_dict()).to(model.action_mean.device)
        dtype = model.predictor.predictor_embed.weight.dtype
        predictor.to(dtype)
        plain = model.statistics == Statistics.identity(config.action_size, config.pose_size)

        def step(frames: Tensor, actions: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
            inputs = (actions, poses)
            if not plain:
                inputs = ((actions - model.action_mean) / model.action_std, model._from_mean(poses) / model.pose_std)
            predicted = predictor(frames.flatten(1, 2).to(dtype), *(value.to(dtype) for value in inputs))
            predicted = predicted[:, -config.tokens :].to(frames.dtype)
            if config.residual:
                predicted = predicted + frames[:, -1]
            predicted = nn.functional.layer_norm(predicted, (width,))[:, None]
            return predicted, self._planning.compute_new_pose(poses[:, -1:], actions[:, -1:])

        return step

    @torch.no_grad()
    def plan(
        self, step: WorldStep, tokens: Tensor, pose: Tensor, goal: Tensor, config: OfficialCEMConfig, bound: float
    ) -> Tensor:
        """Returns the action sequence (H, 7) of the official planner, its noise from torch's global generator.

        Args:
            step: From `world_step`.
            tokens: Of the present frame, (1, 1, N, D), layer-normed.
            pose: Its pose, (1, 1, 7).
            goal: Tokens of the goal, (1, 1, N, D).
            config: Settings.
            bound: Largest translation an axis and step [m].
        """
        settings: dict[str, Any] = {
            "rollout": config.horizon,
            "cem_steps": config.iterations,
            "samples": config.samples,
            "topk": config.elites,
            "momentum_mean": config.momentum_mean,
            "momentum_std": config.momentum_std,
            "momentum_mean_gripper": config.gripper_momentum_mean,
            "momentum_std_gripper": config.gripper_momentum_std,
            "maxnorm": bound,
        }
        return self._planning.cem(tokens, pose, goal, step, **settings)[0]
