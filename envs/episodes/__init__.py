"""Trajectories on disk. `Episode` is the one type.

Import `envs.episodes.open` to read recordings in any format, `envs.episodes.formats.lerobot` to write our own.
"""

from envs.episodes.episode import DatasetError, Episode, EpisodeSource

__all__ = ["DatasetError", "Episode", "EpisodeSource"]
