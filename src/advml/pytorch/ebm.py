"""Energy-based models: any network as the energy, sampled by its slope.

A model is a callable that maps states (n, ...) to energies (n,), with
p(x) = exp(-E(x)) / Z. The networks here are two such callables; the samplers
and losses take any other as well. Names, arguments and numbers are those of
the TensorFlow module.
"""

import numpy as np
import torch
from torch.nn.functional import silu

from advml import networks
from advml.ebm import BETAS, chain_constants, learning_rates
from advml.ebm import ReplayBuffer as ReplayBuffer
from advml.pytorch.networks import Network, adam_of, dense, halve
from advml.validation import batch, count, nonnegative, numbers, positive


class _Energy(Network):
    """What both networks share: layers (kernel, bias), and the trap."""

    def __init__(self, layers, radius, device, dtype):
        super().__init__(layers, device, dtype)
        self.radius = None if radius is None else positive("radius", radius)

    def trap(self, x):
        """|x|²/2R², or zero without a radius."""
        if self.radius is None:
            return 0.0
        return (x**2).flatten(1).sum(1) / (2 * self.radius**2)


class DenseEnergy(_Energy):
    """E(x) = |x|²/2R² + f(x) for points x, with f a network (eq-ebm-dense).

    The parabola is a trap that keeps Z finite where f has learned nothing.

    Parameters
    ----------
    n_inputs : int
        Dimension of x; a batch has shape (n, n_inputs).
    n_hidden : sequence of int
        Widths of the hidden layers, each followed by SiLU.
    radius : float or None
        R, the width of the trap, larger than the data; None for no trap.
    seed, device, dtype
        Source of the initial weights; where and how precisely they are
        stored (default: the first GPU if there is one, single precision).
    """

    def __init__(
        self,
        n_inputs,
        n_hidden=(64, 64),
        *,
        radius=2.0,
        seed=0,
        device=None,
        dtype=torch.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        layers = networks.dense_energy(n_inputs, n_hidden, seed)
        super().__init__(layers, radius, device, dtype)

    def forward(self, x):
        """Energies (n,) of points (n, n_inputs)."""
        return self.trap(x) + dense(self.layers, x, silu)[:, 0]


class ConvolutionalEnergy(_Energy):
    """E(x) = |x|²/2R² + f(x) for images x, f a convolutional network.

    Each convolution halves the side (stride 2, zeros of width size // 2
    around the image, SiLU); a hidden layer and one output follow.

    Parameters
    ----------
    side : int
        A batch of images has shape (n, side, side).
    channels, sizes : sequences of int
        Channels and kernel size, odd, of each convolution.
    n_hidden : int
        Units of the dense hidden layer.
    radius : float or None
        R, the width of the trap; None for no trap.
    seed, device, dtype
        As for :class:`DenseEnergy`.

    Source of the default layers: D. Foster, Generative Deep Learning, 2nd
    edition (2023), chapter 7.
    """

    def __init__(
        self,
        side,
        channels=(16, 32, 64, 64),
        sizes=(5, 3, 3, 3),
        *,
        n_hidden=64,
        radius=None,
        seed=0,
        device=None,
        dtype=torch.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        layers = networks.convolutional_energy(
            side, channels, sizes, n_hidden, seed
        )
        super().__init__(layers, radius, device, dtype)
        self.shape = (side, side)

    def forward(self, x):
        """Energies (n,) of images (n, side, side)."""
        y = batch("x", x, self.shape)[:, None]
        for kernel, bias in self.layers[:-2]:
            y = silu(halve(y, kernel, bias))
        y = y.permute(0, 2, 3, 1).flatten(1)
        return self.trap(x) + dense(self.layers[-2:], y, silu)[:, 0]


def input_gradient(energy, x):
    """∇ₓE of each state, of the shape of x. No Z: it does not depend on x.

    The energies of the batch are summed, not averaged: each state has the
    slope that it would have alone.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        total = energy(x).sum()
    (gradient,) = torch.autograd.grad(total, x)
    return gradient


def langevin_step(
    energy, x, w, *, step, noise, max_gradient=None, limits=None
):
    """x ← x − step·∇ₓE(x) + noise·w, w ~ N(0, 1) (eq-ebm-langevin).

    At temperature one `noise` is √(2·step); see `advml.sampling.temperature`
    for any other. `max_gradient` clips each component of ∇ₓE and `limits`
    those of x: heuristics, after which the chain samples something else.
    """
    gradient = input_gradient(energy, x)
    if max_gradient is not None:
        gradient = gradient.clamp(-max_gradient, max_gradient)
    x = x - step * gradient + noise * w
    return x if limits is None else x.clamp(*limits)


def langevin(
    energy,
    x,
    *,
    step,
    noise=None,
    n_steps,
    seed,
    max_gradient=None,
    limits=None,
):
    """Run `n_steps` Langevin steps from x, all chains at once.

    Parameters
    ----------
    energy : callable
        Maps states (n, ...) to energies (n,).
    x : tensor or array (n, ...)
        Start of the chains.
    step, noise : float
        As in :func:`langevin_step`; `noise` is √(2·step) if not given, so
        that the chains are at temperature one.
    n_steps : int
    seed : int, numpy.random.Generator or torch.Generator
    max_gradient, limits
        As in :func:`langevin_step`.

    Returns the last states, detached. FloatingPointError, with the name of
    the quantity, if a chain diverges.

    Source: Y. Du & I. Mordatch, NeurIPS 2019 (arXiv:1903.08689).
    """
    constants = chain_constants(step, noise, max_gradient, limits)
    x = _states("x", energy, x)
    _one_energy_per_state(energy, x)
    generator = _generator(seed, x.device)
    for _ in range(count("n_steps", n_steps)):
        w = torch.randn(
            x.shape, generator=generator, dtype=x.dtype, device=x.device
        )
        x = langevin_step(energy, x, w, **constants)
    _stop_if_not_finite("x", x, f"after {n_steps} Langevin steps")
    return x


def loss(energy, x_data, x_model, *, regularisation=0.0):
    """⟨E⟩_data − ⟨E⟩_model + α(⟨E²⟩_data + ⟨E²⟩_model) (eq-ebm-loss).

    With the model's samples held fixed, the gradient of the first two terms
    in the parameters is that of −log-likelihood; their value measures no
    progress. `regularisation` is α ≥ 0, which keeps energies near zero.
    """
    e_data, e_model = energy(x_data), energy(x_model)
    value = e_data.mean() - e_model.mean()
    if regularisation:
        square = (e_data**2).mean() + (e_model**2).mean()
        value = value + regularisation * square
    return value


def train(
    energy,
    data,
    *,
    buffer,
    n_updates,
    batch_size=128,
    learning_rate=1e-3,
    final_learning_rate=None,
    step,
    noise=None,
    n_steps,
    max_gradient=None,
    limits=None,
    regularisation=0.0,
    max_norm=None,
    data_noise=0.0,
    seed=0,
    callback=None,
    memory=None,
):
    """Maximise the log-likelihood by two phases, in place (eq-ebm-gradient).

    Each update draws a batch of the data and as many chains of the buffer,
    lets the chains make `n_steps` Langevin steps in the present energy, and
    makes one step of Adam along the gradient of :func:`loss`.

    Parameters
    ----------
    energy : torch.nn.Module
        Maps states (n, ...) to energies (n,).
    data : array (N, ...)
    buffer : ReplayBuffer
    n_updates, batch_size : int
        Number of updates; data points, and chains, in each.
    learning_rate, final_learning_rate : float
        Of Adam; linear from the first to the second, constant without it.
    step, noise, n_steps, max_gradient, limits
        Of the chains, as for :func:`langevin`.
    regularisation : float
        α, as in :func:`loss`.
    max_norm : float, optional
        The gradient in the parameters is shortened to this length.
    data_noise : float
        Standard deviation of normal noise that each batch is given: the
        model then learns the data's density convolved with it.
    seed : int, numpy.random.Generator or torch.Generator
    callback : function
        Called as callback(update, energy, x_data, x_model) after each
        update, from 1 on, with the states of both phases.
    memory : optional
        That of Adam, as an earlier call returned it, to go on from there.

    Returns the memory of Adam. FloatingPointError, with the name of the
    quantity, if anything diverges.

    Source: Y. Du & I. Mordatch, NeurIPS 2019 (arXiv:1903.08689).
    """
    data = _states("data", energy, data)
    size = min(count("batch_size", batch_size), len(data))
    constants = chain_constants(step, noise, max_gradient, limits)
    nonnegative("regularisation", regularisation)
    max_norm = np.inf if max_norm is None else positive("max_norm", max_norm)
    nonnegative("data_noise", data_noise)
    rates = learning_rates(learning_rate, final_learning_rate, n_updates)
    adam = adam_of(energy, memory, BETAS)
    rng = _stream(seed)
    for update, rate in enumerate(rates, start=1):
        generator = _generator(rng, data.device)
        x_data = _batch(data, size, data_noise, generator)
        places, x = buffer.draw(size)
        x_model = langevin(
            energy, x, n_steps=n_steps, seed=generator, **constants
        )
        buffer.store(places, x_model.cpu().numpy())
        value = loss(energy, x_data, x_model, regularisation=regularisation)
        _stop_if_not_finite("loss", value, f"in update {update}")
        _descend(adam, value, rate, max_norm)
        if callback is not None:
            callback(update, energy, x_data, x_model)
    for parameter in energy.parameters():
        _stop_if_not_finite("energy", parameter, f"after {update} updates")
    return adam


def score_matching_loss(energy, x, w, *, scale):
    """½⟨|w − b·∇E(x + b·w)|²⟩ with w ~ N(0, 1) (eq-ebm-score-matching).

    Denoising score matching: at its minimum over all E, −∇E is the exact
    score of the data convolved with N(0, b²), where b is `scale`, the blur;
    w has the shape of x. No chain, no Z.

    Source: P. Vincent, Neural Computation 23, 1661 (2011).
    """
    y = (x + scale * w).requires_grad_()
    (slope,) = torch.autograd.grad(energy(y).sum(), y, create_graph=True)
    square = ((w - scale * slope) ** 2).reshape(len(x), -1)
    return square.sum(1).mean() / 2


def _descend(adam, value, rate, max_norm):
    """One step of Adam down the gradient of `value`, at most max_norm long."""
    adam.param_groups[0]["lr"] = rate
    adam.zero_grad()
    value.backward()
    parameters = adam.param_groups[0]["params"]
    torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    adam.step()


def _states(name, energy, x):
    """States (n, ...) as a tensor beside the parameters, if there are any."""
    if isinstance(x, np.ndarray):
        x = numbers(x)
    x = torch.as_tensor(x).detach()
    if isinstance(energy, torch.nn.Module):
        x = x.to(next(energy.parameters(), x))
    if x.ndim == 0 or len(x) == 0 or not x.is_floating_point():
        raise ValueError(
            f"{name} must be states (n, ...) of floating point, n >= 1, but "
            f"has shape {tuple(x.shape)} and {x.dtype}"
        )
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} must be finite, but holds nan or infinity")
    return x


@torch.no_grad()
def _one_energy_per_state(energy, x):
    shape = energy(x).shape
    if shape != x.shape[:1]:
        raise ValueError(
            "energy must map states (n, ...) to energies (n,), but maps "
            f"{tuple(x.shape)} to {tuple(shape)}"
        )


def _batch(data, size, noise, generator):
    """Different random rows of the data, with noise if asked for."""
    order = torch.randperm(len(data), generator=generator, device=data.device)
    x = data[order[:size]]
    if noise:
        x = x + noise * torch.randn(
            x.shape, generator=generator, dtype=x.dtype, device=x.device
        )
    return x


def _stop_if_not_finite(name, value, when):
    if not torch.isfinite(value).all():
        raise FloatingPointError(
            f"{name} is not finite {when}: the run diverged; use a smaller "
            "step or learning_rate"
        )


def _stream(seed):
    """Return a generator that goes on from call to call."""
    if isinstance(seed, torch.Generator):
        return seed
    return np.random.default_rng(seed)


def _generator(seed, device):
    """Return a torch generator for a device: the seed, if it is one already.

    One of another kind of device is drawn from, to seed that of this one.
    """
    if not isinstance(seed, torch.Generator):
        number = np.random.default_rng(seed).integers(2**63)
    elif seed.device.type == device.type:
        return seed
    else:
        options = {"generator": seed, "device": seed.device}
        number = torch.randint(2**63 - 1, (), **options)
    return torch.Generator(device).manual_seed(int(number))
