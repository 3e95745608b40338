"""Stochastic-gradient Langevin dynamics against closed forms."""

from itertools import combinations

import numpy as np
import pytest

from advml.sampling import _minibatches, sgld

# A Gaussian: prior N(0, 1), likelihoods N(θ, 2²), curvature Λ, mean μ.
N, WIDTH, BATCH = 40, 2.0, 8
DATA = 0.7 + WIDTH * np.random.default_rng(5).standard_normal(N)
CURVATURE = 1 + N / WIDTH**2
MEAN = DATA.sum() / WIDTH**2 / CURVATURE
CHAINS = 20_000


def prior(theta):
    return -theta


def slope(theta, x):
    return (x - theta[:, None]).sum(axis=1) / WIDTH**2


def noise(n, replace):
    """Variance of the minibatch gradient."""
    without = 1 if replace else (N - n) / (N - 1)
    return N**2 / n * without * DATA.var() / WIDTH**4


def last(step=0.05, n_steps=120, **arguments):
    """Final states of independent chains."""
    arguments = {
        "grad_log_prior": prior,
        "grad_log_likelihood": slope,
        "data": DATA,
        "theta0": np.full(CHAINS, MEAN),
        "steps": np.full(n_steps, step),
        "batch_size": BATCH,
        "seed": 0,
        "thin": n_steps,
    } | arguments
    return sgld(**arguments)[-1]


def assert_variance(x, exact):
    """Independent chains: relative standard error sqrt(2/n)."""
    np.testing.assert_allclose(
        x.var(axis=0), exact, rtol=4.5 * np.sqrt(2 / len(x))
    )


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("n", [1, BATCH, 30])
def test_stationary_variance(n, replace):
    """v = (1 + εC/4)/(Λ(1 - εΛ/4)), and the mean is that of the posterior."""
    x = last(batch_size=n, replace=replace, seed=n)
    heat = 0.05 * noise(n, replace) / 4
    exact = (1 + heat) / CURVATURE / (1 - 0.05 * CURVATURE / 4)
    assert_variance(x, exact)
    assert x.mean() == pytest.approx(MEAN, abs=4.5 * np.sqrt(exact / len(x)))


@pytest.mark.parametrize("temperature", [0, 0.5, 2])
def test_temperature(temperature):
    x = last(temperature=temperature, seed=1)
    heat = temperature + 0.05 * noise(BATCH, False) / 4
    assert_variance(x, heat / CURVATURE / (1 - 0.05 * CURVATURE / 4))


@pytest.mark.parametrize("replace", [False, True])
def test_one_step_from_a_point(replace):
    """Mean θ + ε/2·(full gradient), variance ε²C/4 + Tε."""
    x = last(0.2, 1, theta0=np.full(CHAINS, 3.0), replace=replace, seed=2)
    exact = 0.2**2 * noise(BATCH, replace) / 4 + 0.2
    assert_variance(x, exact)
    drift = 0.1 * CURVATURE * (MEAN - 3)
    assert x.mean() == pytest.approx(
        3 + drift, abs=4.5 * np.sqrt(exact / CHAINS)
    )


def test_all_data_without_noise_is_gradient_ascent():
    theta0 = np.array([[0.3], [2.0]])
    path = sgld(
        prior,
        lambda theta, x: (x - theta[:, None]).sum(axis=1) / WIDTH**2,
        DATA[:, None],
        theta0,
        steps=[0.05, 0.02],
        batch_size=N,
        seed=0,
        temperature=0,
    )
    exact = MEAN + (theta0 - MEAN) * (1 - 0.025 * CURVATURE)
    np.testing.assert_allclose(path[1], exact, rtol=1e-12)
    exact = MEAN + (exact - MEAN) * (1 - 0.01 * CURVATURE)
    np.testing.assert_allclose(path[2], exact, rtol=1e-12)


def test_each_step_has_its_own_size():
    """Second moments of a decreasing schedule follow their recursion."""
    steps = np.array([0.3, 0.1, 0.02])
    x = last(n_steps=3, steps=steps, seed=3)
    exact = 0.0
    for step in steps:
        exact *= (1 - step * CURVATURE / 2) ** 2
        exact += step**2 * noise(BATCH, False) / 4 + step
    assert_variance(x, exact)


def test_two_parameters_have_their_own_variances():
    widths = np.array([1.0, 3.0])
    data = widths * np.random.default_rng(8).standard_normal((N, 2))
    x = last(
        0.02,
        100,
        grad_log_likelihood=lambda theta, x: (
            (x - theta[:, None]).sum(axis=1) / widths**2
        ),
        data=data,
        theta0=np.zeros((CHAINS, 2)),
        seed=4,
    )
    curvature = 1 + N / widths**2
    C = N**2 / BATCH * (N - BATCH) / (N - 1) * data.var(axis=0) / widths**4
    exact = (1 + 0.02 * C / 4) / curvature / (1 - 0.02 * curvature / 4)
    # What is left of the start in the soft direction: exp(-εΛt).
    exact = exact * (1 - (1 - 0.02 * curvature / 2) ** 200)
    assert_variance(x, exact)
    # Their noises are independent, but for the correlation of the data.
    C = N**2 / BATCH * (N - BATCH) / (N - 1) * np.cov(data.T, bias=True)[0, 1]
    C = 0.02**2 / 4 * C / np.prod(widths) ** 2
    covariance = C / (1 - np.prod(1 - 0.02 * curvature / 2))
    tolerance = 4.5 * np.sqrt(np.prod(exact) / CHAINS)
    assert np.cov(x.T)[0, 1] == pytest.approx(covariance, abs=tolerance)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_all_minibatches_are_equally_likely(n):
    """Without replacement: all subsets, and no datum twice."""
    draws = 60_000
    x = _minibatches(np.arange(5), draws, n, False, np.random.default_rng(n))
    assert x.shape == (draws, n)
    subsets = list(combinations(range(5), n))
    codes = (1 << np.sort(x, axis=1)).sum(axis=1)
    counts = [np.sum(codes == sum(1 << i for i in s)) for s in subsets]
    assert sum(counts) == draws
    p = 1 / len(subsets)
    tolerance = 4.5 * np.sqrt(draws * p * (1 - p))
    np.testing.assert_allclose(counts, draws * p, atol=tolerance)


def test_draws_with_replacement_are_independent():
    draws = 60_000
    x = _minibatches(np.arange(4), draws, 2, True, np.random.default_rng(0))
    counts = np.bincount(4 * x[:, 0] + x[:, 1], minlength=16)
    tolerance = 4.5 * np.sqrt(draws * 15) / 16
    np.testing.assert_allclose(counts, draws / 16, atol=tolerance)


def test_each_chain_draws_its_own_minibatch():
    """Without noise, chains from one point part because of their batches."""
    x = last(0.05, 1, theta0=np.zeros(1000), temperature=0)
    assert len(np.unique(x)) > 990


def test_path_starts_with_theta0_and_is_thinned():
    theta0 = np.array([0.0, 1.0, 2.0])
    arguments = dict(steps=np.full(7, 0.01), batch_size=3)
    paths = {
        thin: sgld(prior, slope, DATA, theta0, seed=9, thin=thin, **arguments)
        for thin in (1, 3, 7)
    }
    assert paths[1].shape == (8, 3)
    np.testing.assert_array_equal(paths[1][0], theta0)
    np.testing.assert_array_equal(paths[3], paths[1][::3])
    np.testing.assert_array_equal(paths[7], paths[1][::7])
    np.testing.assert_array_equal(theta0, [0.0, 1.0, 2.0])


def test_seed_is_reproducible():
    a, b, c = (
        last(n_steps=3, seed=seed) for seed in (7, np.random.default_rng(7), 8)
    )
    assert np.array_equal(a, b)
    assert not np.any(a == c)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("steps", {"steps": [0.1, -0.1]}),
        ("steps", {"steps": 0.1}),
        ("steps", {"steps": [np.nan]}),
        ("steps", {"steps": []}),
        ("batch_size", {"batch_size": N + 1}),
        ("batch_size", {"batch_size": 0}),
        ("thin", {"thin": 0}),
        ("temperature", {"temperature": -1}),
        ("data", {"data": [np.inf, 1.0]}),
        ("data", {"data": []}),
        ("theta0", {"theta0": 1.0}),
        ("grad_log_prior", {"grad_log_prior": lambda theta: 0.0}),
        ("grad_log_likelihood", {"grad_log_likelihood": lambda theta, x: x}),
    ],
)
def test_bad_arguments_are_named(name, arguments):
    with pytest.raises(ValueError, match=name):
        last(n_steps=2, **({"theta0": np.zeros(5), "thin": 1} | arguments))


def test_divergence_names_the_step():
    with pytest.raises(ValueError, match=r"theta is not finite .*steps\["):
        last(20.0, 400, theta0=np.zeros(5))


def test_batches_may_exceed_the_data_with_replacement():
    assert last(batch_size=2 * N, replace=True, theta0=np.zeros(3)).shape == (
        3,
    )
