"""Drives an arm to goal photographs: a dry run unless --live is given. See scripts/deploy.py."""

from __future__ import annotations

from envs.program import end_unread, program
from envs.ranges import check_range

# isort: split

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from envs.arm_file import (
    ARM_TOKEN,
    ArmFile,
    TwinArmConfig,
    TwinTask,
    WatchedArm,
    check_present,
    make_driver,
    read_arm,
    tell_limits,
)
from envs.arms.base import ArmError, StreamingArm
from envs.arms.remote.client import PlanClient, ServerError
from envs.command_line import config_from_command_line
from envs.config import dump_config, find_config
from envs.episodes.recorder import RECORD, read_recording
from envs.folders import begin_folder, explained
from envs.keys import ask
from planner.control.plan_thread import PlanError
from planner.control.runtime import RuntimeConfig
from planner.deployment.drive import FAILED, FINISHED, INTERRUPTED, Drive, Manner, PlanNotes, drive
from planner.deployment.dry import DryRun
from planner.deployment.goals import CAMERA, Photograph, for_planner, keep_goal, read_goal, take_goals
from planner.deployment.joints import JointPlans, plans_for
from planner.deployment.replay import Replayed, commands_of, deviations
from planner.deployment.results import Results
from planner.deployment.server import plan_server
from planner.viewing.page import CONFIG
from planner.viewing.shown import Shown, describe
from planner.viewing.view import Kind, View, make_view
from world_model.checkpoints.folder import find_checkpoint

TOKEN = "VJEPA_PLANNER_TOKEN"
_PATIENCE = 30.0  # s for the server's answers; how long a plan may take is the runtime's to say
DESCRIPTION = (
    "Drives an arm to goal photographs; a dry run unless --live is given. Secrets are environment variables: "
    f"{TOKEN} of the plan server, {ARM_TOKEN} of an arm at a ws:// address."
)


@dataclass(frozen=True)
class DeployConfig:
    """What to drive where, and how.

    Attributes:
        arm: "twin" (the simulated arm in real time), a file as in scripts/configs/deploy, ws://address:port, or
            my_arm.py:make_arm, a function or class of one's own that makes an arm with its limits.
        goal: Photographs in PNG or JPEG files, pursued one after another; "camera" takes one with the arm's camera.
            None for the simulated arm's own task.
        live: Whether the arm moves.
        step: Whether each action waits for Enter.
        deadman: Whether the space bar must be held for the arm to move.
        yes: Whether to move without asking; real arms take it only where their file says so (unattended).
        server: URL of a plan server; None starts one here.
        checkpoint: Of the server that is started: name of a folder in checkpoints/, or its path.
        plan: Of the server that is started: YAML file of planning settings, such as scripts/configs/plan/reach.yaml.
        device: Of the server that is started: cpu, cuda, mps or auto.
        imagine: Of the server that is started: folder of recordings, whose frames show what plans should lead to.
        seed: Of the planner's noise; of the simulated task's start and goal too.
        episodes: How many, of the simulated task; the others' seeds follow.
        max_steps: Actions at most.
        runtime: How plans are followed; --runtime.mode overlapping plans while the arm moves.
        record: Folder of recordings, and of the dataset that they become, which scripts/train.py reads.
        task: What is being done, in words, for the dataset.
        replay: Recording whose commands are done again by the simulated arm.
        view: "video" writes video.mp4 and poster.png, "rerun" opens rerun's viewer.
        videos: The first so many runs are drawn.
        output: Folder for goals, videos and results; results/deploy/<time> if not given.
    """

    arm: str = "twin"
    goal: tuple[str, ...] = ()
    live: bool = False
    step: bool = False
    deadman: bool = False
    yes: bool = False
    server: str | None = None
    checkpoint: str = "franka-tiny"
    plan: Path | None = None
    device: str = "cpu"
    imagine: Path | None = None
    seed: int = 10000
    episodes: int = 1
    max_steps: int = 20
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    record: Path | None = None
    task: str = "reach the goal image"
    replay: Path | None = None
    view: Kind = "video"
    videos: int = 4
    output: Path | None = None

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "episodes", "max_steps")
        check_range(self, "[0, inf)", "seed", "videos")
        if self.step and self.deadman:
            raise ValueError("--step and --deadman both need the keyboard: choose one")
        if self.step and self.runtime.mode != "blocking":
            raise ValueError("--step waits for you before each action, so it needs --runtime.mode blocking")
        if not self.live and (self.record or self.step or self.deadman or self.yes):
            raise ValueError("--record, --step, --deadman and --yes are for runs that move the arm: add --live")
        if self.episodes > 1 and (self.goal or self.replay):
            raise ValueError("--episodes is for the simulated arm's own goals: leave it, --goal or --replay out")
        default = type(self)
        given = (self.imagine, self.plan, self.checkpoint != default.checkpoint, self.device != default.device)
        if (self.server or self.replay) and any(given):
            raise ValueError(
                "--checkpoint, --plan, --device and --imagine are for the plan server that is started here: with "
                "--server give them to serve.py, and --replay plans nothing"
            )
        if self.replay and (self.goal or self.arm != "twin" or self.record):
            raise ValueError("--replay is done by the simulated arm alone, without --arm, --goal and --record")


@dataclass(frozen=True)
class Run:
    """One thing to do: goals and where its files go."""

    name: str
    folder: Path
    goals: list[Photograph]
    seed: int


@program()
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status; what can go wrong ends it in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        config = config_from_command_line(DeployConfig, DESCRIPTION, arguments)
        output = config.output or Path("results/deploy") / time.strftime("%Y-%m-%dT%H-%M-%S")
        with explained(output=output, record=config.record):
            begin_folder(output, "deploy", "--output")
            dump_config(replace(config, yes=False), output / CONFIG)  # who does it again is asked again
            if config.record is not None:
                begin_folder(config.record, RECORD, "--record")
            return replay(config, output) if config.replay is not None else deploy(config, output)
    except (ValueError, OSError, ArmError, ServerError, PlanError, ImportError) as error:
        end_unread(error)
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def deploy(config: DeployConfig, output: Path) -> int:
    """Returns the exit status of all runs; what they leave behind is written when no arm moves any more."""
    file = read_arm(config.arm)
    check_arm(config, file)
    check_files(config)
    task = TwinTask(file.arm) if isinstance(file.arm, TwinArmConfig) else None
    driver = task.driver if task else make_driver(file.arm)  # type: ignore[arg-type]
    status = FAILED
    with ExitStack() as stack:
        stack.callback(driver.close)
        check_present(driver)
        view = make_view(config.view, output)
        server = config.server or stack.enter_context(plan_server(server_arguments(config), output / "server.log"))
        patience = max(_PATIENCE, config.runtime.planning_time)
        shown = config.view != "none"
        server_client = stack.enter_context(PlanClient(server, os.environ.get(TOKEN), patience, imagine=shown))
        client = plans_for(server_client, driver, file.joint_limits)
        judge = task if config.live and not config.goal else None
        results = Results(dump_config(config), output, client.metadata["checkpoint"], judge)
        stack.callback(results.write, view, config.videos, file.robot_type or file.arm.kind)  # after an error as well
        for run in make_runs(config, output, task, driver):
            if run.seed == config.seed and config.live:
                confirm(config, file, driver, run)
            done = do(config, file, driver, client, run, view)
            results.add(run.name, run.seed, run.folder, done, run.goals[-1].goal.pose)
            status = done.status
            if status != FINISHED:
                break
    return status


def check_files(config: DeployConfig) -> None:
    """Returns if what the run needs is there, before anything that takes long is started.

    Raises:
        ValueError: If a goal photograph, the planning settings or the checkpoint is not there.
    """
    for name in config.goal:
        if name != CAMERA:
            read_goal(name)
    if config.server is not None:
        return
    if config.plan is not None and not find_config(config.plan).is_file():
        raise ValueError(f"there is no file of planning settings {config.plan}; see scripts/configs/plan")
    if config.checkpoint != "toy":
        find_checkpoint(config.checkpoint)


def check_arm(config: DeployConfig, file: ArmFile) -> None:
    """Returns if the arm and the goals go together.

    Raises:
        ValueError: If a real arm has no goal, or is to move without a person's answer that it needs.
    """
    twin = isinstance(file.arm, TwinArmConfig)
    if not (twin or config.goal):
        raise ValueError("a real arm needs a goal: --goal FILE.png, several of them, or --goal camera")
    if not twin and config.episodes > 1:
        raise ValueError("--episodes is for the simulated arm, which can be put back to a start; leave it out")
    if config.yes and not (twin or file.unattended):
        raise ValueError(f"--yes is not for {config.arm}: someone must look at it (its file may say unattended: true)")


def server_arguments(config: DeployConfig) -> list[str]:
    """Returns what scripts/serve.py is started with."""
    plan = [] if config.plan is None else ["--plan", str(config.plan)]
    imagine = [] if config.imagine is None else ["--imagine", str(config.imagine)]
    return ["--checkpoint", config.checkpoint, "--device", config.device, *plan, *imagine]


def make_runs(config: DeployConfig, output: Path, task: TwinTask | None, driver: StreamingArm) -> Iterator[Run]:
    """Yields what is to be done; the simulated arm is put to each start just before it is yielded."""
    if config.goal:
        if task is not None:
            task.begin(config.seed)
        yield Run("run", output, list(take_goals(config.goal, output, driver)), config.seed)
        return
    assert task is not None, "check_arm has seen to it"
    for seed in range(config.seed, config.seed + config.episodes):
        folder, goals = output / f"seed-{seed}", task.begin(seed)
        names = ["goal.png"] if len(goals) == 1 else [f"goal-{index}.png" for index in range(len(goals))]
        kept = [keep_goal(goal, folder / name) for goal, name in zip(goals, names, strict=True)]
        yield Run(f"seed {seed}", folder, kept, seed)


def confirm(config: DeployConfig, file: ArmFile, driver: StreamingArm, run: Run) -> None:
    """Returns once a person has agreed to motion.

    Raises:
        ValueError: If nobody has.
    """
    most = 1000 * max(driver.action_spec.high[:3])
    goals = f"{config.episodes} of the task's own, from seed {config.seed}"
    print(
        f"{tell_limits(f'{config.arm}, an action moves it by up to {most:.0f} mm an axis', file.limits)}\n"
        f"goals      {', '.join(str(photograph.path) for photograph in run.goals) if config.goal else goals}\n"
        f"steps      {config.max_steps} actions at most, {config.runtime.mode}"
        f"{', each confirmed' if config.step else ''}{', space bar held' if config.deadman else ''}",
        flush=True,
    )
    if not config.yes and ask("the arm is going to move. Type yes: ") != "yes":
        raise ValueError("not confirmed: nothing moved")


def do(
    config: DeployConfig, file: ArmFile, driver: StreamingArm, client: PlanClient | JointPlans, run: Run, view: View
) -> Drive:
    """Returns what came of one run, live or dry."""
    run.folder.mkdir(parents=True, exist_ok=True)
    spec = file.narrowed(driver.action_spec)
    client.reset(for_planner(run.goals, client.metadata["goal_pose"]), run.seed, spec.to_dict())
    source = PlanNotes(client, run.goals[-1].goal.image)
    verbose = config.episodes == 1
    if config.live:
        arm = WatchedArm(driver, file.limits)
        manner = Manner(config.runtime, config.max_steps, config.step, config.deadman, config.record, config.task)
        return drive(arm, source, manner, view, verbose)
    print("dry run: nothing moves (--live moves the arm)", flush=True)
    done = Drive()
    with closing(driver):
        driver.connect()
        dry = DryRun(driver, file.limits, source, config.runtime.executor)
        try:
            for step in dry.run(config.max_steps):
                done.steps.append(source.shown(step))
                view.show(done.steps[-1])
                print(f"step {len(done.steps) - 1:3d}  would  {describe(step)}", flush=True)
        except (PlanError, ServerError) as error:
            done.status, done.reason = FAILED, " ".join(str(error).split())
    print(dry.told(), flush=True)
    return done


def replay(config: DeployConfig, output: Path) -> int:
    """Returns the exit status of doing a recording again; a dry run lists and draws what was recorded."""
    assert config.replay is not None
    recording, view = read_recording(config.replay), make_view(config.view, output)
    commands = commands_of(recording)
    title = f"{config.replay.name}{'' if recording.complete else ' (cut short)'}"
    results = Results(dump_config(config), output, "a recording", None)
    if not config.live:
        steps = [Shown(step, recording.steps[-1].observation.image) for step in recording.steps]
        for index, step in enumerate(commands):
            print(f"step {index:3d}  {describe(step)}")
        results.add(f"{title}, goal: its end", config.seed, output, Drive(steps), None)
        results.write(view, config.videos, "")
        return FINISHED
    file = read_arm(config.arm)
    assert isinstance(file.arm, TwinArmConfig)
    task = TwinTask(file.arm)
    task.place(recording.steps[0].observation.pose)
    if not config.yes and ask("the simulated arm is going to move. Type yes: ") != "yes":
        raise ValueError("not confirmed: nothing moved")
    source = PlanNotes(Replayed(recording), recording.steps[-1].observation.image)
    manner = Manner(config.runtime, len(commands), config.step, config.deadman)
    done = drive(WatchedArm(task.driver, file.limits), source, manner, view, verbose=True)
    away = 1000 * deviations(recording, [shown.step for shown in done.steps])
    if len(away):
        print(f"away from the recording: {away.max():.2f} mm at most, {away[-1]:.2f} mm at the end")
    results.add(f"replay of {title}", config.seed, output, done, None)
    results.write(view, config.videos, "")
    return done.status
