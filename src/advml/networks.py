"""Weights with which networks begin, drawn by NumPy for every framework.

Layouts are those of Keras: a dense kernel is (inputs, outputs), a
convolution's (height, width, inputs, outputs), and images are flattened row
by row with the channels last. A layer is a pair (kernel, bias).
"""

from itertools import pairwise

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
    """Kernel (size, size, n_in, n_out), with size² n_in inputs; see dense.

    `size` is odd: a kernel of even size has no pixel in its middle.
    """
    shape = _odd(size), size, count("n_in", n_in), count("n_out", n_out)
    return _normal(rng, shape, gain / (size**2 * n_in)), np.zeros(n_out)


def dense_energy(n_inputs, n_hidden, seed):
    """Layers n_inputs → n_hidden[0] → … → 1, a list; the last is linear."""
    rng = np.random.default_rng(seed)
    layers = [
        dense(rng, n_in, n_out)
        for n_in, n_out in pairwise([n_inputs, *n_hidden])
    ]
    return [*layers, dense(rng, [n_inputs, *n_hidden][-1], 1, gain=1.0)]


def convolutional_energy(side, channels, sizes, n_hidden, seed):
    """Convolutions, each of which halves the side, and two dense layers.

    With stride 2 and zeros of width size // 2 around it, an image of side s
    becomes one of side ⌈s/2⌉.
    """
    if len(channels) != len(sizes):
        raise ValueError(
            f"channels and sizes must be of one length, but are {channels!r} "
            f"and {sizes!r}"
        )
    rng, left, layers = np.random.default_rng(seed), count("side", side), []
    for size, (n_in, n_out) in zip(
        sizes, pairwise([1, *channels]), strict=True
    ):
        layers.append(convolution(rng, size, n_in, n_out))
        left = -(-left // 2)
    layers.append(dense(rng, left**2 * [1, *channels][-1], n_hidden))
    return [*layers, dense(rng, n_hidden, 1, gain=1.0)]


def same_shapes(layers, others):
    """Raise ValueError unless two lists of layers have the same shapes."""
    mine, theirs = (
        [tuple(np.shape(a) for a in layer) for layer in each]
        for each in (layers, others)
    )
    if mine != theirs:
        raise ValueError(f"layers must have shapes {mine}, not {theirs}")


def _odd(size):
    if count("size", size) % 2 == 0:
        raise ValueError(f"size of a convolution must be odd, not {size!r}")
    return size


def _normal(rng, shape, variance):
    return np.sqrt(variance) * rng.standard_normal(shape)
