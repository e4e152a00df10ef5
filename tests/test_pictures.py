"""Goal photographs of every kind: what a picture looks like is certain, or one line says what to do."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from envs.spec import Goal

HEIGHT, WIDTH = 48, 64
RAMP = np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
COLOURS = np.stack([RAMP, RAMP[::-1], np.full_like(RAMP, 80.0)], -1).astype(np.uint8)


@pytest.fixture
def goals(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))
    return importlib.import_module("planner.deployment.goals")


def opaque(path: Path) -> None:
    Image.fromarray(np.dstack([COLOURS, np.full((HEIGHT, WIDTH), 255, np.uint8)])).save(path)


def palette(path: Path) -> None:
    Image.fromarray(COLOURS).quantize(256).save(path)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the picture is to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(COLOURS).copy()).save(path, "JPEG", quality=95, subsampling=0, exif=exif)


@pytest.mark.parametrize(
    ("write", "name", "tolerance"),
    [
        (lambda path: Image.fromarray(COLOURS).save(path), "plain.png", 0),
        (lambda path: Image.fromarray(COLOURS).save(path, quality=95, subsampling=0), "plain.jpg", 12),
        (opaque, "alpha.png", 0),
        (palette, "palette.png", 16),
        (turned, "turned.jpg", 12),
    ],
)
def test_a_photograph_looks_as_it_is(
    write: Callable[[Path], None], name: str, tolerance: int, goals: ModuleType, tmp_path: Path
) -> None:
    write(tmp_path / name)
    goal = goals.read_goal(tmp_path / name).goal
    assert goal.image.shape == COLOURS.shape and goal.image.dtype == np.uint8
    assert np.abs(goal.image.astype(int) - COLOURS).max() <= tolerance


def test_16_bits_of_grey_are_scaled_to_8_with_a_remark(
    goals: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray((RAMP * 257).astype(np.uint16)).save(tmp_path / "deep.png")
    image = goals.read_goal(tmp_path / "deep.png").goal.image
    assert image.shape == COLOURS.shape and np.abs(image - RAMP[..., None]).max() <= 1
    assert image.min() == 0 and image.max() == 255 and "deep.png is grey" in caplog.text


def test_8_bits_of_grey_and_black_and_white_are_rgb_with_a_remark(
    goals: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grey = Image.fromarray(RAMP.astype(np.uint8))
    grey.save(tmp_path / "grey.jpg", quality=100)
    Image.fromarray(RAMP > 100).save(tmp_path / "two.png")
    assert np.abs(goals.read_goal(tmp_path / "grey.jpg").goal.image - RAMP[..., None]).max() <= 3
    assert set(np.unique(goals.read_goal(tmp_path / "two.png").goal.image)) == {0, 255}
    assert caplog.text.count("is grey: a camera of colours") == 2


def bits_12(path: Path) -> None:
    Image.fromarray((RAMP * 16).astype(np.uint16)).save(path)


def depth(path: Path) -> None:
    Image.fromarray((400 + RAMP * 8).astype(np.uint16)).save(path)


def transparent(path: Path) -> None:
    Image.fromarray(np.dstack([COLOURS, RAMP.astype(np.uint8)])).save(path)


def see_through_colour(path: Path) -> None:
    Image.fromarray(COLOURS).quantize(16).save(path, transparency=3)


def animation(path: Path) -> None:
    frames = [Image.fromarray(COLOURS), Image.fromarray(COLOURS[::-1].copy())]
    frames[0].save(path, "GIF" if path.suffix == ".gif" else "PNG", save_all=True, append_images=frames[1:])


def print_colours(path: Path) -> None:
    Image.fromarray(COLOURS).convert("CMYK").save(path, "JPEG")


def cut(path: Path) -> None:
    Image.fromarray(COLOURS).save(path)
    path.write_bytes(path.read_bytes()[:-200])


def bomb(path: Path) -> None:
    Image.new("1", (20000, 20000)).save(path)


def pose(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        notes = PngImagePlugin.PngInfo()
        notes.add_text("pose", text)
        Image.fromarray(COLOURS).save(path, pnginfo=notes)

    return write


@pytest.mark.parametrize(
    ("write", "name", "why"),
    [
        (bits_12, "12.png", "brightest pixel is 16 of 255: it seems to hold numbers of fewer bits"),
        (depth, "depth.png", "seems to hold numbers of fewer bits, or depths"),
        (transparent, "a.png", "transparent in places: save it without an alpha channel"),
        (see_through_colour, "p.png", "transparent in places"),
        (animation, "a.gif", "is a GIF file: save the picture as PNG or JPEG"),
        (animation, "apng.png", "is an animation: save one of its pictures"),
        (print_colours, "cmyk.jpg", "has the colours CMYK, of print: save it as RGB"),
        (lambda path: Image.fromarray(COLOURS).save(path, "WEBP"), "w.png", "is a WEBP file"),
        (lambda path: Image.fromarray(COLOURS).save(path), "b.bmp", "is a BMP file"),
        (lambda path: path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0"), "phone.jpg", "is a HEIC file: save the picture"),
        (lambda path: path.write_text("hello"), "text.png", "nothing in it says what it is"),
        (lambda path: path.write_bytes(b""), "empty.png", "nothing in it says what it is"),
        (cut, "cut.png", "no whole PNG or JPEG picture"),
        (bomb, "bomb.png", "no whole PNG or JPEG picture: Image size"),
        (pose("{}"), "pose.png", "pose noted in .* is not 7 finite numbers, got {}"),
        (pose("no"), "pose.png", "pose noted in .* is not 7 finite numbers, got no"),
        (pose("[1, 2, 3, 4, 5, 6, NaN]"), "pose.png", "pose noted in .* is not 7 finite numbers"),
    ],
)
def test_what_is_not_certain_is_said_in_one_line(
    write: Callable[[Path], None], name: str, why: str, goals: ModuleType, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(ValueError, match=why) as told:
        goals.read_goal(tmp_path / name)
    assert "\n" not in str(told.value) and name in str(told.value)


def test_goals_are_of_the_cameras_shape_and_never_larger(goals: ModuleType, tmp_path: Path) -> None:
    large = np.repeat(np.repeat(COLOURS, 50, 0), 50, 1)  # 3200 x 2400, a phone's
    goal = goals.Photograph(tmp_path / "g.png", Goal(large))
    goals.check_aspect(goal, (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(goals.scaled(goal, (HEIGHT, WIDTH, 3)).goal.image, COLOURS)
    small = goals.Photograph(tmp_path / "g.png", Goal(COLOURS))
    assert goals.scaled(small, (480, 640, 3)) is small
    tiny = goals.Photograph(tmp_path / "tiny.png", Goal(COLOURS[:3, :4]))
    with pytest.raises(ValueError, match=r"tiny\.png is 4 x 3 pixels, too small to show a goal"):
        goals.check_aspect(tiny, (480, 640, 3))


def test_a_colour_profile_that_can_not_be_used_is_said_and_srgb_changes_nothing(
    goals: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(COLOURS).save(tmp_path / "plain.png", icc_profile=srgb)
    np.testing.assert_array_equal(goals.read_goal(tmp_path / "plain.png").goal.image, COLOURS)
    assert not caplog.text
    Image.fromarray(COLOURS).save(tmp_path / "odd.png", icc_profile=b"no profile")
    np.testing.assert_array_equal(goals.read_goal(tmp_path / "odd.png").goal.image, COLOURS)
    assert "odd.png: its colour profile can't be used" in caplog.text


def test_colours_of_another_profile_become_those_that_a_camera_would_give(
    goals: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    target = ImageCms.createProfile("sRGB")
    monkeypatch.setattr(ImageCms, "getProfileDescription", lambda _: "another")
    monkeypatch.setattr(ImageCms, "createProfile", lambda _: target)
    Image.fromarray(COLOURS).save(tmp_path / "wide.png", icc_profile=srgb)
    image = goals.read_goal(tmp_path / "wide.png").goal.image.astype(int)
    assert np.abs(image - COLOURS).max() <= 2  # through the conversion, from a profile that is the same
