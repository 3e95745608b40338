"""RBM with 20 hidden units on MNIST: likelihood without an estimate."""

import numpy as np
from mnist import average, baseline, images, independent_pixels, trained

from courseware.results import Finding, run


def experiment(
    seed: int = 0,
    epochs: int = 100,
    n_hidden: int = 20,
    n_gibbs_steps: int = 1,
    batch_size: int = 100,
    learning_rate: float = 0.05,
):
    """RBM with 20 hidden units, exact likelihood.

    Persistent contrastive divergence; the learning rate falls linearly to
    zero. Binarisation: stochastic, training images anew in each epoch, test
    images once. The partition function is the sum over all hidden states.
    """
    rng = np.random.default_rng(seed)
    train, test = images(rng)
    start = independent_pixels(train, n_hidden, rng)
    machine = trained(
        start,
        train,
        rng,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        n_gibbs_steps=n_gibbs_steps,
    )
    log_p = -machine.free_energy(test) - machine.log_partition()
    return [
        baseline(start, test),
        Finding(
            "exact log-likelihood, test (nats)",
            *average(log_p),
            published="≥ −150",
            source="target of the course",
        ),
    ]


if __name__ == "__main__":
    run(experiment)
