r"""Restricted Boltzmann machines with exact answers, in NumPy.

Visible units x, hidden units h, visible biases a, hidden biases b, weights W
of shape (n_visible, n_hidden). Energies enter as exp(-E), logarithms are
natural. Small machines are summed exactly: whatever a lecture estimates by a
Markov chain can be compared with these numbers.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit as sigmoid

from advml.validation import count, finite, one_of, positive, shaped

MAX_ENUMERATED = 25  # 2^25 states take minutes, and twice that per unit
CHUNK_ENTRIES = 2**15  # entries of one block of states: stays in the cache
METHODS = ("pcd", "cd")  # of training, in every framework


class Gradient(NamedTuple):
    """One number per parameter of a machine, in the shapes of the machine."""

    weights: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray


def softplus(u):
    """log(1 + e^u) without overflow: the exponential is of -|u|."""
    return np.maximum(u, 0) + np.log1p(np.exp(-np.abs(u)))


def all_states(n):
    """All 2^n states of n units {0,1}; row k holds the binary digits of k."""
    return _states(np.arange(2 ** _enumerable(n)), n)


@dataclass(frozen=True, eq=False)
class RBM:
    r"""Binary-binary machine, E(x,h) = -a.x - b.h - x^T W h (eq-rbm-energy).

    Parameters
    ----------
    weights : array (n_visible, n_hidden)
    visible_bias : array (n_visible,)
    hidden_bias : array (n_hidden,)

    Arrays are copied as float64. A batch of states is the first axis; states
    hold 0 and 1 only. ValueError names any argument that is not finite, has
    the wrong shape or is not binary.

    Source: Smolensky (1986); Hinton (2002).
    """

    weights: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray

    def __post_init__(self):
        """Check the parameters and keep copies of them."""
        _store_parameters(self)

    @property
    def n_visible(self):
        """Number of visible units."""
        return self.weights.shape[0]

    @property
    def n_hidden(self):
        """Number of hidden units."""
        return self.weights.shape[1]

    def energy(self, x, h):
        """Energy of the joint states (eq-rbm-energy), shape (...)."""
        x, h = self._visible(x), self._hidden(h)
        interaction = ((x @ self.weights) * h).sum(-1)
        return -x @ self.visible_bias - h @ self.hidden_bias - interaction

    def free_energy(self, x):
        """F(x) = -a.x - sum_j softplus(b_j + (xW)_j) (eq-rbm-free-energy)."""
        return self._free_energy(self._visible(x))

    def hidden_probability(self, x):
        """p(h_j = 1 | x) = sigmoid(b_j + (xW)_j) (eq-rbm-conditionals)."""
        return sigmoid(self.hidden_bias + self._visible(x) @ self.weights)

    def visible_probability(self, h):
        """p(x_i = 1 | h) = sigmoid(a_i + (Wh)_i) (eq-rbm-conditionals)."""
        return sigmoid(self.visible_bias + self._hidden(h) @ self.weights.T)

    def log_partition(self):
        """Return log Z exactly: a sum over the smaller layer (eq-rbm-log-z).

        The larger layer is summed analytically. Up to 25 units are
        enumerated, block by block.
        """
        machine = self._smaller_layer_first()
        blocks = _state_blocks(machine.n_visible, machine.n_hidden)
        return _log_sum_exp([-machine._free_energy(x) for x in blocks])

    def log_probability(self, x):
        """Return log p(x) = -F(x) - log Z for each state, in nats."""
        return -self.free_energy(x) - self.log_partition()

    def log_likelihood(self, x):
        """Mean of log p(x) over a batch, in nats (eq-rbm-likelihood)."""
        return float(np.mean(self.log_probability(x)))

    def sample(self, n, n_steps, seed):
        """Visible states of n chains after `n_steps` block Gibbs sweeps.

        Chains start from fair coins. Whether `n_steps` is enough to forget
        the start is for the caller to know: see `gibbs_transition_matrix`.
        """
        rng = np.random.default_rng(seed)
        start = rng.integers(0, 2, (count("n", n), self.n_visible))
        return block_gibbs(self, start, n_steps, rng)

    def sample_exactly(self, n, seed):
        """n independent visible states, drawn from p(x) by enumeration."""
        rng = np.random.default_rng(seed)
        machine = self._smaller_layer_first()
        blocks = _state_blocks(machine.n_visible, machine.n_hidden)
        minus_f = np.concatenate([-machine._free_energy(s) for s in blocks])
        cumulative = np.cumsum(np.exp(minus_f - minus_f.max()))
        # A uniform draw below 1 times the total never reaches the total.
        levels = rng.random(count("n", n)) * cumulative[-1]
        index = np.searchsorted(cumulative, levels, side="right")
        small = _states(index, machine.n_visible)
        if machine is self:
            return small
        return _coins(self.visible_probability(small), rng)

    def swapped(self):
        """Return the same machine with the two layers exchanged."""
        return RBM(self.weights.T, self.hidden_bias, self.visible_bias)

    def _smaller_layer_first(self):
        return self if self.n_visible <= self.n_hidden else self.swapped()

    def _free_energy(self, x):
        hidden_field = self.hidden_bias + x @ self.weights
        return -x @ self.visible_bias - softplus(hidden_field).sum(-1)

    def _visible(self, x):
        return shaped("x", one_of("x", x, (0, 1)), (self.n_visible,))

    def _hidden(self, h):
        return shaped("h", one_of("h", h, (0, 1)), (self.n_hidden,))


@dataclass(frozen=True, eq=False)
class GaussianRBM:
    r"""Gaussian visible, binary hidden units (eq-gaussian-rbm-energy).

    E(x,h) = sum_i (x_i - a_i)^2 / 2 s_i^2 - b.h - sum_ij x_i w_ij h_j / s_i^2,
    so that x_i given h is Gaussian with mean a_i + sum_j w_ij h_j and
    standard deviation s_i: weights are in the units of the data.

    Parameters
    ----------
    weights : array (n_visible, n_hidden)
    visible_bias : array (n_visible,)
    hidden_bias : array (n_hidden,)
    scale : float or array (n_visible,)
        Standard deviation s of the visible units given h; positive.

    Source: Welling, Rosen-Zvi & Hinton (2004); form of the coupling after
    Cho, Ilin & Raiko (2011).
    """

    weights: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray
    scale: np.ndarray

    def __post_init__(self):
        """Check the parameters and keep copies of them."""
        _store_parameters(self)
        scale = finite("scale", self.scale)
        if not np.all(scale > 0):
            raise ValueError(f"scale must be positive, not {scale.min()}")
        if scale.shape not in ((), (self.n_visible,)):
            shaped("scale", scale, (self.n_visible,))
            raise ValueError(f"scale must have one axis, not {scale.shape}")
        scale = np.broadcast_to(scale, (self.n_visible,)).copy()
        object.__setattr__(self, "scale", scale)

    @property
    def n_visible(self):
        """Number of visible units."""
        return self.weights.shape[0]

    @property
    def n_hidden(self):
        """Number of hidden units."""
        return self.weights.shape[1]

    def energy(self, x, h):
        """Energy of the joint states (eq-gaussian-rbm-energy)."""
        x, h = self._visible(x), self._hidden(h)
        well = ((x - self.visible_bias) ** 2 / (2 * self.scale**2)).sum(-1)
        interaction = ((x / self.scale**2 @ self.weights) * h).sum(-1)
        return well - h @ self.hidden_bias - interaction

    def free_energy(self, x):
        """-log sum_h exp(-E(x,h)) (eq-gaussian-rbm-free-energy)."""
        x = self._visible(x)
        well = ((x - self.visible_bias) ** 2 / (2 * self.scale**2)).sum(-1)
        return well - softplus(self._hidden_field(x)).sum(-1)

    def hidden_probability(self, x):
        """p(h_j = 1 | x), a sigmoid (eq-gaussian-rbm-conditionals)."""
        return sigmoid(self._hidden_field(self._visible(x)))

    def visible_mean(self, h):
        """Mean a + W h of x given h (eq-gaussian-rbm-conditionals)."""
        return self.visible_bias + self._hidden(h) @ self.weights.T

    def mixture(self):
        """Weights (2^n_h,) and means (2^n_h, n_visible) of the marginal.

        p(x) is a mixture of 2^n_h Gaussians of equal covariance
        (eq-gaussian-rbm-mixture), ordered like `all_states(n_hidden)`.
        """
        h = all_states(self.n_hidden)
        log_weights = self._log_hidden_weight(h)
        weights = np.exp(log_weights - log_weights.max())
        return weights / weights.sum(), self.visible_mean(h)

    def log_partition(self):
        """Return log Z exactly, by a sum over h (eq-gaussian-rbm-log-z)."""
        blocks = _state_blocks(self.n_hidden, self.n_visible)
        terms = _log_sum_exp([self._log_hidden_weight(h) for h in blocks])
        return float(terms + np.log(2 * np.pi * self.scale**2).sum() / 2)

    def log_probability(self, x):
        """Log of the density, log p(x) = -F(x) - log Z, for each state."""
        return -self.free_energy(x) - self.log_partition()

    def log_likelihood(self, x):
        """Mean of the log density over a batch, in nats."""
        return float(np.mean(self.log_probability(x)))

    def sample(self, n, n_steps, seed):
        """Visible states of n chains after `n_steps` block Gibbs sweeps.

        Chains start from the Gaussian of the machine without hidden units.
        """
        rng = np.random.default_rng(seed)
        shape = (count("n", n), self.n_visible)
        x = self.visible_bias + self.scale * rng.standard_normal(shape)
        for _ in range(count("n_steps", n_steps, at_least=0)):
            h = _coins(sigmoid(self._hidden_field(x)), rng)
            mean = self.visible_bias + h @ self.weights.T
            x = mean + self.scale * rng.standard_normal(shape)
        return x

    def _hidden_field(self, x):
        return self.hidden_bias + x / self.scale**2 @ self.weights

    def _log_hidden_weight(self, h):
        """b.h + sum_i ((a + Wh)_i^2 - a_i^2) / 2 s_i^2, log p(h) + const."""
        mean = self.visible_bias + h @ self.weights.T
        shift = mean**2 - self.visible_bias**2
        return h @ self.hidden_bias + (shift / (2 * self.scale**2)).sum(-1)

    def _visible(self, x):
        return shaped("x", finite("x", x), (self.n_visible,))

    def _hidden(self, h):
        return shaped("h", one_of("h", h, (0, 1)), (self.n_hidden,))


def spin_rbm(couplings):
    r"""Return the machine of spins s, h = ±1 with E = -s^T V h, in {0,1}.

    With s = 2x - 1 and h likewise: W = 4 V, a_i = -2 sum_j v_ij and
    b_j = -2 sum_i v_ij (eq-ising-rbm-units). Spins have no biases, so that
    p(s) = p(-s). The dropped constant makes the log Z of the spins larger
    than that of the machine returned, by the sum of all v_ij.

    `couplings` is V, of shape (n_visible, n_hidden); ValueError as in `RBM`.
    """
    v = finite("couplings", couplings)
    if v.ndim != 2:
        raise ValueError(f"couplings must have two axes, not shape {v.shape}")
    return RBM(4 * v, -2 * v.sum(axis=1), -2 * v.sum(axis=0))


def ising_rbm(couplings):
    r"""Return the machine that *is* an Ising model, exactly.

    p(s) is proportional to exp(sum_{i<k} K_ik s_i s_k). Each pair with
    K_ik != 0 gets one hidden spin, coupled to both with the strength
    w = arccosh(exp(2 |K_ik|)) / 2, and with opposite signs if K_ik < 0
    (eq-ising-rbm-decoration). With N_b such pairs

        log Z = log Z_Ising + sum_{i<k} (ln 2 + |K_ik| - 2 w_ik [K_ik > 0]),

    where the last term comes from the units {0,1} (eq-ising-rbm-log-z).

    Parameters
    ----------
    couplings : array (n, n)
        K = J / T, symmetric with zero diagonal and at least one pair.

    Source: the decoration transformation, Fisher (1959).
    """
    k = shaped("couplings", finite("couplings", couplings), (None, None))
    if k.ndim != 2 or k.shape[0] != k.shape[1] or np.any(k != k.T):
        raise ValueError("couplings must be a symmetric matrix")
    if np.any(np.diag(k)) or not np.any(k):
        raise ValueError(
            "couplings must have a zero diagonal and some other entry"
        )
    first, second = np.nonzero(np.triu(k))
    pairs = np.arange(len(first))
    strength = np.arccosh(np.exp(2 * np.abs(k[first, second]))) / 2
    v = np.zeros((len(k), len(first)))
    v[first, pairs] = strength
    v[second, pairs] = strength * np.sign(k[first, second])
    return spin_rbm(v)


def local_coupling(rbm, x, i, k):
    r"""Coupling K_ik(x) between two visible units, the others held at x.

    Whatever a machine has learned, as a function of two spins s = 2x - 1
    alone log p is K_ik s_i s_k plus terms in one spin or none, so that

        4 K_ik = log [p(+,+) p(-,-) / p(+,-) p(-,+)]    (eq-ising-coupling).

    It is a free-energy difference and needs no Z. In an Ising model it does
    not depend on x. `x` has shape (..., n_visible), the result (...);
    ValueError unless i and k are two different units.
    """
    units = [count(n, u, at_least=0) for n, u in (("i", i), ("k", k))]
    if i == k or max(units) >= rbm.n_visible:
        raise ValueError(
            f"i and k must be two units below {rbm.n_visible}, not {i}, {k}"
        )
    x, total = np.array(rbm._visible(x)), 0.0
    for x_i, x_k in ((1, 1), (0, 0), (1, 0), (0, 1)):
        x[..., i], x[..., k] = x_i, x_k
        sign = 1 if x_i == x_k else -1
        total = total - sign * rbm._free_energy(x)
    return total / 4


def start_values(n_visible, n_hidden, weight_scale, visible_bias, seed):
    """Return the machine that training begins with, in every framework.

    Normal weights of standard deviation `weight_scale`, zero hidden biases,
    and zero visible ones if none are given; ValueError as in `RBM`.
    """
    n_visible = count("n_visible", n_visible)
    n_hidden = count("n_hidden", n_hidden)
    scale = positive("weight_scale", weight_scale)
    return RBM(
        np.random.default_rng(seed).normal(0, scale, (n_visible, n_hidden)),
        np.zeros(n_visible) if visible_bias is None else visible_bias,
        np.zeros(n_hidden),
    )


def number_of_chains(method, n_chains, chains, n_hidden):
    """Return how many persistent chains a training keeps: none for "cd".

    `chains`, if given, replace `n_chains`. ValueError if `method` is unknown,
    `n_chains` no count or `chains` not of shape (n_chains, n_hidden), with at
    least one row.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, not {method!r}")
    if method == "cd":
        return 0
    if chains is None:
        return count("n_chains", n_chains)
    shape = tuple(np.shape(chains))
    if len(shape) != 2 or not shape[0] or shape[1] != n_hidden:
        raise ValueError(
            f"chains must have shape (n_chains, {n_hidden}), but has {shape}"
        )
    return shape[0]


def block_gibbs(rbm, start, n_steps, seed):
    """Run `n_steps` sweeps x -> h -> x from `start`; return the last x.

    Given x all hidden units are independent, and so are all visible ones
    given h (eq-rbm-conditionals): a layer is drawn at once, each unit of each
    chain with its own uniform number.
    """
    rng = np.random.default_rng(seed)
    x = _batch("start", rbm, start)
    for _ in range(count("n_steps", n_steps, at_least=0)):
        h = _coins(sigmoid(rbm.hidden_bias + x @ rbm.weights), rng)
        x = _coins(sigmoid(rbm.visible_bias + h @ rbm.weights.T), rng)
    return x


def phase(rbm, x, p=None):
    """Averages of x h^T, x and h over visible states x (eq-rbm-gradient).

    `p` holds the probability of each state; by default all states of the
    batch count the same. h stands for its mean p(h = 1 | x).
    """
    p = np.full(len(x), 1 / len(x)) if p is None else p
    h = sigmoid(rbm.hidden_bias + x @ rbm.weights)
    return Gradient((p[:, None] * x).T @ h, p @ x, p @ h)


def log_likelihood_gradient(rbm, data):
    """Exact gradient of the mean log-likelihood (eq-rbm-gradient).

    <x h^T>, <x>, <h> averaged over the data minus the same averages over the
    model, which are summed over all states of the smaller layer. Following
    the gradient uphill learns.
    """
    data = _batch("data", rbm, data)
    return _difference(phase(rbm, data), model_averages(rbm))


def contrastive_divergence(rbm, data, n_steps, seed):
    """CD-k estimate of the gradient (eq-rbm-cd): chains of k steps from data.

    Replaces the model average by one over the states that `n_steps` block
    Gibbs sweeps reach from the data. Source: Hinton (2002).
    """
    data = _batch("data", rbm, data)
    reached = block_gibbs(rbm, data, count("n_steps", n_steps), seed)
    return _difference(phase(rbm, data), phase(rbm, reached))


def model_averages(rbm):
    """Exact <x h^T>, <x> and <h> of the model, as a `Gradient`.

    The negative phase of eq-rbm-gradient, summed over the smaller layer.
    """
    if rbm.n_hidden < rbm.n_visible:
        weights, hidden, visible = model_averages(rbm.swapped())
        return Gradient(weights.T, visible, hidden)
    # One pass: whenever a block holds a larger exponent than all before it,
    # what was summed so far is rescaled to that exponent.
    largest, z, total = -np.inf, 0.0, (0.0, 0.0, 0.0)
    for x in _state_blocks(rbm.n_visible, rbm.n_hidden):
        minus_f = -rbm._free_energy(x)
        old, largest = largest, max(largest, minus_f.max())
        p, fade = np.exp(minus_f - largest), np.exp(old - largest)
        z = fade * z + p.sum()
        block = phase(rbm, x, p)
        total = [fade * t + b for t, b in zip(total, block, strict=True)]
    return Gradient(*(t / z for t in total))


def gibbs_transition_matrix(rbm):
    """Transition matrix of one block Gibbs sweep on the visible states.

    P[k, l] = sum_h p(x_l | h) p(h | x_k), shape (2^n_visible, 2^n_visible),
    rows sum to 1, states ordered like `all_states` (eq-rbm-transition).
    """
    x, h = all_states(rbm.n_visible), all_states(rbm.n_hidden)
    up = _bernoulli_table(rbm.hidden_bias + x @ rbm.weights, h)
    down = _bernoulli_table(rbm.visible_bias + h @ rbm.weights.T, x)
    return up @ down


def _difference(positive, negative):
    return Gradient(*(a - b for a, b in zip(positive, negative, strict=True)))


def _bernoulli_table(field, states):
    """P[k, l] of state l for independent units with log-odds field[k]."""
    return np.exp(field @ states.T - softplus(field).sum(-1)[:, None])


def _coins(probability, rng):
    """Ones with the given probabilities: one uniform number per entry."""
    return (rng.random(probability.shape) < probability).astype(np.float64)


def _batch(name, rbm, x):
    x = shaped(name, one_of(name, x, (0, 1)), (rbm.n_visible,))
    if x.ndim != 2 or len(x) == 0:
        raise ValueError(
            f"{name} must be a batch of shape (n, {rbm.n_visible}) with "
            f"n >= 1, but has shape {x.shape}"
        )
    return x


def _store_parameters(machine):
    weights = np.array(finite("weights", machine.weights))
    if weights.ndim != 2 or 0 in weights.shape:
        raise ValueError(
            "weights must have shape (n_visible, n_hidden), but has "
            f"{weights.shape}"
        )
    object.__setattr__(machine, "weights", weights)
    names = ("visible_bias", "hidden_bias")
    for name, length in zip(names, weights.shape, strict=True):
        bias = np.array(finite(name, getattr(machine, name)))
        if bias.shape != (length,):
            raise ValueError(
                f"{name} must have shape ({length},) to go with weights of "
                f"shape {weights.shape}, but has {bias.shape}"
            )
        object.__setattr__(machine, name, bias)


def _enumerable(n):
    if count("n", n) > MAX_ENUMERATED:
        raise ValueError(
            f"n must be at most {MAX_ENUMERATED} to enumerate 2^n states, not "
            f"{n}: estimate log Z with "
            "advml.likelihood.annealed_importance_sampling instead"
        )
    return n


def _states(numbers, n):
    digits = np.arange(n - 1, -1, -1)
    return ((numbers[:, None] >> digits) & 1).astype(np.float64)


def _state_blocks(n, width):
    """All states of n units in blocks, for a layer of `width` units."""
    total = 2 ** _enumerable(n)
    rows = max(1, CHUNK_ENTRIES // max(n, width))
    for first in range(0, total, rows):
        yield _states(np.arange(first, min(first + rows, total)), n)


def _log_sum_exp(blocks):
    return float(
        np.logaddexp.reduce([np.logaddexp.reduce(block) for block in blocks])
    )
