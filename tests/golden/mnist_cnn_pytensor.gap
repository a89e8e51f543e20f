Conv (node conv1): PyTensor has no convolution of channels: it left Theano's behind
Conv (node conv2): PyTensor has no convolution of channels: it left Theano's behind
MaxPool (node pool): PyTensor has no pools: it left Theano's behind
