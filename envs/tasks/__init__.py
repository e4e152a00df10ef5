"""Goal-reaching tasks as gymnasium environments, with experts and play; importing it registers them.

>>> import gymnasium, envs.tasks
>>> env = gymnasium.make("envs/FrankaReach-v0")
>>> observation, info = env.reset(seed=0)
>>> info["goals"][0].image.shape
(128, 128, 3)
"""

from dataclasses import replace

import gymnasium

from envs.simulation.scene import SceneConfig
from envs.simulation.scene_config import MANIPULATION_SCENE

_MANIPULATION = "envs.tasks.manipulation:Franka{}Env"  # imported when one is made
for _task in ("Push", "Grasp", "ReachWithObject", "PickPlace", "TwoObjects"):
    gymnasium.register(id=f"envs/Franka{_task}-v0", entry_point=_MANIPULATION.format(_task))
gymnasium.register(
    id="envs/FrankaReachWithObjectWall-v0", entry_point=_MANIPULATION.format("ReachWithObject"),
    kwargs={"scene": replace(MANIPULATION_SCENE, wall=0.10)},
)  # fmt: skip
_ENTRY_POINT = "envs.tasks.reach:FrankaReachEnv"
gymnasium.register(id="envs/FrankaReach-v0", entry_point=_ENTRY_POINT)
gymnasium.register(id="envs/FrankaReachMeshes-v0", entry_point=_ENTRY_POINT, kwargs={"scene": SceneConfig(meshes=True)})
gymnasium.register(
    id="envs/FrankaReachObject-v0", entry_point=_ENTRY_POINT, kwargs={"scene": MANIPULATION_SCENE, "image_size": 168}
)
