"""What energy-based models are in every framework: arrays, and arguments.

The energy, its slope and the chains are those of `advml.pytorch.ebm` and
`advml.tensorflow.ebm`; what needs neither of them stands here.
"""

import numpy as np

from advml.validation import count, finite, nonnegative, positive

BETAS = 0.0, 0.999  # of Adam: no momentum, as Du & Mordatch (2019)


class ReplayBuffer:
    """Chains that go on from one training step to the next (eq-ebm-buffer).

    Parameters
    ----------
    fresh : callable
        ``fresh(n, rng)`` makes n new starting states (n, ...), an array.
    size : int
        Number of chains that are kept, in `states`.
    fresh_fraction : float
        A chain that is drawn starts anew with this probability.
    seed : int or numpy.random.Generator

    Source: T. Tieleman, ICML 2008; Y. Du & I. Mordatch, NeurIPS 2019.
    """

    def __init__(self, fresh, *, size, fresh_fraction=0.05, seed=0):
        """Fill the buffer with fresh states."""
        if not 0 <= fresh_fraction <= 1:
            raise ValueError(
                f"fresh_fraction must lie in [0, 1], not {fresh_fraction!r}"
            )
        self.fresh, self.fresh_fraction = fresh, fresh_fraction
        self.rng = np.random.default_rng(seed)
        self.states = _floats(fresh(count("size", size), self.rng))
        if len(self.states) != size:
            raise ValueError(
                f"fresh({size}, rng) must return {size} states, but returned "
                f"an array of shape {self.states.shape}"
            )

    def draw(self, n):
        """Return n different places of the buffer, and states to go on from.

        Each of the states (n, ...) is the one kept at its place, or a fresh
        one.
        """
        if count("n", n) > len(self.states):
            raise ValueError(
                f"n must be at most the buffer's size, {len(self.states)}, "
                f"not {n}"
            )
        places = self.rng.choice(len(self.states), n, replace=False)
        x = self.states[places]
        new = self.rng.random(n) < self.fresh_fraction
        if new.any():
            x[new] = self.fresh(int(new.sum()), self.rng)
        return places, x

    def store(self, places, x):
        """Keep the states x (n, ...) that the chains have reached."""
        shape = (len(places), *self.states.shape[1:])
        if np.shape(x) != shape:
            raise ValueError(f"x must have shape {shape}, not {np.shape(x)}")
        self.states[places] = x


def chain_constants(step, noise, max_gradient, limits):
    """Check the constants of Langevin chains, and leave out what is None.

    Without `noise` it is √(2·step), that of temperature one.
    """
    step = positive("step", step)
    noise = (2 * step) ** 0.5 if noise is None else nonnegative("noise", noise)
    constants = {"step": step, "noise": float(noise)}
    if max_gradient is not None:
        constants["max_gradient"] = positive("max_gradient", max_gradient)
    if limits is not None:
        ends = finite("limits", limits)
        if ends.shape != (2,) or not ends[0] < ends[1]:
            raise ValueError(f"limits must be (low, high), not {limits!r}")
        constants["limits"] = tuple(ends.tolist())
    return constants


def learning_rates(first, last, n_updates):
    """Learning rates of all updates, on a straight line; constant by None."""
    first = positive("learning_rate", first)
    last = first if last is None else nonnegative("final_learning_rate", last)
    return np.linspace(first, last, count("n_updates", n_updates)).tolist()


def _floats(x):
    """Copy an array; whole numbers, which would round states, become floats.

    A view would let the buffer write into the array that it came from.
    """
    return np.array(x, dtype=np.result_type(x, np.float32))
