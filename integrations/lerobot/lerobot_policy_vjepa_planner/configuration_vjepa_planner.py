"""Settings of the policy."""

from __future__ import annotations

from dataclasses import dataclass, field

from lerobot.configs.policies import PreTrainedConfig
from lerobot.optim.optimizers import OptimizerConfig

UNTRAINED = (
    "this policy plans with a checkpoint that vjepa-planner has trained: fine-tune that with vjepa-planner train"
)


@PreTrainedConfig.register_subclass("vjepa_planner")
@dataclass
class VjepaPlannerConfig(PreTrainedConfig):
    """Where the plan server is, and what it is told.

    Attributes:
        url: Of a running plan server (vjepa-planner serve).
        token: Its secret, if it asks for one.
        goals: Photographs of how things should be, PNG or JPEG files, pursued one after another. None where the
            environment shows the goal, see `goal`.
        camera: Which image of an observation the planner sees.
        goal: Which image of an observation shows the goal, where no photographs are given.
        state: Which numbers of an observation are the pose, or the joint positions, that the checkpoint knows.
        action: What LeRobot does with an action: "target" if it is the next pose itself, as of robots' positions,
            "change" if it is what is added to the present one.
        degrees: Whether angles of state and action are in degrees; the checkpoint's are in radians.
        gripper: Where state and action have the gripper open, and where closed; the checkpoint's is 0 open, 1 closed.
        real_time: Whether an arm follows the actions as they come, so that asking faster than the checkpoint acts is an
            error; not in an evaluation, where simulated time stands still meanwhile.
        execute: Actions of each plan that are executed before the next plan is asked for.
        timeout: For each answer of the server [s].
        seed: Of the planner's noise.
    """

    url: str = "ws://127.0.0.1:8000"
    token: str | None = None
    goals: list[str] = field(default_factory=list)
    camera: str = "observation.images.camera"
    goal: str = "observation.images.goal"
    state: str = "observation.state"
    action: str = "target"
    degrees: bool = False
    gripper: tuple[float, float] = (0.0, 1.0)
    real_time: bool = False
    execute: int = 1
    timeout: float = 30.0
    seed: int = 0
    device: str | None = "cpu"
    push_to_hub: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action not in {"target", "change"}:
            raise ValueError(f"an action is the next 'target' or a 'change', got {self.action!r}")
        if self.execute < 1 or not self.timeout > 0:
            raise ValueError(f"execute must be at least 1 and timeout positive, got {self.execute}, {self.timeout}")

    @property
    def observation_delta_indices(self) -> None:
        """No past frames are asked for: the server remembers what it needs."""
        return None

    @property
    def action_delta_indices(self) -> None:
        """It is not trained here."""
        return None

    @property
    def reward_delta_indices(self) -> None:
        """It is not trained here."""
        return None

    def get_optimizer_preset(self) -> OptimizerConfig:
        """Raises NotImplementedError: it is not trained here."""
        raise NotImplementedError(UNTRAINED)

    def get_scheduler_preset(self) -> None:
        """It is not trained here."""
        return None

    def validate_features(self) -> None:
        """Returns if the observations have what the planner needs.

        Raises:
            ValueError: Naming what is missing and what there is.
        """
        needed = [self.camera, self.state, *([] if self.goals else [self.goal])]
        missing = [name for name in needed if name not in (self.input_features or {})]
        if missing:
            raise ValueError(
                f"the planner needs {', '.join(missing)}, observations have {', '.join(self.input_features or {})}: "
                "name them (--policy.camera, --policy.state), and give photographs of the goal (--policy.goals) where "
                "no image shows it"
            )
