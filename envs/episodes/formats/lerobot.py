"""LeRobot v3.0 datasets: parquet for poses and actions, MP4 for images, an ActionSpec in meta/info.json.

Writing: `write_shard` from any number of processes, skipping what `shard_exists`, then `finalize_dataset` once.
Reading: `read_dataset`. Needs pyarrow; torchcodec is imported when the first video is touched.
"""

from envs.episodes.formats.lerobot_layout import CAMERA
from envs.episodes.formats.lerobot_read import EpisodeDataset, read_dataset
from envs.episodes.formats.lerobot_write import finalize_dataset, shard_exists, write_shard

__all__ = [
    "CAMERA",
    "EpisodeDataset",
    "finalize_dataset",
    "read_dataset",
    "shard_exists",
    "write_shard",
]
