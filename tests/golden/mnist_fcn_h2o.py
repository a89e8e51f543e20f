"""Fully connected network on MNIST, in H2O.

python mnist_fcn_h2o.py --data mnist.npz
"""

import argparse
from itertools import pairwise

import h2o
import numpy as np
from h2o.estimators import H2ODeepLearningEstimator

EPOCHS = 10


# 1. Load the data
def load_data(path):
    """Read images (N x 784, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].reshape(-1, 784).astype(np.float32) / 255
    x_test = data["x_test"].reshape(-1, 784).astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
LAYERS = ("fc1", "fc2", "fc3")
SIZES = (784, 512, 256, 10)
# In evaluation, H2O multiplies by the share that dropout leaves: the kernels
# that it is given are larger by as much.
KEPT = (1, 0.8, 0.8)


def mnist_fcn(kernels, biases, training, validation=None, epochs=0, seed=0):
    """Network with these weights, and trained for some epochs."""
    model = H2ODeepLearningEstimator(
        hidden=[512, 256],
        activation="RectifierWithDropout",
        hidden_dropout_ratios=[0.2, 0.2],
        standardize=False,
        ignore_const_cols=False,
        initial_weights=[h2o.H2OFrame(w / share) for w, share in zip(kernels, KEPT)],
        initial_biases=[h2o.H2OFrame(bias[:, None]) for bias in biases],
        export_weights_and_biases=True,
        # It has no Adam: this is ADADELTA, with a step after each row.
        adaptive_rate=True,
        train_samples_per_iteration=0,
        score_interval=0,
        score_duty_cycle=1,
        overwrite_with_best_model=False,
        stopping_rounds=0,
        epochs=epochs,
        seed=seed,
        reproducible=True,
    )
    model.train(y="label", training_frame=training, validation_frame=validation)
    return model


def table(x, y=None):
    """Table of H2O: a column for each feature, and the labels as categories."""
    frame = h2o.H2OFrame(x)
    if y is not None:
        # The categories are those of all classes, also where y has few of them.
        labels = np.append(np.arange(SIZES[-1]), y)[:, None]
        frame["label"] = h2o.H2OFrame(labels).asfactor()[SIZES[-1] :, :]
    return frame


# 3. Initial weights
def build(seed=0):
    """Start H2O, and create the network."""
    h2o.init(nthreads=1, max_mem_size="2G", verbose=False)
    h2o.no_progress()
    rng = np.random.default_rng(seed)
    kernels, biases = [], []
    for inputs, outputs in pairwise(SIZES):
        limit = np.sqrt(6 / (inputs + outputs))
        kernels.append(rng.uniform(-limit, limit, (outputs, inputs)))
        biases.append(np.zeros(outputs))
    return mnist_fcn(kernels, biases, example())


def example():
    """Table that tells H2O of the features and classes before there are data."""
    return table(np.zeros((SIZES[-1], SIZES[0])), np.arange(SIZES[-1]))


def weights(model):
    """Kernels and biases of all layers."""
    frames = [model.weights(i) for i in range(len(LAYERS))]
    kernels = [w.as_data_frame().values * n for w, n in zip(frames, KEPT)]
    biases = [model.biases(i).as_data_frame().values[:, 0] for i in range(len(LAYERS))]
    return kernels, biases


def load_weights(model, path):
    """Return a network with the named arrays of an .npz file as weights."""
    arrays = np.load(path)
    kernels = [arrays[f"{name}.kernel"] for name in LAYERS]
    biases = [arrays[f"{name}.bias"] for name in LAYERS]
    return mnist_fcn(kernels, biases, example())


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    kernels, biases = weights(model)
    arrays = {f"{name}.kernel": kernel for name, kernel in zip(LAYERS, kernels)}
    arrays.update({f"{name}.bias": bias for name, bias in zip(LAYERS, biases)})
    np.savez(path, **arrays)


# 4. Train
def train_step(model, x, y):
    """Go through a batch once, with a step after each row; return the new model."""
    model = mnist_fcn(*weights(model), table(x, y), epochs=1)
    return model, model.logloss()


def train(model, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each. Return the new model."""
    test = table(*validation) if validation else None
    model = mnist_fcn(*weights(model), table(x, y), test, epochs, seed)
    for epoch in model.scoring_history()[1:].itertuples():
        report = f"epoch {epoch.epochs:.0f}: loss {epoch.training_logloss:.4f}"
        if validation:
            report += f", accuracy {1 - epoch.validation_classification_error:.4f}"
        print(report)
        if on_step:
            on_step(epoch.training_logloss)
    return model


# 5. Predict
def predict(model, x):
    """Logarithms of the probabilities of a batch, as a NumPy array."""
    probabilities = model.predict(table(x))[:, 1:]
    return np.log(probabilities.as_data_frame().values)


# 6. Evaluate
def evaluate(model, x, y):
    """Share of observations whose highest score is that of their label."""
    return np.mean(predict(model, x).argmax(axis=1) == y)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="mnist.npz")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", help="initial weights (.npz)")
    parser.add_argument("--save", help="where to write the trained weights (.npz)")
    args = parser.parse_args()

    x_train, y_train, *test = load_data(args.data)
    model = build(args.seed)
    if args.weights:
        model = load_weights(model, args.weights)
    model = train(model, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()
