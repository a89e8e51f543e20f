"""What shortens float32: settings of a framework, and types of single layers.

Looks at the frameworks that were imported, whoever imported them: a model's file or a
program. A setting is ``{"name", "value", "type", "change", "where", "single",
"active"}``: its own name and value; the type that numbers are rounded to; how to have
full float32 instead; the layer that it is about (empty: all); whether it leaves float64
alone; and whether it acts on this device, which is measured where it could.
"""

# mypy: no-check-untyped-defs

import contextlib
import os
import sys

import numpy as np

#: Types by what frameworks call them.
TYPES = {
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "bf16_bf16_f32": "bfloat16",
    "bf16_bf16_bf16": "bfloat16",
    "fastest": "bfloat16",
    "tf32": "TF32",
    "tensorfloat32": "TF32",
    "tf32_tf32_f32": "TF32",
    "float16": "float16",
    "f16_f16_f32": "float16",
    "half": "float16",
}
#: PyTorch's, by what they are about; the device that they act on.
_TORCH = (
    ("cuda.matmul", "cuda"),
    ("cudnn.conv", "cuda"),
    ("cudnn.rnn", "cuda"),
    ("mkldnn.matmul", "cpu"),
    ("mkldnn.conv", "cpu"),
    ("mkldnn.rnn", "cpu"),
)
#: An error of a product of float32 over this is none of float32.
_COARSE = 1e-5


def type_of(value):
    """The shorter type that a word of a framework means; empty where it means none."""
    word = str(value).rpartition(".")[2].lower()
    return TYPES.get(word.replace("mixed_", ""), "")


def setting(name, value, type_, change, where="", single=True, active=True):
    """A setting as it is written down."""
    return {
        "name": name,
        "value": str(value),
        "type": type_,
        "change": change,
        "where": where,
        "single": single,
        "active": active,
    }


def settings():
    """All that were found to shorten float32, as far as they hold everywhere."""
    return [*_torch(), *_jax(), *_tensorflow()]


# --- PyTorch --------------------------------------------------------------------------


def _torch():
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "backends"):
        return
    for part, device in _TORCH:
        name = "torch.backends.%s.fp32_precision" % part
        value = _torch_value(torch, part)
        if type_of(value):
            change = "%s = 'ieee'" % name
            active = _torch_acts(torch, part, device)
            yield setting(name, value, type_of(value), change, active=active)
    yield from autocasts()


def _torch_part(torch, part):
    found = torch.backends
    for name in part.split("."):
        found = getattr(found, name, None)
    return found


def _torch_value(torch, part):
    """As it is called since 2.9, or by the switches from before."""
    try:
        value = getattr(_torch_part(torch, part), "fp32_precision", None)
        if value is not None:
            return value
        if part == "cuda.matmul" and torch.backends.cuda.matmul.allow_tf32:
            return "tf32"
        if part == "cudnn.conv" and torch.backends.cudnn.allow_tf32:
            return "tf32"
    except RuntimeError:
        # Old and new switches were mixed.
        pass
    return None


def _torch_acts(torch, part, device):
    if device == "cuda" and not torch.cuda.is_available():
        return False
    random = np.random.RandomState(0)
    if part.endswith("matmul"):
        a, b = (random.standard_normal((96, 96)).astype("float32") for _ in "ab")
        x, y = (torch.from_numpy(array).to(device) for array in (a, b))
        with torch.no_grad():
            return _coarse((x @ y).cpu().numpy(), a.astype("float64") @ b)
    if part.endswith("conv"):
        x = torch.from_numpy(random.standard_normal((2, 32, 16, 16)))
        k = torch.from_numpy(random.standard_normal((32, 32, 3, 3)))
        with torch.no_grad():
            exact = torch.nn.functional.conv2d(x, k).numpy()
            own = [array.float().to(device) for array in (x, k)]
            return _coarse(torch.nn.functional.conv2d(*own).cpu().numpy(), exact)
    # Not measured: a layer would draw random numbers that are the model's.
    return device == "cuda" and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0"


def autocasts():
    """Whether PyTorch's autocast is on where this is asked, by device."""
    torch = sys.modules["torch"]
    for device in ("cpu", "cuda"):
        try:
            on = torch.is_autocast_enabled(device)
            value = torch.get_autocast_dtype(device) if on else None
        except (TypeError, AttributeError, RuntimeError):
            # Before 2.4 they had no argument, or there is no such device.
            continue
        if on:
            name = "torch.autocast(%r)" % device
            change = "torch.autocast(%r, enabled=False), or none" % device
            yield setting(name, value, type_of(value), change)


# --- JAX and TensorFlow ---------------------------------------------------------------


def _jax():
    jax = sys.modules.get("jax")
    if jax is None or not hasattr(jax, "config"):
        return
    name = "jax_default_matmul_precision"
    value = getattr(jax.config, name, None)
    found = type_of(value)
    platform = jax.default_backend()
    if value in (None, "default"):
        # What is told nothing does as the device likes it.
        found = {"gpu": "TF32", "tpu": "bfloat16"}.get(platform, "")
    if found:
        change = "jax.config.update(%r, 'highest')" % name
        yield setting(name, value, found, change, active=_jax_acts(jax))
    flags = os.environ.get("XLA_FLAGS", "")
    if any(word in flags for word in ("precision", "fast_math", "bf16", "tf32")):
        yield setting("XLA_FLAGS", flags, "", "unset XLA_FLAGS", active=True)


def _jax_acts(jax):
    random = np.random.RandomState(0)
    a, b = (random.standard_normal((96, 96)).astype("float32") for _ in "ab")
    own = np.asarray(jax.numpy.dot(jax.numpy.asarray(a), jax.numpy.asarray(b)))
    return _coarse(own, a.astype("float64") @ b)


def _tensorflow():
    tf = sys.modules.get("tensorflow")
    config = getattr(tf, "config", None)
    if config is None:
        return
    try:
        on = config.experimental.tensor_float_32_execution_enabled()
    except AttributeError:
        # TensorFlow 1 has no such switch.
        return
    if on:
        name = "tf.config.experimental.enable_tensor_float_32_execution"
        active = bool(config.list_physical_devices("GPU")) and _tensorflow_acts(tf)
        yield setting(name, True, "TF32", name + "(False)", active=active)


def _tensorflow_acts(tf):
    random = np.random.RandomState(0)
    a, b = (random.standard_normal((96, 96)).astype("float32") for _ in "ab")
    return _coarse(tf.matmul(a, b).numpy(), a.astype("float64") @ b)


def _coarse(own, exact):
    own = own.astype("float64")
    return bool(np.linalg.norm(own - exact) > _COARSE * np.linalg.norm(exact))


# --- Changed --------------------------------------------------------------------------


@contextlib.contextmanager
def full(layers=()):
    """While this lasts everything is set to full float32.

    ``layers`` are ``(layer, attribute, value)``: what single layers are set to.
    """
    with contextlib.ExitStack() as stack:
        if "torch" in sys.modules:
            _torch_full(sys.modules["torch"], stack)
        if "jax" in sys.modules:
            jax = sys.modules["jax"]
            stack.enter_context(jax.default_matmul_precision("highest"))
        tf = sys.modules.get("tensorflow")
        switch = getattr(getattr(tf, "config", None), "experimental", None)
        if switch is not None and hasattr(switch, "enable_tensor_float_32_execution"):
            before = switch.tensor_float_32_execution_enabled()
            switch.enable_tensor_float_32_execution(False)
            stack.callback(switch.enable_tensor_float_32_execution, before)
        for layer, name, value in layers:
            stack.callback(setattr, layer, name, getattr(layer, name))
            setattr(layer, name, value)
        yield


def _torch_full(torch, stack):
    for part, _ in _TORCH:
        owner, value = _torch_part(torch, part), _torch_value(torch, part)
        if type_of(value) and hasattr(owner, "fp32_precision"):
            stack.callback(setattr, owner, "fp32_precision", value)
            owner.fp32_precision = "ieee"
    owner = torch.amp.autocast_mode.autocast
    entered = owner.__enter__

    def disabled(self):
        was, self._enabled = self._enabled, False
        try:
            return entered(self)
        finally:
            self._enabled = was

    owner.__enter__ = disabled
    stack.callback(setattr, owner, "__enter__", entered)
    for item in list(autocasts()):
        device = item["name"].split("'")[1]
        torch.set_autocast_enabled(device, False)
        stack.callback(torch.set_autocast_enabled, device, True)
