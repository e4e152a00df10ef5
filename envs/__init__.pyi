from .arms.base import Arm, JointArm, StreamingArm
from .episodes.episode import Episode
from .spec import ActionSpec, Goal, Observation

__all__ = ["ActionSpec", "Arm", "Episode", "Goal", "JointArm", "Observation", "StreamingArm"]
