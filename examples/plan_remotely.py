"""Plans through a server in another process, as a robot does whose model is on another machine.

Run `python examples/plan_remotely.py --output FOLDER`; it takes about 10 seconds. The robot's side needs the client
alone, and no torch.
"""

import argparse
import tempfile
from pathlib import Path

from envs import Observation
from envs.arms.remote.client import PlanClient
from envs.tasks.reach import FrankaReachEnv
from planner.deployment.server import plan_server


def reach_goal(url: str, seed: int, steps: int) -> None:
    """Prints how far the goal is at each step of an episode that the server plans."""
    env = FrankaReachEnv()
    seen, info = env.reset(seed=seed)
    with PlanClient(url) as client:
        print(f"the server plans with {client.metadata['checkpoint']}")
        client.reset(info["goals"], seed, env.action_spec.to_dict())
        for number in range(steps):
            print(f"step {number:2d}: {1000 * info['distance']:5.1f} mm from the goal")
            plan = client.infer(Observation(seen["image"], seen["pose"], info["time"]))
            seen, _, _, _, info = env.step(plan["actions"][0])
    print(f"step {steps:2d}: {1000 * info['distance']:5.1f} mm from the goal")


def main() -> None:
    """Starts a server, plans through it and stops it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder for the server's log; a temporary one if not given")
    output = parser.parse_args().output or Path(tempfile.mkdtemp())
    output.mkdir(parents=True, exist_ok=True)
    settings = ["--checkpoint", "franka-tiny", "--plan", "scripts/configs/plan/reach.yaml"]
    with plan_server(settings, log=output / "server.log") as url:  # elsewhere: python scripts/serve.py
        reach_goal(url, seed=1, steps=8)
    print("the server has stopped")


if __name__ == "__main__":
    main()
