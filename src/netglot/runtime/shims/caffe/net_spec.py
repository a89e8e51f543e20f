"""Networks as Python: layers that are assigned to a NetSpec become a NetParameter.

A layer is called as what it is assigned to, and its first top as well. Keywords go to
the layer's own parameters where these have such a field, else to the layer.
"""

from .proto import caffe_pb2


def _own(kind):
    """The name of the parameters of a type of layer, or nothing."""
    for field in caffe_pb2.LayerParameter.DESCRIPTOR.fields:
        if field.message_type and field.message_type.name == kind + "Parameter":
            return field.name
    return ""


def _assign(message, name, value):
    """Sets a field: lists are repeated fields, dictionaries are messages."""
    field = message.DESCRIPTOR.fields_by_name[name]
    old = getattr(message, name)
    if hasattr(old, "extend"):
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if field.message_type:
                made = old.add()
                for key, inner in item.items():
                    _assign(made, key, inner)
            else:
                old.append(item)
    elif field.message_type:
        old.SetInParent()
        for key, inner in value.items():
            _assign(old, key, inner)
    else:
        setattr(message, name, value)


class Top:
    """One output of a layer."""

    def __init__(self, layer, index):
        self.layer = layer
        self.index = index


class _Layer:
    def __init__(self, kind, bottoms, ntop=1, in_place=False, **keywords):
        self.kind = kind
        self.bottoms = bottoms
        self.in_place = in_place
        self.keywords = keywords
        self.tops = tuple(Top(self, index) for index in range(ntop))

    def write(self, written, names, count):
        """Adds the layer to those written, after those that it reads."""
        if self in written:
            return
        for bottom in self.bottoms:
            bottom.layer.write(written, names, count)
        message = caffe_pb2.LayerParameter(type=self.kind)
        for bottom in self.bottoms:
            message.bottom.append(written[bottom.layer].top[bottom.index])
        for top in self.tops:
            if top not in names:
                count[self.kind] = count.get(self.kind, 0) + 1
                names[top] = self.kind + str(count[self.kind])
        message.name = names[self.tops[0]]
        if self.in_place:
            message.top.extend(message.bottom)
        else:
            message.top.extend(names[top] for top in self.tops)
        own = _own(self.kind)
        known = {field.name for field in message.DESCRIPTOR.fields}
        for key, value in self.keywords.items():
            inside = getattr(message, own).DESCRIPTOR.fields_by_name if own else ()
            if key in inside:
                _assign(getattr(message, own), key, value)
            elif key in known:
                _assign(message, key, value)
            else:
                raise AttributeError(
                    "a layer of type %s has no parameter %s" % (self.kind, key)
                )
        written[self] = message


class NetSpec:
    """Layers by name, in the order in which they were assigned."""

    def __init__(self):
        super().__setattr__("tops", {})

    def __setattr__(self, name, top):
        self.tops[name] = top

    __setitem__ = __setattr__

    def __getattr__(self, name):
        return self.tops[name]

    __getitem__ = __getattr__

    def to_proto(self):
        """The NetParameter of all layers that were assigned, and of what they read."""
        names = {top: name for name, top in self.tops.items()}
        written, count = {}, {}
        for top in self.tops.values():
            top.layer.write(written, names, count)
        net = caffe_pb2.NetParameter()
        net.layer.extend(written.values())
        return net


class _Layers:
    def __getattr__(self, kind):
        def make(*bottoms, **keywords):
            tops = _Layer(kind, bottoms, **keywords).tops
            return tops[0] if len(tops) == 1 else tops

        return make


class _Values:
    def __init__(self, message):
        self._message = message

    def __getattr__(self, name):
        for kind in self._message.DESCRIPTOR.enum_types:
            if name in kind.values_by_name:
                return kind.values_by_name[name].number
        raise AttributeError(name)


class _Params:
    def __getattr__(self, name):
        return _Values(getattr(caffe_pb2, name + "Parameter"))


layers = _Layers()
params = _Params()
