"""What needs no framework: batches, draws, and what is refused."""

import numpy as np
import pytest

from advml import vae

OPTIONS = {
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 0.5,
    "final_learning_rate": None,
    "n_weights": 1,
    "binarise": False,
    "seed": 0,
}


def plan(data, n_latent=2, **options):
    found = vae.epochs_of_batches(data, n_latent, **OPTIONS | options)
    return [list(epoch) for epoch in found]


def test_every_epoch_visits_every_row_once_in_a_new_order():
    data = np.arange(10.0)[:, None]
    epochs = plan(data)
    assert [[len(x) for x, _, _ in epoch] for epoch in epochs] == [
        [4, 4, 2]
    ] * 2
    first, second = (
        np.concatenate([x for x, _, _ in epoch])[:, 0] for epoch in epochs
    )
    np.testing.assert_array_equal(np.sort(first), data[:, 0])
    np.testing.assert_array_equal(np.sort(second), data[:, 0])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, data[:, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_is_normal_and_other_for_each_datum_weight_and_update(dtype):
    data = np.zeros((300, 1), dtype)
    batches = [
        noise
        for epoch in plan(data, 5, n_weights=3, batch_size=200)
        for _, noise, _ in epoch
    ]
    assert [b.shape for b in batches] == [(3, 200, 5), (3, 100, 5)] * 2
    assert all(b.dtype == dtype for b in batches)
    values = np.concatenate([b.ravel() for b in batches])
    n = len(values)  # single precision rounds: few values may meet
    assert len(np.unique(values)) > 0.999 * n
    assert abs(values.mean()) < 4.5 / np.sqrt(n)
    assert values.var() == pytest.approx(1, rel=4.5 * np.sqrt(2 / n))
    assert np.mean(values**4) == pytest.approx(3, abs=4.5 * np.sqrt(96 / n))


def test_pixels_are_tossed_anew_with_their_probability():
    data = np.tile(np.float32([0, 0.2, 0.7, 1]), (5000, 1))
    first, second = (
        np.concatenate([x for x, _, _ in epoch])
        for epoch in plan(data, binarise=True, batch_size=5000)
    )
    assert first.dtype == np.float32
    for x in (first, second):
        assert set(np.unique(x)) == {0, 1}
        np.testing.assert_array_equal(x[:, [0, 3]], data[:, [0, 3]])
        assert np.all(np.abs(x.mean(0) - data[0]) < 4.5 * 0.5 / np.sqrt(5000))
    assert abs(np.corrcoef(first[:, 2], second[:, 2])[0, 1]) < 4.5 / 70
    assert abs(np.corrcoef(first[:, 1], first[:, 2])[0, 1]) < 4.5 / 70


def test_the_learning_rate_falls_on_a_straight_line_over_all_updates():
    rates = [
        rate
        for epoch in plan(np.zeros((10, 1)), final_learning_rate=0.0)
        for _, _, rate in epoch
    ]
    np.testing.assert_allclose(rates, [0.5, 0.4, 0.3, 0.2, 0.1, 0], rtol=1e-15)
    assert {rate for e in plan(np.zeros((9, 1))) for *_, rate in e} == {0.5}


def test_batches_repeat_with_the_seed_and_go_on_with_a_generator():
    data = np.arange(8.0)[:, None]
    same = plan(data, seed=3), plan(data, seed=3)
    np.testing.assert_array_equal(same[0][1][1][1], same[1][1][1][1])
    assert not np.array_equal(same[0][0][0][1], plan(data)[0][0][1])
    rng = np.random.default_rng(3)
    halves = plan(data, seed=rng, epochs=1) + plan(data, seed=rng, epochs=1)
    for epoch, other in zip(same[0], halves, strict=True):
        for batch, again in zip(epoch, other, strict=True):
            np.testing.assert_array_equal(batch[0], again[0])
            np.testing.assert_array_equal(batch[1], again[1])


def test_draws_have_mean_and_spread():
    rng, n = np.random.default_rng(0), 40_000
    mean = np.tile(np.float32([0.1, 0.6]), (n, 1))
    x = vae.draw(mean, None, rng)
    assert set(np.unique(x)) == {0, 1}
    assert np.all(np.abs(x.mean(0) - mean[0]) < 4.5 * 0.5 / np.sqrt(n))
    x = vae.draw(mean, 0.3, rng)
    assert x.dtype == np.float32
    assert np.all(np.abs(x.mean(0) - mean[0]) < 4.5 * 0.3 / np.sqrt(n))
    assert (x - mean).std() == pytest.approx(0.3, rel=4.5 / np.sqrt(4 * n))


def test_activations_that_only_one_framework_knows_are_refused():
    with pytest.raises(ValueError, match=r"activation .* not 'mish'"):
        vae.activation_gain("mish")
