LSTM (node lstm): tinygrad has no layer that reads a sequence, and compiles every step of a loop: ten steps of a GRU took two minutes to compile
