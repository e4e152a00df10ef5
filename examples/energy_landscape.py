"""Draws the energy of the imagined next frame over a grid of actions, for one step of play whose action is known.

Run `python examples/energy_landscape.py --output FOLDER`; it takes about 8 seconds. The energy is the distance between
the latents that the model predicts and those of what was seen next: it should be lowest at the true action.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from matplotlib.figure import Figure

from envs import Observation
from envs.tasks.play import PlayConfig, make_play_arm, record_episode
from planner import GoalDistance
from world_model import load_world_model


def main() -> None:
    """Writes landscape.png and prints the true action and the one of the lowest energy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder for the picture; a temporary one if not given")
    output = parser.parse_args().output or Path(tempfile.mkdtemp())
    output.mkdir(parents=True, exist_ok=True)

    episode = record_episode(make_play_arm(image_size=128), PlayConfig(), seed=10001)
    step = int(abs(episode.actions[:, :2]).max(axis=1).argmax())  # the one that moves most
    now, then = (Observation(episode.images[t], episode.poses[t], t / episode.rate) for t in (step, step + 1))
    true = torch.from_numpy(episode.actions[step])

    model = load_world_model("franka-tiny")
    state, goal = model.encode([now]), model.encode([then]).as_goal()
    side = torch.linspace(-0.1, 0.1, 31)  # m
    actions = true.repeat(31, 31, 1)  # all else as in the true action
    actions[..., 0], actions[..., 1] = side[None, :], side[:, None]
    actions = actions.reshape(-1, 1, 7)  # 961 plans of one action
    with torch.no_grad():
        energy = GoalDistance(goal)(model.rollout(state, actions), actions)
    best = actions[energy.argmin(), 0]

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    before, after, landscape = figure.subplots(1, 3, width_ratios=(1, 1, 1.6))
    for axis, observation, title in ((before, now, "seen"), (after, then, "seen next")):
        axis.imshow(observation.image)
        axis.set(title=title, xticks=[], yticks=[])
    filled = landscape.contourf(1000 * side, 1000 * side, energy.reshape(31, 31), levels=20)
    landscape.plot(*(1000 * true[:2]), "o", color="red", fillstyle="none", markersize=14, label="true action")
    landscape.plot(*(1000 * best[:2]), "x", color="white", markersize=8, label="lowest energy")
    landscape.set(title="energy of an action", xlabel="dx [mm]", ylabel="dy [mm]", aspect="equal")
    landscape.legend(loc="upper right", facecolor="grey")
    figure.colorbar(filled, ax=landscape)
    figure.savefig(output / "landscape.png")
    for name, action in (("true action", true), ("lowest energy", best)):
        print(f"{name:13s}: dx {1000 * action[0]:5.1f} mm, dy {1000 * action[1]:5.1f} mm")
    print(f"wrote {output / 'landscape.png'}")


if __name__ == "__main__":
    main()
