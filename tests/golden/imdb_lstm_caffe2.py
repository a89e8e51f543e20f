"""LSTM on IMDB reviews, in Caffe2.

python imdb_lstm_caffe2.py --data imdb.npz
"""

import argparse

import numpy as np
from caffe2.python import brew, core, model_helper, optimizer, rnn_cell, workspace
from caffe2.python.modeling.initializers import Initializer

core.GlobalInit(["caffe2", "--caffe2_log_level=3"])

BATCH_SIZE = 64
EPOCHS = 3


# 1. Load the data
def load_data(path):
    """Read words (N x 150 indices) and labels."""
    data = np.load(path)
    return data["x_train"], data["y_train"], data["x_test"], data["y_test"]


# 2. The network
class GlorotUniform(Initializer):
    """Uniform within sqrt(6 / (fan_in + fan_out)) of 0."""

    def create_param(self, param_name, init_net, shape):
        fan_out, fan_in = shape[:2]
        limit = float(np.sqrt(6 / (np.prod(shape[2:]) * (fan_in + fan_out))))
        uniform = Initializer("UniformFill", min=-limit, max=limit)
        return uniform.create_param(param_name, init_net, shape)


def embedding(model, blob_in, blob_out, dim_in, dim_out, steps):
    """Rows of a table (dim_in x dim_out) for words (N x steps)."""
    table = model.create_param(
        blob_out + "_w",
        shape=[dim_in, dim_out],
        initializer=Initializer("UniformFill", min=-0.05, max=0.05),
    )
    # Words in one dimension: only then can the gradient of the table be dense.
    words = model.net.FlattenToVec(blob_in, blob_out + "_words")
    rows = model.net.Gather([table, words], blob_out + "_rows", dense_gradient=True)
    vectors, _ = model.net.Reshape(
        rows, [blob_out, blob_out + "_old_shape"], shape=[-1, steps, dim_out]
    )
    return vectors


def imdb_lstm(model, x):
    x = embedding(model, x, "embedding", 30000, 125, steps=150)
    x = brew.transpose(model, x, "lstm_steps", axes=[1, 0, 2])
    h0 = model.param_init_net.ConstantFill([], "lstm_h0", shape=[100])
    c0 = model.param_init_net.ConstantFill([], "lstm_c0", shape=[100])
    _, x, _, _ = rnn_cell.LSTM(
        model,
        x,
        seq_lengths=None,
        initial_states=[h0, c0],
        dim_in=125,
        dim_out=100,
        scope="lstm",
        forget_bias=1.0,
        outputs_with_grads=[1],
    )
    x = model.net.Squeeze(x, "lstm", dims=[0])
    return brew.fc(model, x, "fc", 100, 2)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the nets that predict and train; they share their weights."""
    workspace.ResetWorkspace()
    trainer = model_helper.ModelHelper("train")
    data, label = trainer.net.AddExternalInputs("data", "label")
    with brew.arg_scope(brew.fc, WeightInitializer=GlorotUniform):
        scores = imdb_lstm(trainer, data)
    _, loss = trainer.net.SoftmaxWithLoss([scores, label], ["softmax", "loss"])
    trainer.AddGradientOperators([loss])
    # Adam's t is the iteration + 1: so that is counted after the update.
    iteration = trainer.param_init_net.ConstantFill(
        [], "optimizer_iteration", shape=[1], dtype=core.DataType.INT64
    )
    optimizer.build_adam(trainer, base_learning_rate=0.001)
    trainer.net.Iter(iteration, iteration)
    # Every operator draws random numbers of its own.
    rng = np.random.RandomState(seed)
    for op in [*trainer.param_init_net.Proto().op, *trainer.net.Proto().op]:
        op.device_option.random_seed = rng.randint(2**31)
    workspace.RunNetOnce(trainer.param_init_net)
    workspace.CreateNet(trainer.net, input_blobs=["data", "label"])
    model = model_helper.ModelHelper("predict", init_params=False)
    imdb_lstm(model, model.net.AddExternalInput("data"))
    workspace.CreateNet(model.net)
    return model, trainer


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name in arrays.files:
        workspace.FeedBlob(name, arrays[name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{str(p): workspace.FetchBlob(p) for p in model.GetAllParams()})


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def train_step(model, trainer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    workspace.FeedBlob("data", x)
    workspace.FeedBlob("label", y.astype(np.int32))
    workspace.RunNet(trainer.net)
    return workspace.FetchBlob("loss")


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
    workspace.FeedBlob("data", x)
    workspace.RunNet(model.net)
    return workspace.FetchBlob("fc")


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
