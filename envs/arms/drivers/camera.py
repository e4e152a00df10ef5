"""What a camera is, and one read through OpenCV (V4L2, USB, network streams)."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

from envs.arms.base import ArmError
from envs.arms.drivers.vendor import import_vendor

_FIRST_IMAGE = 5.0  # seconds that a camera may take to deliver its first image
_MISSED_IMAGES = 10  # reads in a row that may fail before the camera counts as lost


class Camera(Protocol):
    """Delivers the newest image at any time, with the time at which it was taken."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of its images."""
        ...

    def connect(self) -> None:
        """Opens the camera and returns when the first image is there."""
        ...

    def newest(self) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
        """Returns the newest RGB image and when it was taken [monotonic s]; never waits for the next."""
        ...

    def close(self) -> None:
        """Releases the camera. Closing twice does no harm."""
        ...


@dataclass(frozen=True)
class CameraConfig:
    """Which camera, and what it delivers.

    Attributes:
        device: Number, path (``/dev/v4l/by-id/...`` stays the same after a reboot) or address of a stream.
        width: Of an image [pixels].
        height: Of an image [pixels].
        rate: Images a second [Hz].
        latency: From the exposure of an image to its arrival here [s]; images are dated back by it.

    Raises:
        ValueError: If a size, the rate or the latency is out of range.
    """

    device: int | str = 0
    width: int = 640
    height: int = 480
    rate: float = 30.0
    latency: float = 0.0

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 16 or self.rate <= 0:
            raise ValueError(f"a camera needs 16 pixels an edge and a rate, got {self.width}x{self.height} {self.rate}")
        if not 0 <= self.latency < 1:
            raise ValueError(f"a camera's latency must be 0 to 1 s, got {self.latency}")


class OpenCVCamera:
    """A camera that OpenCV can read. See `Camera`; a thread of its own keeps the newest image."""

    def __init__(self, config: CameraConfig | None = None) -> None:
        self.config = config or CameraConfig()
        self.shape = (self.config.height, self.config.width, 3)
        self._name = f"camera {self.config.device!r}"
        self._newest: tuple[UInt8[np.ndarray, "h w 3"], float] | None = None
        self._failure: ArmError | None = None
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def check_present(self) -> None:
        """Returns if the camera can be opened.

        Raises:
            ArmError: If not.
        """
        if self._thread is None:
            self._open(import_vendor("cv2", "cameras")).release()

    def connect(self) -> None:
        """See `Camera.connect`.

        Raises:
            ArmError: If the camera cannot be opened or delivers nothing, or images of another size.
        """
        if self._thread is not None:
            return
        cv2 = import_vendor("cv2", "cameras")
        capture = self._open(cv2)
        for setting, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, self.config.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, self.config.height),
            (cv2.CAP_PROP_FPS, self.config.rate),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):
            capture.set(setting, value)
        self._newest, self._failure = None, None
        self._closing = threading.Event()  # a thread that outlives its connection keeps that one's
        self._thread = threading.Thread(target=self._read, args=(capture, self._closing), name=self._name, daemon=True)
        self._thread.start()
        with self._changed:
            came = self._changed.wait_for(lambda: self._newest is not None or self._failure is not None, _FIRST_IMAGE)
        if not came or self._failure is not None:
            failure = self._failure or ArmError(f"{self._name} delivered no image within {_FIRST_IMAGE} s")
            self.close()
            raise failure

    def newest(self) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
        """See `Camera.newest`.

        Raises:
            ArmError: If the camera is not connected or no longer delivers images.
        """
        with self._changed:
            if self._failure is not None:
                raise self._failure
            if self._newest is None:
                raise ArmError(f"{self._name} is not connected: call connect() first")
            return self._newest

    def close(self) -> None:
        """See `Camera.close`."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        self._thread, self._newest = None, None

    def _open(self, cv2: Any) -> Any:
        """Returns OpenCV's opened camera."""
        capture = cv2.VideoCapture(self.config.device)
        if not capture.isOpened():
            capture.release()
            raise ArmError(f"{self._name} cannot be opened: is it plugged in, and does no other program use it?")
        return capture

    def _read(self, capture: Any, closing: threading.Event) -> None:
        """Keeps the newest image until this connection is closed or lost."""
        missed = 0
        try:
            while not closing.is_set():
                delivered, image = capture.read()
                taken = time.monotonic() - self.config.latency
                if closing.is_set():
                    return
                missed = 0 if delivered else missed + 1
                if missed >= _MISSED_IMAGES:
                    return
                if delivered and image.shape != self.shape:
                    self._fail(f"delivers images of {image.shape}, its configuration says {self.shape}: change that")
                    return
                if delivered:
                    with self._changed:
                        self._newest = np.ascontiguousarray(image[..., ::-1]), taken  # OpenCV's are BGR
                        self._changed.notify_all()
                else:
                    closing.wait(0.01)
        finally:
            capture.release()
            if not closing.is_set():
                self._fail("delivers no images any more: check its cable, then connect again")

    def _fail(self, why: str) -> None:
        with self._changed:
            self._failure = self._failure or ArmError(f"{self._name} {why}")
            self._changed.notify_all()
