"""What the experiments share: MNIST in black and white, and its RBMs."""

from itertools import pairwise

import numpy as np

from advml import datasets, rbm
from advml.pytorch import rbm as pytorch
from courseware.results import Finding


def images(rng):
    """Grey training images as rows, and test images of ones and zeros."""
    data = datasets.mnist()
    train, test = (x.reshape(len(x), -1) for x in (data.train, data.test))
    return train, datasets.binarise(test, seed=rng)


def average(values):
    """Mean over images and its standard error."""
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


def independent_pixels(train, n_hidden, rng):
    """A machine without couplings that has the pixels' frequencies."""
    mean = (train.sum(0, dtype=float) + 1) / (len(train) + 2)
    weights = rng.normal(0, 0.01, (train.shape[1], n_hidden))
    return rbm.RBM(weights, np.log(mean / (1 - mean)), np.zeros(n_hidden))


def baseline(start, test):
    """log p of independent pixels on the test images, as a finding."""
    bias = start.visible_bias
    log_p = test @ bias - np.logaddexp(0, bias).sum()
    return Finding("independent pixels, test (nats)", *average(log_p))


def trained(start, train, rng, *, epochs, learning_rate, **settings):
    """Train by persistent chains on images that are drawn for each epoch.

    The learning rate falls linearly to zero.
    """
    machine = pytorch.RBM.from_numpy(start)
    chains = None
    for first, last in pairwise(np.linspace(learning_rate, 0, epochs + 1)):
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
