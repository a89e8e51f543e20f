"""Two blocks of a transformer, in PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 20)
        self.narrow = nn.Linear(20, width)

    def forward(self, x):
        y = self.norm1(x)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        y, _ = self.attention(
            y, y, y, attn_mask=mask, is_causal=True, need_weights=False
        )
        x = x + y
        y = F.gelu(self.wide(self.norm2(x)))
        return x + self.narrow(y)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(45, 12)
        self.block1 = Block(12, 3)
        self.block2 = Block(12, 3)
        self.norm = nn.LayerNorm(12)
        self.fc = nn.Linear(12, 5)

    def forward(self, tokens):
        x = self.embedding(tokens) * 12**0.5
        x = self.block2(self.block1(x))
        x = self.norm(x).mean(dim=1)
        return F.softmax(self.fc(x), dim=-1)
