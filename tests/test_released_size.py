"""The released size from an official-layout file of 11.8 GB; takes minutes, 30 GB of disk and 12 GB of memory.

python -m pytest -m slow tests/test_released_size.py -s
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from envs.spec import Observation
from planner.objectives.objective import GoalDistance, GoalDistanceConfig
from planner.search.official_cem import OfficialCEM, OfficialCEMConfig
from world_model.encoders.vjepa2 import Encoder, EncoderConfig
from world_model.importing.official import ENCODER_NAMES, OFFICIAL_ACTIONS
from world_model.predictors.vjepa2_ac import Predictor, PredictorConfig
from world_model.vjepa2_ac import load_vjepa2_ac

ROOT = Path(__file__).parent.parent
VIT_G = EncoderConfig(image_size=256, width=1408, depth=40, heads=22, mlp_ratio=48 / 11)
PREDICTOR = PredictorConfig(
    token_width=1408, width=1024, depth=24, heads=16, mlp_ratio=4.0, grid_height=16, grid_width=16, max_frames=32
)
pytestmark = pytest.mark.slow


def official_encoder(names: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Returns random weights under the official names: the reverse of `official.encoder_to_transformers`."""
    weights = {}
    for ours, shape in names.items():
        if ".key." in ours or ".value." in ours:
            continue  # part of the qkv that the query stands for
        renamed = ours.replace(".attention.", ".attn.").replace(".query.", ".qkv.")
        for official_start, our_start in ENCODER_NAMES:
            if ours.startswith(our_start):
                renamed = official_start + renamed.removeprefix(our_start)
        rows = 3 * shape[0] if ".query." in ours else shape[0]
        weights[f"module.{renamed}"] = 0.02 * torch.randn(rows, *shape[1:])
    return weights


@pytest.fixture(scope="module")
def official_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.device("meta"):
        encoder, predictor = Encoder(VIT_G), Predictor(PREDICTOR)
    shapes = {name: tensor.shape for name, tensor in encoder.model.state_dict().items()}
    ours = {f"module.{name}": 0.02 * torch.randn(tensor.shape) for name, tensor in predictor.state_dict().items()}
    weights = official_encoder(shapes)
    content = {
        "encoder": weights,
        "target_encoder": {name: tensor.clone() for name, tensor in weights.items()},
        "predictor": ours,
        "opt": {"state": [[tensor.clone(), tensor.clone()] for tensor in ours.values()]},
        "epoch": 1,
    }
    path = tmp_path_factory.mktemp("released") / "vjepa2-ac-vitg.pt"
    torch.save(content, path)
    return path


def test_the_released_predictor_has_the_released_parameters() -> None:
    with torch.device("meta"):
        encoder, predictor = Encoder(VIT_G), Predictor(PREDICTOR)
    assert len(predictor.state_dict()) == 300
    assert sum(parameter.numel() for parameter in predictor.parameters()) == 305_220_992
    assert sum(parameter.numel() for parameter in encoder.parameters()) / 1e6 == pytest.approx(1012.2, abs=0.05)


def test_the_released_size_imports_within_its_memory_and_plans(official_file: Path, tmp_path: Path) -> None:
    print(f"\nfile: {official_file.stat().st_size / 1e9:.2f} GB")
    program = (
        "import sys; sys.path.insert(0, 'scripts'); import import_checkpoint; import_checkpoint.main(sys.argv[1:]); "
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    start = time.monotonic()
    command = [sys.executable, "-c", program, str(official_file), str(tmp_path / "vitg")]
    printed = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    peak = 1024 * int(printed.split()[-1])  # not getrusage: a child's begins with its parent's
    print(f"import: {time.monotonic() - start:.0f} s, peak resident memory {peak / 1e9:.2f} GB")
    assert peak < 12e9
    official_file.unlink()
    model = load_vjepa2_ac(tmp_path / "vitg")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (2, 256, 256, 3), dtype=torch.uint8, generator=generator).numpy()
    pose = torch.tensor([0.4, 0.0, 0.3, 3.0, 0.0, 0.0, 0.0]).double().numpy()
    start = time.monotonic()
    now, goal = (model.encode([Observation(image, pose, 0.0)]) for image in images)
    cost = GoalDistance(goal.as_goal(), GoalDistanceConfig(frames="last"))
    planner = OfficialCEM(OfficialCEMConfig(samples=4, iterations=2, elites=2))
    plan = planner.plan(partial(predicted_cost, model, cost, now), OFFICIAL_ACTIONS, torch.zeros(1, 1, 7), generator)
    print(f"encode twice and plan (4 samples, 2 iterations): {time.monotonic() - start:.1f} s")
    assert plan.actions.isfinite().all() and plan.actions.shape == (1, 7)


def predicted_cost(model, cost, state, actions: Tensor) -> Tensor:
    return cost(model.rollout(state, actions), actions)
