"""An autoencoder of images, in PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = nn.Conv2d(2, 8, 4, stride=2, padding=1)
        self.down2 = nn.Conv2d(8, 12, 2, stride=2)
        self.norm = nn.InstanceNorm2d(12, affine=True)
        self.up1 = nn.ConvTranspose2d(12, 9, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose2d(9, 6, 3, stride=2, padding=1, output_padding=1)
        self.smooth = nn.Conv2d(6, 5, 3, padding=1)
        self.out = nn.Conv2d(5, 2, 3, padding=1)

    def forward(self, x):
        x = F.softplus(self.down1(x))
        x = F.relu(self.norm(self.down2(x)))
        x = F.relu6(self.up1(x))
        x = torch.tanh(self.up2(x))
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = F.selu(self.smooth(x))
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return torch.sigmoid(self.out(x))
