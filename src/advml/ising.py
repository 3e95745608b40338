"""The Ising model on a square torus: exact thermodynamics and Monte Carlo.

Spins are ±1, the coupling is J = 1, the boundary is periodic and each bond
counts once; temperatures are in units of J/k_B. The energy is extensive,
``energy_per_spin`` and ``heat_capacity`` are per spin.

Random numbers come from the NumPy generator that the caller seeds. The
compiled loops draw from that same generator, so nothing here touches a
global random state.
"""

import os
import sys
import zipfile
from dataclasses import dataclass
from functools import reduce
from io import BytesIO
from pathlib import Path

import numpy as np
from numba import njit

from advml.validation import count, finite, one_of, positive

CRITICAL_TEMPERATURE = 2 / np.log(1 + np.sqrt(2))
ALGORITHMS = ("wolff", "metropolis")
RULES = ("metropolis", "heat bath")


def energy(spins):
    """Return the total energy -Σ s_i s_j over the bonds (eq-ising-energy).

    `spins` holds ±1 and has shape (..., L, L) with L >= 3, because on a
    smaller torus two neighbours would share more than one bond. The result
    has shape (...); it is in units of J. ValueError for anything else.
    """
    spins = one_of("spins", spins, (-1, 1))
    if spins.ndim < 2 or spins.shape[-1] != spins.shape[-2]:
        raise ValueError(f"spins must be (..., L, L), not {spins.shape}")
    count("the side L of spins", spins.shape[-1], at_least=3)
    right, below = np.roll(spins, -1, axis=-1), np.roll(spins, -1, axis=-2)
    return -(spins * (right + below)).sum(axis=(-2, -1))


# --- Exact results -----------------------------------------------------------
#
# Kaufman's products are differentiated twice without finite differences:
# each factor is carried as a truncated Taylor series (a0, a1, a2) in K = 1/T,
# stacked along the first axis.


def log_partition(size, temperature):
    """Return log Z of the L×L torus, exact (eq-kaufman).

    Z is the sum of exp(-E/T) over all 2^(L²) configurations, with E as in
    :func:`energy`. `size` is L >= 3; `temperature` is positive, a number or
    an array whose shape the result takes. ValueError otherwise.

    Source: B. Kaufman, Phys. Rev. 76, 1232 (1949).
    """
    return _thermodynamics(size, temperature)[0][()]


def energy_per_spin(size, temperature):
    """Return the exact mean energy u = -(1/N) d log Z/dK, K = 1/T.

    Arguments as in :func:`log_partition`; (eq-thermodynamics), units of J.
    The absolute error is of order 1e-15 max(1, T).
    """
    return _thermodynamics(size, temperature)[1][()]


def heat_capacity(size, temperature):
    """Return the exact specific heat c = (K²/N) d² log Z/dK² = du/dT.

    Arguments as in :func:`log_partition`; (eq-thermodynamics), per spin, in
    units of k_B. The absolute error is of order 1e-14.
    """
    return _thermodynamics(size, temperature)[2][()]


def _thermodynamics(size, temperature):
    """Return log Z, u and c, each with the shape of `temperature`."""
    size = count("size", size, at_least=3)
    temperature = finite("temperature", temperature)
    if np.any(temperature <= 0):
        raise ValueError(
            f"temperature must be positive, not {temperature.min()}"
        )
    n_spins, coupling = size**2, 1 / temperature
    log_z, slope, curvature = _kaufman(size, np.clip(coupling, 1e-5, 4))
    energies = -slope / n_spins
    capacities = 2 * curvature / n_spins * np.clip(coupling, 1e-5, 4) ** 2
    # Beyond K = 4 and 1e-5 rounding eats the last digits of the derivatives,
    # while one term of the low and high temperature expansions is enough.
    small, flip = np.minimum(coupling, 1e-5), np.exp(-8 * coupling)
    cold = [2 * n_spins * coupling + np.log(2), 8 * flip - 2]
    cold += [(8 * coupling * np.exp(-4 * coupling)) ** 2]
    hot = [n_spins * (np.log(2) + small**2), -2 * small, 2 * small**2]
    return tuple(
        np.select([coupling > 4, coupling < 1e-5], [low, high], middle)
        for low, high, middle in zip(
            cold, hot, (log_z, energies, capacities), strict=True
        )
    )


def _kaufman(size, coupling):
    """Return the Taylor coefficients of log Z in K (eq-kaufman).

    Each product runs over factors 2cosh(Lγ/2) or 2sinh(Lγ/2); both are
    exp(|x|) (1 ± exp(-2|x|)) with x = Lγ/2. The exponents add up, and what
    remains is between 0 and 2. Only γ_0 is negative, above T_c.
    """
    sinh, cosh = np.sinh(2 * coupling), np.cosh(2 * coupling)
    log_prefactor = (size**2 / 2) * np.stack(
        [np.log(2 * sinh), 2 * cosh / sinh, -2 / sinh**2]
    )
    x = (size / 2) * _gammas(size, coupling)
    sign = np.where(x[0] < 0, -1.0, 1.0)
    decay = _exp(-2 * sign * x)
    exponent = sign * x
    odd, even = (exponent[:, parity::2].sum(axis=1) for parity in (1, 0))
    one = np.array([1.0, 0, 0]).reshape(3, *[1] * (decay.ndim - 1))
    plus, minus = one + decay, (one - decay) * sign
    odd_terms = _product(plus[:, 1::2]) + _product(minus[:, 1::2])
    even_terms = _product(plus[:, 0::2]) + _product(minus[:, 0::2])
    bracket = odd_terms + _times(_exp(even - odd), even_terms)
    return log_prefactor + odd + _log(bracket / 2)


def _gammas(size, coupling):
    """Return the Taylor coefficients of γ_l in K for l = 0 ... 2L-1.

    cosh γ_l = s + 1/s - cos(πl/L) with s = sinh 2K, written with sinh² so
    that nothing cancels near T_c, and γ_0 = 2K + log tanh K, which changes
    its sign at T_c.
    """
    s, c = np.sinh(2 * coupling), np.cosh(2 * coupling)
    angle = np.pi * np.arange(1, 2 * size) / size
    angle = angle.reshape(-1, *[1] * np.ndim(coupling))
    half = np.sqrt((1 - s) ** 2 / (2 * s) + np.sin(angle / 2) ** 2)
    gamma = 2 * np.arcsinh(half)
    first = 2 * c * (1 - 1 / s**2) / np.sinh(gamma)
    second = 4 * s + 4 / s + 8 / s**3 - np.cosh(gamma) * first**2
    second = second / np.sinh(gamma)
    zero = 2 * np.arcsinh((s - 1) / np.sqrt(2 * s)), 2 + 2 / s, -2 * c / s**2
    gammas = np.stack([gamma, first, second / 2])
    return np.concatenate([np.stack(zero)[:, None], gammas], axis=1)


def _times(a, b):
    second = a[0] * b[2] + a[1] * b[1] + a[2] * b[0]
    return np.stack([a[0] * b[0], a[0] * b[1] + a[1] * b[0], second])


def _product(factors):
    return reduce(_times, np.moveaxis(factors, 1, 0))


def _exp(a):
    return np.exp(a[0]) * np.stack(
        [np.ones_like(a[0]), a[1], a[2] + a[1] ** 2 / 2]
    )


def _log(a):
    first = a[1] / a[0]
    return np.stack([np.log(a[0]), first, a[2] / a[0] - first**2 / 2])


def correlations(size, temperature):
    """Return G[r, c] = ⟨s_00 s_rc⟩ on the L×L torus, exact (eq-pca-transfer).

    By translation invariance these are the correlations of any two spins at
    the distance (r, c), shape (L, L); the mean of a spin is zero. `size` is
    L = 3 to 10: the transfer matrix of a row is 2^L × 2^L. `temperature` is a
    positive number. ValueError otherwise.
    """
    row, _, transfer = _transfer_matrix(size, temperature)
    power = [np.linalg.matrix_power(transfer, r) for r in range(size + 1)]
    g = [row[:, 0] @ (power[r] * power[size - r].T) @ row for r in range(size)]
    return np.array(g) / np.trace(power[size])


def magnetisation_distribution(size, temperature):
    """Return P(M) for M = -N, -N+2 ... N on the L×L torus, exact.

    The characteristic function ⟨exp(iθM)⟩ is the partition function in the
    imaginary field θ, by the transfer matrix of :func:`correlations`; N + 1
    equidistant θ and a Fourier sum invert it (eq-order-magnetisation). Shape
    (N + 1,), N = L², with an absolute error of order 1e-15. Arguments and
    errors as in :func:`correlations`; time grows as L² 8^L.
    """
    row, _, transfer = _transfer_matrix(size, temperature)
    n_spins, m = size**2, row.sum(axis=1)
    # P(M) is even, and angles θ and π - θ contribute the same.
    angles = np.pi * np.arange(n_spins // 2 + 1) / (n_spins + 1)
    terms = np.where(angles == 0, 1.0, 2.0)
    for i, angle in enumerate(angles):
        phase = np.exp(0.5j * angle * m)
        twisted = phase[:, None] * transfer * phase
        power = np.linalg.matrix_power(twisted, size // 2)
        other = power @ twisted if size % 2 else power
        terms[i] *= (power * other.T).sum().real
    totals = np.arange(-n_spins, n_spins + 1, 2)
    p = np.cos(np.outer(totals, angles)) @ terms
    p = np.maximum(p, 0)  # where rounding has left -1e-17
    return p / p.sum()


def energy_distribution(size, temperature):
    """Return all energies of the L×L torus, and their probabilities, exact.

    The characteristic function ⟨exp(-iθE)⟩ is Z(1/T + iθ)/Z(1/T), by the
    transfer matrix of :func:`correlations` with a complex coupling; as many
    equidistant θ as there are energies, and a Fourier sum, invert it
    (eq-capstone-energy). Energies are -2N, -2N + d ... 2N, N = L², with
    d = 4 for even L and 2 for odd L, whose domain walls may have odd length;
    some occur in no state. Both results are arrays of one axis, with an
    absolute error of order 1e-15 in the probabilities. Arguments and errors
    as in :func:`correlations`.

    Source: the density of states of P. D. Beale, Phys. Rev. Lett. 76, 78
    (1996), times exp(-E/T)/Z.
    """
    row, bonds, transfer = _transfer_matrix(size, temperature)
    step, largest = (2 if len(row[0]) % 2 else 4), 2 * row.shape[1] ** 2
    energies = np.arange(-largest, largest + 1, step)
    n = len(energies)
    angles = 2 * np.pi * np.arange(n // 2 + 1) / (n * step)
    terms = np.empty(len(angles), complex)
    for i, angle in enumerate(angles):
        twisted = transfer * np.exp(1j * angle * (bonds - bonds.max()))
        power = np.linalg.matrix_power(twisted, size // 2)
        other = power @ twisted if size % 2 else power
        terms[i] = (power * other.T).sum()
    # Bonds below their maximum, 2L between two rows, are energy above -2N.
    weights = np.where(np.arange(len(angles)) == 0, 1, 2)
    waves = np.exp(1j * np.outer(energies - energies[0], angles))
    p = np.maximum((waves * (weights * terms)).real.sum(axis=1), 0)
    return energies, p / p.sum()


def _transfer_matrix(size, temperature):
    """Rows of L spins, (2^L, L), bonds and matrix between two of them."""
    size = count("size", size, at_least=3)
    if size > 10:
        raise ValueError(f"size must be at most 10, not {size}")
    temperature = positive("temperature", temperature)
    row = 1 - 2.0 * (np.arange(2**size)[:, None] >> np.arange(size) & 1)
    inside = (row * np.roll(row, 1, axis=1)).sum(axis=1)
    bonds = row @ row.T + (inside[:, None] + inside) / 2
    return row, bonds, np.exp((bonds - bonds.max()) / temperature)


# --- Exact transition matrices ----------------------------------------------


def all_configurations(size):
    """Return all 2^(L²) configurations, shape (2^(L²), L, L), for L = 3, 4.

    Bit k of a row's number is 1 where spin k (row by row) is +1.
    """
    size = count("size", size, at_least=3)
    if size > 4:
        raise ValueError(f"size must be 3 or 4 to enumerate, not {size}")
    numbers = np.arange(2 ** (size**2))[:, None]
    bits = (numbers >> np.arange(size**2)) & 1
    return (2 * bits - 1).astype(np.int8).reshape(-1, size, size)


def transition_matrix(temperature, rule):
    """Return P[s, s'] of one single-spin update on the 3×3 torus (512×512).

    A site is drawn uniformly and its spin flipped with the acceptance of
    `rule`: min(1, exp(-ΔE/T)) for "metropolis" (eq-metropolis) and
    1/(1 + exp(ΔE/T)) for "heat bath" (eq-heat-bath). Rows and columns are
    in the order of :func:`all_configurations`. ValueError for other rules.
    """
    temperature = positive("temperature", temperature)
    if rule not in RULES:
        raise ValueError(f"rule must be one of {RULES}, not {rule!r}")
    energies = energy(all_configurations(3))
    start = np.arange(512)
    matrix = np.zeros((512, 512))
    for site in range(9):
        flipped = start ^ (1 << site)
        change = (energies[flipped] - energies) / temperature
        if rule == "metropolis":
            accept = np.exp(-np.maximum(change, 0))
        else:
            accept = np.exp(-np.logaddexp(0, change))
        matrix[start, flipped] = accept / 9
    # Where every flip is accepted, rounding could leave -1e-16.
    matrix[start, start] = np.maximum(1 - matrix.sum(axis=1), 0)
    return matrix


# --- Monte Carlo ------------------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """A measured Markov chain; one entry per record.

    `work` is the number of spins visited per record, in sweeps: one sweep is
    L² attempted flips for Metropolis, and L² flipped spins for Wolff, which
    flips each spin that it adds to a cluster. Either way a visited spin costs
    a look at its four neighbours. An autocorrelation time in records times
    `work` is one in sweeps. `updates` is the number of attempted flips or
    clusters per record, so that the mean cluster is L² work / updates.
    """

    energies: np.ndarray
    magnetisations: np.ndarray
    work: float
    updates: int


def sample(size, temperature, n_samples, *, seed, algorithm="wolff"):
    """Draw configurations from exp(-E/T)/Z; shape (n_samples, L, L), int8.

    `algorithm` is "wolff" (eq-wolff-bond) or "metropolis" (eq-metropolis,
    sites drawn at random). Chains start with all spins up and equilibrate as
    in :func:`chain`; between two samples lie 4 sweeps' worth of cluster
    flips, or L² / 4 + 4 sweeps of Metropolis. Each sample is finally
    multiplied by a random sign, an exact symmetry that a single cluster
    flip would break below T_c.

    Neighbouring samples are close to independent with Wolff; with Metropolis
    near T_c they are not, so quote errors with ``metrics.mean_and_error``.
    ValueError for size < 3, temperature <= 0, or another algorithm.

    Source: U. Wolff, Phys. Rev. Lett. 62, 361 (1989).
    """
    n_samples = count("n_samples", n_samples)
    spins, walk, rng = _equilibrate(size, temperature, seed, algorithm)
    sweeps = 4 if algorithm == "wolff" else spins.size / 4 + 4
    per_sample = walk.updates(sweeps)
    states = np.empty((n_samples, spins.size), np.int8)
    _collect(spins, *walk.arguments, per_sample, rng, states)
    signs = 2 * rng.integers(0, 2, (n_samples, 1), dtype=np.int8) - 1
    return (states * signs).reshape(n_samples, size, size)


def chain(size, temperature, n_sweeps, *, seed, algorithm="wolff"):
    """Return the time series of E and M over `n_sweeps` sweeps of work.

    There is one record per sweep of Metropolis, and one per cluster of Wolff
    or per quarter of a sweep where clusters are smaller than that; the
    result is a :class:`Chain`. The start is all spins up. Before the
    first record lie 10 L² sweeps of Metropolis; or for Wolff a pilot of 200
    sweeps, which also measures the mean cluster size, and 50 more sweeps.
    After the pilot the number of updates is fixed: to stop whenever enough
    spins have been flipped would favour states with large clusters.

    Arguments and errors as in :func:`sample`.
    """
    n_sweeps = count("n_sweeps", n_sweeps)
    spins, walk, rng = _equilibrate(size, temperature, seed, algorithm)
    per_record = walk.updates(0.25 if algorithm == "wolff" else 1)
    n_records = -(-walk.updates(n_sweeps) // per_record)
    energies, magnetisations = np.empty((2, n_records))
    work = _measure(
        spins,
        *walk.arguments,
        per_record,
        rng,
        energies,
        magnetisations,
    )
    work = work / spins.size / n_records
    return Chain(energies, magnetisations, work, per_record)


@dataclass(frozen=True)
class _Walk:
    """One kind of update, and how many of them make a sweep's work."""

    neighbours: np.ndarray
    probabilities: np.ndarray
    is_cluster: bool
    updates_per_sweep: float

    @property
    def arguments(self):
        return self.neighbours, self.probabilities, self.is_cluster

    def updates(self, sweeps):
        return int(np.ceil(sweeps * self.updates_per_sweep))


def _equilibrate(size, temperature, seed, algorithm):
    """Return spins at equilibrium, how to go on, and the generator."""
    size = count("size", size, at_least=3)
    temperature = positive("temperature", temperature)
    if algorithm not in ALGORITHMS:
        raise ValueError(
            f"algorithm must be one of {ALGORITHMS}, not {algorithm!r}"
        )
    rng, is_cluster = np.random.default_rng(seed), algorithm == "wolff"
    rule = bond_probability if is_cluster else _acceptances
    # Twelve digits, so that a library whose exp differs in the sixteenth
    # does not change the samples.
    probabilities = np.round(np.atleast_1d(rule(temperature)), 12)
    spins, arguments = np.ones(size**2, np.int8), [neighbours(size)]
    arguments += [probabilities, is_cluster]
    if is_cluster:
        goal = 100 * spins.size
        _advance_by_work(spins, *arguments, goal, rng)
        work, updates = _advance_by_work(spins, *arguments, goal, rng)
        walk = _Walk(*arguments, updates_per_sweep=spins.size * updates / work)
        burn_in = walk.updates(50)
    else:
        walk = _Walk(*arguments, updates_per_sweep=spins.size)
        burn_in = walk.updates(10 * spins.size)
    _advance(spins, *arguments, burn_in, rng)
    return spins, walk, rng


def bond_probability(temperature):
    """Return Wolff's probability 1 - exp(-2K) to add a spin (eq-wolff-bond).

    `temperature` is positive, or a ValueError. Source: Wolff (1989).
    """
    return -np.expm1(-2 / positive("temperature", temperature))


def _acceptances(temperature):
    """Metropolis' min(1, exp(-ΔE/T)) for ΔE = -8, -4, 0, 4, 8."""
    return np.exp(-np.maximum([-8, -4, 0, 4, 8], 0) / temperature)


def neighbours(size):
    """Return the four neighbours of each site, row by row; (L², 4).

    The order is below, above, right, left. ValueError for `size` < 3.
    """
    size = count("size", size, at_least=3)
    sites = np.arange(size**2).reshape(size, size)
    shifts = [(1, 0), (-1, 0), (1, 1), (-1, 1)]
    rolled = [np.roll(sites, step, axis).ravel() for step, axis in shifts]
    return np.stack(rolled, axis=1)


@njit(cache=True)
def wolff_update(spins, neighbours, probability, rng, stack):
    """Grow one cluster from a random spin and flip it; return its size.

    `spins` (L², ±1) is changed in place, `neighbours` is (L², 4),
    `probability` that of a bond between aligned spins (eq-wolff-bond) and
    `stack` scratch space of L² integers. Source: Wolff (1989).
    """
    seed_site = int(rng.random() * spins.size)
    direction = spins[seed_site]
    spins[seed_site] = -direction
    stack[0] = seed_site
    waiting, cluster_size = 1, 1
    while waiting > 0:
        waiting -= 1
        site = stack[waiting]
        for k in range(4):
            neighbour = neighbours[site, k]
            aligned = spins[neighbour] == direction
            if aligned and rng.random() < probability:
                # Flipped at once, so that no spin joins twice.
                spins[neighbour] = -direction
                stack[waiting] = neighbour
                waiting += 1
                cluster_size += 1
    return cluster_size


@njit(cache=True)
def metropolis_update(spins, neighbours, acceptances, rng):
    """Offer to flip one random spin (eq-metropolis); return 1 spin visited.

    `acceptances` holds min(1, exp(-ΔE/T)) for ΔE = -8, -4, 0, 4, 8; the
    other arguments are those of :func:`wolff_update`.
    """
    site = int(rng.random() * spins.size)
    field = 0
    for k in range(4):
        field += spins[neighbours[site, k]]
    change = 2 * spins[site] * field
    if rng.random() < acceptances[(change + 8) // 4]:
        spins[site] = -spins[site]
    return 1


@njit(cache=True)
def _advance(spins, neighbours, probabilities, is_cluster, n_updates, rng):
    """Do a fixed number of updates; return the number of spins visited."""
    stack = np.empty(spins.size, np.int64)
    work = 0
    for _ in range(n_updates):
        if is_cluster:
            work += wolff_update(
                spins, neighbours, probabilities[0], rng, stack
            )
        else:
            work += metropolis_update(spins, neighbours, probabilities, rng)
    return work


@njit(cache=True)
def _advance_by_work(spins, neighbours, probabilities, is_cluster, goal, rng):
    """Update until `goal` spins are visited; return work and updates."""
    work, updates = 0, 0
    while work < goal:
        work += _advance(spins, neighbours, probabilities, is_cluster, 1, rng)
        updates += 1
    return work, updates


@njit(cache=True)
def _collect(
    spins, neighbours, probabilities, is_cluster, n_updates, rng, states
):
    """Fill `states` with configurations `n_updates` apart."""
    for record in range(len(states)):
        _advance(spins, neighbours, probabilities, is_cluster, n_updates, rng)
        states[record] = spins


@njit(cache=True)
def _measure(
    spins,
    neighbours,
    probabilities,
    is_cluster,
    n_updates,
    rng,
    energies,
    magnetisations,
):
    """Fill E and M with values `n_updates` apart; return spins visited."""
    work = 0
    for record in range(len(energies)):
        work += _advance(
            spins, neighbours, probabilities, is_cluster, n_updates, rng
        )
        bonds, total = 0, 0
        for site in range(spins.size):
            right, below = neighbours[site, 3], neighbours[site, 1]
            bonds += spins[site] * (spins[right] + spins[below])
            total += spins[site]
        energies[record], magnetisations[record] = -bonds, total
    return work


# --- Bundled data -----------------------------------------------------------

# fmt: off
DATA_TEMPERATURES = np.array([
    1.5, 1.75, 2.0, 2.1, 2.2, CRITICAL_TEMPERATURE,
    2.35, 2.45, 2.6, 2.8, 3.0, 3.25, 3.5,
])
# fmt: on
DATA_SAMPLES = {8: 10_000, 16: 2_000}


def make_data(folder):
    """Write ising_8.npz and ising_16.npz to `folder`, the same bytes always.

    Keys: `spins`, bits packed with np.packbits along the last axis (1 is
    spin up), shape (n_temperatures, n_samples, L²/8); `temperatures`
    (float64), `size` and `seed` (int64).
    """
    seed = 0
    for size, n_samples in DATA_SAMPLES.items():
        rng = np.random.default_rng(seed)
        spins = np.stack(
            [sample(size, t, n_samples, seed=rng) for t in DATA_TEMPERATURES]
        )
        bits = (spins > 0).reshape(*spins.shape[:2], size**2)
        arrays = {
            "spins": np.packbits(bits, axis=-1),
            "temperatures": DATA_TEMPERATURES,
            "size": np.int64(size),
            "seed": np.int64(seed),
        }
        _save(Path(folder) / f"ising_{size}.npz", arrays)


def _save(path, arrays):
    """Write an npz whose bytes depend on the arrays alone.

    np.savez would record the operating system; compression would record
    the version of zlib.
    """
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = BytesIO()
            np.lib.format.write_array(entry, np.asarray(array), version=(1, 0))
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, entry.getvalue())
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content.getvalue())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    make_data(*sys.argv[1:])
