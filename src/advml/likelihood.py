r"""Likelihoods of models whose normalisation or marginal is an integral.

Of Boltzmann machines, with annealed importance sampling: log Z of machines
too large to sum. Of models with latent variables, p(x) = ∫ p(x|z) p(z) dz:
bounds from importance weights, and the integral itself on a grid.

The path between a base machine without couplings (beta = 0) and the machine
of interest (beta = 1) interpolates the energies linearly. Every machine on
the path is again a restricted Boltzmann machine,

    weights beta W, hidden bias beta b, visible bias (1 - beta) a_0 + beta a,

so its hidden units can be summed out and block Gibbs leaves it invariant.

Sources: Neal (2001); Salakhutdinov & Murray (2008); for the reverse chains
Burda, Grosse & Salakhutdinov (2015) and Grosse, Ghahramani & Adams (2015);
for importance-weighted bounds Burda, Grosse & Salakhutdinov (2016).
"""

from itertools import pairwise

import numpy as np
from scipy.special import expit as sigmoid
from scipy.special import logsumexp

from advml.rbm import softplus
from advml.validation import count, finite, one_of, positive, shaped


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


def importance_weighted_bound(log_w, k):
    r"""Estimate the bound from k importance weights (eq-iwae), per datum.

        L_k = < log (w_1 + ... + w_k)/k > <= log p(x),

    with w = p(x, z)/q(z|x) and z from q(z|x). L_1 is the evidence lower
    bound. The samples are cut into groups of k, so that each group is an
    independent and unbiased estimate of L_k.

    Parameters
    ----------
    log_w : array (..., n)
        log p(x, z) - log q(z|x) of n independent draws of z per datum.
    k : int
        At most n/2: an error needs two groups. What is left over is unused.

    Returns
    -------
    (bound, standard_error) : arrays (...), nats
        The squared error of one datum has few degrees of freedom if n/k is
        small; averaged over many data it is as good as any.

    Source: Burda, Grosse & Salakhutdinov (2016).
    """
    log_w, k = finite("log_w", log_w), count("k", k)
    if log_w.ndim == 0 or log_w.shape[-1] < 2 * k:
        raise ValueError(
            f"log_w must have shape (..., n) with n >= 2 k = {2 * k}, but has "
            f"{log_w.shape}"
        )
    n_groups = log_w.shape[-1] // k
    groups = log_w[..., : n_groups * k].reshape(*log_w.shape[:-1], -1, k)
    bounds = logsumexp(groups, axis=-1) - np.log(k)
    error = bounds.std(axis=-1, ddof=1) / np.sqrt(n_groups)
    return bounds.mean(axis=-1), error


def exact_importance_weighted_bound(log_w, probability, k):
    r"""Return the bound from k weights without sampling (eq-iwae-exact).

        L_k = log p(x) + ∫ [exp(-e^u) - ψ(e^u / k)^k] du,

    where ψ(t) = <exp(-t w/p(x))> is the Laplace transform of the weight's
    distribution. The integral is a sum over steps of 1/4, exact to about
    1e-13 of the larger term, because its integrand is analytic within
    |Im u| < π/2. A gap log p(x) - L_k below that is lost in rounding.

    Parameters
    ----------
    log_w : array (..., m)
        Log weights at the m points of a grid, or of any discrete q.
    probability : array (..., m)
        What q(z|x) gives to the points; must sum to 1 within 1e-6, and is
        then normalised.
    k : int

    Returns
    -------
    array (...), nats
    """
    log_w, p = finite("log_w", log_w), finite("probability", probability)
    k, total = count("k", k), p.sum(axis=-1, keepdims=True)
    if np.any(p < 0) or not np.allclose(total, 1, rtol=0, atol=1e-6):
        raise ValueError("probability must be >= 0 and sum to 1")
    p = p / total
    log_mean = logsumexp(log_w, b=p, axis=-1, keepdims=True)
    log_ratio = log_w - log_mean
    # Beyond `last` not even the smallest weights contribute to ψ.
    last = np.log(k) + 4 - log_ratio[p > 1e-20].min()
    integral, shift = 0, log_ratio - np.log(k)
    for u in np.arange(-40, last + 0.25, 0.25):
        # Exponents are added before e^u overflows or a weight underflows.
        exponent = np.exp(np.minimum(u + shift, 700))
        rest = (p * -np.expm1(-exponent)).sum(axis=-1)  # 1 - ψ
        power = np.where(
            rest < 0.5,
            np.exp(k * np.log1p(-np.minimum(rest, 0.5))),
            np.maximum(1 - rest, 0) ** k,
        )
        integral += np.exp(-np.exp(min(u, 700))) - power
    return log_mean[..., 0] + integral / 4


def gaussian_log_density(z, mean=0.0, variance=1.0):
    """Return log N(z; mean, variance), summed over the last axis.

    Components are independent, standard normal unless mean and variance (of
    shapes that broadcast against z) say otherwise. Nats.
    """
    z, variance = np.asarray(z), np.asarray(variance)
    square = (z - mean) ** 2 / variance
    return -(square + np.log(2 * np.pi * variance)).sum(axis=-1) / 2


def gauss_hermite(n_nodes, q):
    """Return nodes and weights for averages over N(0, I) in q dimensions.

        <f> = sum_i weights_i f(nodes_i),

    exact if f is a polynomial of degree 2 n_nodes - 1 in each component.
    With z = mean + scale * nodes it averages over N(mean, scale²)
    (eq-reparameterisation).

    Returns
    -------
    (nodes, weights) : arrays (n_nodes^q, q) and (n_nodes^q,)
        The weights sum to one.
    """
    count("n_nodes", n_nodes), count("q", q)
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    nodes = np.stack(np.meshgrid(*[nodes] * q, indexing="ij"), axis=-1)
    weights = np.meshgrid(*[weights / weights.sum()] * q, indexing="ij")
    return nodes.reshape(-1, q), np.prod(weights, axis=0).ravel()


def latent_grid(centre, scale, *, width=6.0, n_points=41):
    """Return one regular grid of latent points for each datum.

    Parameters
    ----------
    centre, scale : arrays (n, q)
        Where each grid lies and its unit of length: mean and standard
        deviation of an encoder, or zeros and ones for the prior.
    width : float
        Each axis goes from centre - width·scale to centre + width·scale.
    n_points : int
        Points per axis, so that a grid has m = n_points^q points.

    Returns
    -------
    (z, log_volume) : arrays (n, m, q) and (n,)
        An integral of e^f over z is then the sum of e^f over the grid times
        the volume of a cell, and its logarithm
        logsumexp(f(z), axis=-1) + log_volume.
    """
    centre, scale = finite("centre", centre), finite("scale", scale)
    if centre.ndim != 2 or scale.shape != centre.shape:
        raise ValueError(
            "centre and scale must have the same shape (n, q), but have "
            f"{centre.shape} and {scale.shape}"
        )
    if np.any(scale <= 0):
        raise ValueError(f"scale must be positive, not {scale.min()}")
    width = positive("width", width)
    axis = np.linspace(-width, width, count("n_points", n_points, at_least=3))
    axes = np.meshgrid(*[axis] * centre.shape[1], indexing="ij")
    points = np.stack(axes, axis=-1).reshape(-1, centre.shape[1])
    z = centre[:, None] + scale[:, None] * points
    return z, np.log((axis[1] - axis[0]) * scale).sum(axis=-1)


def evidence_on_grid(log_likelihood, centre, scale, *, width=6.0, n_points=41):
    r"""Return log p(x) = log ∫ p(x|z) N(z; 0, I) dz (eq-evidence).

    The sum over a regular grid converges faster than any power of its step
    for a smooth integrand that vanishes at the grid's ends.

    Parameters
    ----------
    log_likelihood : callable
        Maps latent points (n, m, q), m for each datum, to log p(x|z) of
        that datum, shape (n, m).
    centre, scale, width, n_points
        The grids, see :func:`latent_grid`; `n_points` must be odd. Choose a
        grid that holds every mode of the posterior: an encoder may know
        only one, the prior knows all. For few latent dimensions only.

    Returns
    -------
    (log_evidence, error) : arrays (n,), nats
        The error is the larger of two estimates. For the step: the change
        when every second point of each axis is left out, which is that of
        the coarser sum, and so pessimistic. For the ends: what the
        outermost points add, as if they went on for another half width.
    """
    if count("n_points", n_points, at_least=5) % 2 == 0:
        raise ValueError(f"n_points must be odd, not {n_points}")
    z, log_volume = latent_grid(centre, scale, width=width, n_points=n_points)
    log_joint = np.asarray(log_likelihood(z))
    if log_joint.shape != z.shape[:2]:
        raise ValueError(
            f"log_likelihood must return shape {z.shape[:2]} for points of "
            f"shape {z.shape}, not {log_joint.shape}"
        )
    log_joint = log_joint + gaussian_log_density(z)
    n, _, q = z.shape
    cube = log_joint.reshape(n, *[n_points] * q)

    def total(part):
        kept = cube[(slice(None), *[part] * q)].reshape(n, -1)
        return logsumexp(kept, axis=-1) + log_volume

    log_evidence = total(slice(None))
    step = total(slice(None, None, 2)) + q * np.log(2) - log_evidence
    edge = (total(slice(1, -1)) - log_evidence) * (n_points // 4)
    return log_evidence, np.maximum(np.abs(step), np.abs(edge))
