"""VAE and IWAE on MNIST, with the layers of Burda et al. (2016)."""

import numpy as np
import torch
from mnist import average, grids, images

from advml.pytorch import vae
from courseware.results import Finding, Picture, run

BURDA = "Burda et al. 2016, 3280 epochs"
VARIANCE = 0.01  # a latent is active if its mean varies more with the image


def experiment(
    seed: int = 0,
    epochs: int = 3280,
    batch_size: int = 100,
    learning_rate: float = 2.5e-3,
    n_weights: int = 50,
    further_epochs: int = 2187,
    further_batch_size: int = 20,
    further_learning_rate: float = 5e-4,
    n_samples: int = 5000,
):
    """VAE, then IWAE, with 50 latents.

    784-200-200-50 units and tanh, as published. `epochs` passes maximise the
    evidence lower bound; the same network then goes on for `further_epochs`
    with the bound of `n_weights` importance weights (IWAE), which is a second
    experiment of the paper's authors; the published −84.78 is from a network
    that had this bound from the start. In each of the two trainings the rate
    of Adam falls linearly to zero. Published was another course: batches of
    20, 0.001·10^(−i/7) for 3^i epochs, i = 0 … 7. The ε of Adam is 1e-8 here,
    1e-4 in the authors' code. Binarisation: stochastic, training images anew
    in each batch, test images once. All 60 000 training images are used.

    The likelihood is bounded from below by `n_samples` importance weights for
    each image. A latent variable is active if the variance over test images
    of its posterior mean exceeds 0.01.
    """
    rng = np.random.default_rng(seed)
    train, test = images(rng)
    model = vae.DenseVAE(784, 50, (200, 200), activation="tanh", seed=rng)
    _train(model, train, epochs, batch_size, learning_rate, 1, rng)
    found = evaluated(model, test, n_samples, rng, "VAE", "−86.76")
    latent = rng.standard_normal((64, 50), np.float32)
    drawn = {"VAE": means(model, latent)}
    if further_epochs:
        settings = further_epochs, further_batch_size, further_learning_rate
        _train(model, train, *settings, n_weights, rng)
        published = "−84.78" if n_weights == 50 else ""
        name = f"IWAE, {n_weights} weights"
        found += evaluated(model, test, n_samples, rng, name, published)
        drawn["IWAE"] = means(model, latent)
    return [*found, picture(test, drawn)]


def _train(model, train, epochs, batch_size, learning_rate, n_weights, rng):
    vae.train(
        model,
        train,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        final_learning_rate=0.0,
        n_weights=n_weights,
        binarise=True,
        seed=rng,
    )


def evaluated(model, test, n_samples, rng, name, published):
    """Bounds on the likelihood of the test images, and active latents."""
    log_w = weights(model, test, n_samples, rng)
    likelihood = average(np.logaddexp.reduce(log_w, 0) - np.log(n_samples))
    active = posterior_means(model, test).var(0) > VARIANCE
    return [
        Finding(
            f"{name}: evidence lower bound (nats)", *average(log_w.mean(0))
        ),
        Finding(
            f"{name}: log-likelihood, L_{n_samples} (nats)",
            *likelihood,
            published=published,
            source=BURDA if published else "",
        ),
        Finding(f"{name}: active latents of 50", active.sum().item()),
    ]


@torch.no_grad()
def weights(model, x, n_samples, rng, part=100):
    """log p(x, z)/q(z|x) of `n_samples` draws for each image, (k, n)."""
    found = np.empty((n_samples, len(x)), np.float32)
    for i in range(0, len(x), part):
        images = model._tensor(x[i : i + part])
        for j in range(0, n_samples, part):
            shape = (min(part, n_samples - j), len(images), model.n_latent)
            noise = rng.standard_normal(shape, np.float32)
            log_w = vae.log_weights(model, images, noise)
            found[j : j + part, i : i + part] = log_w.cpu().numpy()
    return found.astype(float)


@torch.no_grad()
def posterior_means(model, x):
    """Means of q(z|x), (n, n_latent)."""
    mean, _ = model.encode(x)
    return mean.cpu().numpy()


@torch.no_grad()
def means(model, latent):
    """Probabilities of the pixels for given latents, (n, 28, 28)."""
    return model.expectation(latent).cpu().numpy().reshape(-1, 28, 28)


def picture(test, drawn):
    """Means of both decoders for the same latents, beside test images."""
    panels = {"Test images": test[:64].reshape(-1, 28, 28)} | drawn
    return Picture(
        grids(panels, 8, limits=(0, 1)),
        "The first 64 test images, their pixels tossed as coins; pixel "
        "probabilities of the VAE for 64 latents from the prior; those after "
        "the training with importance weights, for the same latents.",
        "Grids of eight by eight images: test images, then two grids of "
        "decoder outputs, most of them soft digits.",
    )


if __name__ == "__main__":
    run(experiment)
