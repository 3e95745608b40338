r"""Annealed importance sampling: log Z of machines too large to sum.

The path between a base machine without couplings (beta = 0) and the machine
of interest (beta = 1) interpolates the energies linearly. Every machine on
the path is again a restricted Boltzmann machine,

    weights beta W, hidden bias beta b, visible bias (1 - beta) a_0 + beta a,

so its hidden units can be summed out and block Gibbs leaves it invariant.

Sources: Neal (2001); Salakhutdinov & Murray (2008); for the reverse chains
Burda, Grosse & Salakhutdinov (2015) and Grosse, Ghahramani & Adams (2015).
"""

from itertools import pairwise

import numpy as np
from scipy.special import expit as sigmoid

from advml.rbm import softplus
from advml.validation import count, finite, one_of, shaped


def annealed_importance_sampling(
    rbm, *, n_chains, n_temperatures, seed, base_visible_bias=None
):
    r"""Estimate log Z with chains that anneal from the base to the machine.

    Each chain collects the weight (eq-ais-weight)

        log w = sum_k log p*_{k+1}(x_k) - log p*_k(x_k),

    with x_0 drawn from the base and x_k from x_{k-1} by one block Gibbs
    sweep at beta_k = k / n_temperatures. Then Z_0 <w> = Z without bias, and
    the returned log Z_0 + log(mean w) lies below log Z in expectation
    (Jensen).

    Parameters
    ----------
    rbm : machine with weights, visible_bias and hidden_bias (NumPy)
    n_chains : int, at least 2
    n_temperatures : int
        Steps of the ladder; each costs two matrix products.
    seed : int or numpy.random.Generator
    base_visible_bias : array (n_visible,), optional
        a_0. The default is a itself: the path then only turns on W and b.
        Salakhutdinov & Murray (2008) take log-odds of the data's pixel means.

    Returns
    -------
    (log_z, standard_error) : floats, nats
        The error is that of the log of a mean (delta method). It is honest
        only while it is small: a few dominating weights make it too small,
        and it knows nothing of modes that no chain has found.
    """
    rng = np.random.default_rng(seed)
    base = _base_bias(rbm, base_visible_bias)
    shape = (count("n_chains", n_chains, at_least=2), len(base))
    x = _coins(np.broadcast_to(sigmoid(base), shape), rng)
    log_w = _anneal(rbm, base, x, _ladder(n_temperatures), rng)
    log_mean, error = _log_mean_exp(log_w)
    return _base_log_partition(rbm, base) + log_mean, error


def reverse_annealed_importance_sampling(
    rbm, samples, *, n_temperatures, seed, base_visible_bias=None
):
    r"""Estimate log Z from above with chains that start at the machine.

    The same path walked backwards, one chain per sample: now the weights
    average to Z_0 / Z (eq-ais-reverse), and the returned
    log Z_0 - log(mean w) lies above log Z in expectation, provided that
    `samples` are exact draws from the machine.

    Parameters
    ----------
    rbm : machine with weights, visible_bias and hidden_bias (NumPy)
    samples : array (n_chains, n_visible) of 0 and 1, at least 2 rows
    n_temperatures, seed, base_visible_bias
        As in `annealed_importance_sampling`.

    Returns
    -------
    (log_z, standard_error) : floats, nats
        With samples that a Markov chain left short of equilibrium the bound
        is not guaranteed.
    """
    rng = np.random.default_rng(seed)
    base = _base_bias(rbm, base_visible_bias)
    x = shaped("samples", one_of("samples", samples, (0, 1)), base.shape)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(
            f"samples must have shape (n, {len(base)}) with n >= 2, but has "
            f"shape {x.shape}"
        )
    log_w = _anneal(rbm, base, x, _ladder(n_temperatures)[::-1], rng)
    log_mean, error = _log_mean_exp(log_w)
    return _base_log_partition(rbm, base) - log_mean, error


def _anneal(rbm, base, x, betas, rng):
    """Walk all chains along the ladder; return their log weights.

    log p*_beta(x) = a_beta.x + sum_j softplus(beta (b_j + (xW)_j))
    (eq-ais-path). Moves go to the new beta after the weight is taken.
    """
    slope = rbm.visible_bias - base  # d a_beta / d beta
    log_w = np.zeros(len(x))
    for old, new in pairwise(betas):
        field = rbm.hidden_bias + x @ rbm.weights
        log_w += (new - old) * (x @ slope)
        log_w += (softplus(new * field) - softplus(old * field)).sum(-1)
        h = _coins(sigmoid(new * field), rng)
        bias = base + new * slope
        x = _coins(sigmoid(bias + new * (h @ rbm.weights.T)), rng)
    return log_w


def _ladder(n_temperatures):
    return np.linspace(0, 1, count("n_temperatures", n_temperatures) + 1)


def _base_bias(rbm, base_visible_bias):
    n_visible = rbm.weights.shape[0]
    if base_visible_bias is None:
        return rbm.visible_bias
    base = finite("base_visible_bias", base_visible_bias)
    if base.shape != (n_visible,):
        raise ValueError(
            f"base_visible_bias must have shape ({n_visible},), but has "
            f"{base.shape}"
        )
    return base


def _base_log_partition(rbm, base):
    """log Z_0: visible units with bias a_0 and free hidden coins."""
    return float(softplus(base).sum() + rbm.weights.shape[1] * np.log(2))


def _log_mean_exp(log_w):
    """log of the mean of w, and its standard error by the delta method."""
    largest = log_w.max()
    w = np.exp(log_w - largest)
    error = w.std(ddof=1) / (w.mean() * np.sqrt(len(w)))
    return float(largest + np.log(w.mean())), float(error)


def _coins(probability, rng):
    return (rng.random(probability.shape) < probability).astype(np.float64)
