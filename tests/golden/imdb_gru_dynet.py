"""GRU on IMDB reviews, in DyNet.

python imdb_gru_dynet.py --data imdb.npz
"""

import argparse

import dynet as dy
import numpy as np

BATCH_SIZE = 64
EPOCHS = 3


# 1. Load the data
def load_data(path):
    """Read words (N x 150 indices) and labels."""
    data = np.load(path)
    return data["x_train"], data["y_train"], data["x_test"], data["y_test"]


# 2. The network
def glorot_of_gates(builder):
    """Draw the matrices of a GRU from Glorot's distribution: all three gates count."""
    for parameter in builder.get_parameters()[0]:
        shape = parameter.shape()
        if len(shape) == 2:
            limit = np.sqrt(6 / (3 * shape[0] + shape[1]))
            parameter.set_value(np.random.uniform(-limit, limit, shape))


class ImdbGru:
    def __init__(self):
        self.pc = dy.ParameterCollection()
        self.embedding = self.pc.add_lookup_parameters(
            (30000, 125), init=dy.UniformInitializer(0.05)
        )
        self.gru = dy.GRUBuilder(1, 125, 100, self.pc)
        glorot_of_gates(self.gru)
        self.fc_W = self.pc.add_parameters((2, 100))
        self.fc_b = self.pc.add_parameters(2, init=0)

    def __call__(self, x):
        steps = [dy.lookup_batch(self.embedding, words) for words in x.T]
        x = self.gru.initial_state().transduce(steps)[-1]
        return dy.affine_transform([self.fc_b, self.fc_W, x])


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its trainer."""
    dy.reset_random_seed(seed)
    np.random.seed(seed)
    model = ImdbGru()
    trainer = dy.AdamTrainer(model.pc, alpha=0.001)
    trainer.set_clip_threshold(0)  # no clipping of gradients
    # Moments decay for all words, not for those of the batch alone.
    trainer.set_sparse_updates(False)
    return model, trainer


def parameters(model):
    """Every parameter by name."""
    named = {}
    for name, value in vars(model).items():
        if isinstance(value, dy.GRUBuilder):
            inside = enumerate(value.get_parameters()[0])
            named.update((f"{name}_{i}", p) for i, p in inside)
        elif name != "pc":
            named[name] = value
    return named


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, parameter in parameters(model).items():
        if isinstance(parameter, dy.LookupParameters):
            parameter.init_from_array(arrays[name])
        else:
            parameter.set_value(arrays[name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: p.as_array() for name, p in parameters(model).items()})


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def train_step(model, trainer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    dy.renew_cg()
    losses = dy.pickneglogsoftmax_batch(model(x), y)
    loss = dy.mean_batches(losses)
    value = loss.value()
    loss.backward()
    trainer.update()
    return value


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
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    dy.renew_cg()
    return model(x).npvalue().T.reshape(len(x), -1)


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
    parser.add_argument("--data", default="imdb.npz")
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
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()
