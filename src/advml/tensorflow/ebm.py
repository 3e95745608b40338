"""Energy-based models: any network as the energy, sampled by its slope.

A model is a callable that maps states (n, ...) to energies (n,), with
p(x) = exp(-E(x)) / Z. The networks here are two such callables; the samplers
and losses take any other as well. Names, arguments and numbers are those of
the PyTorch module.
"""

import keras
import numpy as np
import tensorflow as tf

from advml import networks
from advml.ebm import BETAS, chain_constants, learning_rates
from advml.ebm import ReplayBuffer as ReplayBuffer
from advml.networks import EPSILON
from advml.tensorflow.networks import (
    Network,
    dense,
    halve,
    tensors,
    zeros_like,
)
from advml.validation import batch, count, nonnegative, positive


class _Energy(Network):
    """What both networks share: layers (kernel, bias), and the trap."""

    def __init__(self, layers, radius, device, dtype):
        super().__init__(layers, device, dtype)
        self.radius = None if radius is None else positive("radius", radius)

    def trap(self, x):
        """|x|²/2R², or zero without a radius."""
        if self.radius is None:
            return 0.0
        return _row_sums(x**2) / (2 * self.radius**2)

    def get_config(self):
        """Return what `load_model` needs to make a model of this shape."""
        return {
            **self.shape_arguments,
            "radius": self.radius,
            "dtype": self.dtype,
        }


@keras.saving.register_keras_serializable(package="advml")
class DenseEnergy(_Energy):
    """E(x) = |x|²/2R² + f(x) for points x, with f a network (eq-ebm-dense).

    The parabola is a trap that keeps Z finite where f has learned nothing.

    Parameters
    ----------
    n_inputs : int
        Dimension of x; a batch has shape (n, n_inputs).
    n_hidden : sequence of int
        Widths of the hidden layers, each followed by SiLU.
    radius : float or None
        R, the width of the trap, larger than the data; None for no trap.
    seed, device, dtype
        Source of the initial weights; where and how precisely they are
        stored (default: the first GPU if there is one, single precision).
    """

    def __init__(
        self,
        n_inputs,
        n_hidden=(64, 64),
        *,
        radius=2.0,
        seed=0,
        device=None,
        dtype=tf.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        layers = networks.dense_energy(n_inputs, n_hidden, seed)
        super().__init__(layers, radius, device, dtype)
        self.shape_arguments = {
            "n_inputs": n_inputs,
            "n_hidden": [int(n) for n in n_hidden],
        }

    def call(self, x):
        """Energies (n,) of points (n, n_inputs)."""
        return self.trap(x) + dense(self.pairs, x, tf.nn.silu)[:, 0]


@keras.saving.register_keras_serializable(package="advml")
class ConvolutionalEnergy(_Energy):
    """E(x) = |x|²/2R² + f(x) for images x, f a convolutional network.

    Each convolution halves the side (stride 2, zeros of width size // 2
    around the image, SiLU); a hidden layer and one output follow.

    Parameters
    ----------
    side : int
        A batch of images has shape (n, side, side).
    channels, sizes : sequences of int
        Channels and kernel size, odd, of each convolution.
    n_hidden : int
        Units of the dense hidden layer.
    radius : float or None
        R, the width of the trap; None for no trap.
    seed, device, dtype
        As for :class:`DenseEnergy`.

    Source of the default layers: D. Foster, Generative Deep Learning, 2nd
    edition (2023), chapter 7.
    """

    def __init__(
        self,
        side,
        channels=(16, 32, 64, 64),
        sizes=(5, 3, 3, 3),
        *,
        n_hidden=64,
        radius=None,
        seed=0,
        device=None,
        dtype=tf.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        layers = networks.convolutional_energy(
            side, channels, sizes, n_hidden, seed
        )
        super().__init__(layers, radius, device, dtype)
        self.shape = (side, side)
        self.shape_arguments = {
            "side": side,
            "channels": [int(n) for n in channels],
            "sizes": [int(n) for n in sizes],
            "n_hidden": n_hidden,
        }

    def call(self, x):
        """Energies (n,) of images (n, side, side)."""
        # Of a wrong rank they would end the process: TensorFlow aborts.
        y = batch("x", x, self.shape)[..., None]
        for kernel, bias in self.pairs[:-2]:
            y = tf.nn.silu(halve(y, kernel, bias))
        y = tf.reshape(y, (-1, self.pairs[-2][0].shape[0]))
        return self.trap(x) + dense(self.pairs[-2:], y, tf.nn.silu)[:, 0]


def input_gradient(energy, x):
    """∇ₓE of each state, of the shape of x. No Z: it does not depend on x.

    The energies of the batch are summed, not averaged: each state has the
    slope that it would have alone.
    """
    x = tf.convert_to_tensor(x)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        total = tf.reduce_sum(energy(x))
    return tape.gradient(total, x)


def langevin_step(
    energy, x, w, *, step, noise, max_gradient=None, limits=None
):
    """x ← x − step·∇ₓE(x) + noise·w, w ~ N(0, 1) (eq-ebm-langevin).

    At temperature one `noise` is √(2·step); see `advml.sampling.temperature`
    for any other. `max_gradient` clips each component of ∇ₓE and `limits`
    those of x: heuristics, after which the chain samples something else.
    """
    gradient = input_gradient(energy, x)
    if max_gradient is not None:
        gradient = tf.clip_by_value(gradient, -max_gradient, max_gradient)
    x = x - step * gradient + noise * w
    return x if limits is None else tf.clip_by_value(x, *limits)


def langevin(
    energy,
    x,
    *,
    step,
    noise=None,
    n_steps,
    seed,
    max_gradient=None,
    limits=None,
):
    """Run `n_steps` Langevin steps from x, all chains at once.

    They are compiled once for each energy: what a function takes from around
    it keeps the value of the first call, but for variables of TensorFlow.

    Parameters
    ----------
    energy : callable
        Maps states (n, ...) to energies (n,).
    x : tensor or array (n, ...)
        Start of the chains.
    step, noise : float
        As in :func:`langevin_step`; `noise` is √(2·step) if not given, so
        that the chains are at temperature one.
    n_steps : int
    seed : int, numpy.random.Generator or tf.random.Generator
    max_gradient, limits
        As in :func:`langevin_step`.

    Returns the last states. FloatingPointError, with the name of the
    quantity, if a chain diverges.

    Source: Y. Du & I. Mordatch, NeurIPS 2019 (arXiv:1903.08689).
    """
    constants = chain_constants(step, noise, max_gradient, limits)
    x = _states("x", energy, x)
    n_steps = tf.constant(count("n_steps", n_steps))
    constants = tensors(x.dtype, constants)
    x = _chains(energy, x, n_steps, _numbers(seed), constants)
    _stop_if_not_finite("x", x, f"after {n_steps} Langevin steps")
    return x


@tf.function(reduce_retracing=True)
def _chains(energy, x, n_steps, numbers, constants):
    """Compile the loop of :func:`langevin`: numbers + (0, t) seeds step t."""
    _one_energy_per_state(energy, x)
    for t in tf.range(n_steps):
        w = tf.random.stateless_normal(
            tf.shape(x), numbers + tf.stack([0, t]), dtype=x.dtype
        )
        x = langevin_step(energy, x, w, **constants)
    return x


def loss(energy, x_data, x_model, *, regularisation=0.0):
    """⟨E⟩_data − ⟨E⟩_model + α(⟨E²⟩_data + ⟨E²⟩_model) (eq-ebm-loss).

    With the model's samples held fixed, the gradient of the first two terms
    in the parameters is that of −log-likelihood; their value measures no
    progress. `regularisation` is α ≥ 0, which keeps energies near zero.
    """
    e_data, e_model = energy(x_data), energy(x_model)
    value = tf.reduce_mean(e_data) - tf.reduce_mean(e_model)
    if tf.is_tensor(regularisation) or regularisation:
        square = tf.reduce_mean(e_data**2) + tf.reduce_mean(e_model**2)
        value = value + regularisation * square
    return value


def train(
    energy,
    data,
    *,
    buffer,
    n_updates,
    batch_size=128,
    learning_rate=1e-3,
    final_learning_rate=None,
    step,
    noise=None,
    n_steps,
    max_gradient=None,
    limits=None,
    regularisation=0.0,
    max_norm=None,
    data_noise=0.0,
    seed=0,
    callback=None,
    memory=None,
):
    """Maximise the log-likelihood by two phases, in place (eq-ebm-gradient).

    Each update draws a batch of the data and as many chains of the buffer,
    lets the chains make `n_steps` Langevin steps in the present energy, and
    makes one step of Adam along the gradient of :func:`loss`.

    Parameters
    ----------
    energy : keras.Model
        Maps states (n, ...) to energies (n,).
    data : array (N, ...)
    buffer : ReplayBuffer
    n_updates, batch_size : int
        Number of updates; data points, and chains, in each.
    learning_rate, final_learning_rate : float
        Of Adam; linear from the first to the second, constant without it.
    step, noise, n_steps, max_gradient, limits
        Of the chains, as for :func:`langevin`.
    regularisation : float
        α, as in :func:`loss`.
    max_norm : float, optional
        The gradient in the parameters is shortened to this length.
    data_noise : float
        Standard deviation of normal noise that each batch is given: the
        model then learns the data's density convolved with it.
    seed : int, numpy.random.Generator or tf.random.Generator
    callback : function
        Called as callback(update, energy, x_data, x_model) after each
        update, from 1 on, with the states of both phases.
    memory : optional
        That of Adam, as an earlier call for this model returned it, to go on
        from there; changed in place.

    Returns the memory of Adam. FloatingPointError, with the name of the
    quantity, if anything diverges.

    Source: Y. Du & I. Mordatch, NeurIPS 2019 (arXiv:1903.08689).
    """
    data = _states("data", energy, data)
    size = min(count("batch_size", batch_size), len(data))
    constants = chain_constants(step, noise, max_gradient, limits)
    nonnegative("regularisation", regularisation)
    max_norm = np.inf if max_norm is None else positive("max_norm", max_norm)
    nonnegative("data_noise", data_noise)
    rates = learning_rates(learning_rate, final_learning_rate, n_updates)
    energy(data[:1])  # Keras may have waited for data to make its variables
    done, squares = _memory(energy, memory)
    # In a graph, zero times an energy² that overflows is a nan in the loss.
    alpha = tf.constant(regularisation, data.dtype) if regularisation else 0.0
    rng = _stream(seed)
    for update, rate in enumerate(rates, start=1):
        x_data = _batch(data, size, data_noise, rng)
        places, x = buffer.draw(size)
        x_model = langevin(energy, x, n_steps=n_steps, seed=rng, **constants)
        buffer.store(places, x_model.numpy())
        numbers = {
            "rate": rate,
            "seen": 1 - BETAS[1] ** (done + update),
            "max_norm": max_norm,
        }
        numbers = tensors(data.dtype, numbers) | {"regularisation": alpha}
        value = _descend(energy, x_data, x_model, squares, **numbers)
        _stop_if_not_finite("loss", value, f"in update {update}")
        if callback is not None:
            callback(update, energy, x_data, x_model)
    for variable in energy.trainable_variables:
        _stop_if_not_finite("energy", variable, f"after {update} updates")
    return done + update, squares


def _memory(energy, memory):
    """Steps done by Adam, and its mean squares; None begins anew."""
    own = energy.trainable_variables
    if memory is None:
        return 0, zeros_like(own)
    wanted = [tuple(v.shape) for v in own]
    found = [tuple(v.shape) for v in memory[1]]
    if found != wanted:
        raise ValueError(f"memory must have shapes {wanted}, not {found}")
    return memory


@tf.function(reduce_retracing=True)
def _descend(
    energy, x_data, x_model, squares, rate, seen, regularisation, max_norm
):
    """One step of Adam down the gradient of :func:`loss`; its value.

    v ← βv + (1−β)g², Θ ← Θ − rate·g/(√(v/(1−βᵗ)) + ε) at the t-th update,
    as in PyTorch. Keras adds its ε before it divides v by 1 − βᵗ = `seen`,
    which makes the same ε up to 30 times as large.
    """
    parameters = energy.trainable_variables
    with tf.GradientTape() as tape:
        value = loss(energy, x_data, x_model, regularisation=regularisation)
    gradient = tape.gradient(value, parameters)
    # Longer than max_norm: shorten all by one factor, that of PyTorch.
    factor = max_norm / (tf.linalg.global_norm(gradient) + 1e-6)
    factor = tf.minimum(factor, 1)
    for parameter, g, square in zip(
        parameters, gradient, squares, strict=True
    ):
        g *= factor
        square.assign(BETAS[1] * square + (1 - BETAS[1]) * g**2)
        change = g / (tf.sqrt(square / seen) + EPSILON)
        parameter.assign_sub(rate * change)
    return value


def score_matching_loss(energy, x, w, *, scale):
    """½⟨|w − b·∇E(x + b·w)|²⟩ with w ~ N(0, 1) (eq-ebm-score-matching).

    Denoising score matching: at its minimum over all E, −∇E is the exact
    score of the data convolved with N(0, b²), where b is `scale`, the blur;
    w has the shape of x. No chain, no Z.

    Source: P. Vincent, Neural Computation 23, 1661 (2011).
    """
    slope = input_gradient(energy, x + scale * w)
    return tf.reduce_mean(_row_sums((w - scale * slope) ** 2)) / 2


def _row_sums(x):
    return tf.reduce_sum(x, range(1, len(x.shape)))


def _states(name, energy, x):
    """States (n, ...) as a tensor, in the precision of a model of Keras."""
    if isinstance(energy, keras.Model):
        x = tf.cast(np.asarray(x), energy.compute_dtype)
    x = tf.convert_to_tensor(x)
    if len(x.shape) == 0 or len(x) == 0 or not x.dtype.is_floating:
        raise ValueError(
            f"{name} must be states (n, ...) of floating point, n >= 1, but "
            f"has shape {tuple(x.shape)} and {x.dtype.name}"
        )
    if not tf.reduce_all(tf.math.is_finite(x)):
        raise ValueError(f"{name} must be finite, but holds nan or infinity")
    return x


def _one_energy_per_state(energy, x):
    shape = energy(x).shape
    if not shape.is_compatible_with(x.shape[:1]):
        raise ValueError(
            "energy must map states (n, ...) to energies (n,), but maps "
            f"{tuple(x.shape)} to {tuple(shape)}"
        )


def _batch(data, size, noise, rng):
    """Different random rows of the data, with noise if asked for."""
    order = tf.random.experimental.stateless_shuffle(
        tf.range(len(data)), seed=_numbers(rng)
    )
    x = tf.gather(data, order[:size])
    if noise:
        x += noise * tf.random.stateless_normal(
            x.shape, seed=_numbers(rng), dtype=x.dtype
        )
    return x


def _stop_if_not_finite(name, value, when):
    if not tf.reduce_all(tf.math.is_finite(value)):
        raise FloatingPointError(
            f"{name} is not finite {when}: the run diverged; use a smaller "
            "step or learning_rate"
        )


def _stream(seed):
    """Return a generator that goes on from call to call."""
    if isinstance(seed, tf.random.Generator):
        return seed
    return np.random.default_rng(seed)


def _numbers(seed):
    """Two numbers for TensorFlow's functions without a state of their own."""
    if isinstance(seed, tf.random.Generator):
        return seed.uniform_full_int([2], dtype=tf.int32)
    numbers = np.random.default_rng(seed).integers(2**31 - 1, size=2)
    return tf.constant(numbers, tf.int32)
