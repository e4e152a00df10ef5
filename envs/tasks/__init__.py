"""Goal-reaching tasks as gymnasium environments, with experts and play; importing it registers them.

>>> import gymnasium, envs.tasks
>>> env = gymnasium.make("envs/FrankaReach-v0")
>>> observation, info = env.reset(seed=0)
>>> info["goals"][0].image.shape
(128, 128, 3)
"""

from dataclasses import replace
from typing import Any

import gymnasium

from envs.simulation.scene_config import MANIPULATION_SCENE, SceneConfig


def _register(name: str, entry_point: str, /, **settings: Any) -> None:
    """Registers a task; gymnasium's checks at each `make`, which warn of what is fixed on purpose, are in the tests."""
    gymnasium.register(f"envs/{name}-v0", entry_point, kwargs=settings, disable_env_checker=True)


_REACH, _MANIPULATION = "envs.tasks.reach:FrankaReachEnv", "envs.tasks.manipulation:Franka{}Env"  # imported when made
for _task in ("Push", "Grasp", "ReachWithObject", "PickPlace", "TwoObjects", "Stack"):
    _register(f"Franka{_task}", _MANIPULATION.format(_task))
for _steps in (25, 50, 75):
    _register(f"FrankaPlay{_steps}", "envs.tasks.play_goals:FrankaPlayEnv", steps=_steps)
for _task in ("Reach", "Push", "PickAndPlace"):
    _register(f"Fetch{_task}", "envs.tasks.fetch_tasks:FetchEnv", task=_task)
for _steps in (25, 50, 75):
    _register(f"PushT{_steps}", "envs.tasks.pusht_tasks:PushTEnv", steps=_steps)
_WALL = replace(MANIPULATION_SCENE, wall=0.10)
_register("FrankaReachWithObjectWall", _MANIPULATION.format("ReachWithObject"), scene=_WALL)
_register("FrankaReach", _REACH)
_register("FrankaReachMeshes", _REACH, scene=SceneConfig(meshes=True))
_register("FrankaReachObject", _REACH, scene=MANIPULATION_SCENE, image_size=168)
