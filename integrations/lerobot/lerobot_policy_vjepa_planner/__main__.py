"""Writes a policy's folder for lerobot-rollout: python -m lerobot_policy_vjepa_planner FOLDER --goals='[goal.png]'."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import draccus
from lerobot.configs.types import FeatureType, PolicyFeature

from envs.arms.remote.client import PlanClient, ServerError
from envs.program import program
from lerobot_policy_vjepa_planner.configuration_vjepa_planner import VjepaPlannerConfig
from lerobot_policy_vjepa_planner.modeling_vjepa_planner import VjepaPlannerPolicy
from lerobot_policy_vjepa_planner.processor_vjepa_planner import make_vjepa_planner_pre_post_processors


def save_policy(config: VjepaPlannerConfig, folder: Path) -> VjepaPlannerPolicy:
    """Writes the folder that LeRobot's --policy.path takes, and returns the policy.

    Args:
        config: Its settings. What it sees and does is asked of the plan server, which must be running; `real_time` is
            set, and the paths of photographs are made absolute.
        folder: For settings and processors; what it holds under the same names is replaced.

    Raises:
        ValueError: If a setting does not fit the checkpoint, or a photograph cannot be read.
        ServerError: If there is no plan server.
    """
    with PlanClient(config.url, config.token, config.timeout) as client:
        numbers = (len(client.metadata["action_spec"]["names"]),)
    image = PolicyFeature(FeatureType.VISUAL, (3, 480, 640))  # LeRobot compares names alone, any size is scaled
    shown = [config.camera, *([] if config.goals else [config.goal])]
    state = {config.state: PolicyFeature(FeatureType.STATE, numbers)}
    config.input_features = {**{name: image for name in shown}, **state}
    config.goals, config.real_time = [str(Path(path).resolve()) for path in config.goals], True
    config.output_features = {"action": PolicyFeature(FeatureType.ACTION, numbers)}
    policy = VjepaPlannerPolicy(config)
    config.token = None  # a secret does not belong into a file that is shared
    policy.save_pretrained(folder)
    for steps in make_vjepa_planner_pre_post_processors(config):
        steps.save_pretrained(folder)
    return policy


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    folder, *settings = (sys.argv[1:] if arguments is None else arguments) or [""]
    if not folder or folder.startswith("-"):
        raise ValueError("name a folder first: python -m lerobot_policy_vjepa_planner FOLDER --goals='[goal.png]'")
    try:
        spec = save_policy(draccus.parse(VjepaPlannerConfig, args=settings), Path(folder)).units.spec
    except ServerError as error:
        raise ValueError(str(error)) from error
    print(f"acts on {', '.join(spec.names)} (frame {spec.frame})")
    print(f"lerobot-rollout --policy.path={folder} --fps={spec.rate:g}")


if __name__ == "__main__":
    main()
