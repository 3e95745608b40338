"""Convolutions with the zeros of PyTorch; test_parity_vae.py has the rest."""

import numpy as np
import pytest
import tensorflow as tf

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
