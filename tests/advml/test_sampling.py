"""Continuous samplers against closed forms and quadrature."""

import numpy as np
import pytest
from scipy import integrate, stats

from advml.sampling import gibbs_gaussian, langevin, metropolis

N = 100_000
SEEDS = range(10)


def log_normal(x):
    return -(x**2) / 2


def minus(x):
    return -x


def assert_variance(x, exact):
    """Independent chains: relative standard error sqrt(2/n)."""
    assert x.var() == pytest.approx(exact, rel=4.5 * np.sqrt(2 / x.size))


# --- Langevin ---------------------------------------------------------------


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("seed", SEEDS)
def test_langevin_has_its_exact_bias(step, seed):
    start = np.zeros(N // 4)
    x = langevin(minus, start, step=step, n_steps=80, seed=seed)
    assert_variance(x, 1 / (1 - step / 2))
    assert abs(x.mean()) < 4.5 * x.std() / np.sqrt(x.size)


def test_langevin_one_step_from_a_point():
    """One step from x has mean x + step·∇log p and variance 2·step."""
    x = langevin(minus, np.full((N, 1), 3.0), step=0.2, n_steps=1, seed=0)
    assert x.mean() == pytest.approx(3 - 0.6, abs=4.5 * np.sqrt(0.4 / N))
    assert_variance(x, 0.4)


def test_langevin_relaxes_at_the_exact_rate():
    x = langevin(minus, np.full(N, 5.0), step=0.1, n_steps=7, seed=0)
    exact = 5 * 0.9**7
    assert x.mean() == pytest.approx(exact, abs=4.5 / np.sqrt(N))


def test_langevin_on_a_correlated_gaussian():
    precision = np.array([[2.0, -0.6], [-0.6, 1.0]])
    start = np.zeros((N // 4, 2))
    x = langevin(
        lambda x: -x @ precision, start, step=0.1, n_steps=150, seed=1
    )
    # v = (1-ηA)² v + 2η in the eigenbasis of A.
    exact = np.linalg.inv(precision @ (np.eye(2) - 0.05 * precision))
    np.testing.assert_allclose(
        np.cov(x.T), exact, atol=6 * 2.0 / np.sqrt(N // 4)
    )


def test_langevin_is_reproducible_and_leaves_its_start_alone():
    start = np.zeros((5, 3))
    runs = [
        langevin(minus, start, step=0.1, n_steps=4, seed=seed)
        for seed in (7, np.random.default_rng(7), 8)
    ]
    assert np.array_equal(runs[0], runs[1])
    assert not np.any(runs[0] == runs[2])
    assert not np.any(start)
    assert runs[0].shape == start.shape


@pytest.mark.parametrize("step", [0.3, 1.0, 1.8])
@pytest.mark.parametrize("seed", SEEDS)
def test_adjusted_langevin_is_unbiased(step, seed):
    x, acceptance = langevin(
        minus,
        np.random.default_rng(seed + 100).standard_normal(N // 4),
        step=step,
        n_steps=30,
        seed=seed,
        adjusted=True,
        log_prob=log_normal,
    )
    assert_variance(x, 1)
    assert 0 < acceptance < 1


def test_adjusted_langevin_in_three_dimensions():
    """The proposal's correction must be summed over the components."""
    scale = np.array([0.7, 1.0, 2.0])
    x, _ = langevin(
        lambda x: -x / scale**2,
        np.zeros((N // 8, 3)),
        step=0.6,
        n_steps=100,
        seed=0,
        adjusted=True,
        log_prob=lambda x: log_normal(x / scale).sum(axis=1),
    )
    for component, sigma in zip(x.T, scale, strict=True):
        assert_variance(component, sigma**2)


def test_adjusted_langevin_keeps_to_the_support():
    """p ∝ x e^(-x) on x > 0: mean 2, variance 2."""

    def log_gamma(x):
        safe = np.where(x > 0, x, 1)
        return np.where(x > 0, np.log(safe) - x, -np.inf)

    x, _ = langevin(
        lambda x: 1 / x - 1,
        np.ones(N // 8),
        step=0.2,
        n_steps=300,
        seed=3,
        adjusted=True,
        log_prob=log_gamma,
    )
    assert x.min() > 0
    assert x.mean() == pytest.approx(2, abs=4.5 * np.sqrt(2 / x.size))
    assert x.var() == pytest.approx(2, rel=4.5 * np.sqrt(5 / x.size))


@pytest.mark.parametrize("step", [0.5, 1.5])
def test_adjusted_acceptance_rate_against_quadrature(step):
    """In the stationary state, on a normal distribution, one step."""

    def integrand(w, x):
        new = (1 - step) * x + np.sqrt(2 * step) * w
        back = x - (1 - step) * new
        log_ratio = (x**2 - new**2) / 2 + w**2 / 2 - back**2 / (4 * step)
        weight = np.exp(-(x**2 + w**2) / 2) / (2 * np.pi)
        return weight * np.minimum(1, np.exp(log_ratio))

    exact, _ = integrate.dblquad(integrand, -8, 8, -8, 8, epsabs=1e-6)
    start = np.random.default_rng(5).standard_normal(N)
    _, acceptance = langevin(
        minus,
        start,
        step=step,
        n_steps=1,
        seed=0,
        adjusted=True,
        log_prob=log_normal,
    )
    assert acceptance == pytest.approx(exact, abs=4.5 * 0.5 / np.sqrt(N))


def fisher(shrink, noise, d):
    """Stationary acceptance on a normal density in d dimensions.

    x' = shrink·x + noise·w; |x'|² - |x|² = μ₊A - |μ₋|B with independent A and
    B ~ χ²(d), and the rate is twice the probability that this is negative.
    """
    trace = shrink**2 + noise**2 - 1
    root = np.sqrt(trace**2 + 4 * noise**2)
    return 2 * stats.f.cdf((root - trace) / (root + trace), d, d)


@pytest.mark.parametrize(("step", "d"), [(1.2, 1), (0.8, 4), (0.3, 60)])
def test_acceptance_rates_in_many_dimensions(step, d):
    start = np.random.default_rng(6).standard_normal((N, d))
    good = {"log_prob": lambda x: log_normal(x).sum(axis=1), "n_steps": 1}
    _, mala = langevin(minus, start, step=step, adjusted=True, seed=0, **good)
    _, walk = metropolis(x0=start, step=step / np.sqrt(d), seed=0, **good)
    for rate, exact in (
        (mala, fisher(1 - step, np.sqrt(2 * step), d)),
        (walk, fisher(1, step / np.sqrt(d), d)),
    ):
        assert 0.2 < exact < 0.9
        error = np.sqrt(exact * (1 - exact) / N)
        assert rate == pytest.approx(exact, abs=4.5 * error)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_langevin_on_a_double_well_against_its_own_kernel(temperature):
    """The fixed point of the chain as a matrix holds its bias as well."""
    eta, x = 0.02, np.linspace(-4, 4, 401)

    def score(x):
        return -(4 * x * (x**2 - 1) - 0.2) / temperature

    def kernel(start):
        step = eta * temperature
        distance = x - (start + step * score(start))[:, None]
        scale = np.sqrt(2 * step)
        return stats.norm.pdf(distance, scale=scale) * (x[1] - x[0])

    expected = (kernel(np.zeros(1)) @ np.linalg.matrix_power(kernel(x), 199))[
        0
    ]
    found = langevin(
        score, np.zeros(N // 4), step=eta * temperature, n_steps=200, seed=2
    )
    for f in (lambda x: x, lambda x: x**2, lambda x: 1 / (1 + x**2)):
        mean = expected @ f(x)
        spread = np.sqrt(expected @ f(x) ** 2 - mean**2)
        error = spread / np.sqrt(found.size)
        assert f(found).mean() == pytest.approx(mean, abs=4.5 * error)


@pytest.mark.filterwarnings("error")
def test_a_diverging_chain_is_stopped():
    with pytest.raises(ValueError, match=r"x is not finite.*step = 2.5"):
        langevin(minus, np.ones(4), step=2.5, n_steps=5_000, seed=0)
    with pytest.raises(ValueError, match="x is not finite"):
        langevin(lambda x: -4 * x**3, np.ones(4), step=2, n_steps=50, seed=0)


def test_langevin_refuses_bad_arguments():
    good = {"step": 0.1, "n_steps": 3, "seed": 0}
    start = np.zeros((4, 2))
    for change, name in [
        ({"step": 0}, "step"),
        ({"step": -0.1}, "step"),
        ({"step": np.nan}, "step"),
        ({"n_steps": 0}, "n_steps"),
        ({"n_steps": 2.0}, "n_steps"),
        ({"adjusted": True}, "log_prob"),
    ]:
        with pytest.raises(ValueError, match=name):
            langevin(minus, start, **(good | change))
    for bad_start in (0.0, np.zeros((0, 2)), [np.inf], ["a"]):
        with pytest.raises(ValueError, match="x0"):
            langevin(minus, bad_start, **good)
    with pytest.raises(ValueError, match="grad_log_prob"):
        langevin(lambda x: x.sum(axis=1), start, **good)
    adjusted = good | {"adjusted": True}
    with pytest.raises(ValueError, match="log_prob must return shape"):
        langevin(minus, start, log_prob=log_normal, **adjusted)
    with pytest.raises(ValueError, match="log_prob returned nan"):
        langevin(minus, start, log_prob=lambda x: x[:, 0] / np.nan, **adjusted)
    with pytest.raises(ValueError, match="x0 has probability zero"):
        langevin(minus, start, log_prob=lambda x: x[:, 0] - np.inf, **adjusted)


# --- Metropolis -------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_metropolis_samples_a_normal_distribution(seed):
    start = np.random.default_rng(seed + 100).standard_normal(N // 4)
    x, acceptance = metropolis(
        log_normal, start, step=2.0, n_steps=20, seed=seed
    )
    assert_variance(x, 1)
    # Stationary acceptance of a normal proposal on a normal: 2/π arctan(2/s).
    # The 20 decisions of a chain are positively correlated at worst.
    exact = 2 / np.pi * np.arctan(1.0)
    assert acceptance == pytest.approx(exact, abs=4.5 * 0.5 / np.sqrt(N // 4))


def test_metropolis_forgets_its_start_and_keeps_to_the_support():
    """An exponential distribution: mean 1, variance 1, nothing below 0."""

    def log_exponential(x):
        return np.where(x[:, 0] >= 0, -x[:, 0], -np.inf)

    x, _ = metropolis(
        log_exponential, np.full((N // 4, 1), 4.0), step=2, n_steps=120, seed=0
    )
    assert x.min() >= 0
    assert x.mean() == pytest.approx(1, abs=4.5 / np.sqrt(x.size))
    assert x.var() == pytest.approx(1, rel=4.5 * np.sqrt(8 / x.size))


def test_metropolis_refuses_bad_arguments():
    with pytest.raises(ValueError, match="x0 has probability zero"):
        metropolis(
            lambda x: np.full(len(x), -np.inf),
            np.ones(3),
            step=1,
            n_steps=1,
            seed=0,
        )
    with pytest.raises(ValueError, match="step"):
        metropolis(log_normal, np.ones(3), step=0, n_steps=1, seed=0)
    with pytest.raises(ValueError, match="log_prob must return shape"):
        metropolis(log_normal, np.ones((3, 2)), step=1, n_steps=1, seed=0)


# --- Gibbs ------------------------------------------------------------------


@pytest.mark.parametrize("rho", [-0.8, 0.5, 0.95])
@pytest.mark.parametrize("seed", range(3))
def test_gibbs_leaves_the_gaussian_invariant(rho, seed):
    rng = np.random.default_rng(seed + 100)
    covariance = [[1, rho], [rho, 1]]
    start = rng.multivariate_normal([0, 0], covariance, size=N // 4)
    path = gibbs_gaussian(rho, start, n_steps=3, seed=seed)
    assert path.shape == (4, N // 4, 2)
    assert np.array_equal(path[0], start)
    np.testing.assert_allclose(
        np.cov(path[3].T), covariance, atol=4.5 * np.sqrt(2 / (N // 4))
    )


@pytest.mark.parametrize("seed", range(3))
def test_gibbs_lag_one_autocorrelation(seed):
    """ρ² per sweep for either variable; from a fixed start, by regression."""
    rho = 0.5
    path = gibbs_gaussian(rho, np.tile([9.0, 2.0], (N, 1)), n_steps=2, seed=0)
    mean = path.mean(axis=1)
    tolerance = 4.5 / np.sqrt(N)
    # The first half step forgets x1 = 9 and pulls towards ρ x2.
    assert mean[1] == pytest.approx([2 * rho, 2 * rho**2], abs=tolerance)
    assert mean[2] == pytest.approx([2 * rho**3, 2 * rho**4], abs=tolerance)
    first = path[1, :, 0]
    assert first.var() == pytest.approx(1 - rho**2, rel=4.5 * np.sqrt(2 / N))
    long = gibbs_gaussian(rho, np.zeros((1, 2)), n_steps=N // 4, seed=seed)
    for x in long[1:, 0].T:
        lag_one = np.corrcoef(x[:-1], x[1:])[0, 1]
        error = np.sqrt((1 - rho**4) / len(x))
        assert lag_one == pytest.approx(rho**2, abs=4.5 * error)


def test_gibbs_refuses_bad_arguments():
    start = np.zeros((3, 2))
    for rho in (1, -1.0, 2, np.nan):
        with pytest.raises(ValueError, match="correlation"):
            gibbs_gaussian(rho, start, n_steps=1, seed=0)
    with pytest.raises(ValueError, match="x0"):
        gibbs_gaussian(0.5, np.zeros((3, 3)), n_steps=1, seed=0)
