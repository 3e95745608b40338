"""Convolutions with the zeros of PyTorch; test_parity_vae.py has the rest."""

import numpy as np
import pytest
import tensorflow as tf

from advml.networks import transposed_convolution
from advml.tensorflow.networks import halve, halve_turned, transposed

shapes = pytest.mark.parametrize(
    ("side", "size"), [(8, 3), (7, 3), (8, 5), (7, 5), (1, 3), (2, 5)]
)


def normals(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(size=shape))


@shapes
def test_turned_images_give_the_same(side, size):
    x = normals(3, side, side, 2)
    kernel, bias = normals(size, size, 2, 4, seed=1), normals(4, seed=2)
    np.testing.assert_allclose(
        halve_turned(x, kernel, bias), halve(x, kernel, bias), atol=1e-13
    )


@shapes
def test_the_way_back_is_the_transpose_of_the_convolution(side, size):
    """⟨y, halve(x)⟩ = ⟨transposed(y), x⟩ for all x and y."""
    kernel, left = normals(size, size, 2, 4), (side + 1) // 2
    if left == side:
        pytest.skip("a side of one is taken for a stride of one")
    x, y = normals(3, side, side, 2, seed=1), normals(3, left, left, 4, seed=2)
    back = transposed(y, kernel, 0, side)
    assert back.shape == x.shape
    one = tf.reduce_sum(y * halve(x, kernel, 0)).numpy()
    assert one == pytest.approx(tf.reduce_sum(back * x).numpy(), rel=1e-12)


def test_shifts_by_the_stride_become_shifts_by_one():
    """Away from the zeros around the image (eq-conv)."""
    x, kernel = normals(1, 16, 16, 2), normals(3, 3, 2, 4, seed=1)
    before, after, odd = (
        halve(tf.roll(x, by, axis=[1, 2]), kernel, 0.3).numpy()
        for by in ((0, 0), (2, 4), (1, 0))
    )
    want = np.roll(before, (1, 2), axis=(1, 2))
    inside = np.s_[:, 2:-1, 3:-1]
    np.testing.assert_array_equal(after[inside], want[inside])
    assert np.abs(odd - before)[inside].max() > 0.1


@pytest.mark.parametrize(
    ("size", "line"), [(3, [1, 2, 1, 2, 1, 2, 1, 1]), (5, None)]
)
def test_variances_of_an_untrained_layer_are_a_chequerboard(size, line):
    """gain · terms / size², and the mean over a period is gain / 4."""
    n = 4000
    kernel, _ = transposed_convolution(
        np.random.default_rng(0), size, 8, n, gain=8.0
    )
    y = tf.ones((1, 4, 4, 8), tf.float64)
    out = transposed(y, tf.constant(kernel), 0, 8).numpy()[0]
    variance = (out**2).mean(-1)
    assert variance[3:5, 3:5].mean() == pytest.approx(2, rel=0.12)
    if line is not None:
        want = 8 / size**2 * np.outer(line, line)
        np.testing.assert_allclose(variance, want, rtol=5 * np.sqrt(2 / n))
