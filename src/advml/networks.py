"""Weights with which networks begin, drawn by NumPy for every framework.

Layouts are those of Keras: a dense kernel is (inputs, outputs), a
convolution's (height, width, inputs, outputs), and images are flattened row
by row with the channels last. A layer is a pair (kernel, bias).
"""

from itertools import pairwise

import numpy as np

from advml.validation import count, counts

EPSILON = 1e-8  # of Adam: added to the root, as in PyTorch


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


def transposed_convolution(rng, size, n_in, n_out, *, gain=2.0):
    """Kernel (size, size, n_out, n_in) of the convolution back; see dense."""
    shape = _odd(size), size, count("n_out", n_out), count("n_in", n_in)
    return _normal(rng, shape, gain / (size**2 * n_in)), np.zeros(n_out)


def dense_energy(n_inputs, n_hidden, seed):
    """Layers n_inputs → n_hidden[0] → … → 1, a list; the last is linear."""
    rng, hidden = np.random.default_rng(seed), counts("n_hidden", n_hidden)
    return _chain(rng, [count("n_inputs", n_inputs), *hidden, 1], 2.0)


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
    rng, left = np.random.default_rng(seed), sides(side, channels)[-1]
    channels = counts("channels", channels)
    n_hidden, layers = count("n_hidden", n_hidden), []
    for size, (n_in, n_out) in zip(
        sizes, pairwise([1, *channels]), strict=True
    ):
        layers.append(convolution(rng, size, n_in, n_out))
    flat = left**2 * [1, *channels][-1]
    return [*layers, *_chain(rng, [flat, n_hidden, 1], 2.0)]


def dense_autoencoder(n_inputs, n_latent, n_hidden, gain, seed):
    """Encoder n_inputs → … → 2 n_latent and decoder n_latent → … → n_inputs.

    The decoder has the hidden widths of the encoder in reverse. Two lists of
    layers, the last of each linear, the others with the gain that is given.
    """
    rng = np.random.default_rng(seed)
    widths = [count("n_inputs", n_inputs), *counts("n_hidden", n_hidden)]
    latent = count("n_latent", n_latent)
    return (
        _chain(rng, [*widths, 2 * latent], gain),
        _chain(rng, [latent, *widths[::-1]], gain),
    )


def convolutional_autoencoder(side, n_latent, channels, size, n_hidden, seed):
    """Encoder with convolutions, decoder with their transposes, all of `size`.

    Encoder: convolutions, each of which halves the side, and two dense
    layers. Decoder: one dense layer and transposed convolutions back through
    the same sides, with the channels in reverse, and one more to the image.
    Those that double the side add up size² n_in / 4 inputs per pixel.
    """
    rng = np.random.default_rng(seed)
    left, latent = sides(side, channels)[-1], count("n_latent", n_latent)
    channels = counts("channels", channels)
    n_hidden = count("n_hidden", n_hidden)
    encoder = [
        convolution(rng, size, n_in, n_out)
        for n_in, n_out in pairwise([1, *channels])
    ]
    flat = left**2 * [1, *channels][-1]
    encoder += _chain(rng, [flat, n_hidden, 2 * latent], 2.0)
    decoder = [dense(rng, latent, flat)]
    back = [[1, *channels][-1], *channels[::-1]]
    decoder += [
        transposed_convolution(rng, size, n_in, n_out, gain=8.0)
        for n_in, n_out in pairwise(back)
    ]
    last = transposed_convolution(rng, size, back[-1], 1, gain=1.0)
    return encoder, [*decoder, last]


def sides(side, channels):
    """Sides of the image before, between and after the convolutions."""
    found = [count("side", side)]
    for _ in channels:
        found.append(-(-found[-1] // 2))
    return found


def _chain(rng, widths, gain):
    """Dense layers of these widths; the last is linear."""
    *hidden, last = pairwise(widths)
    layers = [dense(rng, n_in, n_out, gain=gain) for n_in, n_out in hidden]
    return [*layers, dense(rng, *last, gain=1.0)]


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
