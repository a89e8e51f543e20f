LSTM (node lstm): H2O's networks are fully connected: dense layers, one after another
