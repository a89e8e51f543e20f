"""mnist-cnn by hand, as short as it gets: what a raced program is measured against."""

import optax
from flax import nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.a = nnx.Conv(1, 32, (3, 3), padding="VALID", rngs=rngs)
        self.b = nnx.Conv(32, 64, (3, 3), padding="VALID", rngs=rngs)
        self.c = nnx.Linear(9216, 128, rngs=rngs)
        self.d = nnx.Linear(128, 10, rngs=rngs)
        self.drop1, self.drop2 = (
            nnx.Dropout(0.25, rngs=rngs),
            nnx.Dropout(0.5, rngs=rngs),
        )

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.b(nnx.relu(self.a(x)))), (2, 2), (2, 2))
        x = self.drop1(x).reshape(x.shape[0], -1)
        return self.d(self.drop2(nnx.relu(self.c(x))))


@nnx.jit
def step(net, optimizer, x, y):
    def loss_of(net):
        return optax.softmax_cross_entropy_with_integer_labels(net(x), y).mean()

    loss, grads = nnx.value_and_grad(loss_of)(net)
    optimizer.update(net, grads)
    return loss


def run(batches):
    """Yield the loss of every step, not waited for."""
    net = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(net, optax.adam(1e-3), wrt=nnx.Param)
    for x, y in batches:
        yield step(net, optimizer, x.transpose(0, 2, 3, 1), y)
