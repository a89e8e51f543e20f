Embedding (node embedding): H2O's networks are fully connected: dense layers, one after another
GRU (node gru): H2O's networks are fully connected: dense layers, one after another
