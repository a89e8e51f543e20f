"""A residual network with group norm, for images of any size, in PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1 = nn.GroupNorm(4, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(4, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return x + y


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 5, stride=2, padding=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.block1 = Block(12)
        self.block2 = Block(12)
        self.wide = nn.Conv2d(12, 18, 3, padding=1, groups=3)
        self.pool2 = nn.AvgPool2d(2)
        self.norm = nn.BatchNorm2d(18)
        self.head = nn.Linear(36, 4)

    def forward(self, x):
        x = self.pool(self.stem(x))
        x = self.block2(self.block1(x))
        x = F.relu(self.norm(self.pool2(self.wide(x))))
        x = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
        return self.head(x)
