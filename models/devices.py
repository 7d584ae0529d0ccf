"""Classes of edge devices: what a server of that kind is, in one word.

What is measured is the time of our networks on our core, for every engine (`latency-*.json`). What
is not measured here is how much slower or faster a device is; that follows one rule:
`scenes-teacher` in torch stands for YOLOv8n, the detector of pictures of 640 pixels that makers and
users of all these devices publish a time for, and a device whose published time is t has

    speed = (median time of scenes-teacher, one image, torch, on our core) / t

so that `scenes-teacher` takes t on it, and its students their measured share of t. It is our
largest network: a smaller one would have to be stretched further (docs/adr/0013). That a share
measured on our core holds on the device's own processor is an assumption. Model, engine, batch
limit and the two thermal numbers are choices, each with its reason beside it. Always one thread
(docs/adr/0004).
"""

import numpy as np
from msgspec import Struct

from models import latency

STANDS_FOR = "scenes-teacher"


class DeviceClass(Struct, frozen=True):
    """`published_s` is the time of YOLOv8n, one picture.

    `slowdown`: how many times as long a task takes when the device is hot; 1: it never is.
    `heat_s` is the time constant in which it heats when busy and cools when idle.
    """

    model: str
    batch_max: int
    published_s: float
    slowdown: float
    heat_s: float
    engine: str = "torch"

    @property
    def speed(self) -> float:
        """How many times as fast as our core, three digits of it."""
        ours_s = float(np.median(latency.trace(STANDS_FOR, 1)))
        return float(f"{ours_s / self.published_s:.3g}")


CLASSES = {
    # Raspberry Pi 5, no fan. 20 frames/s at 2.9 GHz (Q-engineering, YoloX-ncnn-Raspberry-Pi-4).
    # Choices: a small network, as its processor has no accelerator; hot, a third of its speed is
    # gone; 65 s is how long launch firmware of the Pi 4 took to the limit of 80 degrees (Raspberry
    # Pi, Thermal testing Raspberry Pi 4), taken for the time constant of both.
    "raspberry": DeviceClass("scenes-s", batch_max=1, published_s=0.05, slowdown=1.5, heat_s=65.0),
    # Jetson Orin Nano. 7.3 ms in FP16 with TensorRT (the0807, YOLOv8-ONNX-TensorRT). Choices: the
    # middle network; batches of 4; a fifth slower when hot, after two minutes.
    "jetson": DeviceClass("scenes-m", batch_max=4, published_s=0.0073, slowdown=1.2, heat_s=120.0),
    # A server with an A100 behind the base station. 0.99 ms with TensorRT (Ultralytics, table of
    # YOLOv8). Choices: the largest network; batches of 8; cooled, hence never hot.
    "rack": DeviceClass(
        "scenes-teacher", batch_max=8, published_s=0.00099, slowdown=1.0, heat_s=1.0
    ),
}
