"""LeRobot datasets as others write them: versions, images in tables, gaps, stale indices, videos of every kind."""

import contextlib
import io
import json
import logging
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import recordings as fixtures
from PIL import Image
from readings import open_layout
from recordings import CAMERA, LENGTHS, LOSSLESS, RATE, STATE, trajectories

from envs.episodes import DatasetError
from envs.episodes.open import describe_recordings, find_format
from envs.episodes.recordings import Remarks
from envs.episodes.video import _torchcodec, encode_frames
from tests.damage import info

V21_FILE = "data/chunk-000/episode_{:06d}.parquet"
V21_VIDEO = f"videos/chunk-000/{CAMERA}/episode_{{:06d}}.mp4"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("written")
    fixtures.write_v21(root / "v2.1")
    fixtures.write_v3(root / "v3.0")
    return root


@pytest.fixture
def root(written, tmp_path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(written, tmp_path / "copied")


def edit_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def with_column(table: pa.Table, key: str, values) -> pa.Table:
    return table.drop_columns([key] if key in table.column_names else []).append_column(key, values)


def edit_lines(root: Path, change: Callable[[list[dict]], list[dict]]) -> None:
    path = root / "meta/episodes.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in change(lines))
    path.write_text(text, encoding="utf-8")


def assert_read(root: Path, layout: str = "v2.1", episodes: tuple[int, ...] = (0, 1, 2)) -> None:
    """All episodes are those that were written, to the last pixel."""
    source = open_layout(root, layout)
    assert (len(source), dict(source.problems)) == (len(episodes), {})
    for place, number in enumerate(episodes):
        episode = source[place]
        np.testing.assert_allclose(episode.poses, trajectories()[number].poses, atol=1e-6)
        np.testing.assert_array_equal(episode.images, trajectories()[number].images)


# versions


def test_v20_is_read_like_v21(root):
    info(codebase_version="v2.0")(root / "v2.1")
    assert find_format(root / "v2.1") == "lerobot v2.0"
    assert_read(root)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("v3.1", r"newer than is read here: v3\.1; read are v2\.0, v2\.1, v3\.0; update vjepa-planner$"),
        ("v10.0", r"newer than is read here: v10\.0"),
        ("v1.6", r"older than is read here: v1\.6.*convert_dataset_v1_to_v2\.py"),
        ("v2.5", r"codebase_version 'v2\.5', which is not known here; read are"),
        ("latest", "codebase_version 'latest', which is no version of LeRobot's"),
        (3, "codebase_version 3, which is no version"),
        (None, "codebase_version None, which is no version"),
    ],
)
def test_other_versions_are_told_apart(root, version, message):
    info(codebase_version=version)(root / "v3.0")
    with pytest.raises(DatasetError, match=message):
        find_format(root / "v3.0")


# images in parquet files


def encode(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def structs(contents: Sequence[bytes | None], paths: Sequence[str | None]) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": content, "path": path} for content, path in zip(contents, paths, strict=True)], kind)


def put_in_tables(root: Path, column: Callable[[int, list[bytes]], pa.Array]) -> Path:
    """Makes the images of v2.1 a column of its tables."""
    shutil.rmtree(root / "v2.1/videos")
    features = json.loads((root / "v2.1/meta/info.json").read_text(encoding="utf-8"))["features"]
    info(video_path=None, features=features | {CAMERA: features[CAMERA] | {"dtype": "image"}})(root / "v2.1")
    for number, seen in enumerate(trajectories()):
        images = column(number, [encode(image) for image in seen.images])
        edit_table(
            root / "v2.1" / V21_FILE.format(number), lambda table, images=images: with_column(table, CAMERA, images)
        )
    return root / "v2.1"


COLUMNS: dict[str, Callable[[int, list[bytes]], pa.Array]] = {
    "structs": lambda _, images: structs(images, [f"frame_{frame:06d}.png" for frame in range(len(images))]),
    "bytes": lambda _, images: pa.array(images, pa.binary()),
    "large bytes": lambda _, images: pa.array(images, pa.large_binary()),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_images_in_tables_are_read_like_videos(root, kind):
    folder = put_in_tables(root, COLUMNS[kind])
    assert describe_recordings(folder).cameras == {CAMERA: (fixtures.HEIGHT, fixtures.WIDTH)}
    assert_read(root)


def test_images_in_tables_follow_the_rows_that_a_rate_chooses(root):
    put_in_tables(root, COLUMNS["structs"])
    episode = open_layout(root, "v2.1", rate=5)[2]
    np.testing.assert_array_equal(episode.images, trajectories()[2].images[::3])


@pytest.mark.parametrize("beside", ["images/{key}/episode_{episode:06d}", "data/chunk-000"])
def test_images_in_files_that_a_table_names_are_read(root, beside):
    def save(episode: int, images: list[bytes]) -> pa.Array:
        folder = root / "v2.1" / beside.format(key=CAMERA, episode=episode)
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"{episode}_{frame}.png" for frame in range(len(images))]
        for name, image in zip(names, images, strict=True):
            (folder / name).write_bytes(image)
        told = "/home/somebody/set/" + beside.format(key=CAMERA, episode=episode) + "/" if "images" in beside else ""
        return structs([None] * len(images), [told + name for name in names])

    put_in_tables(root, save)
    assert_read(root)
    with contextlib.chdir(root.parent):  # a dataset is named as a user types it
        assert_read(Path(root.name))


def test_images_in_the_shared_tables_of_v30_are_each_episodes_own(root):
    path = root / "v3.0/data/chunk-000/file-000.parquet"
    images = [encode(image) for seen in trajectories() for image in seen.images]
    table = with_column(pq.read_table(path), CAMERA, structs(images, [None] * len(images)))
    pq.write_table(table, path, row_group_size=7)
    index = root / "v3.0/meta/episodes/chunk-000/file-000.parquet"
    edit_table(
        index, lambda table: table.drop_columns([key for key in table.column_names if key.startswith("videos/")])
    )
    features = json.loads((root / "v3.0/meta/info.json").read_text(encoding="utf-8"))["features"]
    info(video_path=None, features=features | {CAMERA: features[CAMERA] | {"dtype": "image"}})(root / "v3.0")
    shutil.rmtree(root / "v3.0/videos")
    assert_read(root, "quaternion")
    table = pq.read_table(path)
    pq.write_table(table.slice(0, LENGTHS[0]), path)
    pq.write_table(table.slice(LENGTHS[0]), path.with_name("file-001.parquet"))  # where the index does not look
    assert_read(root, "quaternion")


GREY = (
    np.linspace(0, 65535, fixtures.HEIGHT * fixtures.WIDTH).astype(np.uint16).reshape(fixtures.HEIGHT, fixtures.WIDTH)
)
BROKEN: dict[str, tuple[bytes | None, str]] = {
    "nothing": (None, "row 5 should be an image, or a path to one, it is {'bytes': None"),
    "text": (b"no picture", "row 5 is no image that can be read"),
    "a picture that breaks off": (encode(trajectories()[1].images[5])[:-400], "row 5 is a broken image"),
    "a picture of another size": (encode(trajectories()[1].images[5][:40]), r"row 5 is \(40, 80, 3\), of others"),
    "16 bits of grey": (encode(GREY), "row 5 is an image of mode I;16, no 8-bit picture"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_image_in_a_table_is_named_and_other_episodes_are_read(root, kind):
    content, message = BROKEN[kind]

    def spoil(episode: int, images: list[bytes]) -> pa.Array:
        changed = [content if (episode, frame) == (1, 5) else image for frame, image in enumerate(images)]
        return structs(changed, [None] * len(images))

    put_in_tables(root, spoil)
    source = open_layout(root, "v2.1")
    with pytest.raises(DatasetError, match=rf"episode_000001\.parquet: .*{CAMERA}.* of {message}"):
        source[1]
    np.testing.assert_array_equal(source[2].images, trajectories()[2].images)


# indices


def test_an_episode_that_is_whole_in_another_file_than_said_is_read_with_a_remark(root, caplog):
    path = root / "v3.0/data/chunk-000/file-000.parquet"
    table, kept = pq.read_table(path), sum(LENGTHS[:2])
    pq.write_table(table.slice(0, kept), path)
    pq.write_table(table.slice(kept), path.with_name("file-001.parquet"))
    assert_read(root, "quaternion")
    assert open_layout(root, "quaternion").names[2] == "data/chunk-000/file-001.parquet episode 2"
    assert "file-001.parquet episode 2: the meta folder says it is in data/chunk-000/file-000.parquet" in caplog.text


def test_an_episode_that_is_in_no_file_as_it_is_said_to_be_is_refused(root):
    path = root / "v3.0/data/chunk-000/file-000.parquet"
    table, kept = pq.read_table(path), sum(LENGTHS[:2])
    pq.write_table(table.slice(0, kept + 5), path)
    pq.write_table(table.slice(kept + 5), path.with_name("file-001.parquet"))
    assert list(open_layout(root, "quaternion").problems) == [2]


def leave_out(root: Path, number: int, totals: bool = True) -> None:
    """Takes an episode of v2.1 out of its list, as who deletes it does."""
    edit_lines(root / "v2.1", lambda lines: [line for line in lines if line["episode_index"] != number])
    if totals:
        info(total_episodes=2, total_frames=sum(LENGTHS) - LENGTHS[number])(root / "v2.1")


def test_episodes_of_v21_that_were_deleted_leave_the_others_their_numbers(root, caplog):
    leave_out(root, 1)
    (root / "v2.1" / V21_FILE.format(1)).unlink()
    assert_read(root, episodes=(0, 2))
    assert open_layout(root, "v2.1").names == tuple(V21_FILE.format(number) for number in (0, 2))
    assert "there are no episodes 1; the others keep their numbers" in caplog.text


def test_episodes_of_v30_that_were_deleted_leave_the_others_their_numbers(root, caplog):
    edit_table(root / "v3.0/meta/episodes/chunk-000/file-000.parquet", lambda table: table.take([0, 2]))
    edit_table(
        root / "v3.0/data/chunk-000/file-000.parquet", lambda table: table.filter(pc.field("episode_index") != 1)
    )
    info(total_episodes=2, total_frames=LENGTHS[0] + LENGTHS[2])(root / "v3.0")
    assert_read(root, "quaternion", episodes=(0, 2))
    assert open_layout(root, "quaternion").names[1] == "data/chunk-000/file-000.parquet episode 2"


def test_data_that_the_list_leaves_out_is_left_out_with_a_remark_where_the_counts_agree(root, caplog):
    leave_out(root, 1)
    assert_read(root, episodes=(0, 2))
    assert "the meta folder leaves out the episodes 1" in caplog.text


@pytest.mark.parametrize("layout", ["v2.1", "quaternion"])
def test_a_list_that_lost_episodes_is_refused(root, layout):
    leave_out(root, 1, totals=False)
    edit_table(root / "v3.0/meta/episodes/chunk-000/file-000.parquet", lambda table: table.take([0, 2]))
    with pytest.raises(
        DatasetError, match=r"has data of the episodes 1, which its meta folder does not list.*Copy meta"
    ):
        open_layout(root, layout)


def test_counts_that_were_not_kept_up_are_remarked_on(root, caplog):
    info(total_episodes=0, total_frames=0)(root / "v2.1")
    assert_read(root)
    assert describe_recordings(root / "v2.1").episodes == 3
    assert "says 0 episodes with 0 frames; 3 episodes with 72 frames are listed and read" in caplog.text


def test_counts_that_nobody_wrote_are_not_missed(root):
    info(total_episodes=None, total_frames=None)(root / "v2.1")
    assert_read(root)


def test_a_folder_of_datasets_names_them(root):
    with pytest.raises(DatasetError, match=r"has LeRobot's in it; open them one by one: \['.*v2\.1', '.*v3\.0'\]"):
        find_format(root)


def test_an_episode_that_is_listed_twice_is_refused(root):
    edit_lines(root / "v2.1", lambda lines: [*lines, lines[1]])
    with pytest.raises(DatasetError, match=r"lists the episodes \[1\] more than once"):
        open_layout(root, "v2.1")


def test_a_length_that_neither_rows_nor_frames_have_is_remarked_on(root, caplog):
    edit_lines(root / "v2.1", lambda lines: [{**line, "length": line["length"] - 3} for line in lines])
    assert_read(root)
    assert "as many rows as frames, but the index in meta says another length" in caplog.text


def test_rows_with_another_number_than_their_file_are_the_files(root, caplog):
    for number in range(3):
        table = root / "v2.1" / V21_FILE.format(number)
        edit_table(table, lambda table: with_column(table, "episode_index", pa.array(np.full(len(table), 7))))
    assert_read(root)
    assert "its rows have another episode_index than its name" in caplog.text


def test_chunks_beyond_a_thousand_are_found(root):
    (root / "v3.0/data/chunk-000").rename(root / "v3.0/data/chunk-1234")
    (root / f"v3.0/videos/{CAMERA}/chunk-000").rename(root / f"v3.0/videos/{CAMERA}/chunk-1234")
    (root / "v3.0/meta/episodes/chunk-000").rename(root / "v3.0/meta/episodes/chunk-1234")
    for index in (root / "v3.0/meta/episodes").rglob("*.parquet"):
        for key in ("data/chunk_index", f"videos/{CAMERA}/chunk_index"):
            edit_table(index, lambda table, key=key: with_column(table, key, pa.array(np.full(len(table), 1234))))
    assert_read(root, "quaternion")


def test_a_path_with_a_field_that_is_not_known_is_named(root):
    info(data_path="data/{episode}.parquet")(root / "v2.1")
    with pytest.raises(DatasetError, match=r"data_path is 'data/{episode}\.parquet'; of v2\.1 it may have the fields"):
        open_layout(root, "v2.1")


# tasks


@pytest.mark.parametrize("tasks", ["größer", ["größer", "second"]])
def test_a_task_may_be_text_or_a_list(root, tasks):
    edit_lines(root / "v2.1", lambda lines: [{**line, "tasks": tasks} for line in lines])
    assert [episode.task for episode in open_layout(root, "v2.1")] == ["größer"] * 3


@pytest.mark.parametrize("layout", ["v2.1", "quaternion"])
def test_a_task_that_only_the_rows_name_is_looked_up(root, layout):
    edit_lines(root / "v2.1", lambda lines: [{key: line[key] for key in ("episode_index", "length")} for line in lines])
    lines = [{"task_index": 1, "task": "größer"}, {"task_index": 0, "task": "second"}]
    (root / "v2.1/meta/tasks.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    edit_table(root / "v3.0/meta/episodes/chunk-000/file-000.parquet", lambda table: table.drop_columns(["tasks"]))
    tasks = pa.table({"task_index": [1, 0], "__index_level_0__": ["größer", "second"]})
    pq.write_table(tasks, root / "v3.0/meta/tasks.parquet")
    for path in root.rglob("data/**/*.parquet"):
        edit_table(path, lambda table: with_column(table, "task_index", pc_equal(table["episode_index"], 1)))
    assert [episode.task for episode in open_layout(root, layout)] == ["second", "größer", "second"]


def pc_equal(column: pa.ChunkedArray, number: int) -> pa.Array:
    return pa.array((column.to_numpy() == number).astype(np.int64))


def test_no_tasks_at_all_are_no_words(root):
    edit_lines(root / "v2.1", lambda lines: [{key: line[key] for key in ("episode_index", "length")} for line in lines])
    assert [episode.task for episode in open_layout(root, "v2.1")] == [""] * 3


def test_a_line_that_is_not_utf8_is_named(root):
    path = root / "v2.1/meta/episodes.jsonl"
    path.write_bytes(path.read_bytes().replace(b"task 1", "größer".encode("latin-1")))
    with pytest.raises(DatasetError, match=r"line 2 of .*episodes\.jsonl should be JSON in UTF-8"):
        open_layout(root, "v2.1")


# videos


def write_film(path: Path, images: np.ndarray, rate: float = RATE, **options) -> None:
    """Writes a film with options of FFmpeg's."""
    import torch

    encoder = _torchcodec("encoders").VideoEncoder(
        torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), frame_rate=rate
    )
    encoder.to_file(path, codec=LOSSLESS.name, pixel_format=LOSSLESS.pixel_format, crf=0, extra_options=options)


@pytest.mark.parametrize(
    "options",
    [
        {"movflags": "frag_keyframe+empty_moov", "g": "5"},
        {"movflags": "frag_keyframe+empty_moov+default_base_moof", "bf": "3"},
        {"bf": "3", "g": "12"},
        {"bf": "3", "use_editlist": "0"},
        {"avoid_negative_ts": "disabled", "output_ts_offset": "0.7"},
    ],
    ids=lambda options: " ".join(f"{key} {value}" for key, value in options.items()),
)
def test_mp4_of_every_kind_is_read_to_the_frame(root, options):
    for number, seen in enumerate(trajectories()):
        write_film(root / "v2.1" / V21_VIDEO.format(number), seen.images, **options)
    images = np.concatenate([seen.images for seen in trajectories()])
    write_film(root / f"v3.0/videos/{CAMERA}/chunk-000/file-000.mp4", images, **options)
    assert_read(root)
    assert_read(root, "quaternion")


@pytest.mark.parametrize(
    ("frames", "read", "said"), [(18, 17, "a frame without a row"), (16, 16, "a row without a frame")]
)
def test_a_frame_more_or_fewer_than_rows_at_the_end_is_left_out_with_a_remark(root, caplog, frames, read, said):
    images = np.concatenate([trajectories()[1].images, trajectories()[0].images])[:frames]
    (root / "v2.1" / V21_VIDEO.format(1)).write_bytes(encode_frames(images, RATE, LOSSLESS))
    source = open_layout(root, "v2.1")
    assert (source.lengths, dict(source.problems)) == ((24, read, 31), {})
    np.testing.assert_array_equal(source[1].images, trajectories()[1].images[:read])
    np.testing.assert_allclose(source[1].poses, trajectories()[1].poses[:read], atol=1e-6)
    assert f"episode_000001.parquet: it ends with {said}, which is left out" in caplog.text


def join_film(root: Path, parts: list[np.ndarray], ends: bool) -> None:
    """Writes the one film of v3.0 anew, of parts not as long as the rows, and into the index where they begin."""
    film = root / f"v3.0/videos/{CAMERA}/chunk-000/file-000.mp4"
    film.write_bytes(encode_frames(np.concatenate(parts), RATE, LOSSLESS))
    stops = np.cumsum([len(part) for part in parts])
    key = f"videos/{CAMERA}/"

    def change(table: pa.Table) -> pa.Table:
        starts = pa.array((stops - [len(part) for part in parts]) / RATE)
        table = with_column(table, f"{key}from_timestamp", starts)
        if ends:
            return with_column(table, f"{key}to_timestamp", pa.array(stops / RATE))
        return table.drop_columns([f"{key}to_timestamp"])

    edit_table(root / "v3.0/meta/episodes/chunk-000/file-000.parquet", change)


@pytest.mark.parametrize("ends", [True, False])
def test_an_episode_never_borrows_a_frame_of_the_next_one_in_a_shared_video(root, ends):
    images = [seen.images for seen in trajectories()]
    join_film(root, [images[0][:-1], np.concatenate([images[1], images[1][-1:]]), images[2]], ends)
    source = open_layout(root, "quaternion")
    assert (source.lengths, dict(source.problems)) == ((23, 17, 31), {})
    for number, seen in enumerate(images):
        np.testing.assert_array_equal(source[number].images, seen[: source.lengths[number]])


def test_two_frames_fewer_than_rows_are_refused_in_a_shared_video_too(root):
    images = [seen.images for seen in trajectories()]
    join_film(root, [images[0], images[1][:-2], images[2]], ends=True)
    source = open_layout(root, "quaternion")
    assert list(source.problems) == [1]
    assert "17 rows of numbers and 15 video frames" in source.problems[1]


@pytest.mark.parametrize("drift", [0.02, 0.03, -0.02, 0.25])
def test_starts_that_drift_in_a_video_with_a_frame_a_row_do_not_shift_episodes(root, drift):
    def change(table: pa.Table) -> pa.Table:
        for key in ("from_timestamp", "to_timestamp"):
            times = table[f"videos/{CAMERA}/{key}"].to_numpy() + drift * np.arange(3)
            table = with_column(table, f"videos/{CAMERA}/{key}", pa.array(times))
        return table

    edit_table(root / "v3.0/meta/episodes/chunk-000/file-000.parquet", change)
    assert_read(root, "quaternion")


def test_starts_that_drift_in_a_video_that_lacks_a_frame_are_refused(root):
    images = [seen.images for seen in trajectories()]
    join_film(root, [images[0], images[1], images[2][:-1]], ends=True)

    def change(table: pa.Table) -> pa.Table:
        times = table[f"videos/{CAMERA}/from_timestamp"].to_numpy() + 0.02 * np.arange(3)
        return with_column(table, f"videos/{CAMERA}/from_timestamp", pa.array(times))

    edit_table(root / "v3.0/meta/episodes/chunk-000/file-000.parquet", change)
    source = open_layout(root, "quaternion")
    np.testing.assert_array_equal(source[0].images, images[0])
    with pytest.raises(DatasetError, match=r"file-000\.mp4 shows frame 24 at 1\.6000 s, the columns say 1\.6200 s"):
        source[1]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
def test_pauses_between_the_episodes_of_a_video_are_followed_by_its_clock(root, tmp_path):
    images, pause = [seen.images for seen in trajectories()], 0.07
    film, raw = root / f"v3.0/videos/{CAMERA}/chunk-000/file-000.mp4", tmp_path / "raw"
    raw.write_bytes(np.concatenate(images).tobytes())
    ends = np.cumsum([len(part) for part in images])
    pauses = "+".join(f"gte(N,{end})" for end in ends[:-1])
    command = f"ffmpeg -y -loglevel error -f rawvideo -pix_fmt rgb24 -s 80x48 -r {RATE} -i {raw} -fps_mode passthrough"
    command += " -enc_time_base 1:90000 -c:v libx264rgb -crf 0 -video_track_timescale 90000 -bf 0"
    times = f"settb=1/90000,setpts='(N/{RATE}+{pause}*({pauses}))/TB'"
    subprocess.run([*command.split(), "-vf", times, str(film)], check=True)

    def change(table: pa.Table) -> pa.Table:
        starts = (ends - [len(part) for part in images]) / RATE + pause * np.arange(3)
        table = with_column(table, f"videos/{CAMERA}/from_timestamp", pa.array(starts))
        return table.drop_columns([f"videos/{CAMERA}/to_timestamp"])

    edit_table(root / "v3.0/meta/episodes/chunk-000/file-000.parquet", change)
    assert_read(root, "quaternion")


def test_a_video_at_another_rate_with_a_frame_a_row_is_read_with_a_remark(root, caplog):
    for number, seen in enumerate(trajectories()):
        (root / "v2.1" / V21_VIDEO.format(number)).write_bytes(encode_frames(seen.images, 30.0, LOSSLESS))
    assert_read(root)
    assert "its video says 30 Hz, its rows 15 Hz" in caplog.text


def test_a_video_at_another_rate_that_lacks_a_frame_is_refused(root):
    (root / "v2.1" / V21_VIDEO.format(1)).write_bytes(encode_frames(trajectories()[1].images[:16], 30.0, LOSSLESS))
    source = open_layout(root, "v2.1")
    with pytest.raises(
        DatasetError, match=r"episode_000001\.mp4 shows frame 2 at 0\.0667 s, the columns say 0\.1333 s"
    ):
        source[1]


# columns


COLUMN_TYPES: dict[str, Callable[[np.ndarray], pa.Array]] = {
    "lists of double": lambda rows: pa.array(rows.tolist(), pa.list_(pa.float64())),
    "large lists": lambda rows: pa.array(rows.tolist(), pa.large_list(pa.float64())),
    "fixed lists": lambda rows: pa.array(rows.tolist(), pa.list_(pa.float64(), 6)),
    "lists of lists": lambda rows: pa.array(rows.reshape(-1, 2, 3).tolist(), pa.list_(pa.list_(pa.float64()))),
}


@pytest.mark.parametrize("kind", COLUMN_TYPES)
def test_numbers_are_read_from_every_kind_of_column(root, kind):
    for number in range(3):
        path = root / "v2.1" / V21_FILE.format(number)
        rows = np.array(pq.read_table(path)[STATE].to_pylist())
        edit_table(path, lambda table, rows=rows: with_column(table, STATE, COLUMN_TYPES[kind](rows)))
    assert_read(root)


@pytest.mark.parametrize("kind", [pa.float16(), pa.int32(), pa.uint8()])
def test_half_precision_and_whole_numbers_are_read(root, kind):
    for number in range(3):
        path = root / "v2.1" / V21_FILE.format(number)
        rows = np.arange(LENGTHS[number] * 6).reshape(-1, 6) % 50 // 17  # rad: no more than a joint turns
        values = pa.array(rows.astype(kind.to_pandas_dtype()).reshape(-1))
        column = pa.ListArray.from_arrays(pa.array(np.arange(len(rows) + 1, dtype=np.int32) * 6), values)
        edit_table(path, lambda table, column=column: with_column(table, STATE, column))
    source = open_layout(root, "v2.1", pose={"kind": "joints", "joints": {"key": STATE, "names": list("abcdef")}})
    np.testing.assert_allclose(source.poses_actions(0)[0], np.arange(LENGTHS[0] * 6).reshape(-1, 6) % 50 // 17)


def test_files_that_are_links_are_followed(root, tmp_path):
    kept = tmp_path / "blobs"
    kept.mkdir()
    for number, path in enumerate(sorted(path for path in (root / "v2.1").rglob("*") if path.is_file())):
        path.rename(kept / str(number))
        path.symlink_to(kept / str(number))
    assert_read(root)


def test_pointers_of_git_lfs_are_told_from_damage(root):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"
    (root / "v2.1" / V21_FILE.format(0)).write_bytes(pointer)
    (root / "v2.1" / V21_VIDEO.format(1)).write_bytes(pointer)
    problems = open_layout(root, "v2.1").problems
    for number in (0, 1):
        assert "it is a pointer of Git LFS: run `git lfs pull` in its folder" in problems[number]


def test_whole_numbers_that_are_written_as_floats_are_numbers(root):
    edit_lines(root / "v2.1", lambda lines: [{**line, "episode_index": float(line["episode_index"])} for line in lines])
    index = root / "v3.0/meta/episodes/chunk-000/file-000.parquet"
    for key in ("episode_index", "length", "data/file_index"):
        edit_table(index, lambda table, key=key: with_column(table, key, table[key].cast(pa.float64())))
    assert_read(root)
    assert_read(root, "quaternion")


@pytest.mark.parametrize("value", [None, "7", 7.5, True])
def test_a_length_that_is_no_number_is_named(root, value):
    edit_lines(root / "v2.1", lambda lines: [{**line, "length": value} for line in lines])
    with pytest.raises(DatasetError, match="has an episode whose length is"):
        open_layout(root, "v2.1")


def test_remarks_of_a_kind_are_said_three_times_and_no_episode_twice(caplog):
    caplog.set_level(logging.WARNING)
    remarks = Remarks()
    for number in [0, 0, *range(9)]:
        remarks.add(f"episode {number}", "odd")
    remarks.add("episode 0", "strange")
    assert [record.message for record in caplog.records] == [
        *(f"episode {number}: odd" for number in range(3)),
        "episode 3: odd; so it is with others, which are not named",
        "episode 0: strange",
    ]
