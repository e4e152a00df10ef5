"""From joint angles to the pose of a hand and back, for arms that are commanded joint by joint."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import mink
import mujoco
import numpy as np
from jaxtyping import Float

from envs.pose import euler_from_matrix, matrix_from_euler

_ITERATIONS = 20
_POSITION_TOLERANCE = 2e-3  # m
_LONGEST_STEP = 0.3  # rad from one set-point to the next; further is another branch of the solution


class Kinematics:
    """One arm's MJCF or URDF. Not for several threads at once.

    An arm with fewer than six joints cannot take every pose: its position is reached, its orientation as nearly as the
    joints allow.

    Attributes:
        ranges: Lowest and highest angle of each joint [rad]; infinite where the model does not say.
    """

    def __init__(self, path: Path, joints: tuple[str, ...], hand: str, kind: Literal["site", "body"] = "site") -> None:
        """Loads the model.

        Args:
            path: MJCF or URDF file.
            joints: Names of the joints that are commanded, each turning about one axis.
            hand: Name of the site or body whose pose is the hand's, in the model's world.
            kind: Which of the two it is.

        Raises:
            ValueError: If the file is no model, or lacks a joint or the hand; it says what there is.
        """
        if not path.is_file():
            raise ValueError(f"there is no model {path}: name an MJCF or URDF file of the arm")
        model = mujoco.MjModel.from_xml_path(str(path))
        known = [model.joint(index).name for index in range(model.njnt)]
        count, get = (model.nsite, model.site) if kind == "site" else (model.nbody, model.body)
        hands = [get(index).name for index in range(count)]
        if not set(joints) <= set(known) or hand not in hands:
            raise ValueError(
                f"{path} has joints {known} and {kind} names {hands}, the configuration names {joints}, {hand!r}"
            )
        self._configuration = mink.Configuration(model)
        self._addresses = np.array([int(model.joint(name).qposadr[0]) for name in joints])
        self._hand, self._kind = hand, kind
        self._frame = mink.FrameTask(hand, kind, position_cost=1.0, orientation_cost=0.01, lm_damping=1e-6)
        commanded = [int(model.joint(name).dofadr[0]) for name in joints]
        others = [index for index in range(model.nv) if index not in commanded]
        self._frozen = [mink.DofFreezingTask(model, dof_indices=others)] if others else []
        self._limits = [mink.ConfigurationLimit(model)]
        numbers = [model.joint(name).id for name in joints]
        limited = model.jnt_limited[numbers].astype(bool)[:, None]
        self.ranges = np.where(limited, model.jnt_range[numbers], [-np.inf, np.inf])

    def forward(self, joints: Float[np.ndarray, "joints"]) -> Float[np.ndarray, "6"]:
        """Returns the hand's position [m] and extrinsic-xyz Euler angles [rad] at joint angles [rad]."""
        self._place(joints)
        hand = self._configuration.get_transform_frame_to_world(self._hand, self._kind)
        return np.concatenate([hand.translation(), euler_from_matrix(hand.rotation().as_matrix())])

    def inverse(
        self, pose: Float[np.ndarray, "6"], near: Float[np.ndarray, "joints"]
    ) -> Float[np.ndarray, "joints"] | None:
        """Returns joint angles [rad] for a pose, the ones next to those given; None if there are none."""
        rotation = mink.SO3.from_matrix(matrix_from_euler(np.asarray(pose[3:6], dtype=np.float64)))
        self._frame.set_target(mink.SE3.from_rotation_and_translation(rotation, np.asarray(pose[:3])))
        self._place(near)
        for _ in range(_ITERATIONS):
            velocity = mink.solve_ik(
                self._configuration,
                [self._frame],
                1.0,
                "daqp",
                damping=1e-6,
                limits=self._limits,
                constraints=self._frozen or None,
            )
            self._configuration.integrate_inplace(velocity, 1.0)
            if np.abs(velocity).max() < 1e-5:
                break
        joints = self._configuration.q[self._addresses].copy()
        missed = np.linalg.norm(self._frame.compute_error(self._configuration)[:3])
        return None if missed > _POSITION_TOLERANCE or np.abs(joints - near).max() > _LONGEST_STEP else joints

    def _place(self, joints: Float[np.ndarray, "joints"]) -> None:
        angles = self._configuration.q.copy()
        angles[self._addresses] = joints
        self._configuration.update(angles)
