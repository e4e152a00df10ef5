"""The contact sheet of inspect can be read: nothing over anything else, nothing beyond the edge, names told apart."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from PIL.ImageFont import load_default

from envs.episodes import Episode
from envs.inspection import sheet
from envs.spec import ActionSpec

SIDES = [f"{side}_{joint}" for side in ("left", "right") for joint in ("waist", "shoulder", "elbow", "forearm_roll")]
LONG = [f"left_hand_ring_finger_proximal_interphalangeal_joint_{number}" for number in range(14)]


def episode(names: list[str], size: tuple[int, int], task: str = "") -> Episode:
    count = len(names)
    spec = ActionSpec(tuple(names), ("rad",) * count, (-1.0,) * count, (1.0,) * count, "joints", 4.0)
    poses = np.linspace(-3, 3, 20 * count).reshape(20, count)
    images = np.full((20, *size, 3), 128, np.uint8)
    return Episode(images, poses, np.diff(poses, axis=0), 4.0, spec, task)


@pytest.mark.parametrize("names", [SIDES[:7], SIDES * 2, LONG], ids=["7", "16", "long"])
@pytest.mark.parametrize("size", [(48, 64), (60, 160), (160, 60), (64, 64), (3, 640)], ids=str)
@pytest.mark.parametrize("frames", [1, 7, 24])
def test_numbers_stay_in_their_cell_and_cells_on_a_screen(names, size, frames):
    names = [f"{name}{number}" for number, name in enumerate(names)]
    shown = episode(names, size)
    layout = sheet._lay_out([shown], frames)
    columns = -(-len(names) // layout.lines)
    assert columns * layout.entry + (columns - 1) * sheet.GAP <= layout.cell
    assert layout.width <= sheet.SHEET
    assert layout.frames * layout.rows >= frames > layout.frames * (layout.rows - 1)
    width, height = sheet._shown(shown, layout.cell)
    assert width <= layout.cell and height <= layout.picture
    font = load_default(sheet.TEXT_SIZE)
    for name, value in sheet.pose_texts(shown.spec, shown.poses[0]):
        room = layout.entry - font.getlength(value)
        assert font.getlength(sheet.shorten(name, room - 6, sheet.TEXT_SIZE)) < room


def test_a_shortened_name_keeps_what_tells_it_from_the_others():
    shown = {sheet.shorten(name, 130, 13) for name in LONG}
    assert len(shown) == len(LONG)
    assert all("..." in text and text.startswith("left_h") for text in shown)
    assert sheet.shorten("gripper", 130, 13) == "gripper"


def test_a_long_task_ends_at_the_edge(tmp_path):
    names, task = SIDES[:6], "put the block into the bin without touching anything else " * 20
    sheet.draw_contact_sheet([("a recording", episode(names, (48, 64), task))], 7, tmp_path / "sheet.png")
    picture = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert picture.shape[1] <= sheet.SHEET
    assert (picture[:, -4:] == sheet.PAPER).all()
