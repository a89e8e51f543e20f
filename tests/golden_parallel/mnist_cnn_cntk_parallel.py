"""Convolutional network on MNIST, in CNTK, on several processes.

mpiexec -n 2 python mnist_cnn_cntk_parallel.py --data mnist.npz
"""

import argparse

import cntk as C
import numpy as np
from cntk.layers import Convolution2D, Dense, Dropout, MaxPooling
from cntk.logging.graph import depth_first_search

BATCH_SIZE = 128
EPOCHS = 5

RANK = C.distributed.Communicator.rank()
WORKERS = C.distributed.Communicator.num_workers()


# 1. Load the data
def load_data(path):
    """Read images (N x 1 x 28 x 28, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].astype(np.float32) / 255
    x_test = data["x_test"].astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
def mnist_cnn(x):
    x = Convolution2D((3, 3), 32, activation=C.relu, name="conv1")(x)
    x = Convolution2D((3, 3), 64, activation=C.relu, name="conv2")(x)
    x = MaxPooling((2, 2), 2)(x)
    x = Dropout(0.25)(x)
    x = C.reshape(x, 9216)
    x = Dense(128, activation=C.relu, name="fc1")(x)
    x = Dropout(0.5)(x)
    return Dense(10, name="fc2")(x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and what trains it."""
    C.cntk_py.set_fixed_random_seed(seed)
    features = C.input_variable((1, 28, 28))
    labels = C.input_variable(())
    model = mnist_cnn(features)
    loss = C.cross_entropy_with_softmax(model, C.one_hot(labels, 10))
    learner = C.adam(
        model.parameters,
        lr=0.001,
        momentum=0.9,
        variance_momentum=0.999,
        minibatch_size=C.learners.IGNORE,
    )
    learner = C.distributed.data_parallel_distributed_learner(learner)
    return model, C.Trainer(model, loss, learner)


def weights(model):
    """Parameters by the name of their layer and their own."""
    layers = depth_first_search(model, lambda f: getattr(f, "is_block", False))
    return {f"{f.name}/{p.name}": p for f in layers for p in f.parameters}


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, weight in weights(model).items():
        weight.value = arrays[name]


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: weight.value for name, weight in weights(model).items()})


# 4. Train
def batches(count, rng):
    """Yield this process's rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start + RANK : start + BATCH_SIZE : WORKERS]


def train_step(model, trainer, x, y):
    """Make one optimizer step; x and y are this process's share of a batch."""
    features, labels = trainer.loss_function.arguments
    trainer.train_minibatch({features: x, labels: y.astype(np.float32)})
    return trainer.previous_minibatch_loss_average


def train(model, trainer, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, trainer, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        if RANK == 0:
            print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.eval(x)


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
    model, trainer = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, trainer, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save and RANK == 0:
        save_weights(model, args.save)
    C.distributed.Communicator.finalize()


if __name__ == "__main__":
    main()
