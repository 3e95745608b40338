"""Annealed importance sampling against exact partition functions."""

from itertools import pairwise

import numpy as np
import pytest

from advml.likelihood import (
    annealed_importance_sampling,
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
