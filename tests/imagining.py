"""A plan server with a small random model that looks at images, and stored frames that it imagines with."""

from __future__ import annotations

from plan_servers import SMALL

from envs.arms.remote.listen import ListenConfig
from envs.spec import ActionSpec
from planner.base import Planner
from planner.control.controller import Controller
from planner.search.cem import CEM
from planner.serving.server import Offer, PlanServer
from tests.moving_square import MovingSquare
from tests.small_models import ACTIONS, small_model
from world_model.heads.neighbours import Gallery, gallery_frames

DATA = MovingSquare((6, 4, 5), size=32)
MODEL = small_model()


def make_gallery() -> Gallery:
    return Gallery(DATA, gallery_frames(DATA), MODEL.encoder)


def make_imagining_server(planner: Planner | None = None) -> PlanServer:
    planner = planner or CEM(SMALL)

    def make_controller(spec: ActionSpec) -> Controller:
        return Controller(MODEL, planner, spec)

    offer = Offer("small", ACTIONS, planner.horizon, 16, goal_pose=False, gallery=make_gallery())
    return PlanServer(make_controller, offer, ListenConfig(port=0, silence=5.0, rate=1000.0))
