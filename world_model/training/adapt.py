"""What a training run starts from, and what of it learns: a new predictor, a parent's, its last blocks, adapters."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from envs.spec import SpecError
from world_model.data.batches import WindowBatches
from world_model.encoders.registry import StoredEncoder
from world_model.predictors.vjepa2_ac import Predictor, PredictorConfig
from world_model.training.train_config import LoRA, TrainConfig
from world_model.vjepa2_ac import VJEPA2AC, load_vjepa2_ac

ADAPTED = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
CONDITIONING = ("action_encoder", "state_encoder")


def make_model(
    config: TrainConfig, encoder: StoredEncoder, batches: WindowBatches, training: tuple[int, ...]
) -> VJEPA2AC:
    """Returns the world model that training starts from, what is to learn of its predictor unfrozen.

    Args:
        config: The run's; the same seed gives the same model.
        encoder: Frozen.
        batches: Gives action spec and statistics where they are not a parent's.
        training: Episodes that statistics are taken of.

    Raises:
        SpecError: If a parent's actions mean something else than the data's.
        ValueError: If a parent does not fit the data or the settings.
    """
    if config.parent is not None:
        return _adopt_parent(config, load_vjepa2_ac(config.parent), encoder, batches, training)
    size, spec = config.predictor, batches.action_spec
    shape = PredictorConfig(
        token_width=encoder.width,
        width=size.width,
        depth=size.depth,
        heads=size.heads,
        mlp_ratio=size.mlp_ratio,
        grid_height=encoder.grid,
        grid_width=encoder.grid,
        action_size=spec.size,
        pose_size=batches.poses[0].shape[1],
        max_frames=size.max_frames,
        residual=size.residual,
    )
    predictor = _seeded_predictor(shape, config.seed)
    _unfreeze(predictor, [predictor])
    return VJEPA2AC(encoder, predictor, spec, batches.statistics(training), config.context)


def _adopt_parent(
    config: TrainConfig, parent: VJEPA2AC, encoder: StoredEncoder, batches: WindowBatches, training: tuple[int, ...]
) -> VJEPA2AC:
    """Returns the parent with the data's action bounds, what is to learn of its predictor unfrozen."""
    predictor, statistics = parent.predictor, parent.statistics
    shape, poses = predictor.config, batches.poses[0].shape[1]
    if config.longest > shape.max_frames:
        raise ValueError(f"{config.parent} takes {shape.max_frames} frames at most, but {config.longest} are used")
    if config.blocks is not None and config.blocks > shape.depth:
        raise ValueError(f"{config.parent} has {shape.depth} blocks, {config.blocks} were to learn")
    if config.fresh_conditioning:
        statistics = batches.statistics(training)
        predictor = _with_fresh_conditioning(predictor, batches.action_spec.size, poses, config.seed)
    else:
        _check_same_conditioning(config, parent, batches, poses)
    learning: list[nn.Module | None] = [predictor]
    if config.blocks is not None:
        learning = [*predictor.predictor_blocks[-config.blocks :], predictor.predictor_norm, predictor.predictor_proj]
    elif config.lora.rank:
        add_adapters(predictor, config.lora, config.seed)
        learning = [part for name, part in predictor.named_modules() if name.endswith((".lora_A", ".lora_B"))]
    if config.fresh_conditioning or config.lora.rank:
        learning += [getattr(predictor, name) for name in CONDITIONING]
    _unfreeze(predictor, [module for module in learning if module is not None])
    return VJEPA2AC(encoder, predictor, batches.action_spec, statistics, config.context)


def _check_same_conditioning(config: TrainConfig, parent: VJEPA2AC, batches: WindowBatches, poses: int) -> None:
    """Raises SpecError if the parent's actions or poses are not the data's."""
    remedy = f"To train {config.parent} for them, let their encoders start anew: fresh_conditioning"
    try:
        parent.action_spec.check_same_meaning(batches.action_spec)
    except SpecError as error:
        raise SpecError(f"of {config.parent} (here) and the data (there): {error} {remedy}") from error
    size = parent.predictor.config.pose_size
    if size not in {0, poses}:
        raise SpecError(f"the data's poses have {poses} numbers, those of {config.parent} {size}. {remedy}")


def _with_fresh_conditioning(predictor: Predictor, actions: int, poses: int, seed: int) -> Predictor:
    """Returns the predictor with new encoders of actions and, where it has any, of poses."""
    shape = replace(predictor.config, action_size=actions, pose_size=poses if predictor.config.pose_size else 0)
    fresh = _seeded_predictor(shape, seed)
    kept = {n: v for n, v in predictor.state_dict().items() if n.partition(".")[0] not in CONDITIONING}
    fresh.load_state_dict({**fresh.state_dict(), **kept})
    return fresh


def _seeded_predictor(shape: PredictorConfig, seed: int) -> Predictor:
    """Returns a new predictor, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Predictor(shape)


def _unfreeze(predictor: Predictor, learning: list[nn.Module]) -> None:
    """Makes these parts of a predictor learn, and nothing else."""
    predictor.requires_grad_(False)
    for module in learning:
        module.requires_grad_(True)
    if not predictor.config.extrinsics:
        predictor.extrinsics_encoder.requires_grad_(False)  # of no effect, and processes wait for its gradients


def add_adapters(predictor: Predictor, lora: LoRA, seed: int) -> None:
    """Puts adapters, at first of no effect, around the attention and MLP weights of all blocks; see `LoRA`."""
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds

    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=ADAPTED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, predictor)


def plain_predictor(shape: PredictorConfig, lora: LoRA, weights: dict[str, Tensor]) -> Predictor:
    """Returns a predictor with these weights, those of its adapters, if it has any, merged into what they adapt."""
    predictor = Predictor(shape)
    if lora.rank:
        add_adapters(predictor, lora, seed=0)
    predictor.load_state_dict(weights)
    if lora.rank:
        _merge_adapters(predictor)
    return predictor


def _merge_adapters(predictor: Predictor) -> None:
    from peft.tuners.lora import LoraLayer

    for name, layer in list(predictor.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            owner, _, attribute = name.rpartition(".")
            setattr(predictor.get_submodule(owner), attribute, layer.get_base_layer())
