"""Estimates and quadratures against exact partition functions and evidence."""

from itertools import pairwise, product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal, norm

from advml.likelihood import (
    annealed_importance_sampling,
    evidence_on_grid,
    exact_importance_weighted_bound,
    gauss_hermite,
    gaussian_log_density,
    importance_weighted_bound,
    latent_grid,
    reverse_annealed_importance_sampling,
)
from advml.rbm import RBM, all_states, softplus


def machine(n_visible, n_hidden, size, seed=0):
    rng = np.random.default_rng(seed)
    return RBM(
        size * rng.standard_normal((n_visible, n_hidden)),
        size * rng.standard_normal(n_visible),
        size * rng.standard_normal(n_hidden),
    )


def log_z_by_hand(rbm):
    x, h = all_states(rbm.n_visible), all_states(rbm.n_hidden)
    minus_energy = (
        (x @ rbm.visible_bias)[:, None]
        + h @ rbm.hidden_bias
        + x @ rbm.weights @ h.T
    )
    return np.log(np.exp(minus_energy).sum())


def estimates(direction, rbm, n_chains, n_temperatures, seeds, **options):
    found = []
    for seed in seeds:
        if direction == "forward":
            result = annealed_importance_sampling(
                rbm,
                n_chains=n_chains,
                n_temperatures=n_temperatures,
                seed=seed,
                **options,
            )
        else:
            result = reverse_annealed_importance_sampling(
                rbm,
                rbm.sample_exactly(n_chains, seed=1000 + seed),
                n_temperatures=n_temperatures,
                seed=seed,
                **options,
            )
        found.append(result)
    return np.array(found).T


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_without_weights_the_answer_is_exact(direction):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(7), rng.standard_normal(30)
    rbm = RBM(np.zeros((7, 30)), a, b)
    expected = np.log1p(np.exp(a)).sum() + np.log1p(np.exp(b)).sum()
    log_z, error = estimates(direction, rbm, 5, 4, [0])
    np.testing.assert_allclose(log_z, expected, rtol=1e-13)
    np.testing.assert_allclose(error, 0, atol=1e-12)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("shape", [(8, 5), (5, 8)])
@pytest.mark.parametrize("base", ["own", "zero", "other"])
def test_bias_and_coverage_over_seeds(direction, shape, base):
    rbm = machine(*shape, size=0.8)
    bias = {"own": None, "zero": np.zeros(shape[0])}.get(
        base, np.linspace(-1, 1, shape[0])
    )
    log_z, error = estimates(
        direction, rbm, 200, 100, range(40), base_visible_bias=bias
    )
    z_scores = (log_z - log_z_by_hand(rbm)) / error
    assert abs(z_scores.mean()) < 4.5 / np.sqrt(40)
    # The sum of 40 squared normal numbers; both limits are 1e-5 quantiles.
    assert 12.6 < (z_scores**2).sum() < 92


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_weights_are_unbiased_on_a_short_ladder(direction):
    # Few temperatures: log Z is biased, the mean weight is not.
    rbm = machine(6, 4, size=0.8, seed=1)
    log_z, _ = estimates(direction, rbm, 10, 3, range(2000))
    sign = 1 if direction == "forward" else -1
    ratio = np.exp(sign * (log_z - log_z_by_hand(rbm)))
    error = ratio.std() / np.sqrt(len(ratio))
    assert error < 0.02
    assert abs(ratio.mean() - 1) < 4.5 * error


def test_forward_and_reverse_enclose_log_z_in_expectation():
    rbm = machine(10, 8, size=1.5, seed=2)
    exact = log_z_by_hand(rbm)
    gaps = []
    for n_temperatures in (2, 8, 32):
        low, _ = estimates("forward", rbm, 5, n_temperatures, range(200))
        high, _ = estimates("reverse", rbm, 5, n_temperatures, range(200))
        for values, sign in ((low, -1), (high, 1)):
            error = values.std() / np.sqrt(len(values))
            assert sign * (values.mean() - exact) > -4 * error
        gaps.append(high.mean() - low.mean())
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[0] > 1  # the short ladder is visibly a bound, not an answer


def test_standard_error_of_one_step_has_the_exact_variance():
    # One temperature: plain importance sampling, whose variance is a sum.
    rbm = machine(5, 4, size=0.5, seed=3)
    x = all_states(5)
    base = np.exp(x @ rbm.visible_bias - softplus(rbm.visible_bias).sum())
    weight = np.exp(-rbm.free_energy(x) - x @ rbm.visible_bias)
    mean = base @ weight
    exact = np.sqrt(base @ (weight - mean) ** 2) / mean / np.sqrt(50_000)
    _, error = annealed_importance_sampling(
        rbm, n_chains=50_000, n_temperatures=1, seed=0
    )
    assert error == pytest.approx(exact, rel=0.1)


def test_longer_ladders_have_smaller_errors():
    rbm = machine(8, 8, size=0.8, seed=4)
    errors = [
        estimates("forward", rbm, 200, n, range(5))[1].mean()
        for n in (4, 40, 400)
    ]
    # The error falls like one over the square root of the ladder's length.
    for short, long in pairwise(errors):
        assert 2 < short / long < 5


def test_same_seed_same_answer():
    rbm = machine(4, 3, size=1.0)
    once, twice = (
        annealed_importance_sampling(
            rbm, n_chains=5, n_temperatures=5, seed=seed
        )
        for seed in (3, np.random.default_rng(3))
    )
    assert once == twice


def test_large_machine_does_not_overflow():
    rbm = RBM(np.full((50, 40), 30.0), np.zeros(50), np.zeros(40))
    with np.errstate(over="raise", invalid="raise"):
        log_z, error = annealed_importance_sampling(
            rbm, n_chains=20, n_temperatures=200, seed=0
        )
    # One state, all units on, carries the sum; on so coarse a ladder the
    # estimate stays below it.
    assert 0.99 < log_z / (30 * 50 * 40) < 1
    assert np.isfinite(error)


FORWARD = {"n_chains": 5, "n_temperatures": 5, "seed": 0}
REVERSE = {"samples": np.zeros((5, 4)), "n_temperatures": 5, "seed": 0}


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (annealed_importance_sampling, {"n_chains": 1}, "n_chains.*1"),
        (annealed_importance_sampling, {"n_temperatures": 0}, "n_temp.*0"),
        (
            annealed_importance_sampling,
            {"base_visible_bias": np.zeros(3)},
            r"base_visible_bias must have shape \(4,\).*\(3,\)",
        ),
        (
            annealed_importance_sampling,
            {"base_visible_bias": [0, 0, 0, np.nan]},
            "base_visible_bias must be finite.*nan",
        ),
        (
            reverse_annealed_importance_sampling,
            {"samples": np.full((5, 4), 0.5)},
            r"samples must hold only.*0\.5",
        ),
        (
            reverse_annealed_importance_sampling,
            {"samples": np.zeros((5, 3))},
            r"samples must have shape.*\(5, 3\)",
        ),
        (
            reverse_annealed_importance_sampling,
            {"samples": np.zeros((1, 4))},
            r"samples must have shape.*\(1, 4\)",
        ),
    ],
)
def test_bad_input(function, options, message):
    forward = function is annealed_importance_sampling
    defaults = FORWARD if forward else REVERSE
    with pytest.raises(ValueError, match=message):
        function(machine(4, 3, 1.0), **{**defaults, **options})


# Models with latent variables.


def lottery():
    """A distribution of weights that can be enumerated: log w and q."""
    return np.array([-3.0, -0.5, 0.2, 1.5]), np.array([0.1, 0.3, 0.4, 0.2])


def enumerated_bound(log_w, q, k):
    """<log of the mean of k weights>, over all k-tuples."""
    tuples = np.array(list(product(range(len(q)), repeat=k)))
    means = logsumexp(log_w[tuples], axis=1) - np.log(k)
    return q[tuples].prod(axis=1) @ means


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_exact_bound_is_the_sum_over_all_draws(k):
    log_w, q = lottery()
    expected = enumerated_bound(log_w, q, k)
    found = exact_importance_weighted_bound(log_w, q, k)
    assert found == pytest.approx(expected, abs=1e-12)


def test_exact_bound_knows_no_scale_and_works_in_batches():
    log_w, q = lottery()
    shifts = np.array([[-800.0], [0.0], [700.0]])
    found = exact_importance_weighted_bound(log_w + shifts, q + 0 * shifts, 5)
    expected = enumerated_bound(log_w, q, 5) + shifts[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-11, rtol=1e-14)


def test_exact_bound_normalises_a_grid_that_is_cut_off():
    log_w, q = lottery()
    expected = enumerated_bound(log_w, q, 3)
    found = exact_importance_weighted_bound(log_w, q * (1 - 5e-7), 3)
    assert found == pytest.approx(expected, abs=1e-12)


def test_exact_bound_of_widely_spread_weights():
    # One draw in ten finds the weight; all others weigh next to nothing.
    log_w, q = np.array([-500.0, 0.0]), np.array([0.9, 0.1])
    for k in (1, 3, 8):
        expected = enumerated_bound(log_w, q, k)
        found = exact_importance_weighted_bound(log_w, q, k)
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("depth", [705, 720, 760, 900])
def test_exact_bound_of_weights_beyond_the_range_of_floats(depth):
    log_w, q = np.array([0.0, -depth]), np.array([0.5, 0.5])
    for k in (1, 4):
        expected = enumerated_bound(log_w, q, k)
        found = exact_importance_weighted_bound(log_w, q, k)
        assert found == pytest.approx(expected, rel=1e-12)


def test_exact_bound_rises_to_the_evidence_like_the_variance_over_2k():
    log_w, q = lottery()
    log_p = logsumexp(log_w, b=q)
    variance = q @ np.exp(2 * (log_w - log_p)) - 1
    ks = [1, 2, 5, 50, 1000, 100_000]
    gaps = np.array(
        [log_p - exact_importance_weighted_bound(log_w, q, k) for k in ks]
    )
    assert np.all(np.diff(gaps) < 0)
    assert gaps[-1] > 0
    assert 100_000 * gaps[-1] == pytest.approx(variance / 2, rel=1e-4)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_sampled_bound_is_unbiased_and_knows_its_error(k):
    log_w, q = lottery()
    rng = np.random.default_rng(k)
    draws = log_w[rng.choice(4, p=q, size=(2000, 10 * k + k - 1))]
    bound, error = importance_weighted_bound(draws, k)
    expected = enumerated_bound(log_w, q, k)
    assert bound.shape == error.shape == (2000,)
    scatter = bound.std()
    assert abs(bound.mean() - expected) < 4.5 * scatter / np.sqrt(2000)
    # Squared errors are unbiased; ten groups leave each uncertain by about
    # a half, two thousand of them by 1 %, and the scatter by 3 %.
    assert np.mean(error**2) == pytest.approx(scatter**2, rel=0.15)


def test_sampled_bound_of_one_group_by_hand():
    log_w = np.log([1.0, 3.0, 2.0, 8.0, 99.0])
    bound, error = importance_weighted_bound(log_w, 2)
    assert bound == pytest.approx((np.log(2) + np.log(5)) / 2)
    assert error == pytest.approx((np.log(5) - np.log(2)) / 2)
    bound, _ = importance_weighted_bound(log_w, 1)
    assert bound == pytest.approx(log_w.mean())


def test_nested_groups_are_ordered_draw_by_draw():
    log_w = 3 * np.random.default_rng(0).standard_normal((20, 100))
    bounds = [importance_weighted_bound(log_w, k)[0] for k in (1, 5, 50)]
    assert np.all(np.diff(bounds, axis=0) > 0)


def test_gaussian_log_density_is_that_of_scipy():
    rng = np.random.default_rng(0)
    z, mean = rng.standard_normal((2, 7, 3))
    variance = np.array([0.3, 1.0, 2.5])
    expected = norm(mean, np.sqrt(variance)).logpdf(z).sum(axis=-1)
    found = gaussian_log_density(z, mean, variance)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    expected = norm.logpdf(z).sum(axis=-1)
    np.testing.assert_allclose(gaussian_log_density(z), expected, rtol=1e-13)
    expected = norm(0, 2).logpdf(z).sum(axis=-1)
    found = gaussian_log_density(z, 0.0, 4.0)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_latent_grid_integrates_a_gaussian():
    centre = np.array([[0.0, 1.0], [-2.0, 3.0]])
    scale = np.array([[1.0, 0.5], [2.0, 0.1]])
    z, log_volume = latent_grid(centre, scale, width=7, n_points=29)
    assert z.shape == (2, 29**2, 2)
    log_q = gaussian_log_density(z, centre[:, None], scale[:, None] ** 2)
    total = logsumexp(log_q, axis=1) + log_volume
    np.testing.assert_allclose(total, 0, atol=1e-10)
    np.testing.assert_allclose(z.min(axis=1), centre - 7 * scale)
    np.testing.assert_allclose(z.max(axis=1), centre + 7 * scale)
    q = np.exp(log_q + log_volume[:, None])
    np.testing.assert_allclose((q[..., None] * z).sum(1), centre, atol=1e-9)


@pytest.mark.parametrize("n_latent", [1, 2])
@pytest.mark.parametrize("placed", ["posterior", "prior"])
def test_evidence_of_a_linear_gaussian_model(n_latent, placed):
    rng = np.random.default_rng(n_latent)
    W, noise = rng.standard_normal((4, n_latent)), 0.5
    x = rng.standard_normal((6, 4))
    precision = np.eye(n_latent) + W.T @ W / noise
    covariance = np.linalg.inv(precision)
    if placed == "posterior":
        centre = x @ W @ covariance / noise
        scale = np.broadcast_to(np.sqrt(covariance.diagonal()), centre.shape)
        options = {}
    else:
        centre, scale = np.zeros((6, n_latent)), np.ones((6, n_latent))
        options = {"width": 8, "n_points": 121}
    found, error = evidence_on_grid(
        lambda z: gaussian_log_density(z @ W.T, x[:, None], noise),
        centre,
        scale,
        **options,
    )
    marginal = multivariate_normal(None, W @ W.T + noise * np.eye(4))
    np.testing.assert_allclose(found, marginal.logpdf(x), atol=2e-7)
    assert np.all(error < 1e-4)


def test_evidence_of_a_logistic_model_by_adaptive_quadrature():
    slope, bias = np.array([3.0, -2.0]), np.array([0.5, 1.0])
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])

    def log_likelihood(z):
        logits = (2 * x[:, None] - 1) * (bias + z * slope)
        return -np.logaddexp(0, -logits).sum(axis=-1)

    grid = {"centre": np.zeros((4, 1)), "scale": np.ones((4, 1)), "width": 9}
    coarse, estimate = evidence_on_grid(log_likelihood, **grid)
    fine, _ = evidence_on_grid(log_likelihood, **grid, n_points=161)
    assert np.exp(fine).sum() == pytest.approx(1, abs=1e-12)
    for i, signs in enumerate(2 * x - 1):
        integral, _ = quad(
            lambda z, signs=signs: (
                norm.pdf(z) * expit(signs * (bias + z * slope)).prod()
            ),
            -9,
            9,
            epsabs=1e-13,
        )
        assert fine[i] == pytest.approx(np.log(integral), abs=1e-9)
        assert abs(coarse[i] - fine[i]) <= estimate[i] < 1e-2


@pytest.mark.parametrize(
    "options",
    [{"width": 0.8}, {"width": 6, "n_points": 7}],
    ids=["too narrow", "too coarse"],
)
def test_evidence_on_a_bad_grid_says_so(options):
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    found, error = evidence_on_grid(
        lambda z: gaussian_log_density(z, 0.3, 0.4**2), zero, one, **options
    )
    exact = norm(0, np.sqrt(1 + 0.4**2)).logpdf(0.3)
    assert abs(found[0] - exact) > 1e-3
    assert error[0] > 0.5 * abs(found[0] - exact)


ZERO, ONE = np.zeros((2, 1)), np.ones((2, 1))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (importance_weighted_bound, ([0.0, 1.0, 2.0], 2), r"n >= 2 k = 4.*3"),
        (importance_weighted_bound, ([0.0, np.nan], 1), "log_w must be finit"),
        (importance_weighted_bound, ([0.0, 1.0], 0), "k must be .*0"),
        (
            exact_importance_weighted_bound,
            ([0.0, 1.0], [0.5, 0.4], 2),
            "probability must be >= 0 and sum to 1",
        ),
        (
            exact_importance_weighted_bound,
            ([0.0, 1.0], [1.5, -0.5], 2),
            "probability must be >= 0 and sum to 1",
        ),
        (latent_grid, (ZERO, np.ones((2, 2))), r"same shape.*\(2, 2\)"),
        (latent_grid, (ZERO[0], ONE[0]), r"shape \(n, q\).*\(1,\)"),
        (latent_grid, (ZERO, -ONE), "scale must be positive.*-1"),
        (
            evidence_on_grid,
            (lambda z: z, ZERO, ONE),
            r"log_likelihood must return shape \(2, 41\)",
        ),
    ],
)
def test_bad_input_of_latent_variable_models(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def test_even_grids_are_refused():
    with pytest.raises(ValueError, match="n_points must be odd, not 40"):
        evidence_on_grid(gaussian_log_density, ZERO, ONE, n_points=40)


def test_gauss_hermite_averages_polynomials_exactly():
    nodes, weights = gauss_hermite(4, 3)
    assert nodes.shape == (64, 3)
    first, second, third = nodes.T
    # <z^6> = 15, <z^4> = 3, <z^2> = 1, and odd powers vanish.
    assert weights.sum() == pytest.approx(1)
    assert weights @ (first**6 * second**4 * third**2) == pytest.approx(45)
    assert weights @ (first**7) == pytest.approx(0, abs=1e-12)
    # Degree eight is beyond four nodes: <z^8> = 105.
    assert weights @ first**8 != pytest.approx(105, rel=1e-2)


@pytest.mark.parametrize("arguments", [(0, 2), (4, 0), (2.5, 1)])
def test_gauss_hermite_refuses_impossible_sizes(arguments):
    with pytest.raises(ValueError, match=r"n_nodes|q"):
        gauss_hermite(*arguments)
