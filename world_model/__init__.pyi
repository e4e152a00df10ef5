from .base import Encoder, LatentGoal, LatentState, WorldModel
from .load import load_world_model

__all__ = ["Encoder", "LatentGoal", "LatentState", "WorldModel", "load_world_model"]
