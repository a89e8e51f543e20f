GRU (node gru): Caffe has no GRU
