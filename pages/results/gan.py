"""Convolutional GAN on MNIST: samples, and what a classifier says of them."""

import numpy as np
import torch
from mnist import Judge, grey_images, grids, rows, share

from advml.pytorch import gan, vae
from courseware.results import Finding, Picture, run

LEAST = 0.01  # of the samples: a class with a smaller share is not covered


def experiment(
    seed: int = 0,
    n_updates: int = 10_000,
    batch_size: int = 64,
    learning_rate: float = 2e-4,
    r1: float = 1.0,
    averaging: float = 0.99,
    n_samples: int = 10_000,
    vae_epochs: int = 10,
    classifier_epochs: int = 10,
):
    """Convolutional GAN with a gradient penalty.

    Images are grey, with pixels in [−1, 1]. Layers are those of TensorFlow's
    DCGAN tutorial: 100 latents, 7×7×256, then transposed convolutions to 128,
    64 and 1 channels; a discriminator with 64 and 128 channels; kernels 5×5.
    As in lecture 4.4 the loss is non-saturating, with R1 at the data, Adam
    has no momentum, and weights are averaged over the latest 1/(1 −
    `averaging`) updates.

    The judge is a dense classifier, 784-100-50-10, trained on the 60 000
    training images. Its 50 last hidden units are the features in which
    `n_samples` images of each kind are compared with the test images; the
    distance, precision and recall (three neighbours) of training images are
    those of real images, which the judge has learned. It is sure of an image
    if it gives one digit a probability above 0.95. A digit is covered if at
    least one per cent of all samples are surely this digit, and the share of
    the rarest digit is a share of sure images among all samples. Beside the
    GAN: decoder means of a dense VAE with 50 latents, and independent pixels,
    each from another training image.
    """
    data, rng = grey_images(), np.random.default_rng([seed, 0])
    judge = Judge(data, epochs=classifier_epochs, seed=seed)
    last, averaged = trained(
        data.train,
        rng,
        n_updates=n_updates,
        batch_size=batch_size,
        learning_rate=learning_rate,
        r1=r1,
        averaging=averaging,
    )
    order = rng.permutation(len(data.train))[:n_samples]
    kinds = {
        "training images": data.train[order],
        "GAN": samples(averaged, n_samples, [seed, 1]),
        "VAE": from_autoencoder(data.train, n_samples, vae_epochs, rng),
    }
    worse = {
        "GAN with its last weights": samples(last, n_samples, [seed, 1]),
        "independent pixels": shuffled(data.train, n_samples, rng),
    }
    return [
        judge.accuracy,
        *judge.distances(kinds | worse),
        *neighbourhoods(judge, kinds),
        *coverage(judge, kinds),
        picture(data.test, kinds["GAN"], n_updates),
    ]


def trained(train, rng, **settings):
    """Play the game; the generator with its last and averaged weights."""
    generator = gan.ConvolutionalGenerator(28, seed=rng)
    memory = gan.train(
        generator,
        gan.ConvolutionalDiscriminator(28, seed=rng),
        train,
        betas=(0.0, 0.99),
        seed=rng,
        **settings,
    )
    averaged = gan.ConvolutionalGenerator(28).from_numpy(memory.average)
    return generator, averaged


def samples(generator, n, seed, part=500):
    """Images (n, 28, 28) of a generator, in parts that fit into memory."""
    rng = np.random.default_rng(seed)
    sizes = np.diff(np.r_[0:n:part, n])
    return np.concatenate(
        [generator.sample(int(k), rng).cpu().numpy() for k in sizes]
    )


def from_autoencoder(train, n, epochs, rng):
    """Decoder means of a dense VAE of Bernoulli pixels, scaled as images."""
    model = vae.DenseVAE(784, 50, (200, 200), seed=rng)
    vae.train(
        model, (rows(train) + 1) / 2, epochs=epochs, binarise=True, seed=rng
    )
    with torch.no_grad():
        mean = model.expectation(rng.standard_normal((n, model.n_latent)))
    return 2 * mean.cpu().numpy().reshape(n, 28, 28) - 1


def shuffled(train, n, rng):
    """Each pixel of each image from another training image."""
    chosen = rng.integers(len(train), size=(n, 28 * 28))
    return rows(train)[chosen, np.arange(28 * 28)].reshape(n, 28, 28)


def neighbourhoods(judge, kinds):
    """Precision and recall of each kind of images, as findings."""
    both = [judge.precision_recall(images) for images in kinds.values()]
    return [
        Finding(f"{score}, {kind}", pair[i])
        for i, score in enumerate(("precision", "recall"))
        for kind, pair in zip(kinds, both, strict=True)
    ]


def coverage(judge, kinds):
    """How many digits there are, and how many images are one for sure."""
    found = []
    for kind, images in kinds.items():
        sure = judge.sure_of(images)
        rarest = sure[:, sure.sum(0).argmin()]
        found += [
            Finding(
                f"digits covered, of ten, {kind}",
                int((sure.mean(0) >= LEAST).sum()),
                published="10" if kind == "GAN" else "",
                source="target of the course" if kind == "GAN" else "",
            ),
            Finding(f"share of the rarest digit, {kind}", *share(rarest)),
            Finding(f"share of sure images, {kind}", *share(sure.any(1))),
        ]
    return found


def picture(test, ours, n_updates):
    """The first samples beside the first test images."""
    panels = {"Test images": test[:64], "GAN": ours[:64]}
    return Picture(
        grids(panels, 8, limits=(-1, 1)),
        "Left: the first 64 test images of MNIST. Right: the first 64 "
        f"samples of the GAN after {n_updates} updates, with averaged "
        "weights; none is chosen.",
        "Two grids of eight by eight images: handwritten digits of the "
        "test set on the left, samples of the GAN on the right.",
    )


if __name__ == "__main__":
    run(experiment)
