"""OpenCV's VideoCapture: BGR images at a rate, and what happens when the camera is pulled out."""

import time

import numpy as np
from fake_robot import ROBOT

CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT, CAP_PROP_FPS, CAP_PROP_BUFFERSIZE = 3, 4, 5, 38


class VideoCapture:
    def __init__(self, index, apiPreference: int = 0) -> None:
        self.opened = index != "missing"
        self.settings: dict[int, float] = {CAP_PROP_FRAME_WIDTH: 640, CAP_PROP_FRAME_HEIGHT: 480, CAP_PROP_FPS: 30}

    def isOpened(self) -> bool:
        return self.opened

    def set(self, propId: int, value: float) -> bool:
        if ROBOT.state.get("camera has one size") and propId in (CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT):
            return False
        self.settings[propId] = value
        return True

    def read(self):
        time.sleep(1.0 / self.settings[CAP_PROP_FPS])
        ROBOT.enter("camera")
        if ROBOT.state.get("camera unplugged"):
            return False, None
        shape = int(self.settings[CAP_PROP_FRAME_HEIGHT]), int(self.settings[CAP_PROP_FRAME_WIDTH]), 3
        image = np.zeros(shape, np.uint8)
        image[..., 0] = 200  # blue: the first channel of BGR
        return True, image

    def release(self) -> None:
        self.opened = False
