"""The MuJoCo scene: an arm with Panda kinematics over a table, built with MjSpec from primitive shapes.

Kinematics: Franka Emika's published Denavit-Hartenberg parameters, joint and torque limits. The shapes are ours: no
mesh, nothing to download, unless `SceneConfig.meshes` asks for them.
"""

from __future__ import annotations

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from envs.simulation.meshes import dress_arm, load_panda
from envs.simulation.objects import add_objects
from envs.simulation.scene_config import BLOCK_COLOURS, SceneConfig

HOME = (0.0, 0.0, 0.0, -np.pi / 2, 0.0, np.pi / 2, np.pi / 4)
"""Joint angles [rad] that every inverse-kinematics solve starts from, so that a pose has one arm configuration."""

FINGER_TRAVEL = 0.04
"""Travel of one finger [m]; the gripper's closedness is 1 - opening / travel."""

TCP_SITE = "tcp"
CAMERA = "exterior"

_PI = np.pi
# position and quaternion of each link's body in its parent, joint range [rad], torque limit [N m]
_LINKS = (
    ((0, 0, 0.333), (1, 0, 0, 0), (-2.8973, 2.8973), 87.0),
    ((0, 0, 0), (1, -1, 0, 0), (-1.7628, 1.7628), 87.0),
    ((0, -0.316, 0), (1, 1, 0, 0), (-2.8973, 2.8973), 87.0),
    ((0.0825, 0, 0), (1, 1, 0, 0), (-3.0718, -0.0698), 87.0),
    ((-0.0825, 0.384, 0), (1, -1, 0, 0), (-2.8973, 2.8973), 12.0),
    ((0, 0, 0), (1, 1, 0, 0), (-0.0175, 3.7525), 12.0),
    ((0.088, 0, 0), (1, 1, 0, 0), (-2.8973, 2.8973), 12.0),
)
_HAND_QUATERNION = (np.cos(-_PI / 8), 0, 0, np.sin(-_PI / 8))
# capsules (link, from, to, radius [m], colour) that draw the arm; link 0 is the base
_WHITE, _DARK, _ACCENT = (0.92, 0.92, 0.94, 1), (0.18, 0.19, 0.22, 1), (0.10, 0.45, 0.70, 1)
_CAPSULES = (
    (0, (0, 0, 0.02), (0, 0, 0.18), 0.075, _DARK),
    (1, (0, 0, -0.14), (0, 0, 0), 0.06, _WHITE),
    (2, (0, -0.02, 0), (0, -0.22, 0), 0.06, _WHITE),
    (3, (0, 0, -0.10), (0, 0, 0), 0.055, _ACCENT),
    (3, (0, 0, 0), (0.0825, 0, 0), 0.055, _WHITE),
    (4, (0, 0, 0), (-0.0825, 0, 0), 0.05, _ACCENT),
    (4, (-0.0825, 0, 0), (-0.0825, 0.20, 0), 0.052, _WHITE),
    (5, (0, 0, -0.19), (0, 0, 0), 0.048, _WHITE),
    (6, (0, 0, 0), (0.088, 0, 0), 0.048, _ACCENT),
    (7, (0, 0, 0), (0, 0, 0.08), 0.043, _WHITE),
)
_LINK_MASSES = (3.5, 3.5, 2.5, 2.5, 2.0, 1.5, 0.6)
_ARM_CONTACT, _OBJECT_CONTACT = 1, 2
_AMBIENT, _HEADLIGHT, _SUN = 0.35, 0.25, 0.55  # of the light, at the usual brightness
_TABLE = "table"


TABLE_LOW, TABLE_HIGH = (0.26, -0.36), (0.78, 0.36)
"""Corners of the area that objects cannot leave [m]: unseen walls stand around it."""


def build_scene(config: SceneConfig) -> mujoco.MjModel:
    """Returns the compiled scene: actuators 0..6 are the joint servos, 7 and 8 the fingers' [position targets]."""
    spec = mujoco.MjSpec()
    spec.modelname = "vjepa-planner"
    spec.compiler.degree = False
    spec.option.timestep = 0.002
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 5
    spec.option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE  # MuJoCo 4.0.0 factorises sparse ones wrongly
    spec.stat.extent, spec.stat.center = 1.0, (0.45, 0.0, 0.2)  # what the shadow map covers
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 1280
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 512
    spec.visual.quality.numslices, spec.visual.quality.numstacks = 16, 8  # half the time of the default 28, 16
    spec.visual.headlight.ambient = (_AMBIENT * config.brightness,) * 3
    spec.visual.headlight.diffuse = (_HEADLIGHT * config.brightness,) * 3
    _add_surroundings(spec, config)
    _add_arm(spec)
    if config.meshes:
        dress_arm(spec, load_panda())
    for index in range(config.blocks):
        _add_block(spec, config, index)
    add_objects(spec, config.objects, contact=_OBJECT_CONTACT, collides=_ARM_CONTACT | _OBJECT_CONTACT)
    if config.wall:
        spec.worldbody.add_geom(
            name="wall", type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.20, 0.01, config.wall / 2),
            pos=(0.52, 0.0, config.wall / 2), rgba=(0.75, 0.73, 0.68, 1), contype=_OBJECT_CONTACT,
            conaffinity=_ARM_CONTACT | _OBJECT_CONTACT,
        )  # fmt: skip
    return spec.compile()


def look_like(model: mujoco.MjModel, data: mujoco.MjData, config: SceneConfig) -> None:
    """Gives a compiled scene another's camera, light and table; what stands in it, and all physics, stay.

    Args:
        model: Of `build_scene`.
        data: Its state, after which camera and light are placed.
        config: Whose looks it takes.
    """
    model.vis.headlight.ambient[:] = _AMBIENT * config.brightness
    model.vis.headlight.diffuse[:] = _HEADLIGHT * config.brightness
    model.light_diffuse[0] = _SUN * config.brightness
    model.light_dir[0] = np.array(config.light_direction) / np.linalg.norm(config.light_direction)
    model.geom(_TABLE).rgba = (*config.table_colour, 1)
    camera = model.camera(CAMERA)
    camera.pos, camera.fovy = config.camera_position, config.camera_fovy
    camera.quat = _look_at(np.array(config.camera_position), np.array(config.camera_target))
    mujoco.mj_camlight(model, data)


def _add_surroundings(spec: mujoco.MjSpec, config: SceneConfig) -> None:
    """Adds light, floor, table, the unseen walls around it and the camera."""
    world = spec.worldbody
    world.add_light(
        pos=(0.5, 0.0, 2.0), dir=config.light_direction, type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        castshadow=config.shadows, diffuse=(_SUN * config.brightness,) * 3, specular=(0.1, 0.1, 0.1),
    )  # fmt: skip
    world.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE, size=(30, 30, 0.1), pos=(0, 0, -0.6), rgba=(0.30, 0.34, 0.38, 1),
        contype=0, conaffinity=0,
    )  # fmt: skip
    world.add_geom(
        name=_TABLE, type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.55, 0.55, 0.02), pos=(0.42, 0, -0.02),
        rgba=(*config.table_colour, 1), contype=_ARM_CONTACT | _OBJECT_CONTACT,
        conaffinity=_ARM_CONTACT | _OBJECT_CONTACT, friction=(0.8, 0.02, 0.001),
    )  # fmt: skip
    _add_walls(spec)
    quaternion = _look_at(np.array(config.camera_position), np.array(config.camera_target))
    world.add_camera(name=CAMERA, pos=config.camera_position, quat=quaternion, fovy=config.camera_fovy)


def _look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the quaternion (w, x, y, z) of a camera that looks along its -z axis, upright."""
    backward = position - target
    right = np.cross((0, 0, 1), backward)
    columns = [right, np.cross(backward, right), backward]
    matrix = np.stack([column / np.linalg.norm(column) for column in columns], axis=-1)
    return Rotation.from_matrix(matrix).as_quat(scalar_first=True)


def _add_walls(spec: mujoco.MjSpec) -> None:
    """Adds half-spaces that only objects touch: four sides, the table's level and a ceiling. Nothing tunnels them."""
    (x0, y0), (x1, y1) = TABLE_LOW, TABLE_HIGH
    half_spaces = (
        ((x0, 0, 0), (1, 0, 0)), ((x1, 0, 0), (-1, 0, 0)), ((0, y0, 0), (0, 1, 0)), ((0, y1, 0), (0, -1, 0)),
        ((0, 0, 0), (0, 0, 1)), ((0, 0, 0.7), (0, 0, -1)),
    )  # fmt: skip
    for position, normal in half_spaces:
        quaternion = np.zeros(4)
        mujoco.mju_quatZ2Vec(quaternion, np.array(normal, dtype=float))
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_PLANE, size=(0, 0, 0.1), pos=position, quat=quaternion, rgba=(0, 0, 0, 0),
            group=4, contype=0, conaffinity=_OBJECT_CONTACT, friction=(0.8, 0.02, 0.001),
        )  # fmt: skip


def _add_arm(spec: mujoco.MjSpec) -> None:
    """Adds base, seven links, hand, fingers, servos and the tool centre point site."""
    body = spec.worldbody.add_body(name="link0")
    bodies = [body]
    for index, (position, quaternion, limits, torque) in enumerate(_LINKS, start=1):
        body = body.add_body(name=f"link{index}", pos=position, quat=np.array(quaternion) / np.linalg.norm(quaternion))
        body.gravcomp = 1
        body.mass = _LINK_MASSES[index - 1]
        body.inertia = np.full(3, 0.012 * _LINK_MASSES[index - 1])
        body.explicitinertial = True
        body.add_joint(
            name=f"joint{index}", type=mujoco.mjtJoint.mjJNT_HINGE, axis=(0, 0, 1), range=limits, limited=True,
            armature=0.1, damping=1.0,
        )  # fmt: skip
        _add_servo(spec, f"joint{index}", stiffness=6000.0 if torque > 50 else 3000.0, force=torque)
        bodies.append(body)
    for link, start, end, radius, colour in _CAPSULES:
        bodies[link].add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=(*start, *end), size=(radius, 0, 0), rgba=colour,
            contype=0, conaffinity=0, mass=0,
        )  # fmt: skip
    _add_hand(spec, body)


def _add_servo(spec: mujoco.MjSpec, joint: str, stiffness: float, force: float, damping_ratio: float = 0.04) -> None:
    """Adds a position servo with damping 0.04 of its stiffness: little lag, no overshoot."""
    servo = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    servo.set_to_position(kp=stiffness, kv=damping_ratio * stiffness)
    servo.forcerange, servo.forcelimited = (-force, force), True


def _add_hand(spec: mujoco.MjSpec, flange: mujoco.MjsBody) -> None:
    """Adds the parallel gripper below link 7's flange; the tool centre point is 0.1034 m below the hand's origin."""
    hand = flange.add_body(name="hand", pos=(0, 0, 0.107), quat=_HAND_QUATERNION)
    hand.gravcomp = 1
    contact = {"contype": _ARM_CONTACT, "conaffinity": _OBJECT_CONTACT}
    hand.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.03, 0.10, 0.033), pos=(0, 0, 0.033), rgba=_DARK, mass=0.6, **contact
    )
    hand.add_site(name=TCP_SITE, pos=(0, 0, 0.1034), size=(0.005, 0, 0), rgba=(0, 0, 0, 0))
    for side, name in ((1, "finger_left"), (-1, "finger_right")):
        finger = hand.add_body(name=name, pos=(0, 0, 0.0584))
        finger.gravcomp = 1
        finger.add_joint(
            name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=(0, side, 0), range=(0, FINGER_TRAVEL), limited=True,
            armature=0.1, damping=5.0,
        )  # fmt: skip
        finger.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.011, 0.007, 0.027), pos=(0, side * 0.007, 0.027),
            rgba=(0.95, 0.35, 0.05, 1), mass=0.05, friction=(1.2, 0.02, 0.001), **contact,
        )  # fmt: skip
        _add_servo(spec, name, stiffness=600.0, force=25.0, damping_ratio=0.06)


def _add_block(spec: mujoco.MjSpec, config: SceneConfig, index: int) -> None:
    """Adds a loose cube, damped and in soft contact so that a clumsy push never shoots it away."""
    half = config.block_size / 2
    body = spec.worldbody.add_body(name=f"block{index}", pos=(0.5, 0.1 * index, half))
    joint = body.add_freejoint(name=f"block{index}")
    joint.damping = (0.02, 0.0, 0.0)
    body.add_geom(
        name=f"block{index}", type=mujoco.mjtGeom.mjGEOM_BOX, size=(half, half, half), rgba=BLOCK_COLOURS[index],
        mass=0.12, contype=_OBJECT_CONTACT, conaffinity=_ARM_CONTACT | _OBJECT_CONTACT,
        friction=(0.8, 0.02, 0.001), solref=(0.01, 1.0), condim=4,
    )  # fmt: skip
