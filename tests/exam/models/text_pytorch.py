"""A recurrent classifier of texts, in PyTorch."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 9)
        self.lstm = nn.LSTM(9, 7, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.rnn = nn.RNN(7, 6, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, tokens):
        x = self.embedding(tokens)
        x, _ = self.lstm(x)
        x = self.dropout(x)
        x, _ = self.rnn(x)
        return self.fc(x[:, -1])
