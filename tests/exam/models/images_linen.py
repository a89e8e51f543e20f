"""A convolutional classifier, in Flax Linen."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        x = (x - 0.45) / 0.22
        x = nn.Conv(8, (5, 5), name="conv1")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="bn1")(x)
        x = nn.relu(x)
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.Conv(12, (3, 3), strides=2, name="conv2")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="bn2")(x)
        x = nn.leaky_relu(x, 0.2)
        x = nn.elu(nn.Conv(10, (3, 3), kernel_dilation=2, name="conv3")(x))
        x = nn.avg_pool(
            x, (3, 3), strides=(2, 2), padding="SAME", count_include_pad=False
        )
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(16, name="fc1")(x))
        x = nn.Dropout(0.4, deterministic=not train)(x)
        return nn.Dense(5, name="fc2")(x)


def build():
    module = Net()
    variables = module.init(jax.random.key(0), jnp.zeros((1, 20, 27, 3)), train=False)
    return module.bind(variables)
