"""What is in a folder of recordings, printed and drawn: `scripts/dataset.py inspect`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
import yaml

from envs.config import load_config
from envs.episodes import DatasetError, Episode, EpisodeSource
from envs.episodes.open import describe_recordings, load_reading, open_dataset
from envs.episodes.reading import Reading
from envs.episodes.recordings import Contents
from envs.folders import begin_folder, explained, write_text
from envs.inspection.joints import Hints
from envs.inspection.named import survey_named
from envs.inspection.propose import propose
from envs.inspection.remarks import camera_remarks, clock_remarks, implausible, suspicions
from envs.inspection.sheet import draw_contact_sheet
from envs.inspection.survey import Column, Survey, spread
from envs.ranges import check_range

RANGED = 50  # episodes whose poses are read for the ranges
STATED = ("codebase_version", "robot_type", "fps", "total_episodes", "total_frames")


@dataclass(frozen=True, kw_only=True)
class Inspect(Hints):
    """Says what recordings hold and how they might be read.

    Attributes:
        folder: Of the recordings.
        reading: YAML file that says how to read them, or the name of a format such as mine.py:MyFormat; the proposed
            Reading if not given, or where only the format is.
        propose: Where to write the proposed Reading.
        recordings: Recordings whose numbers are looked at, spread over all.
        episodes: Rows of the contact sheet.
        frames: Frames a row.
        output: Folder for contact-sheet.png.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    reading: Path | None = None
    propose: Path | None = None
    recordings: int = 8
    episodes: int = 4
    frames: int = 7
    output: Path = Path("results/dataset")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "[1, inf)", "recordings", "episodes", "frames")
        if self.propose is not None and self.propose.exists():
            raise ValueError(f"{self.propose} is there already; name another file for the proposal")


def inspect(config: Inspect) -> None:
    """Prints what is there, a Reading to start from and what a Reading gives; draws the contact sheet.

    Raises:
        DatasetError: If nothing can be read, or the Reading that was given can't be followed.
    """
    with explained(output=config.output, propose=config.propose):
        begin_folder(config.output, "inspect", "--output")
        chosen = load_reading(config.reading)
        found = survey_named(config.folder, chosen, config.recordings)
        print("\n".join(describe(found)))
        try:
            contents = describe_recordings(config.folder, chosen.format)
        except DatasetError as error:
            print(f"\nno layout that can be opened: {error}")
            return
        rate = "a rate that no file says" if contents.rate is None else f"{contents.rate:g} Hz"
        print(f"\nformat {contents.format}: {contents.episodes} episodes at {rate}")
        proposal = try_to_propose(config, found, contents, chosen.format)
        if config.propose is not None and proposal is not None:
            write_text(config.propose, proposal)
            print(f"wrote {config.propose}")
        if chosen != Reading(format=chosen.format):
            show(config, chosen, str(config.reading))
        elif proposal is not None:
            try:
                show(config, load_config(Reading, yaml.safe_load(proposal)), "the proposed Reading")
            except DatasetError as error:
                print(f"the proposed Reading can't be followed yet: {error}")


def try_to_propose(config: Inspect, found: Survey, contents: Contents, named: str | None) -> str | None:
    """Returns the YAML of a Reading after printing it, or None after saying why there is none.

    Raises:
        DatasetError: If a file was to be written, or something was said of the arm, and there can be none.
    """
    try:
        proposal = propose(found, contents, config, named)
    except DatasetError as error:
        if config.propose is not None or config.given:
            raise
        print(f"\nno Reading is proposed: {error}")
        return None
    if proposal is None:
        print("no column looks like a pose or like joints; write a Reading as in scripts/configs/reading/")
    else:
        print(f"\n{proposal}")
    return proposal


def describe(found: Survey) -> list[str]:
    """Returns what is in the folder, as lines."""
    lines = [f"{found.folder}: {', '.join(f'{count} {kind}' for kind, count in sorted(found.files.items()))}"]
    if found.stated:
        stated = [f"{name} {found.stated.get(name)}" for name in STATED]
        lines.append(f"meta/info.json: {', '.join(stated)}")
    for camera in found.cameras.values():
        rate = f"its header says {camera.rate:g} Hz, " if camera.rate else ""
        height, width = camera.size
        lines.append(f"camera {camera.key}: {width} x {height}; {rate}{camera.frames} frames in the first")
    remarks = (*found.unreadable, *camera_remarks(found), *clock_remarks(found))
    lines += [f"  ! {text}" for text in remarks]
    if found.looked_at:
        lines.append(f"numbers of {len(found.looked_at)} recordings, {found.looked_at[0]} to {found.looked_at[-1]}:")
    return lines + [line for column in found.columns.values() for line in describe_column(column)]


def describe_column(column: Column) -> list[str]:
    """Returns shape, names, range and std of a column and what is suspicious about it, as lines."""
    values = column.values
    with np.errstate(all="ignore"):
        low, high, std = (getattr(np, name)(values, axis=0) for name in ("nanmin", "nanmax", "nanstd"))
    numbers = [f"{a:.4g} .. {b:.4g}, std {s:.3g}" for a, b, s in zip(low, high, std, strict=True)]
    if column.size == 1:
        lines = [f"  {column.key} (1): {numbers[0]}"]
    else:
        names = column.names or tuple(map(str, range(column.size)))
        lines = [f"  {column.key} ({column.size})"]
        lines += [f"      {name:14s} {text}" for name, text in zip(names, numbers, strict=True)]
    return lines + [f"    ! {text}" for text in suspicions(column)]


def show(config: Inspect, reading: Reading, name: str) -> None:
    """Prints what a Reading gives and draws the contact sheet.

    Raises:
        DatasetError: If nothing can be read with it.
    """
    source = open_dataset(config.folder, reading)
    whole = [episode for episode in range(len(source)) if episode not in source.problems]
    sizes = f"{sum(source.lengths)} frames at {source.spec.rate:g} Hz, images {source.image_shape}"
    print(f"with {name}: {len(whole)} episodes, {sizes}")
    for episode, reason in source.problems.items():
        print(f"  ! {source.names[episode]}: {reason}")
    if not whole:
        return
    print("\n".join(ranges(source, spread(whole, RANGED))))
    episodes: list[tuple[str, Episode]] = []
    for number in spread(whole, config.episodes):
        name = source.names[number]
        try:
            episodes.append((name, source[number]))
        except DatasetError as error:
            print(f"  ! {name}: {error}")
    for title, episode in episodes:
        for text in implausible(episode):
            print(f"  ! {title}: {text}")
    if episodes:
        sheet = config.output / "contact-sheet.png"
        draw_contact_sheet(episodes, config.frames, sheet)
        print(f"wrote {sheet}: do camera and poses agree, and is the gripper what it says?")


def ranges(source: EpisodeSource, episodes: list[int]) -> list[str]:
    """Returns a line for each number of a pose and of an action: from where to where it goes.

    Raises:
        DatasetError: If an episode's numbers can't be read.
    """
    recorded = [source.poses_actions(episode) for episode in episodes]
    poses, actions = (np.concatenate(parts) for parts in zip(*recorded, strict=True))
    spec = source.spec
    return [
        f"  {name:12s} pose {pose.min():+9.4f} .. {pose.max():+9.4f}   action {action.min():+8.4f} .. "
        f"{action.max():+8.4f}, std {action.std():.4f} {unit}"
        for name, unit, pose, action in zip(spec.names, spec.units, poses.T, actions.T, strict=True)
    ]
