"""A perceptron with its optimizers and losses, in PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(11, 16)
        self.fc2 = nn.Linear(16, 16)
        self.dropout = nn.Dropout(0.25)
        self.fc3 = nn.Linear(16, 4)

    def forward(self, x):
        x = F.gelu(self.fc1(x))
        x = torch.tanh(self.fc2(x))
        x = self.dropout(x)
        return self.fc3(x)


loss = nn.CrossEntropyLoss()


def adam():
    model = Net()
    return model, torch.optim.Adam(model.parameters(), lr=0.01), loss


def adamw():
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    return model, optimizer, loss


def sgd():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return model, optimizer, loss


def rmsprop():
    model = Net()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01, alpha=0.9)
    return model, optimizer, loss


def regression():
    model = Net()
    loss = nn.MSELoss()
    return model, torch.optim.SGD(model.parameters(), lr=0.05), loss
