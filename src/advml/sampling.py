"""Markov chains for continuous variables, many chains at a time.

The first axis of a state counts the chains; each makes its own decisions.
"""

import numpy as np

from advml.validation import count, finite, positive, shaped


def metropolis(log_prob, x0, *, step, n_steps, seed):
    """Random-walk Metropolis: propose x + step·w, w ~ N(0, 1), and decide.

    A proposal is accepted with probability min(1, p(x')/p(x))
    (eq-metropolis), else the chain stays where it is.

    Parameters
    ----------
    log_prob : callable
        Maps states (n, ...) to log p up to a constant, shape (n,); -inf
        where p = 0.
    x0 : array, shape (n, ...)
        Start, one row per chain, where p > 0.
    step : float
        Standard deviation of the proposal per component, positive.
    n_steps, seed
        Whole number >= 1; int or numpy.random.Generator.

    Returns
    -------
    x, acceptance_rate
        Final states, shape (n, ...), and the fraction of accepted proposals.

    Source: N. Metropolis et al., J. Chem. Phys. 21, 1087 (1953).
    """
    x, step, n_steps, rng = _start(x0, step, n_steps, seed)
    log_p = _log_prob(log_prob, x)
    if np.any(log_p == -np.inf):
        raise ValueError("x0 has probability zero under log_prob")
    accepted = 0.0
    for _ in range(n_steps):
        proposal = x + step * rng.standard_normal(x.shape)
        log_p_new = _log_prob(log_prob, proposal)
        accept = np.log1p(-rng.random(len(x))) < log_p_new - log_p
        x = np.where(_column(accept, x), proposal, x)
        log_p = np.where(accept, log_p_new, log_p)
        accepted += accept.mean()
    return x, accepted / n_steps


def gibbs_gaussian(correlation, x0, *, n_steps, seed):
    """Gibbs sampling of two Gaussian variables (eq-gibbs-gaussian).

    Both have mean 0, variance 1 and the given correlation ρ, -1 < ρ < 1.
    A sweep draws the first from p(x₁|x₂) = N(ρ x₂, 1 - ρ²), and then the
    second from p(x₂|x₁) with the new x₁. `x0` has shape (n, 2).

    Returns the path, shape (n_steps + 1, n, 2), which starts with x0.

    Source: S. Geman & D. Geman, IEEE PAMI 6, 721 (1984).
    """
    rho = float(finite("correlation", correlation))
    if not -1 < rho < 1:
        raise ValueError(f"correlation must be in (-1, 1), not {correlation}")
    x, _, n_steps, rng = _start(x0, 1, n_steps, seed)
    shaped("x0", x, (len(x), 2))
    path = np.empty((n_steps + 1, *x.shape))
    path[0] = x
    noise = np.sqrt(1 - rho**2) * rng.standard_normal((n_steps, *x.shape))
    for t in range(n_steps):
        path[t + 1, :, 0] = rho * path[t, :, 1] + noise[t, :, 0]
        path[t + 1, :, 1] = rho * path[t + 1, :, 0] + noise[t, :, 1]
    return path


def langevin(
    grad_log_prob, x0, *, step, n_steps, seed, adjusted=False, log_prob=None
):
    """Langevin sampling: x ← x + step·∇log p(x) + √(2·step)·w, w ~ N(0, 1).

    This is (eq-langevin-update). To sample e^(-E/T) pass -∇E/T; with the
    step η·T this is the drift -η·∇E with noise √(2·η·T), which is at
    temperature T (eq-langevin-temperature).

    The finite step makes a bias (eq-langevin-first-order): on a standard
    normal distribution the variance is 1/(1 - step/2), and from a step of 2
    on the chain diverges. With `adjusted` each step is a proposal of the
    Metropolis-Hastings rule (MALA), which removes the bias.

    Parameters
    ----------
    grad_log_prob : callable
        Maps states (n, ...) to ∇log p, of the same shape.
    x0 : array, shape (n, ...)
        Start, one row per chain.
    step : float
        η, positive, in units of x squared.
    n_steps, seed
        Whole number >= 1; int or numpy.random.Generator.
    adjusted : bool
        Accept or reject; needs `log_prob`, which maps states (n, ...) to
        log p up to a constant, shape (n,), -inf where p = 0.

    Returns
    -------
    x, or (x, acceptance_rate) if adjusted
        Final states, shape (n, ...), and the fraction of accepted steps.

    ValueError for bad arguments, and when a chain diverges.

    Source: G. O. Roberts & R. L. Tweedie, Bernoulli 2, 341 (1996).
    """
    x, step, n_steps, rng = _start(x0, step, n_steps, seed)
    if adjusted:
        if log_prob is None:
            raise ValueError("log_prob is needed when adjusted=True, not None")
        return _mala(grad_log_prob, log_prob, x, step, n_steps, rng)
    for i in range(n_steps):
        noise = rng.standard_normal(x.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            drift = step * _gradient(grad_log_prob, x)
            x = x + drift + np.sqrt(2 * step) * noise
        if not np.all(np.isfinite(x)):
            raise ValueError(
                f"x is not finite after {i + 1} Langevin steps: step = {step} "
                "is too large, or grad_log_prob is not finite there"
            )
    return x


def temperature(step, noise):
    """Return the temperature T = noise²/(2·step) of a Langevin step.

    For small steps the chain x ← x − step·∇E + noise·w samples exp(−E/T)
    (eq-langevin-temperature).
    """
    return np.square(noise) / (2 * positive("step", step))


def _mala(grad_log_prob, log_prob, x, step, n_steps, rng):
    """Metropolis-adjusted Langevin: accept with min(1, p'q(x|x')/pq(x'|x)).

    The proposal density is q(x'|x) ∝ exp(-|x' - x - η∇log p(x)|²/4η)
    (eq-mala-acceptance).
    """
    log_p, gradient = _log_prob(log_prob, x), _gradient(grad_log_prob, x)
    if np.any(log_p == -np.inf):
        raise ValueError("x0 has probability zero under log_prob")
    finite("grad_log_prob(x0)", gradient)
    accepted = 0.0
    for _ in range(n_steps):
        noise = rng.standard_normal(x.shape)
        proposal = x + step * gradient + np.sqrt(2 * step) * noise
        log_p_new = _log_prob(log_prob, proposal)
        gradient_new = _gradient(grad_log_prob, proposal)
        with np.errstate(over="ignore", invalid="ignore"):
            back = x - proposal - step * gradient_new
            log_q = (2 * step * noise**2 - back**2) / (4 * step)
            log_q = log_q.reshape(len(x), -1).sum(axis=1)
        # A proposal whose gradient is not finite has log_q = -inf or nan,
        # and is rejected: nothing is smaller than nan.
        accept = np.log1p(-rng.random(len(x))) < log_p_new - log_p + log_q
        x = np.where(_column(accept, x), proposal, x)
        gradient = np.where(_column(accept, x), gradient_new, gradient)
        log_p = np.where(accept, log_p_new, log_p)
        accepted += accept.mean()
    return x, accepted / n_steps


def _start(x0, step, n_steps, seed):
    x = finite("x0", x0)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"x0 must have shape (n, ...), not {x.shape}")
    rng = np.random.default_rng(seed)
    return x, positive("step", step), count("n_steps", n_steps), rng


def _column(values, x):
    """Give per-chain values the trailing axes of x."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def _log_prob(log_prob, x):
    values = np.asarray(log_prob(x), dtype=float)
    if values.shape != x.shape[:1]:
        raise ValueError(
            f"log_prob must return shape {x.shape[:1]}, not {values.shape}"
        )
    if np.any(np.isnan(values)) or np.any(values == np.inf):
        raise ValueError("log_prob returned nan or +inf")
    return values


def _gradient(grad_log_prob, x):
    gradient = np.asarray(grad_log_prob(x), dtype=float)
    if gradient.shape != x.shape:
        raise ValueError(
            f"grad_log_prob must return shape {x.shape}, not {gradient.shape}"
        )
    return gradient
