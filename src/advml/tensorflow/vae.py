"""Variational autoencoders: a likelihood for data with hidden causes.

The model is p(x) = ∫ p(x|z) N(z; 0, I) dz with a network, the decoder, in
p(x|z); another one, the encoder, proposes q(z|x) = N(μ(x), σ²(x)). Names,
arguments and numbers are those of the PyTorch module.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from advml import networks
from advml import vae as shared
from advml.tensorflow.networks import (
    Network,
    adam,
    dense,
    halve_turned,
    tensors,
    transposed,
    zeros_like,
)
from advml.vae import BETAS
from advml.validation import batch, count, numbers, positive


class _VAE(Network):
    """What both kinds share: the two distributions, and what they give.

    `compile` and `fit` work as for any Keras model; neither checks its data.
    """

    def __init__(self, layers, shape, activation, scale, device, dtype):
        encoder, decoder = layers
        super().__init__([*encoder, *decoder], device, dtype)
        self.n_encoder = len(encoder)
        self.shape, self.n_latent = shape, decoder[0][0].shape[0]
        self.activation = getattr(tf.nn, activation)
        self.scale = None if scale is None else positive("scale", scale)
        with tf.device(device):
            self.random_states = [
                self.add_weight(
                    (2,), "zeros", "int64", trainable=False, name=name
                )
                for name in ("state_of_fit", "state_of_evaluate")
            ]
        self.means = {
            name: keras.metrics.Mean(name, dtype=self.dtype)
            for name in ("loss", "log_likelihood", "divergence")
        }

    @property
    def encoder(self):
        """Layers (kernel, bias) from x to q(z|x)."""
        return self.pairs[: self.n_encoder]

    @property
    def decoder(self):
        """Layers (kernel, bias) from z to p(x|z)."""
        return self.pairs[self.n_encoder :]

    def encode(self, x):
        """Mean and log variance of q(z|x), each (n, n_latent)."""
        # Images of a wrong rank would end the process: TensorFlow aborts.
        x = batch("x", self._tensor(x), self.shape)
        mean, log_variance = tf.split(self._encode(x), 2, -1)
        return mean, log_variance

    def decode(self, z):
        """Logits of x = 1, or without coins means of x: (..., *shape)."""
        z = shared.latent("z", self._tensor(z), None, self.n_latent)
        x = self._decode(tf.reshape(z, (-1, self.n_latent)))
        return tf.reshape(x, tf.concat([tf.shape(z)[:-1], self.shape], 0))

    def expectation(self, z):
        """Mean of p(x|z): probabilities of ones, if they are coins."""
        x = self.decode(z)
        return tf.sigmoid(x) if self.scale is None else x

    def log_likelihood(self, x, z):
        """log p(x|z) in nats, summed over the pixels of x.

        Shapes (..., *shape) of x and (..., n_latent) of z, of which the first
        axes broadcast: one number for each pair.
        """
        x, z = _observed(self, x), self._tensor(z)
        if tf.executing_eagerly():
            shared.paired(x, z, self.shape)
        return _log_likelihood(self, x, z)

    def reconstruct(self, x):
        """Mean of p(x|z) at the mean z of q(z|x), (n, *shape)."""
        return self.call(x)

    def call(self, x):
        """Reconstructions: what `predict` returns."""
        return self.expectation(self.encode(x)[0])

    def sample(self, n, seed):
        """Draw z ~ N(0, I), and data x ~ p(x|z) of shape (n, *shape)."""
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((count("n", n), self.n_latent))
        expectation = self.expectation(z).numpy()
        return self._tensor(shared.draw(expectation, self.scale, rng))

    def _tensor(self, x):
        """Anything like an array, in the precision of the parameters."""
        if not tf.is_tensor(x):
            x = numbers(x)
        return tf.cast(x, self.dtype)

    def compile(
        self, optimizer, *, beta=1.0, binarise=False, seed=0, **options
    ):
        """Say how `fit` is to train.

        `beta` and `binarise` are those of :func:`train`, `seed` the source of
        noise and coins, and `options` go to `keras.Model.compile`, without
        losses or metrics: the model has its own.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if options.get(name) is not None:
                raise ValueError(
                    f"{name} must be left out, not {options[name]!r}: the "
                    "loss is the bound"
                )
        beta = shared.check_objective(self.scale, beta, 1, binarise)
        super().compile(
            optimizer=optimizer, **{"jit_compile": False} | options
        )
        self.beta, self.binarise = float(beta), bool(binarise)
        number = int(np.random.default_rng(seed).integers(2**63 - 1))
        # Evaluations have numbers of their own, and do not disturb `fit`.
        for state, first in zip(self.random_states, (0, 2**62), strict=True):
            state.assign([number, first])

    @property
    def metrics(self):
        """What `fit` and `evaluate` average over the batches."""
        return list(self.means.values())

    def train_step(self, data):
        """One step of `fit`: the slope of the loss, and the optimiser."""
        x, noise = self._batch(data, self.random_states[0])
        with tf.GradientTape() as tape:
            terms = _two_terms(self, x, noise)
            loss = tf.reduce_mean(self.beta * terms[1] - terms[0])
        gradient = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradient, self.trainable_variables)
        return self._report(*terms)

    def test_step(self, data):
        """One step of `evaluate`: the loss, without a change."""
        x, noise = self._batch(data, self.random_states[1])
        return self._report(*_two_terms(self, x, noise))

    def _batch(self, data, state):
        """Images, tossed anew if asked for, and normal numbers for them."""
        x, _, weight = keras.utils.unpack_x_y_sample_weight(data)
        if weight is not None:
            raise ValueError("sample_weight must be None: all count the same")
        x = tf.cast(x, self.dtype)
        noise = tf.random.stateless_normal(
            (tf.shape(x)[0], self.n_latent), state, dtype=self.dtype
        )
        state.assign_add([0, 1])
        if self.binarise:
            u = tf.random.stateless_uniform(tf.shape(x), state)
            state.assign_add([0, 1])
            x = tf.cast(tf.cast(u, self.dtype) < x, self.dtype)
        return x, noise

    def _report(self, log_likelihood, divergence):
        """Averages over all data so far; batches may differ in size."""
        loss = self.beta * divergence - log_likelihood
        values = loss, log_likelihood, divergence
        for mean, value in zip(self.means.values(), values, strict=True):
            mean.update_state(value)
        return {name: mean.result() for name, mean in self.means.items()}

    def get_config(self):
        """Return what `load_model` needs to make a model of this shape."""
        return {
            **self.shape_arguments,
            "scale": self.scale,
            "dtype": self.dtype,
        }

    def get_compile_config(self):
        """Return the arguments of `compile`, for `model.save`."""
        if not self.compiled:
            return None
        return {
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
            "beta": self.beta,
            "binarise": self.binarise,
            "jit_compile": self.jit_compile,
            "steps_per_execution": self.steps_per_execution,
        }

    def compile_from_config(self, config):
        """Compile as before saving; Keras then loads the optimiser."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)


@keras.saving.register_keras_serializable(package="advml")
class DenseVAE(_VAE):
    """Encoder and decoder of dense layers, for data (n, n_inputs).

    Parameters
    ----------
    n_inputs, n_latent : int
        Dimensions of x and z.
    n_hidden : sequence of int
        Widths of the encoder's hidden layers; the decoder has them in
        reverse. Without any, both are linear.
    activation : "relu", "silu" or "tanh"
        After each hidden layer.
    scale : float or None
        σ of p(x|z) = N(decoder(z), σ²I), in units of x, for real data; None
        for coins with log-odds decoder(z).
    seed, device, dtype
        Source of the initial weights; where and how precisely they are
        stored (default: the first GPU if there is one, single precision).

    Source: D. P. Kingma & M. Welling (2014); with 784 inputs and 50 latents
    Y. Burda, R. Grosse & R. Salakhutdinov (2016).
    """

    def __init__(
        self,
        n_inputs,
        n_latent,
        n_hidden=(200, 200),
        *,
        activation="tanh",
        scale=None,
        seed=0,
        device=None,
        dtype=tf.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        gain = shared.activation_gain(activation)
        layers = networks.dense_autoencoder(
            n_inputs, n_latent, n_hidden, gain, seed
        )
        super().__init__(layers, (n_inputs,), activation, scale, device, dtype)
        self.shape_arguments = {
            "n_inputs": n_inputs,
            "n_latent": n_latent,
            "n_hidden": [int(n) for n in n_hidden],
            "activation": activation,
        }

    def _encode(self, x):
        return dense(self.encoder, x, self.activation)

    def _decode(self, z):
        return dense(self.decoder, z, self.activation)


@keras.saving.register_keras_serializable(package="advml")
class ConvolutionalVAE(_VAE):
    """Encoder of convolutions and decoder of their transposes, for images.

    Each convolution halves the side (stride 2, zeros of width size // 2
    around the image); a hidden layer and the output follow. The decoder is
    a dense layer, transposes of these convolutions in reverse order, back
    through the same sides, and one more with stride 1. ReLU between all.

    Parameters
    ----------
    side : int
        A batch of images has shape (n, side, side).
    n_latent : int
        Dimension of z.
    channels : sequence of int
        Channels of the encoder's convolutions.
    size : int
        Of all kernels, odd.
    n_hidden : int
        Units of the dense layer between convolutions and q(z|x).
    scale, seed, device, dtype
        As for :class:`DenseVAE`.

    Source of the default layers: F. Chollet, Variational AutoEncoder, code
    examples of Keras (2020). Its padding "same" has no zeros on the left and
    above of an even image.
    """

    def __init__(
        self,
        side,
        n_latent=2,
        channels=(32, 64),
        *,
        size=3,
        n_hidden=16,
        scale=None,
        seed=0,
        device=None,
        dtype=tf.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        layers = networks.convolutional_autoencoder(
            side, n_latent, channels, size, n_hidden, seed
        )
        super().__init__(layers, (side, side), "relu", scale, device, dtype)
        self.sides = networks.sides(side, channels)
        self.shape_arguments = {
            "side": side,
            "n_latent": n_latent,
            "channels": [int(n) for n in channels],
            "size": size,
            "n_hidden": n_hidden,
        }

    def _encode(self, x):
        y = x[..., None]
        for kernel, bias in self.encoder[:-2]:
            y = self.activation(halve_turned(y, kernel, bias))
        y = tf.reshape(y, (-1, self.encoder[-2][0].shape[0]))
        return dense(self.encoder[-2:], y, self.activation)

    def _decode(self, z):
        y, left = dense(self.decoder[:1], z, None), self.sides[-1]
        y = tf.reshape(y, (-1, left, left, y.shape[1] // left**2))
        sides = [*self.sides[-2::-1], self.sides[0]]
        for (kernel, bias), side in zip(self.decoder[1:], sides, strict=True):
            y = transposed(self.activation(y), kernel, bias, side)
        return y[..., 0]


def evidence_lower_bound(vae, x, noise, beta=1.0):
    """log p(x|z) − β KL(q(z|x)‖N(0, I)), z = μ + σ·noise (eq-elbo).

    Parameters
    ----------
    x : tensor or array (n, *shape)
    noise : tensor or array (..., n, n_latent)
        Standard normal numbers, others for each datum.
    beta : float
        β ≥ 0; for any but 1 the result bounds nothing.

    Returns one number (..., n) for each noise, in nats: for β = 1 its
    average over the noise is the evidence lower bound of each datum. The
    divergence is exact (eq-gaussian-kl), and the slope in the encoder's
    weights goes through z (eq-reparameterisation).

    Source: D. P. Kingma & M. Welling (2014); β: I. Higgins et al. (2017).
    """
    shared.check_objective(vae.scale, beta, 1, False)
    x, noise = _checked(vae, x, noise)
    log_likelihood, divergence = _two_terms(vae, x, noise)
    return log_likelihood - beta * divergence


def log_weights(vae, x, noise):
    """log p(x, z) − log q(z|x) with z = μ + σ·noise (eq-iwae).

    Arguments and result are those of :func:`evidence_lower_bound`. With k
    noises the shape is (k, n); `advml.likelihood.importance_weighted_bound`
    wants the transpose.

    Source: Y. Burda, R. Grosse & R. Salakhutdinov (2016).
    """
    return _log_weights(vae, *_checked(vae, x, noise))


def importance_weighted_loss(vae, x, noise):
    """−⟨log (w_1 + … + w_k)/k⟩ over the batch, noise (k, n, n_latent).

    To be minimised (eq-iwae). The batch has n data, and k weights for each.
    """
    x, noise = _checked(vae, x, noise)
    if noise.ndim != 3:
        raise ValueError(
            "noise must have shape (k, n, n_latent), but has "
            f"{tuple(noise.shape)}"
        )
    return _loss(vae, x, noise, 1.0, True)


def train(
    vae,
    data,
    *,
    epochs=10,
    batch_size=128,
    learning_rate=1e-3,
    final_learning_rate=None,
    beta=1.0,
    n_weights=1,
    binarise=False,
    seed=0,
    callback=None,
    memory=None,
):
    """Maximise the evidence lower bound by steps of Adam, in place (eq-elbo).

    Parameters
    ----------
    data : array (N, *shape)
        Each epoch visits all rows in a new random order.
    epochs, batch_size : int
    learning_rate, final_learning_rate : float
        Of Adam; linear from the first to the second over the run, constant
        without it.
    beta : float
        As in :func:`evidence_lower_bound`.
    n_weights : int
        k. With more than one the bound is that of k importance weights, see
        :func:`importance_weighted_loss`.
    binarise : bool
        Toss each pixel of each batch anew, with the data as probabilities.
    seed : int or numpy.random.Generator
        Source of the order of the rows, of all noise and coins.
    callback : function
        Called as callback(epoch, vae, bound) after each epoch, from 1 on,
        with the mean of the bound over the epoch, in nats.
    memory : optional
        That of Adam, as an earlier call for this model returned it, to go on
        from there; changed in place.

    Returns the memory of Adam. FloatingPointError, with the name of the
    quantity, if anything diverges.

    Source: D. P. Kingma & M. Welling (2014).
    """
    shared.check_objective(vae.scale, beta, n_weights, binarise)
    data = batch("data", vae._tensor(data), vae.shape).numpy()
    data = shared.observed(
        "data", data, vae.shape, vae.scale, fractions=binarise
    )
    plan = shared.epochs_of_batches(
        data,
        vae.n_latent,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        final_learning_rate=final_learning_rate,
        n_weights=n_weights,
        binarise=binarise,
        seed=seed,
    )
    memory = _memory(vae, memory)
    for epoch, batches in enumerate(plan, start=1):
        total = 0.0
        for x, noise, rate in batches:
            memory, value = _update(vae, memory, x, noise, rate, beta)
            shared.stop_if_not_finite("loss", value, f"in epoch {epoch}")
            total -= value * len(x)
        shared.stop_if_diverged(vae, epoch)
        if callback is not None:
            callback(epoch, vae, total / len(data))
    return memory


def _memory(vae, memory):
    """Steps done by Adam, and its moments; None begins anew."""
    own = vae.trainable_variables
    if memory is None:
        return 0, zeros_like(own), zeros_like(own)
    wanted = [tuple(v.shape) for v in own]
    for moments in memory[1:]:
        found = [tuple(m.shape) for m in moments]
        if found != wanted:
            raise ValueError(f"memory must have shapes {wanted}, not {found}")
    return memory


def _update(vae, memory, x, noise, rate, beta):
    """One more step of Adam: what it then remembers, and the loss before."""
    done, *moments = memory
    done += 1
    seen = [1 - b**done for b in BETAS]
    scalars = tensors(vae.dtype, [rate, beta, *seen])
    value = _descend(vae, x, noise, len(noise) > 1, *moments, *scalars)
    return (done, *moments), float(value)


@tf.function(reduce_retracing=True)
def _descend(
    vae, x, noise, weighted, means, squares, rate, beta, seen, seen_squares
):
    """One step of :func:`adam` down the gradient of the loss; its value."""
    parameters = vae.trainable_variables
    with tf.GradientTape() as tape:
        value = _loss(vae, x, noise, beta, weighted)
    slopes = tape.gradient(value, parameters)
    moments = zip(means, squares, strict=True)
    adam(parameters, slopes, moments, rate, BETAS, (seen, seen_squares))
    return value


def _loss(vae, x, noise, beta, weighted):
    """Minus the bound, averaged over the batch; noise (k, n, n_latent)."""
    if weighted:
        log_w = _log_weights(vae, x, noise)
        k = tf.cast(tf.shape(log_w)[0], log_w.dtype)
        bound = tf.reduce_logsumexp(log_w, 0) - tf.math.log(k)
    else:
        log_likelihood, divergence = _two_terms(vae, x, noise[0])
        bound = log_likelihood - beta * divergence
    return -tf.reduce_mean(bound)


def _two_terms(vae, x, noise):
    """log p(x|z) and KL(q‖N(0, I)) = ½ Σ (μ² + σ² − 1 − log σ²)."""
    mean, log_variance = vae.encode(x)
    z = _reparameterised(mean, log_variance, noise)
    terms = mean**2 + tf.exp(log_variance) - 1 - log_variance
    return _log_likelihood(vae, x, z), tf.reduce_sum(terms, -1) / 2


def _log_weights(vae, x, noise):
    """log p(x|z) + log N(z; 0, I) − log q(z|x), where 2π cancels."""
    mean, log_variance = vae.encode(x)
    z = _reparameterised(mean, log_variance, noise)
    terms = noise**2 + log_variance - z**2
    return _log_likelihood(vae, x, z) + tf.reduce_sum(terms, -1) / 2


def _reparameterised(mean, log_variance, noise):
    """z = μ + σ·noise, σ = exp(½ log σ²) (eq-reparameterisation)."""
    return mean + tf.exp(log_variance / 2) * noise


def _log_likelihood(vae, x, z):
    """log p(x|z), with the logits of coins so that nothing overflows.

    Coins: Σ x log s + (1 − x) log(1 − s), s = sigmoid(logits). Gaussian:
    −Σ [(x − mean)²/2σ² + ½ log 2πσ²].
    """
    y = vae.decode(z)
    if vae.scale is None:
        terms = x * y - tf.nn.softplus(y)
    else:
        square = ((x - y) / vae.scale) ** 2
        terms = -(square + math.log(2 * math.pi * vae.scale**2)) / 2
    return tf.reduce_sum(terms, range(-len(vae.shape), 0))


def _checked(vae, x, noise):
    """Batch and noise as tensors, refused if they do not fit."""
    x, noise = _observed(vae, x), vae._tensor(noise)
    if tf.executing_eagerly():
        return x, shared.standard_normal(noise, len(x), vae.n_latent)
    return x, shared.latent("noise", noise, None, vae.n_latent)


def _observed(vae, x):
    """A batch as a tensor; inside a graph there are no values to check."""
    x = vae._tensor(x)
    if tf.executing_eagerly():
        shared.observed("x", x, vae.shape, vae.scale)
    return x
