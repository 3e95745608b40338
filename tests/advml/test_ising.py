"""The Ising model against enumeration, transfer matrices and mpmath."""

import hashlib
import itertools
from pathlib import Path

import mpmath
import numpy as np
import pytest
from scipy import integrate
from scipy.special import logsumexp

from advml import ising
from advml.metrics import mean_and_error

DATA = Path(__file__).resolve().parents[2] / "data"
T_C = 2 / np.log(1 + np.sqrt(2))
TEMPERATURES = [0.2, 0.24, 0.26, 0.6, 1.0, 2.0, T_C, 2.3, 3.0, 10.0, 300.0]


def energy_by_bonds(spins):
    """Σ over sites of the bonds to the right and below, one at a time."""
    size = len(spins)
    total = 0
    for i, j in itertools.product(range(size), repeat=2):
        total -= int(spins[i][j]) * int(spins[i][(j + 1) % size])
        total -= int(spins[i][j]) * int(spins[(i + 1) % size][j])
    return total


@pytest.fixture(scope="module")
def torus4():
    """All 4×4 configurations as rows of bits, with energies."""
    spins = np.array(list(itertools.product((-1, 1), repeat=16)), np.int8)
    energies = np.zeros(len(spins), int)
    for i, j in itertools.product(range(4), repeat=2):
        here = spins[:, 4 * i + j].astype(int)
        energies -= here * spins[:, 4 * i + (j + 1) % 4]
        energies -= here * spins[:, 4 * ((i + 1) % 4) + j]
    return spins, energies


def boltzmann(energies, temperature):
    log_weights = -energies / temperature
    return np.exp(log_weights - logsumexp(log_weights))


# --- Energy -----------------------------------------------------------------


def test_energy_counts_each_bond_once():
    rng = np.random.default_rng(0)
    for size in (3, 4, 5):
        spins = rng.choice([-1, 1], size=(size, size))
        assert ising.energy(spins) == energy_by_bonds(spins)


def test_energy_of_known_configurations():
    up = np.ones((2, 3, 6, 6), np.int8)
    assert np.all(ising.energy(up) == -72)
    assert ising.energy(up).shape == (2, 3)
    one_flipped = up[0, 0].copy()
    one_flipped[2, 5] = -1
    assert ising.energy(one_flipped) == -64
    chessboard = np.indices((6, 6)).sum(axis=0) % 2 * 2 - 1
    assert ising.energy(chessboard) == 72


@pytest.mark.parametrize(
    "spins",
    [
        np.zeros((4, 4)),
        np.full((4, 4), 0.5),
        np.full((4, 4), np.nan),
        np.ones((4, 5)),
        np.ones(16),
        np.ones((2, 2)),
        [["up"]],
    ],
)
def test_energy_refuses_what_is_not_a_configuration(spins):
    with pytest.raises(ValueError, match="spins"):
        ising.energy(spins)


# --- Exact thermodynamics ---------------------------------------------------


def test_critical_temperature_is_self_dual():
    assert np.sinh(2 / ising.CRITICAL_TEMPERATURE) == pytest.approx(1, 1e-15)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_4x4_against_enumeration(torus4, temperature):
    _, energies = torus4
    log_z = logsumexp(-energies / temperature)
    p = boltzmann(energies, temperature)
    mean = p @ energies
    variance = p @ (energies - mean) ** 2
    assert ising.log_partition(4, temperature) == pytest.approx(
        log_z, rel=1e-14, abs=1e-11
    )
    assert ising.energy_per_spin(4, temperature) == pytest.approx(
        mean / 16, abs=1e-13 * max(1, temperature)
    )
    assert ising.heat_capacity(4, temperature) == pytest.approx(
        variance / temperature**2 / 16, abs=1e-13
    )


def test_first_excitation_just_beyond_the_cold_seam(torus4):
    _, energies = torus4
    excess = boltzmann(energies, 0.2499) @ (energies + 32) / 16
    assert excess == pytest.approx(1e-13, rel=0.01)
    measured = ising.energy_per_spin(4, 0.2499) + 2
    assert measured == pytest.approx(excess, abs=2e-15)


@pytest.mark.parametrize("size", [3, 5, 7, 8])
@pytest.mark.parametrize("temperature", [1.0, T_C, 4.0])
def test_log_partition_against_transfer_matrix(size, temperature):
    rows = np.array(list(itertools.product((-1, 1), repeat=size)))
    inside = (rows * np.roll(rows, 1, axis=1)).sum(axis=1) / temperature
    between = rows @ rows.T / temperature
    matrix = np.exp(between + inside[:, None] / 2 + inside / 2)
    exact = np.log(np.sum(np.linalg.eigvalsh(matrix) ** size))
    measured = ising.log_partition(size, temperature)
    assert measured == pytest.approx(exact, abs=1e-10)


def kaufman_log_z(size, coupling):
    """The four products as printed, in 50 digits."""
    log, cosh, sinh = mpmath.log, mpmath.cosh, mpmath.sinh
    products = [mpmath.mpf(1)] * 4
    for l_ in range(2 * size):
        angle = mpmath.pi * l_ / size
        gamma = mpmath.acosh(
            cosh(2 * coupling) * mpmath.coth(2 * coupling) - mpmath.cos(angle)
        )
        if l_ == 0:
            gamma = 2 * coupling + log(mpmath.tanh(coupling))
        first = 0 if l_ % 2 else 2
        products[first] *= 2 * cosh(size * gamma / 2)
        products[first + 1] *= 2 * sinh(size * gamma / 2)
    prefactor = mpmath.mpf(size) ** 2 / 2 * log(2 * sinh(2 * coupling))
    return prefactor + log(sum(products) / 2)


@pytest.mark.parametrize("size", [5, 16, 64])
@pytest.mark.parametrize("temperature", [0.7, 2.2, T_C, 2.269, 3.0, 20.0])
def test_derivatives_against_fifty_digits(size, temperature):
    with mpmath.workdps(50):
        coupling = 1 / mpmath.mpf(float(temperature))
        log_z, slope, curvature = (
            float(value)
            for value in mpmath.taylor(
                lambda k: kaufman_log_z(size, k), coupling, 2
            )
        )
    n_spins = size**2
    assert ising.log_partition(size, temperature) == pytest.approx(
        log_z, rel=1e-13
    )
    assert ising.energy_per_spin(size, temperature) == pytest.approx(
        -slope / n_spins, abs=1e-12
    )
    assert ising.heat_capacity(size, temperature) == pytest.approx(
        2 * curvature / temperature**2 / n_spins, abs=1e-11
    )


@pytest.mark.parametrize(
    ("size", "log_z", "u", "c"),
    [
        (4, 15.521915, -1.565624, 0.783267),
        (8, 60.141781, -1.491589, 1.145559),
        (16, 238.642257, -1.453065, 1.498704),
        (32, 952.648080, -1.433658, 1.846765),
    ],
)
def test_values_at_the_critical_temperature(size, log_z, u, c):
    assert ising.log_partition(size, T_C) == pytest.approx(log_z, abs=2e-6)
    assert ising.energy_per_spin(size, T_C) == pytest.approx(u, abs=2e-6)
    assert ising.heat_capacity(size, T_C) == pytest.approx(c, abs=3e-6)


@pytest.mark.parametrize("temperature", [1.2, 1.8, 3.0, 6.0])
def test_large_torus_approaches_onsager(temperature):
    """Away from T_c the torus differs from the bulk by exp(-L/ξ) only."""
    coupling = 1 / temperature
    modulus = 2 * np.sinh(2 * coupling) / np.cosh(2 * coupling) ** 2
    integral, _ = integrate.quad(
        lambda a: np.log((1 + np.sqrt(1 - (modulus * np.sin(a)) ** 2)) / 2),
        0,
        np.pi,
        epsabs=1e-12,
    )
    bulk = np.log(2 * np.cosh(2 * coupling)) + integral / (2 * np.pi)
    degenerate = np.log(2) if temperature < T_C else 0
    log_z = ising.log_partition(128, temperature)
    assert (log_z - degenerate) / 128**2 == pytest.approx(bulk, abs=1e-11)


def test_extreme_temperatures_stay_finite():
    size, n_spins = 64, 64**2
    temperature = np.array([1e-200, 1e-5, 1e-2, 0.1, 1e4, 1e9, 1e200])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        log_z = ising.log_partition(size, temperature)
        u = ising.energy_per_spin(size, temperature)
        c = ising.heat_capacity(size, temperature)
    cold = temperature < 1
    ground = np.log(2) + 2 * n_spins / temperature[cold]
    np.testing.assert_allclose(log_z[cold], ground, rtol=1e-14)
    np.testing.assert_allclose(log_z[~cold], n_spins * np.log(2), rtol=1e-7)
    np.testing.assert_allclose(u[cold], -2, atol=1e-12)
    np.testing.assert_allclose(u[~cold], -2 / temperature[~cold], rtol=1e-6)
    np.testing.assert_allclose(
        c[~cold], 2 * (1 / temperature[~cold]) ** 2, 1e-6
    )
    np.testing.assert_allclose(c[cold], 0, atol=1e-12)


@pytest.mark.parametrize("seam", [0.25, 1e5])
def test_expansions_join_the_exact_formula(seam):
    for function in (
        ising.log_partition,
        ising.energy_per_spin,
        ising.heat_capacity,
    ):
        inside, outside = function(8, np.array([seam, seam * (1 + 1e-12)]))
        assert inside == pytest.approx(outside, rel=1e-4, abs=1e-13)


def test_temperature_may_be_an_array():
    temperature = np.array([[1.0, 2.0, 3.0], [0.1, T_C, 1e6]])
    table = ising.heat_capacity(6, temperature)
    assert table.shape == temperature.shape
    for t, value in zip(temperature.ravel(), table.ravel(), strict=True):
        assert ising.heat_capacity(6, t) == pytest.approx(value, rel=1e-12)
    assert np.ndim(ising.log_partition(6, 2.0)) == 0


@pytest.mark.parametrize("size", [2, 0, -3, 4.0, 3.5, True, "8"])
def test_bad_size(size):
    for call in (
        lambda: ising.log_partition(size, 2.0),
        lambda: ising.energy_per_spin(size, 2.0),
        lambda: ising.heat_capacity(size, 2.0),
        lambda: ising.sample(size, 2.0, 1, seed=0),
        lambda: ising.chain(size, 2.0, 1, seed=0),
    ):
        with pytest.raises(ValueError, match="size"):
            call()


@pytest.mark.parametrize("temperature", [0, -1.0, np.nan, np.inf, "hot"])
def test_bad_temperature(temperature):
    for call in (
        lambda: ising.log_partition(4, temperature),
        lambda: ising.energy_per_spin(4, temperature),
        lambda: ising.heat_capacity(4, temperature),
        lambda: ising.transition_matrix(temperature, "metropolis"),
        lambda: ising.bond_probability(temperature),
        lambda: ising.sample(4, temperature, 1, seed=0),
        lambda: ising.chain(4, temperature, 1, seed=0),
    ):
        with pytest.raises(ValueError, match="temperature"):
            call()


def test_other_bad_arguments():
    with pytest.raises(ValueError, match=r"algorithm.*'wolf'"):
        ising.sample(4, 2.0, 1, seed=0, algorithm="wolf")
    with pytest.raises(ValueError, match="n_samples"):
        ising.sample(4, 2.0, 0, seed=0)
    with pytest.raises(ValueError, match="n_sweeps"):
        ising.chain(4, 2.0, 1.5, seed=0)
    with pytest.raises(ValueError, match="rule"):
        ising.transition_matrix(2.0, "glauber")
    with pytest.raises(ValueError, match="size"):
        ising.all_configurations(5)


@pytest.mark.parametrize("temperature", [0.05, 0.6, 2.0, T_C, 10.0])
def test_correlations_against_enumeration(torus4, temperature):
    spins, energies = torus4
    weighted = boltzmann(energies, temperature) * spins[:, 0]
    expected = (weighted @ spins).reshape(4, 4)
    measured = ising.correlations(4, temperature)
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [3, 5, 8])
@pytest.mark.parametrize("temperature", [0.01, 1.0, T_C, 4.0])
def test_correlations_of_neighbours_are_the_energy(size, temperature):
    g = ising.correlations(size, temperature)
    u = ising.energy_per_spin(size, temperature)
    np.testing.assert_allclose([g[0, 1], g[1, 0]], -u / 2, atol=1e-13)
    np.testing.assert_allclose(g, g.T, atol=1e-13)
    np.testing.assert_allclose(g[0, 0], 1, atol=1e-13)


@pytest.mark.parametrize(
    "size, temperature", [(2, 1.0), (11, 1.0), (8, 0.0), (8, [1.0, 2.0])]
)
def test_correlations_refuse(size, temperature):
    name = "temperature" if size == 8 else "size"
    with pytest.raises(ValueError, match=name):
        ising.correlations(size, temperature)


@pytest.mark.parametrize("temperature", [0.3, 1.0, T_C, 4.0])
def test_magnetisation_against_enumeration(torus4, temperature):
    spins, energies = torus4
    up = (spins > 0).sum(axis=1)
    weights = boltzmann(energies, temperature)
    expected = np.bincount(up, weights, minlength=17)
    measured = ising.magnetisation_distribution(4, temperature)
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-14)


def test_magnetisation_of_nine_spins_against_enumeration():
    spins = ising.all_configurations(3)
    p = boltzmann(ising.energy(spins), 2.5)
    expected = np.bincount((spins > 0).sum(axis=(1, 2)), p, minlength=10)
    measured = ising.magnetisation_distribution(3, 2.5)
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_second_moment_of_magnetisation_is_the_sum_of_correlations(size):
    p = ising.magnetisation_distribution(size, 2.4)
    total = np.arange(-(size**2), size**2 + 1, 2)
    expected = size**2 * ising.correlations(size, 2.4).sum()
    np.testing.assert_allclose(p @ total**2, expected, rtol=1e-12)
    np.testing.assert_allclose(p, p[::-1], rtol=0, atol=1e-15)
    assert p.min() > 0


@pytest.mark.parametrize(
    "size, temperature", [(2, 1.0), (11, 1.0), (8, 0.0), (8, [1.0, 2.0])]
)
def test_magnetisation_distribution_refuses(size, temperature):
    name = "temperature" if size == 8 else "size"
    with pytest.raises(ValueError, match=name):
        ising.magnetisation_distribution(size, temperature)


@pytest.mark.parametrize("size", [3, 4])
def test_energy_distribution_against_enumeration(size):
    configurations = ising.energy(ising.all_configurations(size))
    p = boltzmann(configurations, 2.1)
    energies, measured = ising.energy_distribution(size, 2.1)
    expected = [p[configurations == e].sum() for e in energies]
    assert np.sum(expected) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_moments_of_the_energy_are_kaufmans(size):
    t, n = 2.4, size**2
    energies, p = ising.energy_distribution(size, t)
    mean = p @ energies
    u, c = ising.energy_per_spin(size, t), ising.heat_capacity(size, t)
    assert mean / n == pytest.approx(u, rel=1e-11)
    assert (p @ energies**2 - mean**2) / (n * t**2) == pytest.approx(
        c, rel=1e-9
    )


def test_energy_distribution_counts_the_lowest_states():
    energies, p = ising.energy_distribution(8, 2.0)
    states = p * np.exp(energies / 2 + ising.log_partition(8, 2.0))
    np.testing.assert_allclose(states[:4], [2, 0, 128, 256], atol=1e-7)


@pytest.mark.parametrize("size, temperature", [(2, 1.0), (11, 1.0), (8, 0.0)])
def test_energy_distribution_refuses(size, temperature):
    name = "temperature" if size == 8 else "size"
    with pytest.raises(ValueError, match=name):
        ising.energy_distribution(size, temperature)


# --- Transition matrices ----------------------------------------------------


def test_all_configurations_are_numbered_by_their_bits():
    spins = ising.all_configurations(3)
    assert spins.shape == (512, 3, 3)
    bits = (spins.reshape(512, 9) > 0).astype(int)
    assert np.array_equal(bits @ 2 ** np.arange(9), np.arange(512))


@pytest.mark.parametrize("rule", ["metropolis", "heat bath"])
@pytest.mark.parametrize("temperature", [0.5, T_C, 6.0])
def test_transition_matrix_entry_by_entry(rule, temperature):
    spins = ising.all_configurations(3).reshape(512, 9)
    matrix = ising.transition_matrix(temperature, rule)
    energies = np.array([energy_by_bonds(s.reshape(3, 3)) for s in spins])
    p = boltzmann(energies, temperature)
    n_different = (spins[:, None] != spins[None]).sum(axis=2)
    change = energies[None] - energies[:, None]
    if rule == "metropolis":
        accept = np.minimum(1, np.exp(-change / temperature))
    else:
        accept = 1 / (1 + np.exp(change / temperature))
    single = n_different == 1
    np.testing.assert_allclose(matrix[single], accept[single] / 9, 1e-12)
    assert np.all(matrix[n_different > 1] == 0)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-14)
    assert np.all(matrix >= -1e-15)
    flow = p[:, None] * matrix
    np.testing.assert_allclose(flow, flow.T, atol=1e-15)


# --- Monte Carlo ------------------------------------------------------------


def random_state(size, seed):
    rng = np.random.default_rng(seed)
    spins = rng.choice(np.array([-1, 1], np.int8), size=size**2)
    sites = np.arange(size**2).reshape(size, size)
    steps = [(1, 0), (-1, 0), (1, 1), (-1, 1)]
    neighbours = [np.roll(sites, n, axis).ravel() for n, axis in steps]
    return spins, np.stack(neighbours, axis=1), rng


def test_wolff_without_bonds_flips_one_spin():
    spins, neighbours, rng = random_state(6, seed=1)
    stack = np.empty(36, np.int64)
    before = spins.copy()
    assert ising.wolff_update(spins, neighbours, 0.0, rng, stack) == 1
    assert np.sum(spins != before) == 1


def test_wolff_with_all_bonds_flips_a_whole_domain():
    from scipy.ndimage import label

    for seed in range(20):
        spins, neighbours, rng = random_state(6, seed)
        stack = np.empty(36, np.int64)
        before = spins.copy()
        flipped = ising.wolff_update(spins, neighbours, 1.0, rng, stack)
        changed = (spins != before).reshape(6, 6)
        assert flipped == changed.sum()
        # On a torus: tile, label, and take the domain of one changed spin.
        direction = before.reshape(6, 6)[changed][0]
        domains, _ = label(np.tile(before.reshape(6, 6), (5, 5)) == direction)
        i, j = np.argwhere(changed)[0] + 12
        domain = np.argwhere(domains == domains[i, j]) % 6
        expected = np.zeros((6, 6), bool)
        expected[tuple(domain.T)] = True
        assert np.array_equal(changed, expected)


def test_metropolis_looks_up_the_energy_change():
    for seed in range(200):
        for index in range(5):
            spins, neighbours, rng = random_state(4, seed)
            before = spins.copy()
            acceptances = np.zeros(5)
            acceptances[index] = 1.0
            ising.metropolis_update(spins, neighbours, acceptances, rng)
            change = energy_by_bonds(spins.reshape(4, 4)) - energy_by_bonds(
                before.reshape(4, 4)
            )
            if np.any(spins != before):
                assert change == 4 * index - 8


def test_bond_probability():
    assert ising.bond_probability(2.0) == pytest.approx(1 - np.exp(-1))
    # At T_c: 1 - exp(-2K) with exp(2K) = 1 + √2.
    assert ising.bond_probability(T_C) == pytest.approx(2 - np.sqrt(2))


@pytest.mark.parametrize("algorithm", ["wolff", "metropolis"])
@pytest.mark.parametrize("temperature", [1.8, T_C, 4.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_samples_follow_the_boltzmann_distribution(
    torus4, algorithm, temperature, seed
):
    spins, energies = torus4
    p = boltzmann(energies, temperature)
    total = spins.sum(axis=1)
    diagonal = (spins[:, 0] * spins[:, 5]).astype(float)
    drawn = ising.sample(
        4, temperature, 10_000, seed=seed, algorithm=algorithm
    )
    assert drawn.shape == (10_000, 4, 4)
    assert drawn.dtype == np.int8
    drawn_energies = np.array([energy_by_bonds(s) for s in drawn])
    drawn_total = drawn.sum(axis=(1, 2))
    checks = [(drawn_energies, energies), (drawn_total**2, total**2)]
    checks += [(np.abs(drawn_total), np.abs(total)), (drawn_total, total)]
    checks += [(drawn[:, 0, 0] * drawn[:, 1, 1] * 1.0, diagonal)]
    checks += [
        (drawn_energies == level, energies == level)
        for level in (-32, -24, -16)
    ]
    for values, exact in checks:
        mean, error = mean_and_error(values)
        assert abs(mean - p @ exact) < 5 * error


@pytest.mark.parametrize("size", [8, 16])
@pytest.mark.parametrize("temperature", [2.0, T_C, 3.0])
def test_wolff_chain_has_the_exact_thermodynamics(size, temperature):
    run = ising.chain(size, temperature, 10_000, seed=size)
    u, error = mean_and_error(run.energies / size**2)
    assert abs(u - ising.energy_per_spin(size, temperature)) < 5 * error
    squares = (run.energies - run.energies.mean()) ** 2
    c, error = mean_and_error(squares / temperature**2 / size**2)
    assert abs(c - ising.heat_capacity(size, temperature)) < 5 * error


@pytest.mark.parametrize("temperature", [1.8, T_C, 4.0])
def test_mean_cluster_is_the_squared_magnetisation(torus4, temperature):
    """⟨|C|⟩ = ⟨M²⟩/N: a spin sits in a bond cluster of its own size."""
    spins, energies = torus4
    p = boltzmann(energies, temperature)
    expected = p @ (spins.sum(axis=1) / 16.0) ** 2
    run = ising.chain(4, temperature, 40_000, seed=5)
    # Each record's cluster is a fraction in (0, 1] of the lattice, with a
    # standard deviation below 1/2 and τ below 1 record.
    tolerance = 5 * 0.5 * np.sqrt(2 / len(run.energies))
    fraction = run.work / run.updates
    assert fraction == pytest.approx(expected, abs=tolerance)
    assert len(run.energies) * run.work == pytest.approx(40_000, rel=0.2)


@pytest.mark.parametrize("algorithm", ["wolff", "metropolis"])
def test_chains_have_forgotten_their_start(algorithm):
    """The first record of 400 chains is a fair sample already."""
    first = np.array(
        [
            ising.chain(8, T_C, 1, seed=seed, algorithm=algorithm).energies[0]
            for seed in range(400)
        ]
    )
    error = first.std() / np.sqrt(len(first)) / 64
    assert abs(first.mean() / 64 - ising.energy_per_spin(8, T_C)) < 5 * error


def test_metropolis_chain_counts_one_sweep_per_record():
    run = ising.chain(5, 2.5, 300, seed=0, algorithm="metropolis")
    assert (run.work, run.updates) == (1, 25)
    assert run.energies.shape == run.magnetisations.shape == (300,)


def test_chain_measures_energy_and_magnetisation_of_the_same_state(torus4):
    """Each (E, M) exists on 4×4, and E is the energy of a state with M."""
    spins, energies = torus4
    pairs = energies + 1j * spins.sum(axis=1)
    run = ising.chain(4, 2.5, 2_000, seed=0)
    assert np.all(np.isin(run.energies + 1j * run.magnetisations, pairs))


def test_samples_are_reproducible_and_leave_the_global_state_alone():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for algorithm in ising.ALGORITHMS:
        first, again, other = (
            ising.sample(6, 2.3, 20, seed=seed, algorithm=algorithm)
            for seed in (3, np.random.default_rng(3), 4)
        )
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_both_signs_are_sampled_in_the_ordered_phase():
    for algorithm in ising.ALGORITHMS:
        drawn = ising.sample(8, 1.5, 2_000, seed=0, algorithm=algorithm)
        signs = np.sign(drawn.sum(axis=(1, 2)))
        assert abs(signs.mean()) < 5 / np.sqrt(2_000)
        # Neighbouring samples are independent in sign, too.
        assert abs(np.mean(signs[1:] * signs[:-1])) < 5 / np.sqrt(2_000)


# --- Bundled data -----------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    ising.make_data(folder)
    return folder


@pytest.mark.parametrize("name", ["ising_8.npz", "ising_16.npz"])
def test_data_are_made_to_the_same_bytes(made, name):
    content = (DATA / name).read_bytes()
    assert (made / name).read_bytes() == content
    digest = hashlib.sha256(content).hexdigest()
    assert digest in (DATA / "README.md").read_text(encoding="utf-8")
    assert sorted(p.name for p in made.iterdir()) == [
        "ising_16.npz",
        "ising_8.npz",
    ]


@pytest.mark.parametrize("size", [8, 16])
def test_data_have_the_exact_thermodynamics(size):
    with np.load(DATA / f"ising_{size}.npz", allow_pickle=False) as archive:
        content = dict(archive)
    assert set(content) == {"spins", "temperatures", "size", "seed"}
    assert content["size"] == size
    assert content["spins"].dtype == np.uint8
    assert {2.0, T_C, 3.0} <= set(content["temperatures"].tolist())
    bits = np.unpackbits(content["spins"], axis=-1)
    for t, rows in zip(content["temperatures"], bits, strict=True):
        spins = 2 * rows.astype(np.int8).reshape(-1, size, size) - 1
        energies = ising.energy(spins)
        u, error = mean_and_error(energies / size**2)
        assert abs(u - ising.energy_per_spin(size, t)) < 5 * error
        squares = (energies - energies.mean()) ** 2 / t**2 / size**2
        c, error = mean_and_error(squares)
        assert abs(c - ising.heat_capacity(size, t)) < 5 * error
