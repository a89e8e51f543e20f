"""LeNet on MNIST, in NumPy.

python mnist_lenet_numpy.py --data mnist.npz
"""

import argparse

import autograd.numpy as np  # NumPy whose results know their gradients
from autograd import value_and_grad
from autograd.extend import defvjp, primitive
from autograd.tracer import getval

BATCH_SIZE = 128
EPOCHS = 10


# 1. Load the data
def load_data(path):
    """Read images (N x 28 x 28 x 1, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].reshape(-1, 28, 28, 1).astype(np.float32) / 255
    x_test = data["x_test"].reshape(-1, 28, 28, 1).astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
def dense(x, kernel, bias=0):
    """Every output is a weighted sum of all inputs: (N, in) @ (in, out) + (out)."""
    return x @ kernel + bias


def pad(x, padding, value=0):
    """Put a border around images: one width, or (before, after) for each axis."""
    space = np.broadcast_to(padding, (x.ndim - 2, 2)).tolist()
    return np.pad(x, [(0, 0), *space, (0, 0)], "constant", constant_values=value)


def shifts(shape, size, stride):
    """For every place in a window: the place, and what all windows see of x there.

    An image of 5 x 5 has 3 x 3 windows of 3 x 3. At place (0, 1) of theirs, at the top
    and in the middle, they see x[:, 0:3, 1:4].
    """
    axes = len(shape) - 2
    size, stride = np.broadcast_to(size, axes), np.broadcast_to(stride, axes)
    counts = (np.array(shape[1:-1]) - size) // stride + 1
    for place in np.ndindex(*size):
        yield place, (slice(None), *map(slice, place, place + counts * stride, stride))


@primitive
def slide(x, kernel, stride):
    """Slide a kernel over x: add up, place by place, what it sees times its weights."""
    y = 0
    for place, seen in shifts(x.shape, kernel.shape[:-2], stride):
        y += x[seen] @ kernel[place]
    return y


# Its gradients in x and in the kernel, where g is the gradient of y.
defvjp(
    slide,
    lambda y, x, kernel, stride: lambda g: unslide(g, kernel, stride, x.shape),
    lambda y, x, kernel, stride: lambda g: kernel_slope(x, g, stride, kernel.shape),
)


def unslide(y, kernel, stride, shape):
    """The way back: every y goes to all x (an array of a shape) that it was made of."""
    x = np.zeros(shape, y.dtype)
    for place, seen in shifts(shape, kernel.shape[:-2], stride):
        x[seen] += y @ kernel[place].T
    return x


def kernel_slope(x, y, stride, shape):
    """The gradient of a kernel (of a shape) over x, where that of the result is y."""
    slope = np.zeros(shape, x.dtype)
    for place, seen in shifts(x.shape, shape[:-2], stride):
        slope[place] = x[seen].reshape(-1, shape[-2]).T @ y.reshape(-1, shape[-1])
    return slope


def conv(x, kernel, bias=0, stride=1, padding=0):
    """Convolution of images (N, H, W, in) with a kernel (H, W, in, out)."""
    if padding:
        x = pad(x, padding)
    return slide(x, kernel, stride) + bias


@primitive
def max_pool(x, size, stride):
    """The largest value that each window sees."""
    y = -np.inf
    for _, seen in shifts(x.shape, size, stride):
        y = np.maximum(y, x[seen])
    return y


def max_pool_slope(y, x, size, stride):
    """The gradient goes to the value that was the largest; the first one of several."""

    def back(g):
        slope = np.zeros_like(x)
        waiting = np.ones(y.shape, bool)
        for _, seen in shifts(x.shape, size, stride):
            found = waiting & (x[seen] == y)
            slope[seen] += g * found
            waiting &= ~found
        return slope

    return back


defvjp(max_pool, max_pool_slope, argnums=(0,))


def network(w, x):
    """Scores of a batch, by the weights w."""
    x = np.tanh(conv(x, w["conv1.kernel"], w["conv1.bias"]))
    x = max_pool(x, size=2, stride=2)
    x = np.tanh(conv(x, w["conv2.kernel"], w["conv2.bias"]))
    x = max_pool(x, size=2, stride=2)
    x = x.reshape(len(x), -1)
    x = np.tanh(dense(x, w["fc1.kernel"], w["fc1.bias"]))
    return dense(x, w["fc2.kernel"], w["fc2.bias"])


# 3. Loss, optimizer, initial weights
def mean(x, axis=None, keepdims=False):
    """The mean; unlike that of np.mean, its gradient keeps the precision of x."""
    total = np.sum(x, axis=axis, keepdims=keepdims)
    return total / (x.size // total.size)


def log_softmax(x, axis):
    """Logarithm of the softmax; the largest x is taken out lest exp overflows."""
    x = x - getval(x).max(axis=axis, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


def cross_entropy(scores, labels):
    """Mean of -log(share of the true label)."""
    return -mean(log_softmax(scores, axis=1)[np.arange(len(labels)), labels])


def glorot_uniform(rng, shape):
    """Uniform within sqrt(6 / (fan in + fan out)): the last axes are in and out."""
    fans = sum(shape[-2:]) * np.prod(shape[:-2])
    limit = np.sqrt(6 / fans)
    return rng.uniform(-limit, limit, shape)


class SGD:
    """Steps down the gradient."""

    def __init__(self, w, rate):
        self.rate = rate

    def step(self, w, gradient):
        """Move every weight."""
        for name, g in gradient.items():
            w[name] -= self.rate * g


def build(seed=0):
    """Create the weights, by name, and their optimizer."""
    rng = np.random.default_rng(seed)
    w = {}
    w["conv1.kernel"] = glorot_uniform(rng, (5, 5, 1, 20))
    w["conv1.bias"] = np.zeros(20)
    w["conv2.kernel"] = glorot_uniform(rng, (5, 5, 20, 50))
    w["conv2.bias"] = np.zeros(50)
    w["fc1.kernel"] = glorot_uniform(rng, (800, 500))
    w["fc1.bias"] = np.zeros(500)
    w["fc2.kernel"] = glorot_uniform(rng, (500, 10))
    w["fc2.bias"] = np.zeros(10)
    model = {name: array.astype(np.float32) for name, array in w.items()}
    optimizer = SGD(model, rate=0.1)
    return model, optimizer


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    model.update(np.load(path))


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **model)


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def loss_function(w, x, y):
    """Loss of a batch in training, by the weights w."""
    return cross_entropy(network(w, x), y)


def train_step(model, optimizer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    loss, gradient = value_and_grad(loss_function)(model, x, y)
    optimizer.step(model, gradient)
    return loss


def train(model, optimizer, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, optimizer, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return network(model, x)


# 6. Evaluate
def evaluate(model, x, y):
    """Share of observations whose highest score is that of their label."""
    correct = 0
    for start in range(0, len(x), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        correct += np.sum(predict(model, x[rows]).argmax(axis=1) == y[rows])
    return correct / len(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="mnist.npz")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", help="initial weights (.npz)")
    parser.add_argument("--save", help="where to write the trained weights (.npz)")
    args = parser.parse_args()

    x_train, y_train, *test = load_data(args.data)
    model, optimizer = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, optimizer, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()
