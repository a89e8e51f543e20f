"""A GRU in two layers, the second in both directions, in PyTorch."""

import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 8)
        self.gru1 = nn.GRU(8, 7, batch_first=True)
        self.gru2 = nn.GRU(7, 5, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(10, 4)

    def forward(self, tokens):
        x = self.embedding(tokens)
        x, _ = self.gru1(x)
        x, _ = self.gru2(x)
        return F.log_softmax(self.fc(x.mean(dim=1)), dim=-1)
