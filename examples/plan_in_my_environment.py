"""Plans in a gymnasium environment of your own: a ball in a small MuJoCo scene, to be where a goal shows it.

Run `python examples/plan_in_my_environment.py`; it takes about 5 seconds. The toy model plans, which reads poses and
not images: the bundled checkpoints have learnt one arm in one scene and do not know this one.
"""

import envs.simulation  # noqa: F401, I001  (before mujoco: it chooses a renderer that needs no screen)
import gymnasium
import mujoco
import numpy as np

from envs import ActionSpec, Goal
from envs.spec import POSE_NAMES, POSE_UNITS
from planner import CEM, Controller, run_episode
from world_model.toy import ToyWorldModel

SCENE = """
<mujoco>
  <default> <joint type="slide" damping="20"/> <position kp="200"/> </default>
  <worldbody>
    <light pos="0 0 2"/> <camera name="camera" pos="0.5 -0.9 0.9" xyaxes="1 0 0 0 0.6 0.8"/>
    <geom type="plane" size="2 2 0.1" rgba="0.6 0.6 0.5 1"/>
    <body gravcomp="1">
      <joint name="x" axis="1 0 0"/> <joint name="y" axis="0 1 0"/> <joint name="z" axis="0 0 1"/>
      <geom type="sphere" size="0.05" mass="1" rgba="0.8 0.2 0.1 1"/>
    </body>
  </worldbody>
  <actuator> <position joint="x"/> <position joint="y"/> <position joint="z"/> </actuator>
</mujoco>"""
MOST = (0.05, 0.05, 0.05, 0.0, 0.0, 0.0, 0.0)  # that one action changes of a pose [m, rad, 1]; a ball does not turn


class BallEnv(gymnasium.Env):
    """Servos pull a ball to where it is sent, with some delay."""

    action_spec = ActionSpec(POSE_NAMES, POSE_UNITS, tuple(-most for most in MOST), MOST, frame="base", rate=4.0)
    action_space = gymnasium.spaces.Box(-np.array(MOST), np.array(MOST), dtype=np.float64)

    def __init__(self):
        """Builds the scene and its camera."""
        self.model = mujoco.MjModel.from_xml_string(SCENE)
        self.data, self.renderer = mujoco.MjData(self.model), mujoco.Renderer(self.model, 128, 128)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Puts the ball at a random goal, to take a picture of it there, and then at a random start."""
        super().reset(seed=seed)
        self.goal, start = self.np_random.uniform((0.3, -0.2, 0.1), (0.7, 0.2, 0.3), (2, 3))
        at_goal, _ = self.put(self.goal)
        seen, info = self.put(start)
        return seen, {**info, "goals": [Goal(at_goal["image"], at_goal["pose"])]}

    def step(self, action: np.ndarray):
        """Sends the ball on from where it is measured, and waits for the time of one action."""
        self.data.ctrl[:] = self.data.qpos + action[:3]
        mujoco.mj_step(self.model, self.data, round(self.action_spec.period / self.model.opt.timestep))
        seen, info = self.look()
        return seen, 0.0, False, False, info

    def put(self, position: np.ndarray):
        """Puts the ball somewhere at rest."""
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = self.data.ctrl[:] = position
        mujoco.mj_forward(self.model, self.data)
        return self.look()

    def look(self):
        """Returns image and pose (position, Euler angles, gripper), and the info, whose time alone the planner sees."""
        self.renderer.update_scene(self.data, camera="camera")
        seen = {"image": self.renderer.render(), "pose": np.array([*self.data.qpos, 0.0, 0.0, 0.0, 0.0])}
        return seen, {"time": self.data.time, "distance": float(np.linalg.norm(self.data.qpos - self.goal))}


def main() -> None:
    """Plans one episode and prints how far the goal is at each step."""
    env = BallEnv()
    controller = Controller(ToyWorldModel(env.action_spec), CEM(), env.action_spec)
    for number, step in enumerate(run_episode(env, controller, goals=None, max_steps=10, seed=0)):
        print(f"step {number:2d}: {1000 * step.info['distance']:5.1f} mm from the goal")


if __name__ == "__main__":
    main()
