"""advml.rbm against sums written out term by term, and quadrature."""

import itertools

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import advml.rbm
from advml import ising
from advml.rbm import (
    RBM,
    GaussianRBM,
    all_states,
    block_gibbs,
    contrastive_divergence,
    gibbs_transition_matrix,
    ising_rbm,
    local_coupling,
    log_likelihood_gradient,
    model_averages,
    softplus,
    spin_rbm,
)

SHAPES = [(4, 3), (3, 4), (5, 5), (1, 1)]


def machine(n_visible, n_hidden, seed=0, size=1.0):
    rng = np.random.default_rng(seed)
    return RBM(
        size * rng.standard_normal((n_visible, n_hidden)),
        size * rng.standard_normal(n_visible),
        size * rng.standard_normal(n_hidden),
    )


def gaussian_machine(n_visible, n_hidden, seed=0):
    rng = np.random.default_rng(seed)
    return GaussianRBM(
        rng.standard_normal((n_visible, n_hidden)),
        rng.standard_normal(n_visible),
        rng.standard_normal(n_hidden),
        rng.uniform(0.5, 1.5, n_visible),
    )


def binary(n):
    return [np.array(s, float) for s in itertools.product((0, 1), repeat=n)]


def energy_by_hand(rbm, x, h):
    total = 0.0
    for i, x_i in enumerate(x):
        total -= rbm.visible_bias[i] * x_i
        for j, h_j in enumerate(h):
            total -= x_i * rbm.weights[i, j] * h_j
    for j, h_j in enumerate(h):
        total -= rbm.hidden_bias[j] * h_j
    return total


def joint_by_hand(rbm):
    """exp(-E) of all joint states, (2^n_visible, 2^n_hidden)."""
    return np.array(
        [
            [np.exp(-energy_by_hand(rbm, x, h)) for h in binary(rbm.n_hidden)]
            for x in binary(rbm.n_visible)
        ]
    )


@pytest.mark.parametrize("n", [1, 2, 5])
def test_all_states_are_the_binary_numbers_in_order(n):
    np.testing.assert_array_equal(all_states(n), binary(n))


@pytest.mark.parametrize("shape", SHAPES)
def test_energy_free_energy_and_log_z_against_enumeration(shape):
    rbm = machine(*shape)
    joint = joint_by_hand(rbm)
    x, h = all_states(shape[0]), all_states(shape[1])
    np.testing.assert_allclose(
        rbm.energy(x[:, None], h[None]), -np.log(joint), atol=1e-12
    )
    np.testing.assert_allclose(
        rbm.free_energy(x), -np.log(joint.sum(1)), atol=1e-12
    )
    np.testing.assert_allclose(
        rbm.log_partition(), np.log(joint.sum()), atol=1e-12
    )
    np.testing.assert_allclose(
        rbm.log_probability(x), np.log(joint.sum(1) / joint.sum()), atol=1e-12
    )
    np.testing.assert_allclose(
        rbm.log_likelihood(x[:2]),
        np.log(joint.sum(1) / joint.sum())[:2].mean(),
        atol=1e-12,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_conditionals_against_enumeration(shape):
    rbm = machine(*shape, seed=1)
    joint = joint_by_hand(rbm)
    x, h = all_states(shape[0]), all_states(shape[1])
    given_x = joint @ h / joint.sum(1)[:, None]
    given_h = joint.T @ x / joint.sum(0)[:, None]
    np.testing.assert_allclose(rbm.hidden_probability(x), given_x, atol=1e-12)
    np.testing.assert_allclose(rbm.visible_probability(h), given_h, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 300), (300, 3)])
def test_log_partition_without_weights_is_a_sum_of_softplus(shape):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(shape[0]), rng.standard_normal(shape[1])
    expected = np.log1p(np.exp(a)).sum() + np.log1p(np.exp(b)).sum()
    np.testing.assert_allclose(
        RBM(np.zeros(shape), a, b).log_partition(), expected, rtol=1e-13
    )


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_blocks_of_states_do_not_change_the_sums(shape, monkeypatch):
    rbm = machine(*shape)
    whole = rbm.log_partition(), model_averages(rbm)
    draws = rbm.sample_exactly(20, seed=0)
    monkeypatch.setattr(advml.rbm, "CHUNK_ENTRIES", 70)  # blocks of 7 states
    np.testing.assert_allclose(rbm.log_partition(), whole[0], rtol=1e-13)
    for got, want in zip(model_averages(rbm), whole[1], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-13)
    np.testing.assert_array_equal(rbm.sample_exactly(20, seed=0), draws)


def test_large_fields_do_not_overflow():
    rbm = RBM([[1e4, -1e4]], [0.0], [0.0, 0.0])
    with np.errstate(over="raise", invalid="raise"):
        free_energy = rbm.free_energy([[1.0]])
        log_z = rbm.log_partition()
        extremes = softplus(np.array([-1e5, -50.0, 0.0, 50.0, 1e5]))
    np.testing.assert_allclose(free_energy, [-1e4], rtol=1e-15)
    np.testing.assert_allclose(log_z, 1e4, rtol=1e-15)
    np.testing.assert_allclose(
        extremes, [0, np.exp(-50), np.log(2), 50, 1e5], rtol=1e-14
    )


def test_too_many_units_are_refused_and_ais_is_named():
    rbm = RBM(np.zeros((26, 30)), np.zeros(26), np.zeros(30))
    with pytest.raises(ValueError, match=r"26.*annealed_importance_sampling"):
        rbm.log_partition()
    with pytest.raises(ValueError, match=r"not 40.*annealed_importance"):
        all_states(40)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_equals_autograd_through_the_enumerated_likelihood(shape):
    rbm = machine(*shape, seed=2)
    x = torch.tensor(np.array(binary(shape[0])))
    h = torch.tensor(np.array(binary(shape[1])))
    data = x[[0, -1, -1]]
    w, a, b = (
        torch.tensor(p, requires_grad=True)
        for p in (rbm.weights, rbm.visible_bias, rbm.hidden_bias)
    )

    def minus_energy(x):
        return (x @ a)[:, None] + (h @ b)[None] + x @ w @ h.T

    log_z = torch.logsumexp(minus_energy(x).ravel(), 0)
    (torch.logsumexp(minus_energy(data), 1).mean() - log_z).backward()
    gradient = log_likelihood_gradient(rbm, data.numpy())
    for got, want in zip(gradient, (w, a, b), strict=True):
        np.testing.assert_allclose(got, want.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_equals_finite_differences(shape):
    rbm = machine(*shape, seed=3)
    parameters = [rbm.weights, rbm.visible_bias, rbm.hidden_bias]
    data, step = all_states(shape[0])[:2], 1e-5
    gradient = log_likelihood_gradient(rbm, data)
    for which, parameter in enumerate(parameters):
        for index in np.ndindex(parameter.shape):
            values = []
            for sign in (1, -1):
                moved = [p.copy() for p in parameters]
                moved[which][index] += sign * step
                values.append(RBM(*moved).log_likelihood(data))
            slope = (values[0] - values[1]) / (2 * step)
            assert abs(slope - gradient[which][index]) < 1e-8


def test_swapping_the_layers_swaps_everything():
    rbm = machine(4, 3)
    other = rbm.swapped()
    x, h = all_states(4)[5], all_states(3)[3]
    assert other.energy(h, x) == pytest.approx(rbm.energy(x, h), abs=1e-14)
    np.testing.assert_array_equal(
        other.hidden_probability(h), rbm.visible_probability(h)
    )


def test_transition_matrix_against_sums_over_paths():
    rbm = machine(3, 2, seed=4)
    joint = joint_by_hand(rbm)
    up = joint / joint.sum(1)[:, None]
    down = (joint / joint.sum(0)).T
    transition = gibbs_transition_matrix(rbm)
    np.testing.assert_allclose(transition, up @ down, atol=1e-14)
    flow = joint.sum(1)[:, None] / joint.sum() * transition
    np.testing.assert_allclose(flow, flow.T, atol=1e-14)


def chi_square_p_value(states, probability):
    """P-value of drawn states against the exact probabilities."""
    n = states.shape[1]
    index = (states @ 2 ** np.arange(n - 1, -1, -1)).astype(int)
    observed = np.bincount(index, minlength=2**n)
    return stats.chisquare(observed, probability * len(states)).pvalue


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("shape", [(3, 4), (4, 3)])
def test_samples_have_the_exact_distribution(shape, seed):
    rbm = machine(*shape, size=0.7)
    joint = joint_by_hand(rbm)
    probability = joint.sum(1) / joint.sum()
    for states in (
        rbm.sample(20_000, 30, seed=seed),
        rbm.sample_exactly(20_000, seed=seed),
    ):
        assert chi_square_p_value(states, probability) > 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_each_chain_draws_numbers_of_its_own(seed):
    # One uniform number shared by a batch would leave all chains equal.
    rbm = machine(3, 3, size=0.5, seed=5)
    reached = block_gibbs(rbm, np.ones((20_000, 3)), 2, seed)
    transition = gibbs_transition_matrix(rbm)
    row = np.linalg.matrix_power(transition, 2)[-1]
    assert chi_square_p_value(reached, row) > 1e-6


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_contrastive_divergence_has_the_exact_expectation(seed, n_steps):
    rbm = machine(3, 2, seed=6)
    x = all_states(3)
    start, n = np.array([0.5, 0, 0, 0.25, 0, 0, 0, 0.25]), 40_000
    data = np.repeat(x, (n * start).astype(int), axis=0)
    reached = start @ np.linalg.matrix_power(
        gibbs_transition_matrix(rbm), n_steps
    )
    h = rbm.hidden_probability(x)
    change = start - reached
    expected = (change[:, None] * x).T @ h, change @ x, change @ h
    estimate = contrastive_divergence(rbm, data, n_steps, seed)
    # Every averaged quantity lies in [0, 1], so its variance is below 1/4.
    for got, want in zip(estimate, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=5 * 0.5 / np.sqrt(n))


def test_zero_gradient_where_model_and_data_agree():
    rbm = RBM(np.zeros((3, 2)), np.zeros(3), np.zeros(2))
    for part in log_likelihood_gradient(rbm, all_states(3)):
        np.testing.assert_allclose(part, 0, atol=1e-15)


def density_by_hand(rbm, x):
    """Unnormalised p(x) of a Gaussian machine, summed over h."""
    total = 0.0
    for h in binary(rbm.n_hidden):
        energy = -rbm.hidden_bias @ h
        for i, x_i in enumerate(x):
            variance = rbm.scale[i] ** 2
            energy += (x_i - rbm.visible_bias[i]) ** 2 / (2 * variance)
            energy -= x_i * (rbm.weights[i] @ h) / variance
        total += np.exp(-energy)
    return total


def integral(function, n):
    limits = [(-25, 25)] * n
    options = {"epsabs": 1e-13, "epsrel": 1e-12, "limit": 200}
    return integrate.nquad(function, limits, opts=options)[0]


@pytest.mark.parametrize("n_hidden", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_gaussian_log_z_against_quadrature(n_hidden, seed):
    rbm = gaussian_machine(1, n_hidden, seed)
    z = integral(lambda *x: density_by_hand(rbm, x), 1)
    np.testing.assert_allclose(rbm.log_partition(), np.log(z), atol=1e-10)
    mean = integral(lambda x: x * density_by_hand(rbm, [x]), 1) / z
    weights, means = rbm.mixture()
    np.testing.assert_allclose(weights @ means[:, 0], mean, atol=1e-9)


def test_gaussian_log_z_in_two_dimensions_against_a_grid():
    rbm = gaussian_machine(2, 2, seed=1)
    # The trapezoid rule converges exponentially for such smooth functions.
    axis = np.linspace(-15, 15, 601)
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    z = np.exp(-rbm.free_energy(x)).sum() * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(rbm.log_partition(), np.log(z), atol=1e-11)


@pytest.mark.parametrize("shape", [(2, 3), (3, 2)])
def test_gaussian_energies_against_sums_by_hand(shape):
    rbm = gaussian_machine(*shape, seed=2)
    x = np.random.default_rng(0).standard_normal((6, shape[0]))
    expected = [-np.log(density_by_hand(rbm, row)) for row in x]
    np.testing.assert_allclose(rbm.free_energy(x), expected, atol=1e-12)
    h = all_states(shape[1])
    joint = np.exp(-rbm.energy(x[:, None], h[None]))
    np.testing.assert_allclose(-np.log(joint.sum(1)), expected, atol=1e-12)
    given_x = joint @ h / joint.sum(1)[:, None]
    np.testing.assert_allclose(rbm.hidden_probability(x), given_x, atol=1e-12)


def test_gaussian_conditional_is_a_shifted_gaussian():
    rbm = gaussian_machine(1, 2, seed=3)
    x = np.linspace(-4, 4, 9)[:, None]
    for h in binary(2):
        normaliser = integral(lambda x, h=h: np.exp(-rbm.energy([x], h)), 1)
        density = np.exp(-rbm.energy(x, h)) / normaliser
        mean = rbm.visible_bias[0] + rbm.weights[0] @ h
        expected = stats.norm.pdf(x[:, 0], mean, rbm.scale[0])
        np.testing.assert_allclose(density, expected, atol=1e-10)
        np.testing.assert_allclose(rbm.visible_mean(h), [mean], atol=1e-14)


def test_gaussian_density_is_the_mixture():
    rbm = gaussian_machine(3, 4, seed=4)
    x = np.random.default_rng(1).standard_normal((8, 3))
    weights, means = rbm.mixture()
    covariance = np.diag(rbm.scale**2)
    expected = sum(
        w * stats.multivariate_normal(m, covariance).pdf(x)
        for w, m in zip(weights, means, strict=True)
    )
    np.testing.assert_allclose(
        rbm.log_probability(x), np.log(expected), atol=1e-11
    )
    np.testing.assert_allclose(
        rbm.log_likelihood(x), np.log(expected).mean(), atol=1e-11
    )


@pytest.mark.parametrize("seed", range(10))
def test_gaussian_samples_have_the_moments_of_the_mixture(seed):
    rbm = GaussianRBM(
        [[1.0, -0.5], [0.3, 0.8]], [0.2, -1.0], [0.4, -0.3], [0.5, 1.2]
    )
    weights, means = rbm.mixture()
    mean = weights @ means
    variance = weights @ (means - mean) ** 2 + rbm.scale**2
    shift, noise = (means - mean) ** 2, rbm.scale**2
    fourth = weights @ (3 * noise**2 + 6 * noise * shift + shift**2)
    n = 20_000
    x = rbm.sample(n, 60, seed=seed)
    assert np.all(abs(x.mean(0) - mean) < 5 * np.sqrt(variance / n))
    error = np.sqrt((fourth - variance**2) / n)
    assert np.all(abs(x.var(0) - variance) < 5 * error)


def test_gaussian_scale_may_be_one_number():
    weights, a, b = np.ones((2, 1)), np.zeros(2), np.zeros(1)
    one = GaussianRBM(weights, a, b, 0.7)
    both = GaussianRBM(weights, a, b, [0.7, 0.7])
    assert one.log_partition() == both.log_partition()
    np.testing.assert_array_equal(one.scale, [0.7, 0.7])


def test_same_seed_same_numbers_and_generators_advance():
    rbm, gaussian = machine(3, 2), gaussian_machine(3, 2)
    for sampler in (rbm, gaussian):
        np.testing.assert_array_equal(
            sampler.sample(4, 3, seed=1), sampler.sample(4, 3, seed=1)
        )
        rng = np.random.default_rng(1)
        first = sampler.sample(40, 3, seed=rng)
        assert not np.array_equal(first, sampler.sample(40, 3, seed=rng))


def test_parameters_are_copies():
    weights = np.zeros((2, 2))
    rbm = RBM(weights, np.zeros(2), np.zeros(2))
    weights += 1
    assert rbm.weights.sum() == 0
    with pytest.raises(AttributeError):
        rbm.weights = weights


GOOD = {
    "weights": np.ones((3, 2)),
    "visible_bias": [0] * 3,
    "hidden_bias": [0] * 2,
}


@pytest.mark.parametrize("build", [RBM, lambda **p: GaussianRBM(**p, scale=1)])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", np.full((3, 2), np.nan), r"weights.*finite.*nan"),
        ("weights", np.ones(3), r"weights must have shape.*\(3,\)"),
        ("weights", np.ones((3, 0)), r"weights must have shape.*\(3, 0\)"),
        (
            "visible_bias",
            [0, 0],
            r"visible_bias must have shape \(3,\).*\(2,\)",
        ),
        ("visible_bias", [0, 0, np.inf], r"visible_bias.*finite.*inf"),
        ("hidden_bias", [[0, 0]], r"hidden_bias must have shape.*\(1, 2\)"),
    ],
)
def test_bad_parameters(build, name, value, message):
    with pytest.raises(ValueError, match=message):
        build(**{**GOOD, name: value})


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (0.0, "scale must be positive, not 0"),
        ([1, 1, -2], "scale must be positive, not -2"),
        ([1, 1], r"scale must have shape .*\(2,\)"),
        ([[1, 1, 1]], r"scale must have one axis, not \(1, 3\)"),
        (np.nan, "scale must be finite"),
    ],
)
def test_bad_scale(scale, message):
    with pytest.raises(ValueError, match=message):
        GaussianRBM(**GOOD, scale=scale)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.free_energy([[0, 1, 0.5]]), r"x must hold only.*0\.5"),
        (lambda r: r.free_energy([[0, 1]]), r"x must have shape.*\(1, 2\)"),
        (lambda r: r.hidden_probability([0, 1, -1]), r"x must hold.*-1"),
        (lambda r: r.visible_probability([0, 2]), r"h must hold.*2"),
        (lambda r: r.energy([0, 1, np.nan], [0, 1]), r"x must be finite.*nan"),
        (lambda r: r.sample(0, 5, seed=0), "n must be a whole number.*0"),
        (lambda r: r.sample(5, -1, seed=0), "n_steps must be.*-1"),
        (lambda r: r.sample_exactly(1.5, seed=0), r"n must be.*1\.5"),
        (lambda r: all_states(0), "n must be.*0"),
        (lambda r: log_likelihood_gradient(r, [0, 1, 1]), r"data.*\(3,\)"),
        (lambda r: log_likelihood_gradient(r, [[0, 1, 3]]), r"data.*3"),
        (lambda r: contrastive_divergence(r, [[1, 1, 1]], 0, 0), "n_steps.*0"),
        (lambda r: contrastive_divergence(r, [[1, 1, 0.2]], 1, 0), r"0\.2"),
        (lambda r: block_gibbs(r, np.zeros((0, 3)), 1, 0), r"start.*\(0, 3\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(RBM(**GOOD))


def test_gaussian_chains_of_no_steps_are_where_they_start():
    """At the Gaussian of the machine without hidden units."""
    rbm, n = GaussianRBM(**GOOD, scale=2), 100_000
    start = rbm.sample(n, 0, seed=0)
    mean = start.mean(0)
    assert np.all(abs(mean - rbm.visible_bias) < 4.5 * 2 / np.sqrt(n))
    assert np.all(abs(start.var(0) / 4 - 1) < 4.5 * np.sqrt(2 / n))


def test_gaussian_data_must_be_finite():
    rbm = GaussianRBM(**GOOD, scale=1)
    with pytest.raises(ValueError, match=r"x must be finite.*inf"):
        rbm.free_energy([0.0, 1.0, np.inf])


def spin_states(n):
    return [np.array(s) for s in itertools.product((-1, 1), repeat=n)]


def spin_glass(n, seed):
    """Couplings of both signs on about half of all pairs."""
    rng = np.random.default_rng(seed)
    k = np.triu(rng.normal(0, 0.7, (n, n)) * rng.integers(0, 2, (n, n)), 1)
    k[0, 1], k[1, 2] = 0.6, -0.9
    return k + k.T


def pair_exponent(k, s):
    """Sum of K_ij s_i s_j, pair by pair."""
    n = len(s)
    return sum(k[i, j] * s[i] * s[j] for i in range(n) for j in range(i))


def test_spin_machine_against_sums_over_both_layers():
    v = np.random.default_rng(0).standard_normal((4, 3))
    rbm, total = spin_rbm(v), 0.0
    weights = []
    for s in spin_states(4):
        weights.append(sum(np.exp(s @ v @ h) for h in spin_states(3)))
        total += weights[-1]
    x = (np.array(spin_states(4)) + 1) / 2
    np.testing.assert_allclose(
        rbm.log_probability(x), np.log(weights) - np.log(total), atol=1e-13
    )
    np.testing.assert_allclose(
        rbm.log_partition() + v.sum(), np.log(total), rtol=1e-14
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_ising_machine_is_the_ising_model(seed):
    k = spin_glass(6, seed)
    rbm = ising_rbm(k)
    exponent = np.array([pair_exponent(k, s) for s in spin_states(6)])
    log_z = np.log(np.exp(exponent).sum())
    x = (np.array(spin_states(6)) + 1) / 2
    np.testing.assert_allclose(
        rbm.log_probability(x), exponent - log_z, atol=1e-12
    )
    # The offset of the docstring, summed pair by pair.
    offset = 0.0
    for i in range(6):
        for j in range(i):
            if k[i, j]:
                w = np.log(
                    np.exp(2 * abs(k[i, j]))
                    + np.sqrt(np.exp(4 * abs(k[i, j])) - 1)
                )
                offset += np.log(2) + abs(k[i, j]) - w * (k[i, j] > 0)
    assert rbm.log_partition() == pytest.approx(log_z + offset, abs=1e-12)


def test_ising_machine_of_the_torus_has_kaufmans_log_z():
    temperature = ising.CRITICAL_TEMPERATURE
    k = np.zeros((16, 16))
    sites = np.arange(16)[:, None]
    k[sites, ising.neighbours(4)] = 1 / temperature
    rbm = ising_rbm(k)
    assert rbm.weights.shape == (16, 32)
    # At T_c exp(2K) = 1 + sqrt 2, and cosh 2w is that.
    w = np.arccosh(1 + np.sqrt(2)) / 2
    assert w == pytest.approx(0.7642855, abs=1e-7)
    np.testing.assert_allclose(rbm.weights.max(axis=0), 4 * w, rtol=1e-14)
    expected = ising.log_partition(4, temperature)
    expected += 32 * (np.log(2) + 1 / temperature - 2 * w)
    assert rbm.log_partition() == pytest.approx(expected, abs=1e-11)


def test_local_coupling_of_an_ising_machine_is_its_coupling():
    k = spin_glass(6, seed=9)
    rbm, x = ising_rbm(k), np.array(binary(6))
    for i, j in itertools.permutations(range(6), 2):
        np.testing.assert_allclose(
            local_coupling(rbm, x, i, j), k[i, j], atol=1e-12
        )


def test_local_coupling_of_one_hidden_unit_by_hand():
    # 1/4 log of a ratio of hyperbolic cosines; biases and a third spin shift
    # the arguments, visible biases drop out.
    v, theta = np.array([0.9, -0.4, 0.7]), 0.3
    spins = spin_rbm(v[:, None])
    bias = spins.hidden_bias + 2 * theta
    visible_bias = spins.visible_bias + np.array([0.5, -1.0, 2.0])
    rbm = RBM(spins.weights, visible_bias, bias)
    for s_3 in (-1, 1):
        u = theta + v[2] * s_3
        ratio = np.cosh(u + v[0] + v[1]) * np.cosh(u - v[0] - v[1])
        ratio /= np.cosh(u + v[0] - v[1]) * np.cosh(u - v[0] + v[1])
        found = local_coupling(rbm, [1, 0, (1 + s_3) / 2], 0, 1)
        assert found == pytest.approx(np.log(ratio) / 4, abs=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spin_rbm([1.0, 2.0]), r"couplings.*\(2,\)"),
        (lambda: spin_rbm([[np.nan]]), "couplings must be finite.*nan"),
        (lambda: ising_rbm([1.0, 2.0]), r"couplings.*\(2,\)"),
        (lambda: ising_rbm(np.ones((2, 3))), "couplings.*symmetric"),
        (lambda: ising_rbm([[0, 1], [0.9, 0]]), "couplings.*symmetric"),
        (lambda: ising_rbm([[1, 1], [1, 0]]), "couplings.*zero diagonal"),
        (lambda: ising_rbm(np.zeros((3, 3))), "couplings.*some other"),
        (lambda: local_coupling(RBM(**GOOD), [0, 1, 1], 1, 1), "not 1, 1"),
        (lambda: local_coupling(RBM(**GOOD), [0, 1, 1], 0, 3), "not 0, 3"),
        (lambda: local_coupling(RBM(**GOOD), [0, 1, 1], -1, 2), "i must.*-1"),
        (lambda: local_coupling(RBM(**GOOD), [0, 1, 0.5], 0, 1), r"0\.5"),
    ],
)
def test_bad_couplings(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_local_coupling_leaves_its_argument_alone():
    x = np.zeros((2, 3))
    local_coupling(RBM(**GOOD), x, 0, 1)
    assert not x.any()
