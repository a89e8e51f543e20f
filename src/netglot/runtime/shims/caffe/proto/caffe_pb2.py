"""The messages that networks, solvers and weights of Caffe are written in.

A part of them: what its layers are told, how it is trained, and arrays. The numbers of
the fields are the format of a caffemodel; what is not listed keeps its number unread in
such a file, and is an error in a text.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Name of an enumeration, which may stand in a message, and its values: from 0 on.
_ENUMS = {
    "Phase": "TRAIN TEST",
    "FillerParameter.VarianceNorm": "FAN_IN FAN_OUT AVERAGE",
    "SolverParameter.SolverMode": "CPU GPU",
    "SolverParameter.SnapshotFormat": "HDF5 BINARYPROTO",
    "PoolingParameter.PoolMethod": "MAX AVE STOCHASTIC",
    "PoolingParameter.RoundMode": "CEIL FLOOR",
    "EltwiseParameter.EltwiseOp": "PROD SUM MAX",
    "ReductionParameter.ReductionOp": "NONE SUM ASUM SUMSQ MEAN",
    "LRNParameter.NormRegion": "ACROSS_CHANNELS WITHIN_CHANNEL",
    "LossParameter.NormalizationMode": "FULL VALID BATCH_SIZE NONE",
    "DataParameter.DB": "LEVELDB LMDB",
}

# Name of a message -> its fields: number, name, type and default. After a type, * says
# that there may be several, + that these are packed.
_MESSAGES = {
    "BlobShape": "1 dim int64+",
    "BlobProto": """7 shape BlobShape; 5 data float+; 6 diff float+;
        8 double_data double+; 9 double_diff double+; 1 num int32; 2 channels int32;
        3 height int32; 4 width int32""",
    "FillerParameter": """1 type string constant; 2 value float 0; 3 min float 0;
        4 max float 1; 5 mean float 0; 6 std float 1; 7 sparse int32 -1;
        8 variance_norm FillerParameter.VarianceNorm FAN_IN""",
    "NetParameter": """1 name string; 3 input string*; 8 input_shape BlobShape*;
        4 input_dim int32*; 5 force_backward bool false; 6 state NetState;
        7 debug_info bool false; 100 layer LayerParameter*""",
    "SolverParameter": """24 net string; 25 net_param NetParameter; 1 train_net string;
        2 test_net string*; 21 train_net_param NetParameter;
        22 test_net_param NetParameter*; 26 train_state NetState;
        27 test_state NetState*; 3 test_iter int32*; 4 test_interval int32 0;
        19 test_compute_loss bool false; 32 test_initialization bool true;
        5 base_lr float; 6 display int32; 33 average_loss int32 1; 7 max_iter int32;
        36 iter_size int32 1; 8 lr_policy string; 9 gamma float; 10 power float;
        11 momentum float; 12 weight_decay float; 29 regularization_type string L2;
        13 stepsize int32; 34 stepvalue int32*; 35 clip_gradients float -1;
        14 snapshot int32 0; 15 snapshot_prefix string; 16 snapshot_diff bool false;
        37 snapshot_format SolverParameter.SnapshotFormat BINARYPROTO;
        17 solver_mode SolverParameter.SolverMode GPU; 18 device_id int32 0;
        20 random_seed int64 -1; 40 type string SGD; 31 delta float 1e-08;
        39 momentum2 float 0.999; 38 rms_decay float 0.99; 23 debug_info bool false;
        28 snapshot_after_train bool true""",
    "NetState": "1 phase Phase TEST; 2 level int32 0; 3 stage string*",
    "NetStateRule": """1 phase Phase; 2 min_level int32; 3 max_level int32;
        4 stage string*; 5 not_stage string*""",
    "ParamSpec": "1 name string; 3 lr_mult float 1; 4 decay_mult float 1",
    "LayerParameter": """1 name string; 2 type string; 3 bottom string*; 4 top string*;
        10 phase Phase; 5 loss_weight float*; 6 param ParamSpec*; 7 blobs BlobProto*;
        11 propagate_down bool*; 8 include NetStateRule*; 9 exclude NetStateRule*;
        100 transform_param TransformationParameter; 101 loss_param LossParameter;
        102 accuracy_param AccuracyParameter; 139 batch_norm_param BatchNormParameter;
        141 bias_param BiasParameter; 104 concat_param ConcatParameter;
        106 convolution_param ConvolutionParameter; 144 crop_param CropParameter;
        107 data_param DataParameter; 108 dropout_param DropoutParameter;
        110 eltwise_param EltwiseParameter; 140 elu_param ELUParameter;
        137 embed_param EmbedParameter; 111 exp_param ExpParameter;
        135 flatten_param FlattenParameter;
        117 inner_product_param InnerProductParameter; 143 input_param InputParameter;
        134 log_param LogParameter; 118 lrn_param LRNParameter;
        120 mvn_param MVNParameter; 121 pooling_param PoolingParameter;
        122 power_param PowerParameter; 131 prelu_param PReLUParameter;
        146 recurrent_param RecurrentParameter; 136 reduction_param ReductionParameter;
        123 relu_param ReLUParameter; 133 reshape_param ReshapeParameter;
        142 scale_param ScaleParameter; 125 softmax_param SoftmaxParameter;
        126 slice_param SliceParameter; 138 tile_param TileParameter""",
    "TransformationParameter": """1 scale float 1; 2 mirror bool false;
        3 crop_size uint32 0; 4 mean_file string; 5 mean_value float*;
        6 force_color bool false; 7 force_gray bool false""",
    "LossParameter": """1 ignore_label int32;
        3 normalization LossParameter.NormalizationMode VALID; 2 normalize bool""",
    "AccuracyParameter": "1 top_k uint32 1; 2 axis int32 1; 3 ignore_label int32",
    "BatchNormParameter": """1 use_global_stats bool;
        2 moving_average_fraction float 0.999; 3 eps float 1e-05""",
    "BiasParameter": "1 axis int32 1; 2 num_axes int32 1; 3 filler FillerParameter",
    "ConcatParameter": "2 axis int32 1; 1 concat_dim uint32 1",
    "ConvolutionParameter": """1 num_output uint32; 2 bias_term bool true;
        3 pad uint32*; 9 pad_h uint32 0; 10 pad_w uint32 0; 4 kernel_size uint32*;
        11 kernel_h uint32; 12 kernel_w uint32; 6 stride uint32*; 13 stride_h uint32;
        14 stride_w uint32; 18 dilation uint32*; 5 group uint32 1;
        7 weight_filler FillerParameter; 8 bias_filler FillerParameter;
        16 axis int32 1; 17 force_nd_im2col bool false""",
    "CropParameter": "1 axis int32 2; 2 offset uint32*",
    "DataParameter": """1 source string; 4 batch_size uint32; 7 rand_skip uint32 0;
        8 backend DataParameter.DB LEVELDB; 2 scale float 1; 3 mean_file string;
        5 crop_size uint32 0; 6 mirror bool false; 10 prefetch uint32 4""",
    "DropoutParameter": "1 dropout_ratio float 0.5",
    "EltwiseParameter": """1 operation EltwiseParameter.EltwiseOp SUM; 2 coeff float*;
        3 stable_prod_grad bool true""",
    "ELUParameter": "1 alpha float 1",
    "EmbedParameter": """1 num_output uint32; 2 input_dim uint32; 3 bias_term bool true;
        4 weight_filler FillerParameter; 5 bias_filler FillerParameter""",
    "ExpParameter": "1 base float -1; 2 scale float 1; 3 shift float 0",
    "FlattenParameter": "1 axis int32 1; 2 end_axis int32 -1",
    "InnerProductParameter": """1 num_output uint32; 2 bias_term bool true;
        3 weight_filler FillerParameter; 4 bias_filler FillerParameter;
        5 axis int32 1; 6 transpose bool false""",
    "InputParameter": "1 shape BlobShape*",
    "LogParameter": "1 base float -1; 2 scale float 1; 3 shift float 0",
    "LRNParameter": """1 local_size uint32 5; 2 alpha float 1; 3 beta float 0.75;
        4 norm_region LRNParameter.NormRegion ACROSS_CHANNELS; 5 k float 1""",
    "MVNParameter": """1 normalize_variance bool true; 2 across_channels bool false;
        3 eps float 1e-09""",
    "PoolingParameter": """1 pool PoolingParameter.PoolMethod MAX; 4 pad uint32 0;
        9 pad_h uint32 0; 10 pad_w uint32 0; 2 kernel_size uint32; 5 kernel_h uint32;
        6 kernel_w uint32; 3 stride uint32 1; 7 stride_h uint32; 8 stride_w uint32;
        12 global_pooling bool false; 13 round_mode PoolingParameter.RoundMode CEIL""",
    "PowerParameter": "1 power float 1; 2 scale float 1; 3 shift float 0",
    "PReLUParameter": "1 filler FillerParameter; 2 channel_shared bool false",
    "RecurrentParameter": """1 num_output uint32 0; 2 weight_filler FillerParameter;
        3 bias_filler FillerParameter; 4 debug_info bool false;
        5 expose_hidden bool false""",
    "ReductionParameter": """1 operation ReductionParameter.ReductionOp SUM;
        2 axis int32 0; 3 coeff float 1""",
    "ReLUParameter": "1 negative_slope float 0",
    "ReshapeParameter": "1 shape BlobShape; 2 axis int32 0; 3 num_axes int32 -1",
    "ScaleParameter": """1 axis int32 1; 2 num_axes int32 1; 3 filler FillerParameter;
        4 bias_term bool false; 5 bias_filler FillerParameter""",
    "SliceParameter": "3 axis int32 1; 2 slice_point uint32*; 1 slice_dim uint32 1",
    "SoftmaxParameter": "2 axis int32 1",
    "TileParameter": "1 axis int32 1; 2 tiles int32",
}


def _enum(into, name):
    kind = into.add(name=name.split(".")[-1])
    for number, value in enumerate(_ENUMS[name].split()):
        # Values of one message must differ: no reduction is called NONE.
        if (name, value) != ("ReductionParameter.ReductionOp", "NONE"):
            kind.value.add(name=value, number=number)


def _field(message, number, name, kind, default=None):
    field = message.field.add(name=name, number=int(number))
    plain = kind.rstrip("*+")
    field.label = field.LABEL_REPEATED if kind != plain else field.LABEL_OPTIONAL
    if kind.endswith("+"):
        field.options.packed = True
    if plain in _MESSAGES or plain in _ENUMS:
        field.type = field.TYPE_ENUM if plain in _ENUMS else field.TYPE_MESSAGE
        field.type_name = ".caffe." + plain
    else:
        field.type = getattr(field, "TYPE_" + plain.upper())
    if default is not None:
        field.default_value = default


def _classes():
    """The message classes and enumerations, by name."""
    file = descriptor_pb2.FileDescriptorProto(
        name="caffe.proto", package="caffe", syntax="proto2"
    )
    for name, text in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for row in text.split(";"):
            _field(message, *row.split())
        for kind in _ENUMS:
            if kind.startswith(name + "."):
                _enum(message.enum_type, kind)
    _enum(file.enum_type, "Phase")
    # A pool of its own: the messages of a whole Caffe may be there as well.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName("caffe." + name)
        )
        for name in _MESSAGES
    }


globals().update(_classes())
TRAIN, TEST = 0, 1
