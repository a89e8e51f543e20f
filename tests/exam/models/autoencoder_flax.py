"""An autoencoder of images, in Flax NNX."""

import jax
from flax import nnx


def enlarge(x, method):
    n, height, width, channels = x.shape
    return jax.image.resize(x, (n, 2 * height, 2 * width, channels), method)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.down1 = nnx.Conv(2, 8, (4, 4), strides=2, padding=1, rngs=rngs)
        self.down2 = nnx.Conv(8, 12, (2, 2), strides=2, padding="VALID", rngs=rngs)
        self.norm = nnx.InstanceNorm(12, epsilon=1e-5, rngs=rngs)
        self.up1 = nnx.ConvTranspose(
            12, 9, (4, 4), strides=(2, 2), transpose_kernel=True, rngs=rngs
        )
        self.up2 = nnx.ConvTranspose(
            9,
            6,
            (3, 3),
            strides=(2, 2),
            padding=((1, 2), (1, 2)),
            transpose_kernel=True,
            rngs=rngs,
        )
        self.smooth = nnx.Conv(6, 5, (3, 3), rngs=rngs)
        self.out = nnx.Conv(5, 2, (3, 3), rngs=rngs)

    def __call__(self, x):
        x = nnx.softplus(self.down1(x))
        x = nnx.relu(self.norm(self.down2(x)))
        x = nnx.relu6(self.up1(x))
        x = nnx.tanh(self.up2(x))
        x = enlarge(x, "nearest")
        x = nnx.selu(self.smooth(x))
        x = enlarge(x, "bilinear")
        return nnx.sigmoid(self.out(x))


def build():
    return Net(nnx.Rngs(0))
