"""Weights with which networks begin, drawn by NumPy for every framework.

Layouts are those of Keras: a dense kernel is (inputs, outputs), a
convolution's (height, width, inputs, outputs), and images are flattened row
by row with the channels last. A layer is a pair (kernel, bias).
"""

import numpy as np

from advml.validation import count


def dense(rng, n_in, n_out, *, gain=2.0):
    """Kernel (n_in, n_out) ~ N(0, gain / n_in) and a bias (n_out,) of zeros.

    With gain 2 the mean square of a signal survives rectifying layers, which
    lose about half of it; with gain 1 that of a linear layer.

    Source: K. He et al., ICCV 2015 (arXiv:1502.01852).
    """
    shape = count("n_in", n_in), count("n_out", n_out)
    return _normal(rng, shape, gain / n_in), np.zeros(n_out)


def convolution(rng, size, n_in, n_out, *, gain=2.0):
    """Kernel (size, size, n_in, n_out), with size² n_in inputs; see dense."""
    size, n_in, n_out = (
        count(name, value)
        for name, value in (("size", size), ("n_in", n_in), ("n_out", n_out))
    )
    shape = size, size, n_in, n_out
    return _normal(rng, shape, gain / (size**2 * n_in)), np.zeros(n_out)


def _normal(rng, shape, variance):
    return np.sqrt(variance) * rng.standard_normal(shape)
