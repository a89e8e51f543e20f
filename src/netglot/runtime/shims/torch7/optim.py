"""The rules of ``optim``: they call a closure for a loss and gradients, then step."""

import torch


def _answer(lua, x, loss):
    return x, lua.table_from([loss])


def _sgd(lua, closure, x, config):
    rate = config.learningRate or 1e-3
    decay = config.weightDecay or 0
    momentum = config.momentum or 0
    damping = momentum if config.dampening is None else config.dampening
    nesterov = config.nesterov or False
    if nesterov and (momentum <= 0 or damping != 0):
        raise ValueError("Nesterov momentum requires a momentum and zero dampening")
    loss, gradients = closure(x)
    with torch.no_grad():
        step = gradients.t
        if decay:
            step.add_(x.t, alpha=decay)
        if momentum:
            if config.dfdx is None:
                config.dfdx = step.clone()
            else:
                config.dfdx.mul_(momentum).add_(step, alpha=1 - damping)
            step = step.add(config.dfdx, alpha=momentum) if nesterov else config.dfdx
        x.t.add_(step, alpha=-rate)
    return _answer(lua, x, loss)


def _adam(lua, closure, x, config):
    rate = config.learningRate or 1e-3
    beta1, beta2 = config.beta1 or 0.9, config.beta2 or 0.999
    epsilon = config.epsilon or 1e-8
    loss, gradients = closure(x)
    with torch.no_grad():
        g = gradients.t
        if config.t is None:
            config.t, config.m, config.v = 0, torch.zeros_like(g), torch.zeros_like(g)
        config.t += 1
        config.m.mul_(beta1).add_(g, alpha=1 - beta1)
        config.v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        root = config.v.sqrt().add_(epsilon)
        first, second = 1 - beta1**config.t, 1 - beta2**config.t
        x.t.addcdiv_(config.m, root, value=-rate * second**0.5 / first)
    return _answer(lua, x, loss)


def rules(lua):
    """By name."""
    return {
        "sgd": lambda *given: _sgd(lua, *given),
        "adam": lambda *given: _adam(lua, *given),
    }
