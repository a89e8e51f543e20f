"""The text of Equinox programs: what it has no layer for, and what frames a network."""

from __future__ import annotations

from netglot.backends.jax_layers import LAYERS

CLASS = """
class $name(eqx.Module):
    $fields

    def __init__(self$parameters, key):
        $make

    def __call__(self, $inputs):
        $apply
"""

CELL = '''
class RNNCell(eqx.Module):
    """A plain recurrent cell, which Equinox does not have."""

    input: eqx.nn.Linear
    hidden: eqx.nn.Linear
    hidden_size: int = eqx.field(static=True)
    activation: callable = eqx.field(static=True)

    def __init__(
        self, inputs, units, biases=(True, False), activation=jnp.tanh, *, key
    ):
        key1, key2 = jax.random.split(key)
        self.input = eqx.nn.Linear(inputs, units, biases[0], key=key1)
        self.hidden = eqx.nn.Linear(units, units, biases[1], key=key2)
        self.hidden_size, self.activation = units, activation

    def __call__(self, x, h):
        return self.activation(self.input(x) + self.hidden(h))
'''

SCAN = '''
def scan_cell(cell, xs):
    """The state of a recurrent cell after every step."""

    def step(h, x):
        h = cell(x, h)
        return h, h

    _, states = jax.lax.scan(step, jnp.zeros(cell.hidden_size), xs)
    return states
'''

SCAN_LSTM = '''
def scan_lstm(cell, xs):
    """The output of an LSTM cell after every step."""

    def step(state, x):
        h, c = cell(x, state)
        return (h, c), h

    zeros = jnp.zeros(cell.hidden_size)
    _, outputs = jax.lax.scan(step, (zeros, zeros), xs)
    return outputs
'''

STATEFUL = '''
class Stateful(eqx.Module):
    """A network and the running statistics of its batch norms."""

    network: eqx.Module
    state: eqx.nn.State
'''

HELPERS = {
    "RNNCell": CELL,
    "scan_cell": SCAN,
    "scan_lstm": SCAN_LSTM,
    "split_key": LAYERS["split_key"],
}

SETUP = '''
# 3. $about
$definitions


def dotted(path):
    """A place in a network as a name: its fields, joined with dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


$functions


def build(seed=0):
    """Create the network$and_state."""
    $build
'''

INITIALIZE = '''
def initialize(model, key):
    """Draw the initial weights."""
    arrays, rest = eqx.partition(model, eqx.is_array)
    $keys

    def initial(path, array):
        $name
        $clauses

    return eqx.combine(jax.tree.map_with_path(initial, arrays), rest)
'''

LOAD = '''
def load_weights(model, path):
    """The network with the named arrays of an .npz file as its weights."""
    stored = np.load(path)
    arrays, rest = eqx.partition(model, eqx.is_array)
    arrays = jax.tree.map_with_path(lambda p, _: jnp.asarray(stored[dotted(p)]), arrays)
    return eqx.combine(arrays, rest)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    arrays = jax.tree.leaves_with_path(eqx.filter(model, eqx.is_array))
    np.savez(path, **{dotted(p): array for p, array in arrays})
'''

#: The same of a network with batch norms, whose statistics Equinox keeps beside it.
LOAD_STATE = '''
def batch_norms(network):
    """The batch norms of a network, by their places in it."""

    def is_norm(node):
        return isinstance(node, eqx.nn.BatchNorm)

    nodes = jax.tree.leaves_with_path(network, is_leaf=is_norm)
    return {dotted(path): node for path, node in nodes if is_norm(node)}


def load_weights(model, path):
    """The network with the named arrays of an .npz file as its weights."""
    stored = np.load(path)
    arrays, rest = eqx.partition(model.network, eqx.is_array)
    arrays = jax.tree.map_with_path(lambda p, _: jnp.asarray(stored[dotted(p)]), arrays)
    state = model.state
    for name, norm in batch_norms(model.network).items():
        statistics = (stored[f"{name}.mean"], stored[f"{name}.variance"])
        state = state.set(norm.batch_state_index, statistics)
    return Stateful(eqx.combine(arrays, rest), state)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    leaves = jax.tree.leaves_with_path(eqx.filter(model.network, eqx.is_array))
    arrays = {dotted(p): array for p, array in leaves}
    for name, norm in batch_norms(model.network).items():
        mean, variance = model.state.get(norm.batch_state_index)
        arrays |= {f"{name}.mean": mean, f"{name}.variance": variance}
    np.savez(path, **arrays)
'''

STEP = '''
@eqx.filter_jit
def $step($state, x, y):
    """Make one optimizer step on a batch; return the new state and the loss."""
    $split
    $gradients
    $young
    params = $params
    updates, opt_state = optimizer.update(grads, opt_state, params)
    $moved
    return $state, loss
$joint
'''

#: Its running statistics are ours but for what it makes of young ones in evaluation.
YOUNG = (
    "# In evaluation Equinox would divide statistics by 1 - momentum ** counter.",
    "for norm in batch_norms(model.network).values():",
    "    state = state.set(norm.batch_counter, jnp.array(0))",
)

PREDICT = '''
# $number. Predict
@eqx.filter_jit
def forward(model, x):
    """Scores of a batch, in evaluation mode."""
    $forward


def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return np.asarray(forward(model, x))
'''
