Embedding (node embedding): H2O's networks are fully connected: dense layers, one after another
LSTM (node lstm): H2O's networks are fully connected: dense layers, one after another
