"""Convolutional network on MNIST, in PyTorch, on several processes.

torchrun --nproc-per-node 2 mnist_cnn_pytorch_parallel.py --data mnist.npz
"""

import argparse
import os

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

BATCH_SIZE = 128
EPOCHS = 5

dist.init_process_group()
RANK, WORKERS = dist.get_rank(), dist.get_world_size()
DEVICE = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"


# 1. Load the data
def load_data(path):
    """Read images (N x 1 x 28 x 28, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].astype(np.float32) / 255
    x_test = data["x_test"].astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
class MnistCnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)
        self.dropout1 = nn.Dropout(0.25)
        self.fc1 = nn.Linear(9216, 128)
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = self.dropout2(x)
        return self.fc2(x)


# 3. Loss, optimizer, initial weights
def initialize(module):
    """Set the initial weights of a layer."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def build(seed=0):
    """Create the network and its optimizer."""
    # Each drops other values; the initial weights are those of the first.
    torch.manual_seed(seed + RANK)
    model = DistributedDataParallel(MnistCnn().apply(initialize).to(DEVICE))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    return model, optimizer


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    model.module.load_state_dict(
        {name: torch.from_numpy(arrays[name]) for name in arrays}
    )


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    state = model.module.state_dict()
    np.savez(path, **{k: v.numpy(force=True) for k, v in state.items()})


# 4. Train
def batches(count, rng):
    """Yield this process's rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start + RANK : start + BATCH_SIZE : WORKERS]


def train_step(model, optimizer, x, y):
    """Make one optimizer step on this process's share of a batch; return its loss."""
    model.train()
    x, y = torch.from_numpy(x).to(DEVICE), torch.from_numpy(y).to(DEVICE)
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def train(model, optimizer, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, optimizer, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        loss = torch.stack(losses).mean() / WORKERS
        dist.all_reduce(loss)
        report = f"epoch {epoch + 1}: loss {loss:.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        if RANK == 0:
            print(report)


# 5. Predict
@torch.no_grad()
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.eval()
    return model.module(torch.from_numpy(x).to(DEVICE)).numpy(force=True)


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
    if args.save and RANK == 0:
        save_weights(model, args.save)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
