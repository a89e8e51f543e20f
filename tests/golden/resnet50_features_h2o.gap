Conv (node conv1): H2O's networks are fully connected: dense layers, one after another
BatchNorm (node norm1): H2O's networks are fully connected: dense layers, one after another
Conv (node conv2): H2O's networks are fully connected: dense layers, one after another
BatchNorm (node norm2): H2O's networks are fully connected: dense layers, one after another
Conv (node conv3): H2O's networks are fully connected: dense layers, one after another
BatchNorm (node norm3): H2O's networks are fully connected: dense layers, one after another
Conv (node project): H2O's networks are fully connected: dense layers, one after another
BatchNorm (node project_norm): H2O's networks are fully connected: dense layers, one after another
Add (node add): H2O's networks are fully connected: dense layers, one after another
MaxPool (node pool1): H2O's networks are fully connected: dense layers, one after another
Call (node stage1_first): there is no rule for it
Repeat (node stage1): there is no rule for it
Call (node stage2_first): there is no rule for it
Repeat (node stage2): there is no rule for it
Call (node stage3_first): there is no rule for it
Repeat (node stage3): there is no rule for it
Call (node stage4_first): there is no rule for it
Repeat (node stage4): there is no rule for it
GlobalAvgPool (node pool): H2O's networks are fully connected: dense layers, one after another
