"""Trajectories on disk. `Episode` is the one type; import `envs.episodes.lerobot` to read or write datasets."""

from envs.episodes.episode import DatasetError, Episode, EpisodeSource

__all__ = ["DatasetError", "Episode", "EpisodeSource"]
