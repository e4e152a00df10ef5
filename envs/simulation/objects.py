"""The objects that are manipulated: free bodies that can each be any box or cup of a catalogue.

Instances differ in kind, size and colour. Those that data is recorded with and those that are held out share no
combination of size and colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np
from jaxtyping import Float

Kind = Literal["box", "cup"]
Position = Float[np.ndarray, "3"]


_MATERIAL = "object"
_SHAPES = ("box", "cup", "mouth")
_DEPTH = 0.004  # half the height of the dark disc that is a cup's mouth [m]
_HIDDEN = 0.001  # half-size of the shapes that an instance does not use [m]


@dataclass(frozen=True)
class ObjectInstance:
    """A box or a cup.

    Attributes:
        kind: "box", with a square base, or "cup", an upright cylinder with a dark mouth.
        width: Edge of the box's base or the cup's diameter [m].
        height: [m].
        colour: RGB, 0..1.

    Raises:
        ValueError: If it does not fit into the open gripper, 8 cm, in any direction, and under the hand, 6 cm.
    """

    kind: Kind
    width: float
    height: float
    colour: tuple[float, float, float]

    def __post_init__(self) -> None:
        widest = self.width * (np.sqrt(2.0) if self.kind == "box" else 1.0)
        if not (0.02 <= self.width and widest <= 0.075 and 0.03 <= self.height <= 0.06):
            raise ValueError(f"an object must fit into the gripper (0.08 m) and be 0.03..0.06 m high, got {self}")

    @property
    def name(self) -> str:
        """What people call it, such as "red box 45 x 50 mm"."""
        colour = _COLOUR_NAMES.get(self.colour) or "#" + "".join(f"{round(255 * part):02x}" for part in self.colour)
        return f"{colour} {self.kind} {1000 * self.width:.0f} x {1000 * self.height:.0f} mm"


_COLOURS = {
    "red": (0.85, 0.15, 0.12), "green": (0.12, 0.62, 0.22), "yellow": (0.95, 0.75, 0.10),
    "purple": (0.55, 0.20, 0.65), "blue": (0.12, 0.30, 0.80), "pink": (0.95, 0.45, 0.60),
    "orange": (0.95, 0.50, 0.10), "lime": (0.60, 0.85, 0.20), "white": (0.92, 0.92, 0.90),
    "navy": (0.08, 0.10, 0.35), "maroon": (0.42, 0.07, 0.12), "olive": (0.38, 0.40, 0.10),
}  # fmt: skip
_NEW_COLOURS = {"turquoise": (0.10, 0.65, 0.65), "brown": (0.45, 0.25, 0.12)}
_COLOUR_NAMES = {colour: name for name, colour in (_COLOURS | _NEW_COLOURS).items()}
_MORE_COLOURS = 500
_OTHER = 0.2  # colours nearer to one another than this, in RGB, are alike

Sizes = dict[Kind, tuple[tuple[float, float], ...]]  # width and height [m]
_SIZES: Sizes = {
    "box": ((0.038, 0.05), (0.044, 0.044), (0.05, 0.055)),
    "cup": ((0.042, 0.058), (0.05, 0.05), (0.056, 0.058)),
}
_NEW_SIZES: Sizes = {"box": ((0.041, 0.047), (0.047, 0.052)), "cup": ((0.046, 0.054), (0.053, 0.056))}


def _make_objects(sizes: Sizes, colours: Sequence[tuple[float, float, float]]) -> tuple[ObjectInstance, ...]:
    """Returns every kind in every size and colour."""
    return tuple(
        ObjectInstance(kind, width, height, colour)
        for kind, choices in sizes.items()
        for width, height in choices
        for colour in colours
    )


def _draw_colours() -> tuple[tuple[float, float, float], ...]:
    """Returns the same random colours every time, none like one that is held out or like the table's."""
    generator, table = np.random.default_rng(0), (0.56, 0.50, 0.42)
    drawn = generator.random((4 * _MORE_COLOURS, 3)).round(3)
    apart = [np.linalg.norm(drawn - other, axis=1) > _OTHER for other in (*_NEW_COLOURS.values(), table)]
    red, green, blue = drawn[np.all(apart, axis=0)][:_MORE_COLOURS].T.tolist()
    return tuple(zip(red, green, blue, strict=True))


TRAINING_OBJECTS = _make_objects(_SIZES, (*_COLOURS.values(), *_draw_colours()))
"""What play is recorded with: 2 kinds x 3 sizes x 512 colours, 500 of them drawn at random."""

HELD_OUT_OBJECTS = _make_objects(_NEW_SIZES, (*_NEW_COLOURS.values(), _COLOURS["red"], _COLOURS["blue"]))
"""What is only met in evaluation: sizes between those of the training objects, half of them in new colours."""


class SceneObject:
    """One object of a compiled scene: what it is, where it lies, who touches it. Privileged, in simulation only.

    Attributes:
        id: Its number in the scene, from 0.
        instance: What it is; None until it is placed.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, id: int) -> None:
        self.id = id
        self.instance: ObjectInstance | None = None
        self.body: int = model.body(_name(id)).id
        self._model, self._data = model, data

    def become(self, instance: ObjectInstance) -> None:
        """Makes it that instance, wherever it is."""
        self.instance = instance
        _shape(self._model, self.id, instance)

    def place(self, instance: ObjectInstance, position: Position, yaw: float = 0.0) -> None:
        """Makes it that instance, at rest with its centre at (x, y, z) [m], turned by yaw [rad]."""
        self.become(instance)
        joint = self._data.joint(_name(self.id))
        joint.qpos[:] = (*position, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        joint.qvel[:] = 0
        mujoco.mj_forward(self._model, self._data)

    @property
    def position(self) -> Position:
        """Its centre (3,) [m]."""
        return self._data.body(_name(self.id)).xpos.copy()

    @property
    def on_something(self) -> bool:
        """Whether it touches what stands: the table, or a wall."""
        return 0 in touched_by(self._model, self._data, self.body)


def touched_by(model: mujoco.MjModel, data: mujoco.MjData, body: int) -> set[int]:
    """Returns the bodies that touch a body; 0 is all that stands."""
    pairs = model.geom_bodyid[data.contact.geom]  # (contacts, 2)
    return set(pairs[pairs[:, 0] == body, 1].tolist()) | set(pairs[pairs[:, 1] == body, 0].tolist())


def add_objects(spec: mujoco.MjSpec, count: int, contact: int, collides: int) -> None:
    """Adds free bodies, as `SceneObject` finds them in the compiled scene."""
    if count:
        spec.add_material(name=_MATERIAL, emission=0.35)  # seen in the hand's shadow too
    for id in range(count):
        _add_object(spec, id, contact, collides)


def _name(id: int) -> str:
    return f"object{id}"


def _add_object(spec: mujoco.MjSpec, id: int, contact: int, collides: int) -> None:
    """Adds one free body, damped and in soft contact so that a clumsy push never shoots it away."""
    body = spec.worldbody.add_body(name=_name(id), pos=(0.5, 0.1 * id, 0.03))
    joint = body.add_freejoint(name=_name(id))
    joint.damping = (0.02, 0.0, 0.0)
    body.mass, body.inertia, body.ipos, body.explicitinertial = 0.12, (6e-5, 6e-5, 6e-5), (0.0, 0.0, 0.0), True
    box, cup, mouth = (f"{_name(id)}_{shape}" for shape in _SHAPES)
    solid = {
        "material": _MATERIAL,
        "contype": contact, "conaffinity": collides, "friction": (0.8, 0.02, 0.001), "solref": (0.01, 1.0), "condim": 4,
    }  # fmt: skip
    # compiled at the largest size there is: the hierarchy of bounds that collision detection goes by stays as it is
    body.add_geom(name=box, type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.04, 0.04, 0.05), **solid)
    body.add_geom(name=cup, type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(0.04, 0.05, 0), **solid)
    body.add_geom(
        name=mouth, type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(0.04, 0.005, 0), rgba=(0.08, 0.08, 0.09, 1),
        contype=0, conaffinity=0,
    )  # fmt: skip


def _shape(model: mujoco.MjModel, id: int, instance: ObjectInstance) -> None:
    """Makes an object of a compiled scene that instance."""
    box, cup, mouth = (model.geom(f"{_name(id)}_{shape}").id for shape in _SHAPES)
    radius, half = instance.width / 2, instance.height / 2
    is_box = instance.kind == "box"
    _resize(model, box, (radius, radius, half) if is_box else (_HIDDEN,) * 3)
    _resize(model, cup, (_HIDDEN, _HIDDEN, 0) if is_box else (radius, half, 0))
    _resize(model, mouth, (_HIDDEN, _HIDDEN, 0) if is_box else (0.8 * radius, _DEPTH, 0))
    model.geom_pos[mouth] = (0.0, 0.0, 0.0 if is_box else half - _DEPTH + 0.0005)
    for geom in (box, cup):
        model.geom_rgba[geom] = (*instance.colour, 1.0)


def sample_object(instances: Sequence[ObjectInstance], generator: np.random.Generator) -> ObjectInstance:
    """Returns one of the instances, each equally often."""
    return instances[int(generator.integers(len(instances)))]


def _resize(model: mujoco.MjModel, geom: int, size: Sequence[float]) -> None:
    """Changes a box's or a cylinder's half-sizes and the bounds that collision detection goes by."""
    model.geom_size[geom] = size
    half = (
        np.array(size) if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX else np.array([size[0], size[0], size[1]])
    )
    model.geom_rbound[geom] = np.linalg.norm(half)
    model.geom_aabb[geom] = (0.0, 0.0, 0.0, *half)
