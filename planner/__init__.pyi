from .base import Objective, Plan, Planner, Proposer, Score, SubgoalSource
from .control.controller import Controller
from .control.controller_config import ControllerConfig
from .control.episode import Step, goals_of, run_episode
from .objectives.objective import GoalDistance
from .objectives.objective_config import GoalDistanceConfig
from .search.cem import CEM
from .search.first_guess import FirstGuess
from .search.gradient import Gradient
from .search.hybrid import Hybrid
from .search.icem import ICEM
from .search.mppi import MPPI
from .search.official_cem import OfficialCEM
from .search.predictive_sampling import PredictiveSampling

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "Controller",
    "ControllerConfig",
    "FirstGuess",
    "GoalDistance",
    "GoalDistanceConfig",
    "Gradient",
    "Hybrid",
    "Objective",
    "OfficialCEM",
    "Plan",
    "Planner",
    "PredictiveSampling",
    "Proposer",
    "Score",
    "Step",
    "SubgoalSource",
    "goals_of",
    "run_episode",
]
