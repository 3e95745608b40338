"""VAE on MNIST in the protocol of Burda, Grosse & Salakhutdinov (2016)."""

import numpy as np
import torch
from mnist import average, images

from advml.pytorch import vae
from courseware.results import Finding, run

BURDA = "Burda et al. 2016, 3280 epochs"
PUBLISHED = {1: "−86.76", 50: "−84.78"}


def experiment(
    seed: int = 0,
    epochs: int = 328,
    n_weights: int = 1,
    batch_size: int = 20,
    n_samples: int = 5000,
):
    """VAE, 50 latents, in the protocol of Burda et al.

    784-200-200-50 units, tanh, Adam. The learning rate is 0.001·10^(−i/7)
    in stage i = 0 … 7, and each stage takes three times as many epochs as the
    one before, as published; but those were 3280 epochs in all. With few
    epochs the first stages, rounded to whole epochs, have none: with 110 the
    rate starts at 0.00037. Binarisation: stochastic, training images anew in
    each batch, test images once. The likelihood is bounded from below by 5000
    importance weights for each image. With `n_weights` above one the model is
    trained on the bound of as many weights (IWAE).
    """
    rng = np.random.default_rng(seed)
    train, test = images(rng)
    model = vae.DenseVAE(784, 50, (200, 200), activation="tanh", seed=rng)
    ends = np.round(epochs * np.cumsum(3.0 ** np.arange(8)) / 3280)
    memory = None
    for stage, length in enumerate(np.diff(ends, prepend=0).astype(int)):
        if length:
            memory = vae.train(
                model,
                train,
                epochs=length,
                batch_size=batch_size,
                learning_rate=1e-3 * 10 ** (-stage / 7),
                n_weights=n_weights,
                binarise=True,
                seed=rng,
                memory=memory,
            )
    log_w = weights(model, test, n_samples, rng)
    likelihood = average(np.logaddexp.reduce(log_w, 0) - np.log(n_samples))
    return [
        Finding("evidence lower bound, test (nats)", *average(log_w.mean(0))),
        Finding(
            f"log-likelihood, test, L_{n_samples} (nats)",
            *likelihood,
            published=PUBLISHED.get(n_weights, ""),
            source=BURDA if n_weights in PUBLISHED else "",
        ),
    ]


@torch.no_grad()
def weights(model, x, n_samples, rng, part=100):
    """log p(x, z)/q(z|x) of `n_samples` draws for each image, (k, n)."""
    found = np.empty((n_samples, len(x)), np.float32)
    for i in range(0, len(x), part):
        rows = model._tensor(x[i : i + part])
        for j in range(0, n_samples, part):
            shape = (min(part, n_samples - j), len(rows), model.n_latent)
            noise = rng.standard_normal(shape, np.float32)
            log_w = vae.log_weights(model, rows, noise)
            found[j : j + part, i : i + part] = log_w.cpu().numpy()
    return found.astype(float)


if __name__ == "__main__":
    run(experiment, "vae_{n_weights}")
