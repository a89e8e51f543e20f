Conv (node conv1): H2O's networks are fully connected: dense layers, one after another
MaxPool (node pool1): H2O's networks are fully connected: dense layers, one after another
Conv (node conv2): H2O's networks are fully connected: dense layers, one after another
MaxPool (node pool2): H2O's networks are fully connected: dense layers, one after another
Flatten (node flatten): H2O's networks are fully connected: dense layers, one after another
