"""The temperature of a Langevin step, against the chain itself."""

import numpy as np
import pytest

from advml.sampling import langevin, temperature


def test_temperature_by_hand():
    assert temperature(0.5, 1.0) == 1
    assert temperature(10, 0.005) == pytest.approx(1.25e-6, rel=1e-14)
    np.testing.assert_allclose(temperature(2.0, [0, 2, 4]), [0, 1, 4])


@pytest.mark.parametrize("step", [0.01, 0.3])
def test_the_noise_of_langevin_has_temperature_one(step):
    """One step from the top of a flat energy: variance noise² = 2·step."""
    n = 100_000
    x = langevin(np.zeros_like, np.zeros(n), step=step, n_steps=1, seed=0)
    error = 4.5 * np.sqrt(2 / n)
    assert temperature(step, x.std()) == pytest.approx(1, rel=error)


@pytest.mark.parametrize("exact", [0.25, 4.0])
def test_a_chain_at_a_temperature_samples_it(exact):
    """E = x²/2 at T: variance T/(1 − step/2), from the recursion of x."""
    step, n, rng = 0.2, 100_000, np.random.default_rng(1)
    noise = np.sqrt(2 * step * exact)
    x = np.zeros(n)
    for _ in range(60):
        x = x - step * x + noise * rng.standard_normal(n)
    want = temperature(step, noise) / (1 - step / 2)
    assert x.var() == pytest.approx(want, rel=4.5 * np.sqrt(2 / n))
    assert temperature(step, noise) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("step", [0, -1.0, np.inf, "much"])
def test_a_step_that_is_not_positive_is_refused(step):
    with pytest.raises(ValueError, match="step must be"):
        temperature(step, 1.0)
