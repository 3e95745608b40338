"""advml.quantum against diagonalisation, closed forms and differences."""

import numpy as np
import pytest
from scipy import integrate

from advml import quantum
from advml.rbm import RBM, GaussianRBM, all_states

PAULI_X = np.array([[0.0, 1.0], [1.0, 0.0]])
PAULI_Z = np.array([[-1.0, 0.0], [0.0, 1.0]])  # state 0 is spin down


def site_operator(matrix, site, n):
    parts = [np.eye(2)] * n
    parts[site] = matrix
    full = np.eye(1)
    for part in parts:
        full = np.kron(full, part)
    return full


def hamiltonian(n, field, periodic):
    """-sum sz sz - h sum sx from Kronecker products."""
    total = np.zeros((2**n, 2**n))
    for i in range(n if periodic else n - 1):
        z = site_operator(PAULI_Z, i, n)
        total -= z @ site_operator(PAULI_Z, (i + 1) % n, n)
    for i in range(n):
        total -= field * site_operator(PAULI_X, i, n)
    return total


def machine(n_visible=5, n_hidden=3, seed=0):
    rng = np.random.default_rng(seed)
    return RBM(
        rng.standard_normal((n_visible, n_hidden)),
        rng.standard_normal(n_visible),
        rng.standard_normal(n_hidden),
    )


def dot_machine(seed=0, n_hidden=3):
    rng = np.random.default_rng(seed)
    return GaussianRBM(
        rng.normal(0, 0.5, (4, n_hidden)),
        rng.normal(0, 0.3, 4),
        rng.standard_normal(n_hidden),
        rng.uniform(0.6, 1.2),
    )


def no_weights(frequency):
    scale = np.sqrt(1 / (2 * frequency))
    return GaussianRBM(np.zeros((4, 1)), np.zeros(4), [0.0], scale)


def taut(r):
    return np.log1p(r), 1 / (1 + r), -1 / (1 + r) ** 2


def positions(n=20, seed=0):
    return np.random.default_rng(seed).normal(0, 1.5, (n, 4))


# --- Spin chain --------------------------------------------------------------


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("field", [0.0, 0.3, 1.0, 2.5, -0.7])
@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_free_fermions_equal_diagonalisation(n, field, periodic):
    exact = np.linalg.eigvalsh(hamiltonian(n, field, periodic))[0]
    energy = quantum.transverse_field_ising_energy(n, field, periodic)
    assert energy == pytest.approx(exact, abs=1e-12)


def test_published_energies_of_ten_spins():
    for periodic, energy in ((False, -12.381490), (True, -12.784906)):
        found = quantum.transverse_field_ising_energy(10, 1.0, periodic)
        assert found == pytest.approx(energy, abs=1e-6)


def test_one_and_two_spins_by_hand():
    energy = quantum.transverse_field_ising_energy
    assert energy(1, 0.7, False) == pytest.approx(-0.7)
    # Even sector of two spins: -sqrt(1 + 4 h^2).
    assert energy(2, 0.7, False) == pytest.approx(-np.sqrt(1 + 4 * 0.49))


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("field", [0.2, 1.0, 3.0])
def test_lanczos_ground_state(field, periodic):
    n = 6
    levels, states = np.linalg.eigh(hamiltonian(n, field, periodic))
    energy, psi = quantum.transverse_field_ising_ground_state(
        n, field, periodic
    )
    assert energy == pytest.approx(levels[0], abs=1e-11)
    assert np.all(psi > 0)
    np.testing.assert_allclose(psi, abs(states[:, 0]), atol=1e-7)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_ising_local_energy_is_h_psi_over_psi(seed, periodic):
    rbm, x = machine(seed=seed), all_states(5)
    psi = np.exp(quantum.log_amplitude(rbm, x))
    local = quantum.ising_local_energy(rbm, x, field=0.8, periodic=periodic)
    expected = hamiltonian(5, 0.8, periodic) @ psi / psi
    np.testing.assert_allclose(local, expected, rtol=1e-11)


def test_amplitude_is_the_root_of_the_probability():
    rbm, x = machine(), all_states(5)
    psi = np.exp(quantum.log_amplitude(rbm, x))
    p = np.exp(rbm.log_probability(x))
    np.testing.assert_allclose(psi**2 / (psi @ psi), p, rtol=1e-12)


def spin_vector(rbm):
    parts = rbm.weights, rbm.visible_bias, rbm.hidden_bias
    return np.concatenate([part.ravel() for part in parts])


def from_spin_vector(theta, n=5, k=3):
    weights, a, b = np.split(theta, [n * k, n * k + n])
    return RBM(weights.reshape(n, k), a, b)


def differences(function, theta, step=1e-5):
    return np.stack(
        [
            (function(theta + e) - function(theta - e)) / (2 * step)
            for e in step * np.eye(len(theta))
        ],
        axis=-1,
    )


def test_log_derivatives_equal_finite_differences():
    x, theta = all_states(5), spin_vector(machine())
    slopes = differences(
        lambda t: quantum.log_amplitude(from_spin_vector(t), x), theta
    )
    found = quantum.log_derivatives(from_spin_vector(theta), x)
    np.testing.assert_allclose(found, slopes, atol=1e-9)


def projection(theta):
    rbm, x = from_spin_vector(theta), all_states(5)
    local = quantum.ising_local_energy(rbm, x, field=1.0, periodic=False)
    p = np.exp(rbm.log_probability(x))
    return quantum.energy_projection(local, quantum.log_derivatives(rbm, x), p)


def test_energy_variance_and_gradient():
    theta = spin_vector(machine(seed=1))
    found, h = projection(theta), hamiltonian(5, 1.0, False)
    psi = np.exp(quantum.log_amplitude(from_spin_vector(theta), all_states(5)))
    psi /= np.linalg.norm(psi)
    energy = psi @ h @ psi
    assert found.energy == pytest.approx(energy, abs=1e-12)
    assert found.variance == pytest.approx(
        psi @ h @ h @ psi - energy**2, abs=1e-10
    )
    slopes = differences(lambda t: projection(t).energy, theta)
    np.testing.assert_allclose(found.gradient, slopes, atol=1e-8)


def test_metric_is_the_overlap_of_neighbouring_states():
    """1 - |<psi(t)|psi(t+d)>|^2 = d S d to second order in d."""
    theta, x = spin_vector(machine(seed=2)), all_states(5)
    metric = projection(theta).metric
    rng = np.random.default_rng(0)
    for _ in range(3):
        d = 1e-3 * rng.standard_normal(len(theta))
        # Symmetric around theta, so that the next order is the fourth.
        psi, phi = (
            np.exp(quantum.log_amplitude(from_spin_vector(t), x))
            for t in (theta - d / 2, theta + d / 2)
        )
        loss = 1 - quantum.fidelity(psi, phi)
        assert loss == pytest.approx(d @ metric @ d, rel=1e-4)


def test_projection_of_samples_counts_them_equally():
    theta = spin_vector(machine())
    rbm, x = from_spin_vector(theta), all_states(5)[[0, 3, 3, 9]]
    local = quantum.ising_local_energy(rbm, x, field=1.0, periodic=False)
    slopes = quantum.log_derivatives(rbm, x)
    found = quantum.energy_projection(local, slopes)
    assert found.energy == pytest.approx(local.mean())
    covariance = np.cov(np.column_stack([local, slopes]).T, bias=True)
    np.testing.assert_allclose(
        found.gradient, 2 * covariance[0, 1:], atol=1e-14
    )
    np.testing.assert_allclose(found.metric, covariance[1:, 1:], atol=1e-14)


def test_reconfiguration_is_projected_imaginary_time():
    """In a complete family the step is that of (1 - t (H - E)) psi."""
    rng, n = np.random.default_rng(0), 8
    h = rng.standard_normal((n, n))
    h, psi = h + h.T, rng.uniform(0.5, 1, n)
    psi /= np.linalg.norm(psi)
    local = h @ psi / psi
    # Parameters are the logarithms of all amplitudes: O is the unit matrix.
    found = quantum.energy_projection(local, np.eye(n), psi**2)
    rate, shift = 1e-3, 1e-10
    step = quantum.reconfiguration_step(found, rate, shift)
    expected = -rate * (local - found.energy)
    step, expected = (v - psi**2 @ v for v in (step, expected))
    np.testing.assert_allclose(step, expected, rtol=1e-5)


def test_shift_limits_the_step():
    found = quantum.Projection(0.0, 1.0, np.array([2.0]), np.zeros((1, 1)))
    step = quantum.reconfiguration_step(found, 0.1, 0.5)
    np.testing.assert_allclose(step, [-0.2])


def test_fidelity_is_the_squared_overlap():
    assert quantum.fidelity([1, 0], [1, 1]) == pytest.approx(0.5)
    assert quantum.fidelity([2, 0, 0], [3, 0, 0]) == pytest.approx(1)


# --- Two electrons -----------------------------------------------------------


@pytest.mark.parametrize("frequency", [0.3, 1.0, 2.0])
def test_free_electrons_have_constant_local_energy(frequency):
    local = quantum.dot_local_energy(
        no_weights(frequency), positions(), frequency=frequency, charge=0
    )
    np.testing.assert_allclose(local, 2 * frequency, atol=1e-11)


def test_exact_state_has_constant_local_energy():
    local = quantum.dot_local_energy(
        no_weights(1.0), positions(), jastrow=taut
    )
    np.testing.assert_allclose(local, 3, atol=1e-11)


JASTROWS = [quantum.no_jastrow, quantum.pade_jastrow(0.8, 0.4), taut]


@pytest.mark.parametrize("jastrow", JASTROWS)
@pytest.mark.parametrize("seed", range(3))
def test_drift_and_laplacian_equal_finite_differences(seed, jastrow):
    rbm, x = dot_machine(seed), positions(5, seed)

    def log_psi(y):
        return quantum.dot_log_amplitude(rbm, y, jastrow)

    slopes = np.stack(
        [(log_psi(x + e) - log_psi(x - e)) / 2e-5 for e in 1e-5 * np.eye(4)],
        axis=1,
    )
    np.testing.assert_allclose(
        quantum.dot_drift(rbm, x, jastrow), slopes, atol=1e-8
    )
    curvature = sum(
        (log_psi(x + e) + log_psi(x - e) - 2 * log_psi(x)) / 1e-6
        for e in 1e-3 * np.eye(4)
    )
    # The next order, step^2/12 times the fourth derivative, is below 1e-4.
    np.testing.assert_allclose(
        quantum.dot_laplacian(rbm, x, jastrow), curvature, atol=1e-4
    )


def test_local_energy_is_minus_half_the_laplacian_of_psi():
    rbm, x = dot_machine(4), positions(5, 4)
    jastrow, step = quantum.pade_jastrow(1.0, 0.5), 1e-3

    def psi(y):
        return np.exp(quantum.dot_log_amplitude(rbm, y, jastrow))

    laplacian = sum(
        (psi(x + e) + psi(x - e) - 2 * psi(x)) / step**2
        for e in step * np.eye(4)
    )
    r = np.hypot(*(x[:, :2] - x[:, 2:]).T)
    expected = -laplacian / psi(x) / 2 + 0.3**2 / 2 * (x**2).sum(1) + 2 / r
    found = quantum.dot_local_energy(
        rbm, x, frequency=0.3, charge=2.0, jastrow=jastrow
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(("cusp", "diverges"), [(1.0, False), (0.9, True)])
def test_cusp_condition(cusp, diverges):
    x = np.array([[0.3, 0.2, 0.3 + r, 0.2] for r in (1e-3, 1e-5)])
    local = quantum.dot_local_energy(
        no_weights(1.0), x, jastrow=quantum.pade_jastrow(cusp, 0.5)
    )
    step = local[1] - local[0]
    if diverges:  # (1 - cusp) / r
        assert step == pytest.approx(0.1 * (1e5 - 1e3), rel=0.01)
    else:
        assert abs(step) < 0.01


def test_pade_jastrow_by_hand():
    value, slope, curvature = quantum.pade_jastrow(2.0, 0.5)(np.array([2.0]))
    np.testing.assert_allclose(
        [value, slope, curvature], [[2], [0.5], [-0.25]]
    )


def test_dot_log_derivatives_equal_finite_differences():
    rbm, x = dot_machine(5), positions(6, 5)
    parts = [rbm.weights.ravel(), rbm.visible_bias, rbm.hidden_bias]
    theta = np.concatenate([*parts, [np.log(rbm.scale[0])]])

    def log_psi(t):
        weights, a, b, log_scale = np.split(t, [12, 16, 19])
        moved = GaussianRBM(weights.reshape(4, 3), a, b, np.exp(log_scale[0]))
        return quantum.dot_log_amplitude(moved, x)

    found = quantum.dot_log_derivatives(rbm, x)
    np.testing.assert_allclose(found, differences(log_psi, theta), atol=1e-8)


def test_quadrature_of_gaussian_moments():
    for frequency in (0.5, 2.0):
        x, w = quantum.dot_quadrature(frequency)
        density = np.exp(-frequency * (x**2).sum(1))
        norm = w @ density
        assert norm == pytest.approx((np.pi / frequency) ** 2, rel=1e-11)
        p = w * density / norm
        np.testing.assert_allclose(
            (p[:, None] * x).T @ x, np.eye(4) / (2 * frequency), atol=1e-11
        )
        r = np.hypot(*(x[:, :2] - x[:, 2:]).T)
        assert p @ (1 / r) == pytest.approx(
            np.sqrt(np.pi * frequency / 2), rel=1e-10
        )


def test_quadrature_of_the_exact_state():
    x, w = quantum.dot_quadrature(1.0)
    psi = np.exp(quantum.dot_log_amplitude(no_weights(1.0), x, taut))
    r = np.hypot(*(x[:, :2] - x[:, 2:]).T)
    density = w * psi**2 / (w @ psi**2)

    def weight(r):
        return r * (1 + r) ** 2 * np.exp(-(r**2) / 2)

    norm = integrate.quad(weight, 0, np.inf)[0]
    mean = integrate.quad(lambda r: r * weight(r), 0, np.inf)[0] / norm
    assert density @ r == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_walkers_sample_the_square_of_the_wave_function(seed):
    rng = np.random.default_rng(seed)
    rbm, n = no_weights(1.0), 20_000
    start = rng.normal(0, np.sqrt(0.5), (n, 4))
    x, rate = quantum.dot_walk(
        rbm, start, jastrow=taut, step=0.15, n_steps=100, seed=rng
    )
    r = np.hypot(*(x[:, :2] - x[:, 2:]).T)
    p, w = quantum.dot_quadrature(1.0)
    psi = np.exp(quantum.dot_log_amplitude(rbm, p, taut))
    density = w * psi**2 / (w @ psi**2)
    distance = np.hypot(*(p[:, :2] - p[:, 2:]).T)
    mean = density @ distance
    spread = np.sqrt(density @ (distance - mean) ** 2)
    assert r.mean() == pytest.approx(mean, abs=4.5 * spread / np.sqrt(n))
    # Without the factor 2 in the drift it would be 0.72.
    assert 0.85 < rate < 1


# --- Bad input ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("transverse_field_ising_energy", (0, 1.0, False), "n_spins"),
        ("transverse_field_ising_energy", (2, 1.0, True), "n_spins.*3.*2"),
        ("transverse_field_ising_energy", (4, np.nan, True), "field"),
        ("transverse_field_ising_ground_state", (4, 0.0, True), "field.*0"),
        ("transverse_field_ising_ground_state", (40, 1.0, True), "16.*40"),
        ("pade_jastrow", (1.0, -0.5), "decay.*-0.5"),
        ("pade_jastrow", (np.inf, 0.5), "cusp"),
        ("dot_quadrature", (-1.0,), "frequency.*-1"),
        ("fidelity", ([1.0], [1.0, 2.0]), "psi and phi"),
        ("energy_projection", ([1.0], np.ones((2, 3))), "local_energy"),
        ("energy_projection", ([np.nan], np.ones((1, 3))), "local_energy"),
        ("energy_projection", ([1.0], np.ones((1, 3)), [1.0, 0.0]), "p must"),
        ("dot_log_amplitude", (no_weights(1), np.ones((2, 3))), "x"),
    ],
)
def test_bad_input_is_named(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(quantum, function)(*arguments)


def test_bad_states_are_named():
    local = quantum.ising_local_energy
    for x, message in (
        ([[0, 1, 0, 1, 2]], "x must hold only"),
        ([[0, 1]], "x must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            local(machine(), x, field=1.0, periodic=False)
    with pytest.raises(ValueError, match="charge"):
        quantum.dot_local_energy(no_weights(1), positions(), charge=np.nan)
    with pytest.raises(ValueError, match=r"n_angle.*0"):
        quantum.dot_quadrature(1.0, n_angle=0)


def test_two_spins_and_a_weak_field():
    energy, psi = quantum.transverse_field_ising_ground_state(2, 0.7, False)
    assert energy == pytest.approx(-np.sqrt(1 + 4 * 0.49), abs=1e-12)
    # The two lowest levels of this chain differ by about 1e-8.
    energy, psi = quantum.transverse_field_ising_ground_state(6, 0.05, False)
    np.testing.assert_allclose(psi, psi[::-1], atol=1e-15)
    exact = quantum.transverse_field_ising_energy(6, 0.05, False)
    assert energy == pytest.approx(exact, abs=1e-12)


def test_bad_steps_are_named():
    found = quantum.Projection(0.0, 1.0, np.array([2.0]), np.eye(1))
    with pytest.raises(ValueError, match=r"rate.*-1"):
        quantum.reconfiguration_step(found, -1.0, 0.1)
    with pytest.raises(ValueError, match=r"shift.*0"):
        quantum.reconfiguration_step(found, 0.1, 0.0)
    with pytest.raises(ValueError, match="frequency"):
        quantum.dot_local_energy(no_weights(1), positions(), frequency=0)
