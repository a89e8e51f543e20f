"""The shapes of what a layer gives, and of its weights with what fills them."""

from .proto import caffe_pb2

CONSTANT = caffe_pb2.FillerParameter()
ONE = caffe_pb2.FillerParameter(value=1)


def _pair(message, name, count, default):
    """A size for each axis of an image, however it is told."""
    stem = "kernel" if name == "kernel_size" else name
    if message.HasField(stem + "_h"):
        return [getattr(message, stem + "_h"), getattr(message, stem + "_w")]
    told = getattr(message, name)
    if not hasattr(told, "append"):
        return [told] * count
    told = list(told) or [default]
    return told * count if len(told) == 1 else told


def _convolution(layer, shape):
    p = layer.convolution_param
    count = len(shape) - 2
    kernel = _pair(p, "kernel_size", count, 0)
    stride = _pair(p, "stride", count, 1)
    pad = _pair(p, "pad", count, 0)
    dilation = (list(p.dilation) or [1]) * (1 if len(p.dilation) == count else count)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    rows = list(zip(shape[2:], reach, stride, pad))
    if layer.type == "Deconvolution":
        sizes = [s * (n - 1) + r - 2 * a for n, r, s, a in rows]
        held = [shape[1], p.num_output // p.group]
    else:
        sizes = [(n + 2 * a - r) // s + 1 for n, r, s, a in rows]
        held = [p.num_output, shape[1] // p.group]
    weights = [(held + kernel, p.weight_filler)]
    if p.bias_term:
        weights.append(([p.num_output], p.bias_filler))
    return [[shape[0], p.num_output, *sizes]], weights


def _pooling(layer, shape):
    p = layer.pooling_param
    if p.global_pooling:
        return [[*shape[:2], 1, 1]], []
    sizes = []
    for n, k, s, a in zip(
        shape[2:],
        _pair(p, "kernel_size", 2, 0),
        _pair(p, "stride", 2, 1),
        _pair(p, "pad", 2, 0),
    ):
        reach = n + 2 * a - k
        size = (reach if p.round_mode == p.FLOOR else reach + s - 1) // s + 1
        if a and (size - 1) * s >= n + a:
            size -= 1
        sizes.append(size)
    return [[*shape[:2], *sizes]], []


def _inner_product(layer, shape):
    p = layer.inner_product_param
    inside = 1
    for n in shape[p.axis :]:
        inside *= n
    weights = [([p.num_output, inside], p.weight_filler)]
    if p.bias_term:
        weights.append(([p.num_output], p.bias_filler))
    return [[*shape[: p.axis], p.num_output]], weights


def _embed(layer, shape):
    p = layer.embed_param
    weights = [([p.input_dim, p.num_output], p.weight_filler)]
    if p.bias_term:
        weights.append(([p.num_output], p.bias_filler))
    return [[*shape, p.num_output]], weights


def _batch_norm(layer, shape):
    return [shape], [([shape[1]], CONSTANT), ([shape[1]], CONSTANT), ([1], CONSTANT)]


def _scale(layer, shape):
    p = layer.scale_param
    filler = p.filler if p.HasField("filler") else ONE
    weights = [([shape[p.axis]], filler)]
    if p.bias_term:
        weights.append(([shape[p.axis]], p.bias_filler))
    return [shape], weights


def _bias(layer, shape):
    return [shape], [([shape[layer.bias_param.axis]], layer.bias_param.filler)]


def _flatten(layer, shape):
    axis, size = layer.flatten_param.axis, 1
    for n in shape[axis:]:
        size *= n
    return [[*shape[:axis], size]], []


def _reshape(layer, shape):
    dims = layer.reshape_param.shape.dim
    return [[d or n for d, n in zip(dims, [*shape, *dims])]], []


def _concat(layer, *shapes):
    axis = layer.concat_param.axis
    whole = list(shapes[0])
    whole[axis] = sum(shape[axis] for shape in shapes)
    return [whole], []


def _slice(layer, shape):
    p = layer.slice_param
    ends = [0, *p.slice_point, shape[p.axis]]
    pieces = []
    for begin, end in zip(ends, ends[1:]):
        piece = list(shape)
        piece[p.axis] = end - begin
        pieces.append(piece)
    return pieces, []


def _reduction(layer, shape):
    return [shape[: layer.reduction_param.axis]], []


def _loss(layer, *shapes):
    return [[]], []


def _same(layer, *shapes):
    return [shapes[0]], []


_RULES = {
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "Concat": _concat,
    "Convolution": _convolution,
    "Deconvolution": _convolution,
    "Embed": _embed,
    "EuclideanLoss": _loss,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "Reduction": _reduction,
    "Reshape": _reshape,
    "Scale": _scale,
    "Slice": _slice,
    "SoftmaxWithLoss": _loss,
}


def infer(layer, shapes):
    """Shapes of the tops, and pairs of the shape and the filler of each weight."""
    if layer.type == "Input":
        return [list(shape.dim) for shape in layer.input_param.shape], []
    return _RULES.get(layer.type, _same)(layer, *shapes)
