"""What variational autoencoders are in every framework: arguments, batches.

The model, its bounds and their slopes are those of `advml.pytorch.vae` and
`advml.tensorflow.vae`. All random numbers of training and sampling come from
NumPy: with one seed both frameworks see the same ones.
"""

import numpy as np

from advml.ebm import learning_rates
from advml.validation import count, nonnegative, refuse_shape

BETAS = 0.9, 0.999  # of Adam
GAINS = {"relu": 2.0, "silu": 2.0, "tanh": 1.0}  # see advml.networks.dense


def activation_gain(activation):
    """Gain of the weights before an activation that both frameworks know."""
    if activation not in GAINS:
        raise ValueError(
            f"activation must be one of {list(GAINS)}, not {activation!r}"
        )
    return GAINS[activation]


def observed(name, x, shape, scale, *, fractions=False):
    """Return x if it is a batch (..., n, *shape) that the model can produce.

    `x` may be an array of NumPy or a tensor of PyTorch or TensorFlow. Without
    a `scale` (coins) it holds ones and zeros, or with `fractions` numbers in
    [0, 1] to toss coins with; else any numbers that are finite.
    """
    got = tuple(x.shape)
    if len(got) <= len(shape) or got[-len(shape) :] != shape or 0 in got:
        refuse_shape(name, x, shape)
    if scale is not None:
        good, wanted = abs(x) < np.inf, "be finite"
    elif fractions:
        good, wanted = (x >= 0) & (x <= 1), "lie in [0, 1]"
    else:
        good, wanted = (x == 0) | (x == 1), "hold only the values [0, 1]"
    return _only(name, x, good, wanted)


def standard_normal(noise, n, n_latent):
    """Return noise if it is finite and has shape (..., n, n_latent)."""
    latent("noise", noise, n, n_latent)
    return _only("noise", noise, abs(noise) < np.inf, "be finite")


def _only(name, x, good, wanted):
    """Return x if all of it is good, else show the first that is not."""
    bad = x[~good]
    if len(bad):
        raise ValueError(
            f"{name} must {wanted}, but holds {float(bad[0])} (and "
            f"{len(bad) - 1} more like it)"
        )
    return x


def latent(name, z, n, n_latent):
    """Return z if it is (..., n, n_latent) and not empty; n may be None."""
    wanted, got = (n_latent,) if n is None else (n, n_latent), tuple(z.shape)
    if got[-len(wanted) :] != wanted or 0 in got:
        wanted = ", ".join(map(str, wanted))
        raise ValueError(
            f"{name} must have shape (..., {wanted}) without an axis of "
            f"length 0, but has {got}"
        )
    return z


def paired(x, z, shape):
    """Return x if its axes before `shape` broadcast with the first of z."""
    ours, theirs = tuple(x.shape[: -len(shape)]), tuple(z.shape[:-1])
    try:
        np.broadcast_shapes(ours, theirs)
    except ValueError:
        raise ValueError(
            f"x and z must have first axes that broadcast, but have {ours} "
            f"and {theirs}"
        ) from None
    return x


def epochs_of_batches(
    data,
    n_latent,
    *,
    epochs,
    batch_size,
    learning_rate,
    final_learning_rate,
    n_weights,
    binarise,
    seed,
):
    """Check the arguments of training and return an iterator of epochs.

    An epoch is an iterator of batches (x, noise, rate) that visits all rows
    of `data` in a new random order; the last may be smaller. x has pixels
    that are tossed anew if `binarise`, noise is standard normal and of shape
    (n_weights, n, n_latent), and rate is the learning rate.
    """
    size = min(count("batch_size", batch_size), len(data))
    k, n_batches = count("n_weights", n_weights), -(-len(data) // size)
    n_updates = count("epochs", epochs) * n_batches
    rates = learning_rates(learning_rate, final_learning_rate, n_updates)
    rates, rng = iter(rates), np.random.default_rng(seed)

    def epoch():
        order = rng.permutation(len(data))
        for first in range(0, len(data), size):
            x = data[order[first : first + size]]
            if binarise:
                x = (rng.random(x.shape, np.float32) < x).astype(x.dtype)
            noise = rng.standard_normal((k, len(x), n_latent))
            yield x, noise.astype(x.dtype), next(rates)

    return (epoch() for _ in range(epochs))


def check_objective(scale, beta, n_weights, binarise):
    """Refuse combinations that have no meaning; return beta."""
    if n_weights != 1 and beta != 1:
        raise ValueError(
            f"beta must be 1 with n_weights = {n_weights}, not {beta!r}: "
            "importance weights know no other"
        )
    if binarise and scale is not None:
        raise ValueError(
            f"binarise must be False with a scale, {scale!r}: only the "
            "pixels of a Bernoulli model are coins"
        )
    return nonnegative("beta", beta)


def draw(expectation, scale, rng):
    """x ~ p(x|z) with this mean: coins without `scale`, else Gaussian."""
    if scale is None:
        coins = rng.random(expectation.shape) < expectation
        return coins.astype(expectation.dtype)
    noise = scale * rng.standard_normal(expectation.shape)
    return (expectation + noise).astype(expectation.dtype)


def stop_if_not_finite(name, value, when):
    """Raise FloatingPointError if one of NumPy's numbers is not finite."""
    if not np.isfinite(value).all():
        raise FloatingPointError(
            f"{name} is not finite {when}: the training diverged; use a "
            "smaller learning_rate"
        )


def stop_if_diverged(vae, epoch):
    """Raise FloatingPointError if a weight of the model is not finite."""
    for layer in vae.to_numpy():
        for array in layer:
            stop_if_not_finite("vae", array, f"after epoch {epoch}")
