"""What recordings in a format of somebody's own hold, as that format reads them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from envs.episodes import DatasetError
from envs.episodes.formats.registry import FORMATS, find_named
from envs.episodes.reading import Reading
from envs.episodes.recordings import Contents, Recordings
from envs.inspection.survey import Camera, Column, Survey, list_files, spread, survey


def survey_named(folder: Path, reading: Reading, recordings: int = 8) -> Survey:
    """Returns what is in a folder, see `survey`; a format of one's own that the Reading names says what that is.

    Args:
        folder: Where to look.
        reading: Names the format and, of several cameras, the one to look through.
        recordings: How many recordings to look at.

    Raises:
        DatasetError: If nothing can be read.
    """
    if reading.format is None or FORMATS.is_builtin(reading.format):
        return survey(folder, recordings)
    found, files = find_named(reading.format), Counter(path.suffix or path.name for path in list_files(folder))
    if found.name(folder) is None:
        raise DatasetError(f"{folder} is not of the format {reading.format}; there are {dict(files) or 'no files'}")
    contents = found.describe(folder)
    camera = reading.camera or next(iter(contents.cameras), None)
    opened = found.open(folder, replace(reading, camera=camera))
    return _look(folder, files, contents, opened, camera or "images", recordings)


def _look(folder: Path, files: Counter[str], contents: Contents, opened: Recordings, camera: str, count: int) -> Survey:
    """Returns what some recordings hold."""
    looked_at, cameras, unreadable = {}, {}, []
    for episode in spread(range(len(opened.names)), count):
        try:
            looked_at[opened.names[episode]] = opened.read(episode, tuple(contents.columns)).columns
            if not cameras:
                seen = opened.footage(episode)
                cameras = {camera: Camera(camera, (seen.height, seen.width), seen.rate, seen.frames)}
        except DatasetError as error:
            unreadable.append(f"{opened.names[episode]}: {error}")
    columns = {
        key: Column(key, () if names[0] == "0" else names, tuple(values[key] for values in looked_at.values()))
        for key, names in contents.columns.items()
        if looked_at
    }
    return Survey(folder, files, {}, tuple(looked_at), columns, cameras, tuple(unreadable))
