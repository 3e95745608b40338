"""What the experiments share: MNIST, its RBMs, and a judge of samples."""

import warnings
from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from advml import datasets, rbm
from advml.metrics import frechet_distance, hidden_features, precision_recall
from advml.plotting import image_grid
from advml.pytorch import rbm as pytorch
from courseware.results import Finding

SURE = 0.95  # a classifier is, if it gives one class more probability


def images(rng):
    """Grey training images as rows, and test images of ones and zeros."""
    data = datasets.mnist()
    train, test = (x.reshape(len(x), -1) for x in (data.train, data.test))
    return train, datasets.binarise(test, seed=rng)


def grey_images():
    """MNIST with pixels from −1, white, to 1, black."""
    data = datasets.mnist()
    return replace(data, train=2 * data.train - 1, test=2 * data.test - 1)


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


def share(yes):
    """The fraction of truths and its binomial standard error."""
    fraction = np.mean(yes)
    return fraction, np.sqrt(fraction * (1 - fraction) / len(yes))


class Judge:
    """A dense classifier of digits, 784-100-50-10, and what it sees.

    It learns the training images of a data set. Other images (n, 28, 28) are
    compared with the test images by features: the 50 units of its last hidden
    layer. `accuracy` is the fraction of test images that it names correctly,
    as a finding.
    """

    def __init__(self, data, *, epochs, seed):
        self.classifier = MLPClassifier(
            (100, 50), max_iter=epochs, random_state=seed
        )
        with warnings.catch_warnings():  # it stops before it has converged
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.classifier.fit(rows(data.train), data.train_labels)
        right = self.classifier.predict(rows(data.test)) == data.test_labels
        self.accuracy = Finding(
            "accuracy of the classifier that judges, test images",
            *share(right),
        )
        self.reference = self.features(data.test)

    def features(self, images):
        """What its last hidden layer makes of images, (n, 50)."""
        return hidden_features(self.classifier, images)

    def distances(self, kinds):
        """Squared Fréchet distances of {name: images}, as findings."""
        return [
            Finding(
                f"squared Fréchet distance, {name}",
                frechet_distance(self.features(images), self.reference),
            )
            for name, images in kinds.items()
        ]

    def precision_recall(self, images):
        """Precision and recall beside the test images, three neighbours."""
        return precision_recall(self.reference, self.features(images))

    def sure_of(self, images):
        """For each image and digit: is it surely this digit? (n, 10)"""
        return self.classifier.predict_proba(rows(images)) > SURE


def rows(images):
    """Images (n, 28, 28) as rows (n, 784)."""
    return images.reshape(len(images), -1)


def grids(panels, n_columns, *, limits):
    """Grids of images side by side, {title: images}, as a figure."""
    width = 7.2  # inches
    with plt.style.context("advml.course"):
        figure = Figure(figsize=(width, width / len(panels) + 0.3))
        axes = figure.subplots(1, len(panels))
        for ax, (title, images) in zip(axes, panels.items(), strict=True):
            image_grid(images, n_columns, ax=ax, title=title, limits=limits)
    return figure
