LSTM (node lstm): Caffe: its recurrent layers read the steps of all sequences before the next, beside a marker of where each begins, and it has no layer that turns axes
