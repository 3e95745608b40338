"""Generative adversarial networks: samples without a likelihood.

A generator maps noise z ~ N(0, I) to samples G(z); a discriminator maps data
to a number f(x), the log-odds that they are real, D(x) = sigmoid(f(x)). Names,
arguments and numbers are those of the PyTorch module.
"""

from dataclasses import asdict

import keras
import numpy as np
import tensorflow as tf

from advml import gan as shared
from advml import networks
from advml.gan import MOMENTUM, NORMAL_EPSILON, SLOPE
from advml.gan import Memory as Memory
from advml.gan import load_checkpoint as load_checkpoint
from advml.gan import save_checkpoint as save_checkpoint
from advml.tensorflow.networks import (
    Network,
    adam,
    dense,
    halve_turned,
    tensors,
    transposed,
)
from advml.validation import count, counts, positive


def _leaky_relu(y):
    """y above zero, SLOPE·y below. TensorFlow's rounds the slope to single."""
    return tf.maximum(y, SLOPE * y)


ACTIVATIONS = {
    "leaky_relu": _leaky_relu,
    "silu": tf.nn.silu,
    "tanh": tf.tanh,
}


class _Player(Network):
    """What all four networks share: arguments that `save` keeps."""

    def get_config(self):
        """Return what `load_model` needs to make a model of this shape."""
        return {**self.shape_arguments, "dtype": self.dtype}


class _Generator(_Player):
    """What both generators share: latent variables, and samples."""

    def sample(self, n, seed):
        """Draw z ~ N(0, I), and return G(z), (n, *shape)."""
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((count("n", n), self.n_latent))
        return self(tf.cast(z, self.dtype))

    def call(self, z):
        """G(z) of latent variables (n, n_latent), shape (n, *shape)."""
        z = tf.cast(z, self.dtype)
        return self.generate(shared.latent("z", z, self.n_latent))

    def remember(self, seen):
        """Nothing: without normalisation there are no statistics."""


@keras.saving.register_keras_serializable(package="advml")
class DenseGenerator(_Generator):
    """G(z) of dense layers, for data (n, n_outputs).

    Parameters
    ----------
    n_latent, n_outputs : int
        Dimensions of z and of G(z).
    n_hidden : sequence of int
        Widths of the hidden layers; without any, G is linear.
    activation : "leaky_relu", "silu" or "tanh"
        After each hidden layer; the first has slope 0.2 below zero.
    sharpness, reach : float
        A factor for the first kernel, and how far from the origin the units
        of the first layer have their steps, see `advml.gan.dense_layers`:
        for functions with fine structure in a wide region.
    seed, device, dtype
        Source of the initial weights; where and how precisely they are
        stored (default: the first GPU if there is one, single precision).

    Source: I. Goodfellow et al. (2014).
    """

    limit = np.inf

    def __init__(
        self,
        n_latent,
        n_outputs,
        n_hidden=(128, 128),
        *,
        activation="leaky_relu",
        sharpness=1.0,
        reach=0.0,
        seed=0,
        device=None,
        dtype=tf.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        widths = [
            count("n_latent", n_latent),
            *counts("n_hidden", n_hidden),
            count("n_outputs", n_outputs),
        ]
        layers = shared.dense_layers(
            widths, activation, seed, sharpness, reach
        )
        super().__init__(layers, device, dtype)
        self.n_latent, self.shape = n_latent, (n_outputs,)
        self.activation = ACTIVATIONS[activation]
        self.shape_arguments = {
            "n_latent": n_latent,
            "n_outputs": n_outputs,
            "n_hidden": [int(n) for n in n_hidden],
            "activation": activation,
            "sharpness": sharpness,
            "reach": reach,
        }

    def generate(self, z, seen=None):
        """As a call, for tensors; `seen` is for the other generator."""
        return dense(self.pairs, z, self.activation)


@keras.saving.register_keras_serializable(package="advml")
class ConvolutionalGenerator(_Generator):
    """G(z) of transposed convolutions, for images in [-1, 1].

    z @ kernel is an image of the smallest side with channels[0]; transposed
    convolutions follow, the first at this side, each other one doubles it,
    and the last has one channel and a tanh. Before that every layer is
    normalised, shifted by its bias and rectified, with slope 0.2 below zero.

    Parameters
    ----------
    side : int
        A batch of images has shape (n, side, side).
    n_latent : int
        Dimension of z.
    channels : sequence of int
        Before each transposed convolution.
    size : int
        Of all kernels, odd.
    normalise : bool
        Batch normalisation: in training each channel has mean 0 and variance
        1 over the batch and its pixels, later over what training has seen.
    seed, device, dtype
        As for :class:`DenseGenerator`.

    Source: A. Radford, L. Metz & S. Chintala, ICLR 2016; the default layers
    are those of TensorFlow's tutorial "Deep Convolutional Generative
    Adversarial Network". S. Ioffe & C. Szegedy, ICML 2015, normalise.
    """

    limit = 1.0

    def __init__(
        self,
        side,
        n_latent=100,
        channels=(256, 128, 64),
        *,
        size=5,
        normalise=True,
        seed=0,
        device=None,
        dtype=tf.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        layers = shared.generator_layers(side, n_latent, channels, size, seed)
        statistics = shared.statistics(channels if normalise else [])
        super().__init__([*layers, *statistics], device, dtype)
        self.n_layers, self.n_latent = len(layers), n_latent
        self.shape = (side, side)
        self.sides = networks.sides(side, channels[1:])[::-1]
        for pair in self.statistics:
            for variable in pair:
                variable.trainable = False
        self.shape_arguments = {
            "side": side,
            "n_latent": n_latent,
            "channels": [int(n) for n in channels],
            "size": size,
            "normalise": normalise,
        }

    @property
    def statistics(self):
        """Running mean and variance of each layer that is normalised."""
        return self.pairs[self.n_layers :]

    def generate(self, z, seen=None):
        """G(z) of a tensor z, in training with a list for `seen`.

        Then layers are normalised over this batch, and the list gets the
        pairs (mean, variance) that were found.
        """
        (kernel, bias), *layers = self.pairs[: self.n_layers]
        left, statistics = self.sides[0], iter(self.statistics)
        y = tf.reshape(z @ kernel, (-1, left, left, bias.shape[0]))
        for side, (kernel, next_bias) in zip(
            [left, *self.sides[1:]], layers, strict=True
        ):
            y = self._rectified(y, bias, next(statistics, None), seen)
            y, bias = transposed(y, kernel, 0, side), next_bias
        return tf.tanh(y + bias)[..., 0]

    def _rectified(self, y, bias, statistics, seen):
        """Normalise each channel, add its bias, cut most of what is < 0."""
        if statistics is None:
            y = y + bias
        elif seen is None:
            y = _normalised(y, bias, *statistics)
        else:
            mean, variance = tf.nn.moments(y, [0, 1, 2])
            y = _normalised(y, bias, mean, variance)
            n = tf.cast(tf.size(y) / bias.shape[0], y.dtype)
            seen.append((mean, variance * n / (n - 1)))
        return _leaky_relu(y)

    def remember(self, seen):
        """Let running means and variances follow those of a batch."""
        for pair, found in zip(self.statistics, seen, strict=True):
            for running, new in zip(pair, found, strict=True):
                running.assign_add((1 - MOMENTUM) * (new - running))


def _normalised(y, bias, mean, variance):
    return tf.nn.batch_normalization(
        y, mean, variance, bias, None, NORMAL_EPSILON
    )


@keras.saving.register_keras_serializable(package="advml")
class DenseDiscriminator(_Player):
    """Log-odds f(x) of dense layers, for data (n, n_inputs).

    Parameters
    ----------
    n_inputs : int
        Dimension of x.
    n_hidden, activation, sharpness, reach, seed, device, dtype
        As for :class:`DenseGenerator`; the default seed is another, since
        with one seed both networks begin with the same random numbers.
    """

    def __init__(
        self,
        n_inputs,
        n_hidden=(128, 128),
        *,
        activation="leaky_relu",
        sharpness=1.0,
        reach=0.0,
        seed=1,
        device=None,
        dtype=tf.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        n_inputs = count("n_inputs", n_inputs)
        widths = [n_inputs, *counts("n_hidden", n_hidden), 1]
        layers = shared.dense_layers(
            widths, activation, seed, sharpness, reach
        )
        super().__init__(layers, device, dtype)
        self.shape, self.activation = (n_inputs,), ACTIVATIONS[activation]
        self.shape_arguments = {
            "n_inputs": n_inputs,
            "n_hidden": [int(n) for n in n_hidden],
            "activation": activation,
            "sharpness": sharpness,
            "reach": reach,
        }

    def call(self, x):
        """Log-odds (n,) of data (n, n_inputs), a tensor or an array."""
        x = shared.observed("x", tf.cast(x, self.dtype), self.shape)
        return dense(self.pairs, x, self.activation)[:, 0]


@keras.saving.register_keras_serializable(package="advml")
class ConvolutionalDiscriminator(_Player):
    """Log-odds f(x) of convolutions, for images.

    Each convolution halves the side (stride 2, zeros of width size // 2
    around the image, slope 0.2 below zero); a dense layer to one number
    follows.

    Parameters
    ----------
    side : int
        A batch of images has shape (n, side, side).
    channels : sequence of int
        Channels of the convolutions.
    size : int
        Of all kernels, odd.
    seed, device, dtype
        As for :class:`DenseDiscriminator`.

    Source: see :class:`ConvolutionalGenerator`; that tutorial also drops
    single activations at random in training.
    """

    def __init__(
        self,
        side,
        channels=(64, 128),
        *,
        size=5,
        seed=1,
        device=None,
        dtype=tf.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        layers = shared.discriminator_layers(side, channels, size, seed)
        super().__init__(layers, device, dtype)
        self.shape = (side, side)
        self.shape_arguments = {
            "side": side,
            "channels": [int(n) for n in channels],
            "size": size,
        }

    def call(self, x):
        """Log-odds (n,) of images (n, side, side), a tensor or an array."""
        x = shared.observed("x", tf.cast(x, self.dtype), self.shape)
        y = x[..., None]
        *convolutions, last = self.pairs
        for kernel, bias in convolutions:
            y = _leaky_relu(halve_turned(y, kernel, bias))
        y = tf.reshape(y, (-1, last[0].shape[0]))
        return dense([last], y, None)[:, 0]


def discriminator_loss(real, fake, loss="non-saturating"):
    """What the discriminator minimises, from its log-odds (eq-gan-losses).

    −⟨log D(x)⟩ − ⟨log(1 − D(G(z)))⟩ with D = sigmoid(f), or for
    "wasserstein" ⟨f(G(z))⟩ − ⟨f(x)⟩. `real` (n,) are the f(x) of data and
    `fake` (m,) those of samples.

    Source: I. Goodfellow et al. (2014); M. Arjovsky et al. (2017).
    """
    shared.check_loss(loss)
    mean = tf.reduce_mean
    if loss == "wasserstein":
        return mean(fake) - mean(real)
    return mean(tf.nn.softplus(-real)) + mean(tf.nn.softplus(fake))


def generator_loss(fake, loss="non-saturating"):
    """What the generator minimises, from log-odds of samples (eq-gan-losses).

    "saturating" ⟨log(1 − D(G(z)))⟩, "non-saturating" −⟨log D(G(z))⟩,
    "wasserstein" −⟨f(G(z))⟩.

    Source: as for :func:`discriminator_loss`.
    """
    shared.check_loss(loss)
    if loss == "wasserstein":
        return -tf.reduce_mean(fake)
    if loss == "saturating":
        return -tf.reduce_mean(tf.nn.softplus(fake))
    return tf.reduce_mean(tf.nn.softplus(-fake))


def r1_penalty(discriminator, x):
    """½⟨|∇f(x)|²⟩ over data x (n, ...) (eq-gan-r1).

    Source: L. Mescheder, A. Geiger & S. Nowozin, ICML 2018.
    """
    _, slopes = _with_squared_slopes(discriminator, x)
    return tf.reduce_mean(slopes) / 2


def lipschitz_penalty(discriminator, x, fake, u):
    """⟨(|∇f(y)| − 1)²⟩, y = u x + (1 − u) G(z) (eq-gan-gradient-penalty).

    Data `x` and samples `fake` (n, ...) are mixed with one u in [0, 1] each,
    of shape (n,).

    Source: I. Gulrajani et al., NeurIPS 2017.
    """
    x, fake, u = (tf.cast(a, discriminator.dtype) for a in (x, fake, u))
    u = tf.reshape(u, (-1, *[1] * (len(x.shape) - 1)))
    y = u * x + (1 - u) * fake
    _, slopes = _with_squared_slopes(discriminator, y)
    # The root has no slope at zero; 1e-12 leaves other lengths as they are.
    return tf.reduce_mean((tf.sqrt(slopes + 1e-12) - 1) ** 2)


def posterior_energy(generator, z, x, scale):
    """−log p(z|x) up to a constant (n,), pair by pair (eq-latent-posterior).

    |x − G(z)|²/2σ² + |z|²/2, in nats, for latent variables `z` (n, n_latent)
    and data `x` (n, *shape) that are G(z) with normal noise of width σ, which
    is `scale`, in units of x. ValueError unless there are as many z as x.
    """
    x = shared.observed("x", tf.cast(x, generator.dtype), generator.shape)
    z = shared.latent("z", tf.cast(z, generator.dtype), generator.n_latent)
    shared.paired(z, x)
    misfit = tf.reduce_sum((x - generator(z)) ** 2, range(1, len(x.shape)))
    scale = positive("scale", scale)
    return misfit / (2 * scale**2) + tf.reduce_sum(z**2, 1) / 2


def invert(
    generator,
    x,
    *,
    scale,
    n_starts=4,
    n_steps=100,
    learning_rate=0.1,
    seed=0,
):
    """Most probable latent variables of data (eq-latent-posterior).

    Adam minimises :func:`posterior_energy` from `n_starts` draws of the prior
    for each row of `x` (n, *shape); its rate falls linearly to zero within
    `n_steps`. Returns the best z (n, n_latent) and its energy (n,), in nats.
    There may be better ones: the energy has many minima.
    """
    x = shared.observed("x", tf.cast(x, generator.dtype), generator.shape)
    n, starts = len(x), count("n_starts", n_starts)
    x = tf.tile(x, [starts, *[1] * len(generator.shape)])
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n * starts, generator.n_latent))
    z = tf.Variable(z, dtype=generator.dtype)
    moments = [(tf.Variable(0 * z), tf.Variable(0 * z))]

    @tf.function
    def step(rate, seen):
        with tf.GradientTape() as tape:
            energy = posterior_energy(generator, z, x, scale)
        slopes = [tape.gradient(energy, z)]
        adam([z], slopes, moments, rate, shared.INVERSION_BETAS, seen)

    rate = positive("learning_rate", learning_rate)
    for t in range(count("n_steps", n_steps)):
        numbers = {
            "rate": rate * (n_steps - t) / n_steps,
            "seen": [1 - beta ** (t + 1) for beta in shared.INVERSION_BETAS],
        }
        step(**tensors(generator.dtype, numbers))
    energy = tf.reshape(posterior_energy(generator, z, x, scale), (starts, n))
    places = tf.stack([tf.argmin(energy), tf.range(n, dtype=tf.int64)], 1)
    z = tf.reshape(z, (starts, n, -1))
    return tf.gather_nd(z, places), tf.reduce_min(energy, 0)


def train(
    generator,
    discriminator,
    data,
    *,
    n_updates,
    batch_size=64,
    learning_rate=2e-4,
    final_learning_rate=None,
    rate_ratio=1.0,
    betas=(0.5, 0.999),
    loss="non-saturating",
    r1=0.0,
    gradient_penalty=0.0,
    n_critic=1,
    instance_noise=0.0,
    averaging=None,
    seed=0,
    callback=None,
    checkpoint=None,
    checkpoint_every=500,
    memory=None,
):
    """Play the game: both networks take steps of Adam in turn, in place.

    An update is `n_critic` steps of the discriminator, each on new data and
    new samples, down :func:`discriminator_loss` and the penalties; then one
    of the generator down :func:`generator_loss`, on the last samples.

    Parameters
    ----------
    generator, discriminator
        Networks for data of one shape.
    data : array (N, *shape)
        Batches are drawn from its rows at random, with replacement.
    n_updates, batch_size : int
        Updates in all, with those that `memory` or `checkpoint` has made.
    learning_rate, final_learning_rate, rate_ratio : float
        Of Adam for the generator, linear from the first to the second
        (constant without it); the discriminator's is `rate_ratio` times it.
    betas : pair of float
        Of Adam: the first is the momentum.
    loss : "saturating", "non-saturating" or "wasserstein"
    r1, gradient_penalty : float
        Factors of :func:`r1_penalty` and :func:`lipschitz_penalty`.
    n_critic : int
    instance_noise : float
        Standard deviation of normal noise that data and samples get before
        the discriminator sees them, in units of the data. It falls to zero
        over the first four fifths of the updates: annealing.
    averaging : float, optional
        Average the generator's weights over updates, the latest 1/(1 −
        averaging) of them in effect: see `average` in the result.
    seed : int or numpy.random.Generator
        Source of all batches and noise; unused by a training that goes on.
    callback : function
        Called as callback(update, generator, discriminator, values) after
        each update, from 1 on; `values` has both losses, the penalty and the
        mean log-odds "real" and "fake" of the last batch.
    checkpoint : path, optional
        File (.npz) written every `checkpoint_every` updates and at the end.
        If it exists, the training goes on from there, as if it had never
        been interrupted. Its folder must exist (else FileNotFoundError).
    memory : Memory, optional
        What an earlier call returned, to go on from there.

    Returns the :class:`Memory`. FloatingPointError, with the name of the
    quantity, if anything diverges.

    Source: I. Goodfellow et al. (2014), algorithm 1.
    """
    rules = shared.Rules(
        loss=loss,
        r1=r1,
        gradient_penalty=gradient_penalty,
        n_critic=n_critic,
        batch_size=batch_size,
        learning_rate=learning_rate,
        final_learning_rate=final_learning_rate,
        rate_ratio=rate_ratio,
        betas=betas,
        instance_noise=instance_noise,
        averaging=averaging,
    )
    data = tf.cast(np.asarray(data), generator.dtype).numpy()
    shared.check_players(generator, discriminator, data)
    memory = shared.resume(checkpoint, memory, rules, generator, discriminator)
    game = _Game(generator, discriminator, rules, memory, seed)
    return shared.play(
        game, data, n_updates, callback, checkpoint, checkpoint_every
    )


class _Game:
    """Two networks with what they remember between updates."""

    def __init__(self, generator, discriminator, rules, memory, seed):
        self.players = generator, discriminator
        self.generator, self.discriminator = self.players
        self.rules = rules
        self.n_updates = memory.n_updates if memory else 0
        self.rng = shared.stream(memory, seed)
        moments = memory.moments if memory else {}
        self.moments = {
            name: _moments(network, moments.get(name))
            for name, network in zip(shared.PLAYERS, self.players, strict=True)
        }
        self.average = None
        if rules.averaging is not None:
            start = memory.average if memory else None
            self.average = [
                tf.Variable(array, dtype=generator.dtype)
                for pair in start or generator.to_numpy()
                for array in pair
            ]
        self.compiled = tf.function(self._update)

    def update(self, batch, rates):
        """Let the discriminator make its steps, and the generator one."""
        done, repeats = self.n_updates, self.rules.n_critic
        self.n_updates += 1
        share = 1.0
        if self.average is not None:
            share = max(1 - self.rules.averaging, 1 / self.n_updates)
        steps = range(repeats * done + 1, repeats * done + repeats + 1)
        numbers = {
            "rates": rates,
            "seen": [self._seen(t) for t in [self.n_updates, *steps]],
            "share": share,
        }
        numbers = tensors(self.generator.dtype, numbers)
        values = self.compiled(*batch, **numbers).numpy().tolist()
        return dict(zip(shared.VALUES, values, strict=True))

    def _seen(self, t):
        """1 − βᵗ for both averages of Adam: their weight after t steps."""
        return [1 - beta**t for beta in self.rules.betas]

    def _update(self, x, z, u, e, rates, seen, share):
        """One update of the game, in a graph; x, z, u and e for each step."""
        for i in range(self.rules.n_critic):
            statistics = []
            with tf.GradientTape() as tape:
                fake = self.generator.generate(z[i], statistics) + e[i]
                with tape.stop_recording():
                    terms = self._discriminator_step(
                        x[i], fake, u[i], rates[1], seen[1 + i]
                    )
                of_fake = self.discriminator(fake)
                value = generator_loss(of_fake, self.rules.loss)
        self._descend("generator", tape, value, rates[0], seen[0])
        self.generator.remember(statistics)
        if self.average is not None:
            weights = [v for pair in self.generator.pairs for v in pair]
            for average, weight in zip(self.average, weights, strict=True):
                average.assign_add(share * (weight - average))
        return tf.stack([value, *terms])

    def _discriminator_step(self, x, fake, u, rate, seen):
        """One step down loss and penalties; their values, and log-odds."""
        rules, penalty = self.rules, tf.zeros((), x.dtype)
        with tf.GradientTape() as tape:
            if rules.r1:
                real, slopes = _with_squared_slopes(self.discriminator, x)
                penalty += rules.r1 * tf.reduce_mean(slopes) / 2
            else:
                real = self.discriminator(x)
            of_fake = self.discriminator(fake)
            value = discriminator_loss(real, of_fake, rules.loss)
            if rules.gradient_penalty:
                penalty += rules.gradient_penalty * lipschitz_penalty(
                    self.discriminator, x, fake, u
                )
            total = value + penalty
        self._descend("discriminator", tape, total, rate, seen)
        return value, penalty, tf.reduce_mean(real), tf.reduce_mean(of_fake)

    def _descend(self, name, tape, value, rate, seen):
        """One step of :func:`adam` for one of the two networks."""
        parameters = getattr(self, name).trainable_variables
        slopes, moments = tape.gradient(value, parameters), self.moments[name]
        adam(parameters, slopes, moments, rate, self.rules.betas, seen)

    def memory(self):
        """A copy of the present state, in NumPy's arrays."""
        average = self.average and [a.numpy() for a in self.average]
        return Memory(
            n_updates=self.n_updates,
            moments={
                name: [(m.numpy(), v.numpy()) for m, v in pairs]
                for name, pairs in self.moments.items()
            },
            average=shared.in_pairs(average),
            random=self.rng.bit_generator.state,
            settings=asdict(self.rules),
        )


def _moments(network, arrays):
    """Variables for the averages of Adam, one pair for each parameter."""
    if arrays is None:
        zeros = [np.zeros(v.shape) for v in network.trainable_variables]
        arrays = zip(zeros, zeros, strict=True)
    return [
        tuple(tf.Variable(a, dtype=network.dtype) for a in pair)
        for pair in arrays
    ]


def _with_squared_slopes(discriminator, x):
    """Log-odds f(x), and |∇f|² of each x, differentiable once more."""
    x = tf.cast(x, discriminator.dtype)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        logits = discriminator(x)
        total = tf.reduce_sum(logits)
    slope = tape.gradient(total, x)
    return logits, tf.reduce_sum(slope**2, range(1, len(x.shape)))
