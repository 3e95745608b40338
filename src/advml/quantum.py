r"""Wave functions made of restricted Boltzmann machines, with exact answers.

The wave function is the square root of a machine's marginal density: psi(x) is
proportional to exp(-F(x)/2) and positive, so that the machine itself is the
distribution of measured states, |psi|^2 = p (eq-quantum-amplitude). Two
systems:

- the transverse-field Ising chain, H = -sum sz sz - h sum sx, with an `RBM`;
  unit x_i = 0, 1 is the spin s_i = 2 x_i - 1;
- two electrons of opposite spin in a two-dimensional harmonic trap, with a
  `GaussianRBM` and a factor exp(J(r)) in their distance r. Positions are
  x = (x_1, y_1, x_2, y_2); units of hbar, mass and 4 pi epsilon_0 / e^2 are 1.

Expectation values are averages over |psi|^2 of a batch of states: samples,
or all states with their probabilities.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from advml.rbm import all_states, softplus
from advml.sampling import langevin
from advml.validation import count, finite, one_of, positive, shaped

MAX_SPINS = 16  # 2^16 amplitudes: a ground state in a second


class Projection(NamedTuple):
    """Energy of a wave function, its variance, gradient and metric."""

    energy: float
    variance: float
    gradient: np.ndarray
    metric: np.ndarray


# --- Any wave function -------------------------------------------------------


def energy_projection(local_energy, derivatives, p=None):
    """Energy, variance, gradient and metric from a batch of states.

    With O = d log psi / d theta, energy <E_loc> (eq-quantum-energy), variance
    <E_loc^2> - <E_loc>^2, gradient 2 (<E_loc O> - <E_loc><O>)
    (eq-quantum-gradient) and metric S = <O O^T> - <O><O^T>
    (eq-quantum-metric).

    Parameters
    ----------
    local_energy : array (n,)
    derivatives : array (n, n_parameters)
        O of each state, real.
    p : array (n,), optional
        Probability of each state; by default all states count the same.
    """
    local_energy = finite("local_energy", local_energy)
    derivatives = shaped(
        "derivatives", finite("derivatives", derivatives), (None,)
    )
    if derivatives.ndim != 2 or local_energy.shape != (len(derivatives),):
        raise ValueError(
            f"local_energy has shape {local_energy.shape}, but derivatives "
            f"{derivatives.shape}: they must be (n,) and (n, n_parameters)"
        )
    n = len(derivatives)
    p = np.full(n, 1 / n) if p is None else finite("p", p)
    if p.shape != (n,):
        raise ValueError(f"p must have shape ({n},), but has {p.shape}")
    energy = p @ local_energy
    excess = local_energy - energy
    centred = derivatives - p @ derivatives
    weighted = p[:, None] * centred
    return Projection(
        float(energy),
        float(p @ excess**2),
        2 * weighted.T @ excess,
        weighted.T @ centred,
    )


def reconfiguration_step(projection, rate, shift):
    """Return the change of the parameters by stochastic reconfiguration.

    Solves (S + shift I) delta = -(rate/2) gradient
    (eq-quantum-reconfiguration): a step of length `rate` in imaginary time,
    projected on what the parameters can do. `shift` > 0 keeps directions that
    the samples do not resolve from moving.

    Source: S. Sorella, Phys. Rev. B 64, 024512 (2001).
    """
    rate, shift = positive("rate", rate), positive("shift", shift)
    metric = projection.metric + shift * np.eye(len(projection.metric))
    return -rate / 2 * np.linalg.solve(metric, projection.gradient)


def fidelity(psi, phi):
    """|<psi|phi>|^2 / <psi|psi><phi|phi> of two vectors (eq-fidelity)."""
    psi, phi = finite("psi", psi), finite("phi", phi)
    if psi.ndim != 1 or psi.shape != phi.shape:
        raise ValueError(
            f"psi and phi must be vectors of one length, but have shapes "
            f"{psi.shape} and {phi.shape}"
        )
    return float((psi @ phi) ** 2 / ((psi @ psi) * (phi @ phi)))


# --- Transverse-field Ising chain --------------------------------------------


def transverse_field_ising_energy(n_spins, field, periodic):
    """Exact ground-state energy of -sum sz sz - h sum sx (eq-tfi-fermions).

    Free fermions: minus the sum of the singular values of the matrix M with
    -h on the diagonal and 1 below it. A ring adds M[1, N] = -1, because the
    ground state is even under a flip of all spins. At least 3 spins in a
    ring; the sign of `field` does not matter.

    Source: P. Pfeuty, Ann. Phys. 57, 79 (1970).
    """
    n = count("n_spins", n_spins, at_least=3 if periodic else 1)
    field = abs(float(finite("field", field)))  # turn the spins around z
    couplings = np.eye(n, k=-1) - field * np.eye(n)
    if periodic:
        couplings[0, -1] = -1
    return float(-np.linalg.svd(couplings, compute_uv=False).sum())


def transverse_field_ising_ground_state(n_spins, field, periodic):
    """Exact ground state by Lanczos: energy and psi, shape (2^n_spins,).

    psi is positive, normalised and ordered like `advml.rbm.all_states`
    (eq-tfi-hamiltonian). `field` must be positive, or there are two ground
    states; at most 16 spins.
    """
    n = count("n_spins", n_spins, at_least=3 if periodic else 2)
    field = positive("field", field)
    if n > MAX_SPINS:
        raise ValueError(f"n_spins must be at most {MAX_SPINS}, not {n}")
    bonds = _bond_energy(2 * all_states(n) - 1, periodic)
    flipped = np.arange(2**n)[:, None] ^ (1 << np.arange(n))

    def hamiltonian(psi):
        psi = psi.ravel()
        return bonds * psi - field * psi[flipped].sum(1)

    operator = LinearOperator((2**n, 2**n), matvec=hamiltonian, dtype=float)
    # Started with equal amplitudes Lanczos stays even under a global flip.
    start = np.full(2**n, 2 ** (-n / 2))
    energy, psi = eigsh(operator, k=1, which="SA", v0=start)
    psi = psi[:, 0] + psi[::-1, 0]  # even also in the last digits
    return float(energy[0]), psi * np.sign(psi.sum()) / np.linalg.norm(psi)


def log_amplitude(rbm, x):
    """log psi(x) = -F(x)/2, not normalised (eq-quantum-amplitude)."""
    return -rbm.free_energy(x) / 2


def log_derivatives(rbm, x):
    """d log psi / d theta of spins, shape (n, d) (eq-quantum-derivatives).

    The d parameters are weights (row by row), visible and hidden biases.
    """
    h = rbm.hidden_probability(x)
    pairs = np.asarray(x)[:, :, None] * h[:, None, :]
    return np.hstack([pairs.reshape(len(h), -1), x, h]) / 2


def ising_local_energy(rbm, x, *, field, periodic):
    """E_loc of the transverse-field Ising chain (eq-tfi-local-energy).

    `x` holds 0 and 1, shape (n, n_visible). Flipping unit i changes the
    inputs u of the hidden units by (1 - 2 x_i) W_i, so that all ratios
    psi(x')/psi(x) of a batch come from one array of shape
    (n, n_visible, n_hidden).
    """
    field = float(finite("field", field))
    x = shaped("x", one_of("x", x, (0, 1)), (rbm.n_visible,))
    u = rbm.hidden_bias + x @ rbm.weights
    change = 1 - 2 * x
    moved = u[:, None] + change[:, :, None] * rbm.weights
    log_ratio = change * rbm.visible_bias
    log_ratio = log_ratio + (softplus(moved) - softplus(u)[:, None]).sum(-1)
    flips = np.exp(log_ratio / 2).sum(-1)
    return _bond_energy(2 * x - 1, periodic) - field * flips


def _bond_energy(spins, periodic):
    energy = -(spins[..., :-1] * spins[..., 1:]).sum(-1)
    return energy - spins[..., -1] * spins[..., 0] if periodic else energy


# --- Two electrons in a harmonic trap ----------------------------------------


def no_jastrow(r):
    """J = 0 with its first two derivatives: no factor in the distance."""
    return np.zeros_like(r), np.zeros_like(r), np.zeros_like(r)


def pade_jastrow(cusp, decay):
    """Return r -> (J, J', J'') of J = cusp r / (1 + decay r) (eq-dot-jastrow).

    `cusp` is the slope at r = 0, which is 1 for two electrons of opposite
    spin in two dimensions (eq-dot-cusp); `decay` >= 0 is an inverse length.
    """
    cusp, decay = float(finite("cusp", cusp)), float(finite("decay", decay))
    if decay < 0:
        raise ValueError(f"decay must not be negative, not {decay}")

    def jastrow(r):
        s = 1 + decay * r
        return cusp * r / s, cusp / s**2, -2 * cusp * decay / s**3

    return jastrow


def dot_log_amplitude(rbm, x, jastrow=no_jastrow):
    """log psi = -F(x)/2 + J(r), not normalised (eq-dot-amplitude).

    `x` has shape (n, 4) and `rbm` is a `GaussianRBM` with four visible units;
    `jastrow` maps distances to J, J' and J''.
    """
    return -rbm.free_energy(x) / 2 + jastrow(_distance(x)[1])[0]


def dot_drift(rbm, x, jastrow=no_jastrow):
    """Gradient of log psi in the positions, shape (n, 4) (eq-dot-drift)."""
    pull = (rbm.visible_bias - x) / 2
    pull = pull + rbm.hidden_probability(x) @ rbm.weights.T / 2
    separation, r = _distance(x)
    push = (jastrow(r)[1] / r)[:, None] * separation
    return pull / rbm.scale**2 + np.hstack([push, -push])


def dot_laplacian(rbm, x, jastrow=no_jastrow):
    """Laplacian of log psi, summed over both electrons (eq-dot-laplacian)."""
    on = rbm.hidden_probability(x)
    squares = (rbm.weights.T / rbm.scale**2) ** 2
    machine = (on * (1 - on)) @ squares.sum(1) - (1 / rbm.scale**2).sum()
    r = _distance(x)[1]
    _, slope, curvature = jastrow(r)
    return machine / 2 + 2 * (curvature + slope / r)


def dot_local_energy(rbm, x, *, frequency=1.0, charge=1.0, jastrow=no_jastrow):
    """E_loc of two electrons in a trap, shape (n,) (eq-dot-local-energy).

    -(laplacian + |drift|^2)/2 + omega^2 |x|^2 / 2 + charge / r, with both
    derivatives of log psi. charge = 0 switches the repulsion off.
    """
    frequency = positive("frequency", frequency)
    charge = float(finite("charge", charge))
    drift = dot_drift(rbm, x, jastrow)
    kinetic = -(dot_laplacian(rbm, x, jastrow) + (drift**2).sum(1)) / 2
    trap = frequency**2 * (x**2).sum(1) / 2
    return kinetic + trap + charge / _distance(x)[1]


def dot_log_derivatives(rbm, x):
    """d log psi / d theta, shape (n, d) (eq-dot-derivatives).

    The d parameters are weights (row by row), visible biases, hidden biases
    and the logarithm of a scale that all visible units share.
    """
    on, variance = rbm.hidden_probability(x), rbm.scale**2
    offset = x - rbm.visible_bias
    pairs = (x / variance)[:, :, None] * on[:, None, :]
    stretch = (offset**2 - 2 * x * (on @ rbm.weights.T)) / variance
    return (
        np.hstack(
            [
                pairs.reshape(len(x), -1),
                offset / variance,
                on,
                stretch.sum(1, keepdims=True),
            ]
        )
        / 2
    )


def dot_walk(rbm, x, *, jastrow=no_jastrow, step, n_steps, seed):
    """Sample |psi|^2 from `x` by Metropolis-adjusted Langevin steps.

    The drift of log |psi|^2 is twice `dot_drift`. Returns the positions
    (n, 4) and the acceptance rate, as `advml.sampling.langevin` does.
    """
    return langevin(
        lambda y: 2 * dot_drift(rbm, y, jastrow),
        x,
        step=step,
        n_steps=n_steps,
        seed=seed,
        adjusted=True,
        log_prob=lambda y: 2 * dot_log_amplitude(rbm, y, jastrow),
    )


def dot_quadrature(frequency, *, n_centre=14, n_radius=48, n_angle=32):
    """Points (n, 4) and weights (n,) for integrals over both electrons.

    Gauss-Hermite in the centre of mass, Gauss-Legendre in the distance and
    equal steps in the angle (eq-dot-quadrature). The weight r dr of polar
    coordinates cancels the pole of 1/r.
    """
    frequency = positive("frequency", frequency)
    t, w = np.polynomial.hermite.hermgauss(count("n_centre", n_centre))
    t, w = t / np.sqrt(2 * frequency), w * np.exp(t**2)
    w = w / np.sqrt(2 * frequency)
    u, v = np.polynomial.legendre.leggauss(count("n_radius", n_radius))
    length = 9 / np.sqrt(frequency)
    r, v = length * (u + 1) / 2, length * v / 2
    angle = 2 * np.pi * (np.arange(count("n_angle", n_angle)) + 0.5) / n_angle
    X, Y, R, A = (g.ravel() for g in np.meshgrid(t, t, r, angle))
    half = R / 2 * np.cos(A), R / 2 * np.sin(A)
    points = X + half[0], Y + half[1], X - half[0], Y - half[1]
    wx, wy, wr, _ = (g.ravel() for g in np.meshgrid(w, w, v, angle))
    return np.stack(points, 1), wx * wy * wr * R * 2 * np.pi / n_angle


def _distance(x):
    x = shaped("x", np.asarray(x, dtype=float), (None, 4))
    separation = x[:, :2] - x[:, 2:]
    return separation, np.sqrt((separation**2).sum(1))
