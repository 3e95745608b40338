"""Spins ±1 on a torus for models that were made for real numbers.

An energy that is a sum over patches, the Langevin sampler's discrete sibling
with its training, and a generator whose outputs can be read as spins.
"""

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from advml.ebm import learning_rates
from advml.pytorch.ebm import (
    DenseEnergy,
    _generator,
    _states,
    _stop_if_not_finite,
)
from advml.pytorch.gan import DenseGenerator
from advml.validation import batch, count, one_of, positive


class PatchEnergy(torch.nn.Module):
    """E(s) = Σ_r f(the 3×3 patch of s around r) (eq-capstone-patch-energy).

    The sum runs over all sites r of an L×L torus, with one network f for all:
    translations leave E as it is.

    Parameters
    ----------
    size : int
        Side L >= 3. A batch of states has shape (n, L²), row by row, ±1.
    n_hidden : sequence of int
        Widths of the hidden layers of f, see `advml.pytorch.ebm.DenseEnergy`.
    seed : int or numpy.random.Generator
        Source of the initial weights. Those of the last layer begin at a
        tenth of their usual size: nearly independent spins.
    device, dtype
        As for `advml.pytorch.ebm.DenseEnergy`.
    """

    def __init__(
        self,
        size,
        n_hidden=(16,),
        *,
        seed=0,
        device=None,
        dtype=torch.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        super().__init__()
        size = count("size", size, at_least=3)
        sites = np.arange(size**2).reshape(size, size)
        shifts = [(a, b) for a in (1, 0, -1) for b in (1, 0, -1)]
        patch = [np.roll(sites, shift, (0, 1)).ravel() for shift in shifts]
        patch = torch.as_tensor(np.stack(patch, axis=1))  # (L², 9)
        self.shape = (size**2,)
        options = {"seed": seed, "device": device, "dtype": dtype}
        self.f = DenseEnergy(9, n_hidden, radius=None, **options)
        with torch.no_grad():
            for parameter in self.f.layers[-1]:
                parameter.mul_(0.1)
        self.register_buffer("patch", patch.to(self.f.layers[0][0].device))

    def forward(self, s):
        """Energies (n,) of states (n, L²)."""
        patches = batch("s", s, self.shape)[:, self.patch]
        return self.f(patches.reshape(-1, 9)).reshape(len(s), -1).sum(1)


def flip_field(energy, s, step):
    """Energies (n,), and log-odds that each spin is flipped (n, N).

    The proposal is a Langevin step in which a spin may only stay or flip:
    log-odds s·∇E − 2/step (eq-capstone-proposal).
    """
    s = s.detach().requires_grad_()
    with torch.enable_grad():
        e = energy(s)
        (slope,) = torch.autograd.grad(e.sum(), s)
    return e.detach(), s.detach() * slope - 2 / step


def discrete_langevin(
    energy, s, *, step, n_steps, seed, mirror=True, adjusted=True
):
    """Sample exp(−E) over spins with discrete Langevin steps, corrected.

    Each step proposes to flip every spin independently with the log-odds of
    :func:`flip_field`, and accepts with Metropolis and Hastings' probability
    (eq-capstone-acceptance), which makes exp(−E) exactly stationary.

    Parameters
    ----------
    energy : callable
        Maps states (n, N) to energies (n,), differentiable in between.
    s : tensor or array (n, N)
        Start of the chains, ±1; goes where the parameters are, if the energy
        is a module, and stays where it is otherwise.
    step : float
        Large steps flip many spins.
    n_steps : int
    seed : int, numpy.random.Generator or torch.Generator
    mirror : bool
        Before the first step, offer every chain the state −s, and accept
        with min(1, exp(E(s) − E(−s))): a cluster move of the whole lattice.
    adjusted : bool
        Without it each proposal is accepted, and the chains sample something
        else, as an unadjusted Langevin sampler does.

    Returns the last states and the acceptance rate of the steps.

    Source: R. Zhang, X. Liu & Q. Liu, ICML 2022 (arXiv:2206.09914).
    """
    step, n_steps = positive("step", step), count("n_steps", n_steps)
    s = _spins("s", energy, s)
    generator, accepted = _generator(seed, s.device), 0.0
    if mirror:
        s = _mirror(energy, s, generator)
    e, field = flip_field(energy, s, step)
    for _ in range(n_steps):
        flip = _uniform(s, generator) < torch.sigmoid(field)
        sign = torch.where(flip, -1.0, 1.0)
        e_new, field_new = flip_field(energy, s * sign, step)
        there = logsigmoid(-sign * field).sum(1)
        back = logsigmoid(-sign * field_new).sum(1)
        log_ratio = e - e_new + back - there
        yes = _uniform(e, generator).log() < log_ratio
        if not adjusted:
            yes = torch.ones_like(yes)
        s = torch.where(yes[:, None], s * sign, s)
        e = torch.where(yes, e_new, e)
        field = torch.where(yes[:, None], field_new, field)
        accepted += yes.float().mean().item()
    return s, accepted / n_steps


def train_energy(
    energy,
    data,
    *,
    n_updates,
    batch_size=50,
    learning_rate=2e-3,
    final_learning_rate=0.0,
    step=0.6,
    n_steps=3,
    seed=0,
):
    """Maximise the likelihood with persistent chains (eq-capstone-gradient).

    As `advml.pytorch.ebm.train`, with the sampler :func:`discrete_langevin`.
    The chains, one for each datum of a batch, begin at data. In the end the
    weights are averaged over the second half of the updates.

    Parameters
    ----------
    energy : torch.nn.Module
        Maps states (n, N) to energies (n,); changed in place.
    data : array (n, N)
        Spins ±1.
    n_updates, batch_size : int
    learning_rate, final_learning_rate : float
        Of Adam, on a straight line from the first to the second.
    step, n_steps
        As for :func:`discrete_langevin`, between two updates.
    seed : int, numpy.random.Generator or torch.Generator

    Returns the states of the chains and the mean acceptance rate.
    FloatingPointError, with the name of the quantity, if anything diverges.
    """
    parameters = list(energy.parameters())
    data = _spins("data", energy, data)
    size = min(count("batch_size", batch_size), len(data))
    generator = _generator(seed, data.device)
    rates = learning_rates(learning_rate, final_learning_rate, n_updates)
    adam = torch.optim.Adam(parameters)
    average = [torch.zeros_like(p) for p in parameters]
    chains, accepted = data[_rows(data, size, generator)], 0.0
    for update, rate in enumerate(rates, start=1):
        chains, share = discrete_langevin(
            energy, chains, step=step, n_steps=n_steps, seed=generator
        )
        accepted += share / n_updates
        batch = data[_rows(data, size, generator)]
        e_data, e_model = energy(torch.cat([batch, chains])).split(size)
        value = e_data.mean() - e_model.mean()
        _stop_if_not_finite("loss", value, f"in update {update}")
        adam.param_groups[0]["lr"] = rate
        adam.zero_grad()
        value.backward()
        adam.step()
        kept = update - n_updates // 2
        if kept > 0:
            with torch.no_grad():
                torch._foreach_lerp_(average, parameters, 1 / kept)
    with torch.no_grad():
        for parameter, value in zip(parameters, average, strict=True):
            parameter.copy_(value)
            _stop_if_not_finite("energy", parameter, f"after {update} updates")
    return chains, accepted


class SpinGenerator(DenseGenerator):
    """G(z) of dense layers and a tanh; the signs of G(z) are the spins.

    Arguments as for `advml.pytorch.gan.DenseGenerator`.
    """

    limit = 1.0

    def generate(self, z, seen=None):
        """As a call, for tensors; `seen` is for other generators."""
        return torch.tanh(super().generate(z, seen))


def _spins(name, energy, s):
    """Spins (n, N) as a tensor beside the parameters, if there are any."""
    s = _states(name, energy, s)
    if s.ndim != 2:
        raise ValueError(
            f"{name} must have shape (n, N), but has {tuple(s.shape)}"
        )
    one_of(name, s.numpy(force=True), (-1, 1))
    return s


def _mirror(energy, s, generator):
    """Turn whole states over, with Metropolis' probability."""
    with torch.no_grad():
        log_ratio = energy(s) - energy(-s)
    yes = _uniform(log_ratio, generator).log() < log_ratio
    return torch.where(yes[:, None], -s, s)


def _uniform(like, generator):
    options = {"dtype": like.dtype, "device": like.device}
    return torch.rand(like.shape, generator=generator, **options)


def _rows(data, size, generator):
    """Random rows, with replacement."""
    options = {"generator": generator, "device": data.device}
    return torch.randint(len(data), (size,), **options)
