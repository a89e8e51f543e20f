BatchNorm (node norm1): DyNet has no batch normalization
BatchNorm (node norm2): DyNet has no batch normalization
BatchNorm (node norm3): DyNet has no batch normalization
BatchNorm (node project_norm): DyNet has no batch normalization
