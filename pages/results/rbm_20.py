"""RBM with 20 hidden units on MNIST: likelihood without an estimate."""

from itertools import pairwise

import numpy as np

from advml import datasets, rbm
from advml.pytorch import rbm as pytorch
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
    pixels, start = independent_pixels(train, n_hidden, rng)
    machine = trained(
        start,
        train,
        rng,
        epochs,
        learning_rate,
        batch_size=batch_size,
        n_gibbs_steps=n_gibbs_steps,
    )
    log_p = -machine.free_energy(test) - machine.log_partition()
    return [
        Finding("independent pixels, test (nats)", *average(pixels(test))),
        Finding(
            "exact log-likelihood, test (nats)",
            *average(log_p),
            published="≥ −150",
            source="target of the course",
        ),
    ]


def images(rng):
    """Grey training images as rows, and test images of ones and zeros."""
    data = datasets.mnist()
    train, test = (x.reshape(len(x), -1) for x in (data.train, data.test))
    return train, datasets.binarise(test, seed=rng)


def independent_pixels(train, n_hidden, rng):
    """log p(x) of independent pixels, and a machine that begins as that."""
    mean = (train.sum(0, dtype=float) + 1) / (len(train) + 2)
    bias = np.log(mean / (1 - mean))
    weights = rng.normal(0, 0.01, (train.shape[1], n_hidden))
    start = rbm.RBM(weights, bias, np.zeros(n_hidden))
    return lambda x: x @ bias + np.log1p(-mean).sum(), start


def trained(start, train, rng, epochs, learning_rate, **settings):
    """Train by persistent chains on images that are drawn for each epoch."""
    machine = pytorch.RBM.from_numpy(start)
    rates = np.linspace(learning_rate, 0, epochs + 1)
    chains = None
    for first, last in pairwise(rates):
        chains = pytorch.train(
            machine,
            (rng.random(train.shape, np.float32) < train).astype(np.float32),
            epochs=1,
            learning_rate=first,
            final_learning_rate=last,
            chains=chains,
            seed=rng,
            **settings,
        )
    return machine.to_numpy()


def average(values):
    """Mean over images and its standard error."""
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


if __name__ == "__main__":
    run(experiment)
