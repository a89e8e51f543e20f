Conv (node conv1): PyTensor has no convolution of channels: it left Theano's behind
Conv (node conv2): PyTensor has no convolution of channels: it left Theano's behind
Conv (node conv3): PyTensor has no convolution of channels: it left Theano's behind
Conv (node project): PyTensor has no convolution of channels: it left Theano's behind
MaxPool (node pool1): PyTensor has no pools: it left Theano's behind
