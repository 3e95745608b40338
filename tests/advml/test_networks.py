"""Initial weights: their spread, their shapes, and signals that survive."""

import numpy as np
import pytest
from scipy.special import expit

from advml import networks


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("gain", [2.0, 1.0])
def test_weights_have_the_variance_gain_over_inputs(gain):
    kernel, bias = networks.dense(rng(), 300, 400, gain=gain)
    error = 4.5 * np.sqrt(2 / kernel.size)
    assert kernel.var() == pytest.approx(gain / 300, rel=error)
    kernel, bias = networks.convolution(rng(), 5, 40, 100, gain=gain)
    error = 4.5 * np.sqrt(2 / kernel.size)
    assert kernel.var() == pytest.approx(gain / (25 * 40), rel=error)
    assert kernel.shape == (5, 5, 40, 100)
    np.testing.assert_array_equal(bias, np.zeros(100))


def test_a_signal_neither_dies_nor_explodes_in_twenty_layers():
    """Mean square 1/2 · gain per rectifying layer, that is 1, ± 1/√width."""
    x = rng().normal(size=(50, 400))
    generator = rng(1)
    for _ in range(20):
        kernel, bias = networks.dense(generator, 400, 400)
        x = np.maximum(x @ kernel + bias, 0)
    # A layer changes log ⟨x²⟩ by some √(5/400); twenty by half of it.
    assert 0.5 * np.exp(-2.2) < np.mean(x**2) < 0.5 * np.exp(2.2)


def test_a_linear_output_keeps_the_size():
    x = rng().normal(size=(2000, 300))
    kernel, _ = networks.dense(rng(1), 300, 50, gain=1.0)
    assert np.mean((x @ kernel) ** 2) == pytest.approx(1, abs=0.06)


def test_layers_of_a_dense_energy():
    layers = networks.dense_energy(3, (50, 40), 1)
    assert [k.shape for k, _ in layers] == [(3, 50), (50, 40), (40, 1)]
    assert [b.shape for _, b in layers] == [(50,), (40,), (1,)]
    # The last layer is linear, gain 1; the others rectify, gain 2.
    layers = networks.dense_energy(400, (400, 4000), 1)
    for (kernel, _), gain in zip(layers, (2, 2, 1), strict=True):
        error = 4.5 * np.sqrt(2 / kernel.size)
        assert kernel.var() * len(kernel) == pytest.approx(gain, rel=error)
    assert [k.shape for k, _ in networks.dense_energy(3, (), 1)] == [(3, 1)]


@pytest.mark.parametrize(("side", "left"), [(28, 4), (32, 4), (7, 1), (33, 5)])
def test_layers_of_a_convolutional_energy(side, left):
    layers = networks.convolutional_energy(side, (5, 6, 7), (5, 3, 3), 9, 0)
    assert [k.shape for k, _ in layers] == [
        (5, 5, 1, 5),
        (3, 3, 5, 6),
        (3, 3, 6, 7),
        (left**2 * 7, 9),
        (9, 1),
    ]


def test_weights_depend_on_the_seed_alone():
    one, same, other = (
        networks.dense_energy(2, (3,), seed)[0][0]
        for seed in (1, np.random.default_rng(1), 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.any(one == other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: networks.dense(rng(), 0, 3), "n_in must be .* not 0"),
        (lambda: networks.dense(rng(), 3, 1.5), r"n_out must be .* not 1\.5"),
        (lambda: networks.dense_energy(2, (3, 0), 0), "n_hidden must be .* 0"),
        (lambda: networks.dense_energy(2, 3, 0), "n_hidden must be a list"),
        (lambda: networks.dense_energy(0, (3,), 0), "n_inputs must be .* 0"),
        (
            lambda: networks.convolutional_energy(8, (0,), (3,), 5, 0),
            "channels must be .* not 0",
        ),
        (
            lambda: networks.convolutional_energy(8, (2,), (3,), 0, 0),
            "n_hidden must be .* not 0",
        ),
        (
            lambda: networks.dense_autoencoder(4, 2, (3, -1), 2.0, 0),
            "n_hidden must be .* not -1",
        ),
        (
            lambda: networks.convolutional_autoencoder(8, 2, (0,), 3, 5, 0),
            "channels must be .* not 0",
        ),
        (
            lambda: networks.convolutional_autoencoder(8, 2, (2,), 3, 0, 0),
            "n_hidden must be .* not 0",
        ),
        (lambda: networks.convolution(rng(), 4, 1, 1), "must be odd, not 4"),
        (lambda: networks.convolution(rng(), 3, -1, 1), "n_in must be .* -1"),
        (
            lambda: networks.convolutional_energy(8, (3,), (3, 3), 5, 0),
            "channels and sizes must be of one length",
        ),
        (
            lambda: networks.same_shapes([(np.ones(2),)], [(np.ones(3),)]),
            r"layers must have shapes .*\(2,\).*, not .*\(3,\)",
        ),
    ],
)
def test_bad_sizes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_silu_loses_less_than_a_rectifier():
    """⟨silu(z)²⟩ of a normal z is 0.356 (quadrature), not 1/2: gain 2 holds
    a signal to within a third per layer."""
    z, weights = np.polynomial.hermite_e.hermegauss(80)
    mean = np.sum(weights * (z * expit(z)) ** 2) / weights.sum()
    assert mean == pytest.approx(0.3557, abs=1e-3)


def test_layers_of_a_dense_autoencoder():
    encoder, decoder = networks.dense_autoencoder(400, 30, (300, 200), 1.5, 0)
    widths = [(400, 300), (300, 200), (200, 60)]
    assert [k.shape for k, _ in encoder] == widths
    back = [(30, 200), (200, 300), (300, 400)]
    assert [k.shape for k, _ in decoder] == back
    assert [len(b) for _, b in decoder] == [200, 300, 400]
    gains = (1.5, 1.5, 1.0) * 2
    for (kernel, _), gain in zip(encoder + decoder, gains, strict=True):
        error = 4.5 * np.sqrt(2 / kernel.size)
        assert kernel.var() * len(kernel) == pytest.approx(gain, rel=error)


@pytest.mark.parametrize(
    ("side", "sides"), [(28, [28, 14, 7]), (8, [8, 4, 2]), (9, [9, 5, 3])]
)
def test_layers_of_a_convolutional_autoencoder(side, sides):
    assert networks.sides(side, (32, 64)) == sides
    encoder, decoder = networks.convolutional_autoencoder(
        side, 2, (32, 64), 3, 16, 0
    )
    flat = sides[-1] ** 2 * 64
    assert [k.shape for k, _ in encoder] == [
        (3, 3, 1, 32),
        (3, 3, 32, 64),
        (flat, 16),
        (16, 4),
    ]
    assert [k.shape for k, _ in decoder] == [
        (2, flat),
        (3, 3, 64, 64),
        (3, 3, 32, 64),
        (3, 3, 1, 32),
    ]
    assert [len(b) for _, b in decoder] == [flat, 64, 32, 1]


def test_signals_survive_on_the_way_back():
    """Where the side doubles a pixel has size²/4 n_in inputs."""
    for gain, kernel in (
        (8.0, networks.transposed_convolution(rng(), 3, 40, 50, gain=8.0)[0]),
        (2.0, networks.transposed_convolution(rng(), 3, 40, 50)[0]),
    ):
        assert kernel.shape == (3, 3, 50, 40)
        error = 4.5 * np.sqrt(2 / kernel.size)
        assert kernel.var() * 9 * 40 == pytest.approx(gain, rel=error)
    _, decoder = networks.convolutional_autoencoder(9, 2, (30, 50), 3, 4, 0)
    for (kernel, _), gain in zip(decoder[1:], (8, 8, 1), strict=True):
        error = 4.5 * np.sqrt(2 / kernel.size)
        n_inputs = 9 * kernel.shape[3]
        assert kernel.var() * n_inputs == pytest.approx(gain, rel=error)
