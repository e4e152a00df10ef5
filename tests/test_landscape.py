"""The energy around known steps: the exact model must single out the true action, and the script must draw it."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from envs.spec import Observation
from planner.diagnostics import landscape_program as script
from planner.diagnostics.landscape import StepDiagnosis, diagnose_step, energy_plane
from planner.objectives.objective import GoalDistance, GoalDistanceConfig, rollout_score
from world_model.toy import ToyWorldModel

ROOT = Path(__file__).parent.parent
POSES = np.array([[0.45, 0.0, 0.25, 0.0, 0.1, 0.2, 0.3], [0.48, -0.04, 0.27, 0.0, 0.1, 0.2, 0.3]])
IMAGE = np.zeros((128, 128, 3), np.uint8)
SQUARED = partial(GoalDistance, config=GoalDistanceConfig(norm="l2"))


def states(model: ToyWorldModel):
    return [model.encode([Observation(IMAGE, pose, 0.0)]) for pose in POSES]


def diagnose(sign: float = 1.0, seed: int = 0) -> StepDiagnosis:
    model = ToyWorldModel()
    now, after = states(model)
    action = sign * (after.poses - now.poses)[0, 0]
    return diagnose_step(model, SQUARED, now, after, action, torch.Generator().manual_seed(seed))


def test_an_exact_model_ranks_the_true_action_first() -> None:
    found = diagnose()
    assert found.rank == 0.0
    assert found.cost < 1e-9 < found.static_cost < found.shuffled_cost
    assert found.angle < math.radians(25)


def test_the_opposite_of_the_true_action_ranks_last() -> None:
    found = diagnose(sign=-1.0)
    assert found.rank > 0.95 and found.angle > math.radians(155)


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert diagnose(seed=3) == diagnose(seed=3) != diagnose(seed=4)


def test_a_step_that_does_not_move_has_no_rank() -> None:
    model = ToyWorldModel()
    now, after = states(model)
    with pytest.raises(ValueError, match="translation is zero"):
        diagnose_step(model, SQUARED, now, after, torch.zeros(7), torch.Generator())


def test_the_plane_is_lowest_at_the_true_action() -> None:
    model = ToyWorldModel()
    now, after = states(model)
    action = (after.poses - now.poses)[0, 0]
    xs, zs = torch.tensor([0.0, 0.03, 0.06]), torch.tensor([0.0, 0.02])
    costs = energy_plane(rollout_score(model, SQUARED(after.as_goal()), now), action, (0, 2), (xs, zs))
    assert costs.shape == (2, 3) and divmod(int(costs.argmin()), 3) == (1, 1)


def test_the_script_draws_a_file_as_the_official_notebooks(tmp_path: Path, capsys) -> None:
    images = np.random.default_rng(0).integers(0, 255, (1, 3, 60, 80, 3), dtype=np.uint8)
    poses = np.stack([POSES[0], POSES[1], POSES[0]])[None]
    np.savez(tmp_path / "two.npz", observations=images, states=poses)
    out = tmp_path / "out"
    script.main(["--npz", str(tmp_path / "two.npz"), "--shell", "16", "--points", "5", "--output", str(out)])
    assert "steps: 2" in capsys.readouterr().out
    assert np.asarray(Image.open(out / "landscape.png").convert("L")).std() > 5
    steps = json.loads((out / "results.json").read_text())["steps"]
    np.testing.assert_allclose(steps[0]["action"][:3], [0.03, -0.04, 0.02], atol=1e-6)


def test_the_script_takes_two_pictures(tmp_path: Path) -> None:
    for name in ("now", "after"):
        Image.fromarray(IMAGE).save(tmp_path / f"{name}.png")
    pictures = ["--images", str(tmp_path / "now.png"), str(tmp_path / "after.png")]
    poses = ["--poses", *(str(number) for number in POSES.flatten())]
    script.main([*pictures, *poses, "--shell", "8", "--points", "3", "--output", str(tmp_path / "out")])
    assert (tmp_path / "out" / "landscape.png").is_file()


def test_what_the_script_is_given_wrong_is_explained(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", observations=np.zeros((1, 2, 8, 8, 3)), states=np.zeros((1, 2, 7)))
    with pytest.raises(SystemExit, match="uint8 and states"):
        script.main(["--npz", str(tmp_path / "bad.npz")])
    np.savez(tmp_path / "other.npz", frames=np.zeros(3))
    with pytest.raises(SystemExit, match=r"must hold observations.*has \['frames'\]"):
        script.main(["--npz", str(tmp_path / "other.npz")])
    with pytest.raises(ValueError, match="images need poses"):
        script.LandscapeConfig(images=(Path("a"), Path("b")))
    with pytest.raises(ValueError, match="one source"):
        script.LandscapeConfig(npz=Path("a"), dataset=Path("b"))
