"""A predictor on several processes: a copy in each (DDP), or each holding a share of every tensor (FSDP2).

What is saved is whole tensors either way, so that a run may go on with another number of processes or another sharding.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from world_model.predictors.vjepa2_ac import Predictor
from world_model.training.processes import Processes


def shard(predictor: Predictor, processes: Processes) -> None:
    """Leaves to each process its share of the predictor's tensors; they are put together block by block as needed."""
    # keys and values are views, which a caller must not change in place; with a graph to record, ours does not
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    for block in predictor.predictor_blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(predictor, mesh=mesh, reshard_after_forward=True)  # after an evaluation, too, a share is what is left
    register_fsdp_forward_method(predictor, "extend")


def replicate(module: nn.Module, processes: Processes) -> nn.Module:
    """Returns the module with gradients that are the mean over all processes; the module itself where there is one."""
    if processes.count == 1:
        return module
    devices = [processes.device] if processes.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=devices)


@contextmanager
def exchange(learner: nn.Module, predictor: Predictor, now: bool) -> Iterator[None]:
    """Has the backward pass within exchange gradients with all processes, or (not now) only add them up in this one."""
    if isinstance(learner, DistributedDataParallel) and not now:
        with learner.no_sync():
            yield
        return
    if isinstance(predictor, FSDPModule):
        predictor.set_requires_gradient_sync(now)
    yield


def whole(values: Any, keep: bool) -> Any:
    """Returns nested mappings and lists with shared-out tensors put together in CPU memory; all processes call it.

    One after the other, so that a device holds no more than one of them whole; where a process does not `keep` them,
    None takes their place.
    """
    if isinstance(values, DTensor):
        tensor = values.full_tensor()
        return tensor.cpu() if keep else None
    if isinstance(values, Mapping):
        return {name: whole(value, keep) for name, value in values.items()}
    return [whole(value, keep) for value in values] if isinstance(values, list) else values


def whole_tensor(value: Tensor) -> Tensor:
    """Returns a tensor put together where it is, if it is shared out; all processes call it."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def share_like(value: Tensor, like: Tensor) -> Tensor:
    """Returns a whole tensor, or this process's share of it if `like` is shared out."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def share_all(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns whole tensors where those of the same names in `like` are: on their device, shared out if they are."""
    return {name: share_like(value.to(like[name].device), like[name]) for name, value in weights.items()}


@torch.no_grad()
def load_whole(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Makes whole tensors the module's, shared out if its own are; exactly its names."""
    module.load_state_dict(share_all(weights, module.state_dict()), strict=True)


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Restores an optimiser from what `whole` made of its `state_dict`."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shared = {
        number: {name: share_like(value, parameters[number]) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": shared})
