"""Layers written out in NumPy, with which both frameworks are compared.

Layouts are those of `advml.networks`. Sums are in double precision.
"""

import itertools

import numpy as np
import scipy.signal

# In single precision one operation rounds by 6e-8 and some layers with sums
# of up to 600 terms by some hundred times as much, in double precision by
# 1e-16 times as much.
TOLERANCE = {"float32": 1e-5, "float64": 1e-11}


def close(got, want, size, precision):
    """Assert that arrays agree up to rounding of terms of this size."""
    assert got.dtype == precision
    assert got.shape == np.shape(want)
    assert np.all(np.abs(got - want) <= TOLERANCE[precision] * size)


def dense(layers, x, activation):
    """Dense layers with the activation between them."""
    for i, (kernel, bias) in enumerate(layers):
        x = (activation(x) if i else x) @ np.float64(kernel) + bias
    return x


def convolved(image, kernel, bias):
    """Every second place of a correlation with zeros around the image."""
    width = kernel.shape[0] // 2
    image = np.pad(image, ((width, width), (width, width), (0, 0)))
    channels = [
        bias[k]
        + sum(
            scipy.signal.correlate2d(
                image[..., c], np.float64(kernel[..., c, k]), "valid"
            )[::2, ::2]
            for c in range(image.shape[2])
        )
        for k in range(kernel.shape[3])
    ]
    return np.stack(channels, axis=-1)


def spread(image, kernel, bias, side):
    """Each pixel puts the kernel, times itself, around its new place."""
    size, left = len(kernel), len(image)
    stride, width = (1 if left == side else 2), size // 2
    out = np.zeros((side, side, kernel.shape[2])) + bias
    for place in itertools.product(range(left), range(left)):
        for tap in itertools.product(range(size), range(size)):
            i, j = (stride * np.array(place) + tap - width).tolist()
            if 0 <= i < side and 0 <= j < side:
                out[i, j] += np.float64(kernel[tap]) @ image[place]
    return out
