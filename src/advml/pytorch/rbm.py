"""The binary restricted Boltzmann machine in PyTorch, and its training.

The model is that of :class:`advml.rbm.RBM`, on any device and in single
precision unless asked otherwise. The gradient of the log-likelihood is the
difference of two averages and is written as such: no automatic
differentiation, five matrix products per training step.
"""

import numpy as np
import torch

from advml.rbm import METHODS as METHODS
from advml.rbm import RBM as NumpyRBM
from advml.rbm import Gradient, number_of_chains, start_values
from advml.validation import (
    binary_rows,
    count,
    fraction,
    nonnegative,
    positive,
)


class RBM(torch.nn.Module):
    """Binary machine, E(x,h) = −a·x − b·h − xᵀWh (eq-rbm-energy).

    Parameters of the model are `weight_matrix` W (n_visible, n_hidden),
    `visible_bias` a and `hidden_bias` b.

    Parameters
    ----------
    n_visible, n_hidden : int
        Numbers of units.
    weight_scale : float
        Standard deviation of the normal initial weights. Equal weights would
        stay equal for ever; small random ones break the symmetry.
    visible_bias : array (n_visible,), optional
        Initial visible biases, zero if not given.
    seed : int or numpy.random.Generator
        Source of the initial weights.
    device, dtype
        Where and how precisely the parameters are stored. The default is
        the first CUDA device if there is one, and single precision.

    Source: Smolensky (1986); initial values: Hinton (2012), section 8.
    """

    def __init__(
        self,
        n_visible,
        n_hidden,
        *,
        weight_scale=0.01,
        visible_bias=None,
        seed=0,
        device=None,
        dtype=torch.float32,
    ):
        """Draw small random weights; see the class for the arguments."""
        super().__init__()
        start = start_values(
            n_visible, n_hidden, weight_scale, visible_bias, seed
        )
        self.n_visible, self.n_hidden = start.n_visible, start.n_hidden
        # Stored by columns: 28×28 numbers fill whole cache lines, 500 do not,
        # and matrix products are faster where each column begins a new one.
        columns = np.asfortranarray(start.weights)
        self.weight_matrix = _parameter(columns, device, dtype)
        self.visible_bias = _parameter(start.visible_bias, device, dtype)
        self.hidden_bias = _parameter(start.hidden_bias, device, dtype)

    @classmethod
    def from_numpy(cls, rbm, *, device=None, dtype=torch.float32):
        """Return a copy of an :class:`advml.rbm.RBM`."""
        new = cls(rbm.n_visible, rbm.n_hidden, device=device, dtype=dtype)
        values = (rbm.weights, rbm.visible_bias, rbm.hidden_bias)
        with torch.no_grad():
            for parameter, value in zip(new.parameters(), values, strict=True):
                parameter.copy_(torch.as_tensor(value))
        return new

    def to_numpy(self):
        """Return a copy as :class:`advml.rbm.RBM`, in double precision."""
        return NumpyRBM(*(_to_numpy(p) for p in self.parameters()))

    def energy(self, x, h):
        """Energy of joint states, (..., units) → (...) (eq-rbm-energy)."""
        interaction = ((x @ self.weight_matrix) * h).sum(-1)
        return -x @ self.visible_bias - h @ self.hidden_bias - interaction

    def free_energy(self, x):
        """F(x) = −a·x − Σ_j softplus(b_j + (xW)_j) (eq-rbm-free-energy)."""
        field = _affine(x, self.weight_matrix, self.hidden_bias)
        # logaddexp(u, 0) = log(1 + e^u) without overflow; torch's softplus
        # becomes linear at u = 20, which costs digits in double precision.
        softplus = torch.logaddexp(field, field.new_zeros(()))
        return -x @ self.visible_bias - softplus.sum(-1)

    def hidden_probability(self, x):
        """p(h_j = 1 | x) = σ(b_j + (xW)_j) (eq-rbm-conditionals)."""
        field = _affine(x, self.weight_matrix, self.hidden_bias)
        return torch.sigmoid(field)

    def visible_probability(self, h):
        """p(x_i = 1 | h) = σ(a_i + (Wh)_i) (eq-rbm-conditionals)."""
        field = _affine(h, self.weight_matrix.T, self.visible_bias)
        return torch.sigmoid(field)

    @torch.no_grad()
    def sample(self, n, n_steps, seed, *, start=None):
        """Visible states (n, n_visible) after `n_steps` block Gibbs sweeps.

        Chains begin at `start`, or at fair coins. Whether `n_steps` is enough
        to forget the beginning is for the caller to know.
        """
        generator = _generator(seed, self.weight_matrix.device)
        x = _start(self, count("n", n), start, generator)
        for _ in range(count("n_steps", n_steps, at_least=0)):
            uniforms = _uniforms(self, 1, n, generator)
            x, _ = gibbs_steps(self, self.hidden_probability(x), *uniforms)
        return x


def gibbs_steps(rbm, hidden_probability, hidden_uniforms, visible_uniforms):
    """Go h → x → p(h|x) along block Gibbs chains, k times (eq-rbm-cd).

    A chain is handed over as the probability p(h|x) of its hidden units, and
    each step begins by drawing h from it. The random numbers are arguments,
    so that every implementation can be given the same ones: uniform on
    [0, 1), shapes (k, n_chains, n_hidden) and (k, n_chains, n_visible).
    Returns the last visible states and their p(h|x).
    """
    for u_h, u_x in zip(hidden_uniforms, visible_uniforms, strict=True):
        h = _coins(hidden_probability, u_h)
        x = _coins(rbm.visible_probability(h), u_x)
        hidden_probability = rbm.hidden_probability(x)
    return x, hidden_probability


@torch.no_grad()
def step(
    rbm,
    x,
    chains,
    hidden_uniforms,
    visible_uniforms,
    *,
    learning_rate,
    momentum=0.0,
    weight_decay=0.0,
    velocity=None,
):
    """Change the parameters once: two phases and an update, in place.

    Implements eq-training-update. `chains` (n_chains, n_hidden) are
    persistent chains as in :func:`gibbs_steps`; None starts chains at the
    batch `x`, which is contrastive divergence. `velocity` is a Gradient of
    tensors and is changed in place as well; None stands for no memory, and
    asks for `momentum` zero.
    Returns the chains after the step.

    Source: Hinton (2002); Tieleman (2008).
    """
    hidden = rbm.hidden_probability(x)
    start = hidden if chains is None else chains
    model_x, model_hidden = gibbs_steps(
        rbm, start, hidden_uniforms, visible_uniforms
    )
    change = _remembered(velocity, momentum, rbm)
    if weight_decay:
        decay = learning_rate * weight_decay
        change.weights.sub_(rbm.weight_matrix, alpha=decay)
    _add_phase(change, x, hidden, learning_rate)
    _add_phase(change, model_x, model_hidden, -learning_rate)
    if velocity is not None:
        for parameter, v in zip(rbm.parameters(), velocity, strict=True):
            parameter.add_(v)
    return model_hidden


def _remembered(velocity, momentum, rbm):
    """What the change of this step is added to: momentum × velocity.

    With nothing to remember these are the parameters themselves, which saves
    two of the four passes over the weights that a step makes.
    """
    if velocity is None:
        if momentum:
            raise ValueError(
                f"momentum must be 0 without a velocity, not {momentum!r}"
            )
        return Gradient(*rbm.parameters())
    for v in velocity:
        v.mul_(momentum)
    return velocity


def _add_phase(change, x, hidden, rate):
    """Add rate times the averages of x hᵀ, x and h to `change`, in place.

    The product scales and adds in one pass over the weights, which would
    otherwise cost as much time as the random numbers.
    """
    rate = rate / len(x)
    change.weights.addmm_(x.T, hidden, alpha=rate)
    change.visible_bias.add_(x.sum(0), alpha=rate)
    change.hidden_bias.add_(hidden.sum(0), alpha=rate)


def train(
    rbm,
    data,
    *,
    method="pcd",
    n_gibbs_steps=1,
    epochs=10,
    batch_size=64,
    learning_rate=0.05,
    final_learning_rate=None,
    momentum=0.0,
    weight_decay=0.0,
    n_chains=None,
    chains=None,
    seed=0,
    callback=None,
):
    """Maximise the log-likelihood by stochastic gradient ascent, in place.

    Parameters
    ----------
    data : array (n, n_visible)
        Ones and zeros. Each epoch visits all rows in a new random order.
    method : "pcd" or "cd"
        Where the chains of the negative phase start: where the last step
        left them (persistent), or at the batch (contrastive divergence).
    n_gibbs_steps : int
        Length k of the chains in each step.
    learning_rate, final_learning_rate : float
        The rate goes linearly from the first to the second over the run;
        without the second it is constant.
    momentum, weight_decay : float
        As in eq-training-update; biases do not decay.
    n_chains : int
        Number of persistent chains; by default `batch_size`.
    chains : tensor or array (n_chains, n_hidden), optional
        What an earlier call returned, to go on from there.
    seed : int, numpy.random.Generator or torch.Generator
        Source of the order of the rows and of all Gibbs draws.
    callback : function
        Called as callback(epoch, rbm) after each epoch, from 1 on.

    Returns the persistent chains, or None for "cd". Raises
    FloatingPointError, with the name of the parameter, if one overflows.

    Source: Hinton (2002); Tieleman (2008); Hinton (2012).
    """
    data = _batch("data", rbm, data)
    size = min(count("batch_size", batch_size), len(data))
    k = count("n_gibbs_steps", n_gibbs_steps)
    fraction("momentum", momentum)
    nonnegative("weight_decay", weight_decay)
    n_chains = size if n_chains is None else n_chains
    n_chains = number_of_chains(method, n_chains, chains, rbm.n_hidden)
    chains = _chains(rbm, n_chains, chains)
    n_steps = count("epochs", epochs) * -(-len(data) // size)
    rates = iter(_rates(learning_rate, final_learning_rate, n_steps))
    generator = _generator(seed, data.device)
    velocity = zero_velocity(rbm) if momentum else None
    for epoch in range(1, epochs + 1):
        for x in _batches(data, size, generator):
            n = len(x if chains is None else chains)
            uniforms = _uniforms(rbm, k, n, generator)
            reached = step(
                rbm,
                x,
                chains,
                *uniforms,
                learning_rate=next(rates),
                momentum=momentum,
                weight_decay=weight_decay,
                velocity=velocity,
            )
            chains = None if method == "cd" else reached
        _stop_if_diverged(rbm, epoch)
        if callback is not None:
            callback(epoch, rbm)
    return chains


def zero_velocity(rbm):
    """Return a Gradient of zeros: the momentum's memory at the start."""
    return Gradient(*(torch.zeros_like(p.data) for p in rbm.parameters()))


def _batches(data, size, generator):
    """All rows once, in a new random order; the last batch may be smaller."""
    for rows in _permutation(len(data), generator).split(size):
        yield data.index_select(0, rows)  # data[rows], only faster


def _rates(first, last, n_steps):
    """Learning rates of all steps, on a straight line."""
    first = positive("learning_rate", first)
    last = first if last is None else nonnegative("final_learning_rate", last)
    return np.linspace(first, last, n_steps).tolist()


def _chains(rbm, n_chains, chains):
    """Persistent chains: as given, or at fair coins; None if there are 0."""
    if not n_chains:
        return None
    if chains is None:
        shape = (n_chains, rbm.n_hidden)
        return rbm.hidden_bias.detach().new_full(shape, 0.5)
    return torch.as_tensor(chains).to(rbm.hidden_bias)


def _affine(x, weights, bias):
    """Return x @ weights + bias, computed in one pass."""
    return torch.nn.functional.linear(x, weights.T, bias)


def _coins(probability, uniforms):
    """Ones with the given probabilities: one uniform number per entry."""
    return torch.lt(uniforms, probability, out=torch.empty_like(probability))


def _uniforms(rbm, n_steps, n_chains, generator):
    """Uniform numbers for `n_steps` Gibbs sweeps: one for each coin."""
    return tuple(
        _uniform((n_steps, n_chains, n_units), rbm.weight_matrix, generator)
        for n_units in (rbm.n_hidden, rbm.n_visible)
    )


def _uniform(shape, like, generator):
    """Uniform numbers on [0, 1), of the type and on the device of `like`."""
    kind = {"dtype": like.dtype, "device": like.device}
    if isinstance(generator, torch.Generator):
        return torch.rand(shape, generator=generator, **kind)
    double = like.dtype == torch.float64
    numbers = generator.random(shape, np.float64 if double else np.float32)
    return torch.as_tensor(numbers, **kind)


def _permutation(n, generator):
    """Return the numbers 0 … n − 1 in a random order."""
    if isinstance(generator, torch.Generator):
        options = {"generator": generator, "device": generator.device}
        return torch.randperm(n, **options)
    return torch.as_tensor(generator.permutation(n))


def _start(rbm, n, start, generator):
    if start is None:
        shape = (n, rbm.n_visible)
        fair = rbm.visible_bias.new_full(shape, 0.5)
        return _coins(fair, _uniform(shape, fair, generator))
    start = _batch("start", rbm, start)
    if len(start) != n:
        raise ValueError(f"start must have {n} rows, but has {len(start)}")
    return start


def _batch(name, rbm, x):
    """Rows of ones and zeros, as a tensor beside the parameters."""
    x = torch.as_tensor(x)
    binary_rows(name, x.numpy(force=True), rbm.n_visible)  # NumPy is faster
    return x.to(rbm.weight_matrix)


def _stop_if_diverged(rbm, epoch):
    for name, parameter in rbm.named_parameters():
        if not torch.isfinite(parameter).all():
            raise FloatingPointError(
                f"{name} is not finite after epoch {epoch}: the training "
                "diverged; use a smaller learning_rate"
            )


def _parameter(value, device, dtype):
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    value = torch.as_tensor(value, dtype=dtype, device=device)
    return torch.nn.Parameter(value)


def _to_numpy(tensor):
    return tensor.detach().to("cpu", torch.float64).numpy()


def _generator(seed, device):
    """Return a new generator for a device; any kind of `seed` will do.

    On a CPU it is NumPy's, which is faster there than PyTorch's.
    """
    if isinstance(seed, torch.Generator):
        options = {"generator": seed, "device": seed.device}
        number = torch.randint(2**63 - 1, (), **options).item()
    else:
        number = int(np.random.default_rng(seed).integers(2**63))
    if device.type == "cpu":
        return np.random.default_rng(number)
    return torch.Generator(device).manual_seed(number)
