"""Layers that networks share, with the layouts of `advml.networks`."""

import keras
import tensorflow as tf

from advml import networks
from advml.networks import EPSILON


class Network(keras.Model):
    """Layers (kernel, bias) that can go to the other framework and back."""

    def __init__(self, layers, device, dtype):
        """Take arrays as variables; see `advml.tensorflow.ebm`."""
        super().__init__(dtype=tf.as_dtype(dtype).name)
        with tf.device(device):
            self.pairs = [
                [
                    self.add_weight(a.shape, "zeros", name=name)
                    for a, name in zip(pair, ("kernel", "bias"), strict=True)
                ]
                for pair in layers
            ]
        self.from_numpy(layers)
        self.built = True

    def to_numpy(self):
        """Return copies of all layers, a list of pairs (kernel, bias)."""
        return [tuple(v.numpy() for v in pair) for pair in self.pairs]

    def from_numpy(self, layers):
        """Take over what :meth:`to_numpy` of either framework returned."""
        networks.same_shapes(self.to_numpy(), layers)
        for pair, arrays in zip(self.pairs, layers, strict=True):
            for variable, array in zip(pair, arrays, strict=True):
                variable.assign(array)
        return self


def dense(pairs, x, activation):
    """Dense layers with the activation between them."""
    for i, (kernel, bias) in enumerate(pairs):
        x = tf.matmul(activation(x) if i else x, kernel) + bias
    return x


def halve(y, kernel, bias):
    """Convolution with stride 2 and zeros of width size // 2 around y.

    For even sides "SAME" is another: it has one zero less on the left.
    """
    width = [kernel.shape[0] // 2] * 2
    padding = [[0, 0], width, width, [0, 0]]
    return tf.nn.conv2d(y, kernel, 2, padding) + bias


def halve_turned(y, kernel, bias):
    """:func:`halve`, with images of even side and the kernel turned around.

    Then "SAME" leaves out the zero on the right. On a CPU the slope in the
    kernel takes half the time, that in y more.
    """
    if y.shape[1] % 2 == 1:
        return tf.nn.conv2d(y, kernel, 2, "SAME") + bias
    y = tf.nn.conv2d(_turned(y), _turned(kernel, 0), 2, "SAME")
    return _turned(y) + bias


def transposed(y, kernel, bias, side):
    """Transpose of :func:`halve` from images of this side, plus a bias.

    Pixel i of y puts the kernel around pixel 2i; what falls outside of the
    image is lost. If the side is that of y, the stride is 1 and not 2. The
    kernel is (size, size, outputs, inputs): that of the convolution. Images
    of even side are turned around as in :func:`halve_turned`.
    """
    shape = tf.shape(y)[0], side, side, kernel.shape[2]
    if side == y.shape[1] or side % 2 == 1:
        stride = 1 if side == y.shape[1] else 2
        return tf.nn.conv2d_transpose(y, kernel, shape, stride, "SAME") + bias
    y, kernel = _turned(y), _turned(kernel, 0)
    return _turned(tf.nn.conv2d_transpose(y, kernel, shape, 2, "SAME")) + bias


def _turned(y, axis=1):
    """Images, or from axis 0 a kernel, turned around by 180 degrees."""
    return tf.reverse(y, [axis, axis + 1])


def adam(parameters, slopes, moments, rate, betas, seen):
    """One step of Adam, in place.

    m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², and at the t-th step with `seen` =
    1 − βᵗ of both Θ ← Θ − rate·(m/seen₁)/(√(v/seen₂) + ε), as in PyTorch.
    `moments` are pairs (m, v) of variables, one for each parameter.
    """
    beta, gamma = betas
    for parameter, g, (m, v) in zip(parameters, slopes, moments, strict=True):
        m.assign(beta * m + (1 - beta) * g)
        v.assign(gamma * v + (1 - gamma) * g**2)
        change = m / seen[0] / (tf.sqrt(v / seen[1]) + EPSILON)
        parameter.assign_sub(rate * change)


def zeros_like(variables):
    """Variables of zeros, to remember something of each of the others."""
    return [tf.Variable(tf.zeros_like(v)) for v in variables]


def tensors(dtype, numbers):
    """Tensors of Python's numbers, each of which would make a new graph.

    By tf.constant: tf.cast rounds them to single precision on the way.
    """
    return tf.nest.map_structure(lambda c: tf.constant(c, dtype), numbers)
