"""A convolutional classifier, in Flax NNX."""

from flax import nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv1 = nnx.Conv(3, 8, (5, 5), rngs=rngs)
        self.bn1 = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(8, 12, (3, 3), strides=2, rngs=rngs)
        self.bn2 = nnx.BatchNorm(12, momentum=0.9, rngs=rngs)
        self.conv3 = nnx.Conv(12, 10, (3, 3), kernel_dilation=2, rngs=rngs)
        self.fc1 = nnx.Linear(120, 16, rngs=rngs)
        self.dropout = nnx.Dropout(0.4, rngs=rngs)
        self.fc2 = nnx.Linear(16, 5, rngs=rngs)

    def __call__(self, x):
        x = (x - 0.45) / 0.22
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = nnx.leaky_relu(self.bn2(self.conv2(x)), 0.2)
        x = nnx.elu(self.conv3(x))
        x = nnx.avg_pool(
            x, (3, 3), strides=(2, 2), padding="SAME", count_include_pad=False
        )
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        x = self.dropout(nnx.relu(self.fc1(x)))
        return self.fc2(x)


def build():
    return Net(nnx.Rngs(0))
