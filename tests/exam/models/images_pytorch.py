"""A convolutional classifier, in PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 5, padding=2)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2)
        self.bn2 = nn.BatchNorm2d(12)
        self.conv3 = nn.Conv2d(12, 10, 3, padding="same", dilation=2)
        self.fc1 = nn.Linear(120, 16)
        self.dropout = nn.Dropout(0.4)
        self.fc2 = nn.Linear(16, 5)

    def forward(self, x):
        x = (x - 0.45) / 0.22
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 2)
        x = self.conv2(F.pad(x, (1, 1, 0, 1)))
        x = F.leaky_relu(self.bn2(x), 0.2)
        x = F.elu(self.conv3(x))
        x = F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)
        x = torch.flatten(x, 1)
        x = self.dropout(F.relu(self.fc1(x)))
        return self.fc2(x)
