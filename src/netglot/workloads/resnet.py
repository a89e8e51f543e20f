"""ResNet-50 as a feature extractor: 2048 numbers per image, forward only.

The images are those of CIFAR-10, seven times enlarged: the time does not depend on what
they show.
"""

from __future__ import annotations

from netglot.data import DataSpec
from netglot.graph import Block, Builder
from netglot.ops import Add, BatchNorm, Conv, GlobalAvgPool, MaxPool, Relu
from netglot.workloads import Workload, reported

#: Images per second, as the repository reported them.
IMAGES = {
    "TensorFlow": 155,
    "MXNet": 130,
    "PyTorch": 130,
    "CNTK": 117,
    "Chainer": 107,
    "Keras (TensorFlow)": 98,
    "Caffe2": 71,
    "Keras (CNTK)": 46,
}
SECONDS = {name: round(1000 / rate, 1) for name, rate in IMAGES.items()}


def bottleneck(project: bool) -> Block:
    """Convolutions 1x1, 3x3, 1x1 beside a shortcut; He et al., 2016.

    With ``project`` the shortcut is a 1x1 convolution, which changes the number of
    channels and, by ``stride``, the size; the 3x3 convolution then has the same stride.
    """
    net = Builder("ProjectionBottleneck" if project else "Bottleneck")
    inside = net.parameter("in_channels") if project else None
    channels = net.parameter("channels")
    stride = net.parameter("stride") if project else 1
    x = net.input("x", "NCHW", (inside or 4 * channels, None, None))
    y = x
    for i, (width, size, step) in enumerate(
        ((channels, 1, 1), (channels, 3, stride), (4 * channels, 1, 1)), start=1
    ):
        convolution = Conv(
            width, (size, size), stride=step, padding=size // 2, bias=False
        )
        y = net.add(convolution, y, name=f"conv{i}")
        y = net.add(BatchNorm(), y, name=f"norm{i}")
        if i < 3:
            y = net.add(Relu(), y, name=f"relu{i}")
    if project:
        projection = Conv(4 * channels, (1, 1), stride=stride, bias=False)
        x = net.add(projection, x, name="project")
        x = net.add(BatchNorm(), x, name="project_norm")
    y = net.add(Add(), y, x, name="add")
    return net.block(net.add(Relu(), y, name="relu3"))


def features() -> Workload:
    """Up to the average pool."""
    first, plain = bottleneck(project=True), bottleneck(project=False)
    net = Builder("resnet50-features")
    x = net.input("image", "NCHW", (3, 224, 224))
    x = net.add(Conv(64, (7, 7), stride=2, padding=3, bias=False), x, name="conv1")
    x = net.add(BatchNorm(), x, name="norm1")
    x = net.add(Relu(), x, name="relu1")
    x = net.add(MaxPool((3, 3), stride=2, padding=1), x, name="pool1")
    inside = 64
    for stage, (channels, count) in enumerate(
        ((64, 3), (128, 4), (256, 6), (512, 3)), start=1
    ):
        x = net.call(
            first,
            x,
            name=f"stage{stage}_first",
            in_channels=inside,
            channels=channels,
            stride=1 if stage == 1 else 2,
        )
        x = net.call(plain, x, name=f"stage{stage}", times=count - 1, channels=channels)
        inside = 4 * channels
    x = net.add(GlobalAvgPool(), x, name="pool")
    return Workload(
        "resnet50-features",
        "ResNet-50 features",
        net.graph(x),
        None,
        DataSpec("cifar10", "images", (3, 32, 32), classes=10),
        batch_size=32,
        # Frameworks differ, and a forward pass cannot tell.
        forms={"BatchNorm": ({"unbiased": False}, {"unbiased": True})},
        expected=reported.rosetta("seconds per 1000 images", SECONDS),
        origin=reported.ROSETTA,
    )


WORKLOADS = {"resnet50-features": features}
