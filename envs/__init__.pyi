from .arms.base import Arm, JointArm, StreamingArm
from .arms.limits import SafetyLimits
from .episodes.episode import Episode
from .spec import ActionSpec, Goal, Observation

__all__ = ["ActionSpec", "Arm", "Episode", "Goal", "JointArm", "Observation", "SafetyLimits", "StreamingArm"]
