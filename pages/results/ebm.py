"""Energy-based model of MNIST at temperature one: chains, and outliers."""

from dataclasses import replace

import numpy as np
import torch
from mnist import Judge, grey_images, grids, rows
from scipy.linalg import solve_triangular
from sklearn.metrics import roc_auc_score

from advml.pytorch import ebm
from courseware.results import Finding, Picture, run

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RATES = (2e-3, 1e-4), (1e-4, 0.0)
OURS = "chains from noise"
KEPT = "chains of the training"
LONGER = "chains of the training, continued"
GAUSSIAN = "samples of the Gaussian fit"


def experiment(
    seed: int = 0,
    n_fast: int = 6000,
    n_slow: int = 3000,
    n_chains: int = 2048,
    batch_size: int = 128,
    n_steps: int = 4,
    data_noise: float = 0.3,
    relative_step: float = 0.2,
    n_samples: int = 1000,
    n_sampling_steps: int = 3000,
    n_fine: int = 300,
    classifier_epochs: int = 10,
):
    """Convolutional energy at temperature one.

    Images are grey, with pixels in [−1, 1], and blurred by normal noise of
    width σ = `data_noise`, as in lecture 2.4. The energy is |x|²/2σ² plus a
    network with 16, 32, 64, 64 channels and a hidden layer of 64. Persistent
    Langevin chains, step η = `relative_step` σ² and noise √(2η), `n_steps`
    steps for each update; the rate of Adam falls linearly from 0.002 to
    0.0001 in `n_fast` updates, and to zero in `n_slow` more.

    Then `n_samples` chains start at uniform noise in [−1, 1], and as many at
    chains of the training, and make `n_sampling_steps` steps in the final
    energy. Such steps make the stiffest directions 11 % too wide in variance
    (lecture 2.4), so all chains end with `n_fine` steps of a tenth of the
    length, which leave 1 %. The virial is that of the chains from noise in
    their last hundred long steps, in a stationary state 1.

    Distances are taken in 50 features of a classifier, 784-100-50-10, of the
    blurred training images: `n_samples` images of each kind against the
    10 000 blurred test images. AUROC is the probability that an outlier has
    a higher energy than a blurred test image, beside the Gaussian with mean
    and covariance of the blurred training images. Outliers are as many as
    test images, with the same noise; of chains and of samples of the
    Gaussian there are `n_samples`, as they are. For exact samples of a model
    of exactly these images ½ would be right.
    """
    data, rng = grey_images(), np.random.default_rng([seed, 0])
    step = relative_step * data_noise**2
    energy, chains = trained(
        data.train,
        (n_fast, n_slow),
        n_chains,
        rng,
        batch_size=batch_size,
        step=step,
        n_steps=n_steps,
        data_noise=data_noise,
    )
    start = noise(n_samples, rng)
    x, stationary = sampled(energy, start, step, n_sampling_steps, rng)
    chains = chains[:n_samples]
    longer, _ = sampled(energy, chains, step, n_sampling_steps, rng)
    fit = Gaussian(data.train, data_noise)
    unusual = outliers(data, data_noise, rng)
    data = replace(
        data,
        train=blur(data.train, data_noise, rng),
        test=blur(data.test, data_noise, rng),
    )
    judge = Judge(data, epochs=classifier_epochs, seed=seed)
    order = rng.permutation(len(data.train))[:n_samples]
    ends = {
        name: langevin(energy, y, step / 10, n_fine, rng)
        for name, y in ((OURS, x), (KEPT, chains), (LONGER, longer))
    }
    kinds = ends | {
        "blurred training images": data.train[order],
        GAUSSIAN: fit.sample(n_samples, rng),
        "uniform noise, the start": start,
    }
    unusual |= {GAUSSIAN: kinds[GAUSSIAN]} | ends
    models = {"energy": energy, "Gaussian fit": fit}
    clean = [
        kinds[name][:49] - data_noise**2 * slope(energy, kinds[name][:49])
        for name in (LONGER, OURS)
    ]
    return [
        stationary,
        judge.accuracy,
        *judge.distances(kinds),
        *detection(models, data.test, unusual),
        picture(data.test[:49], *clean, n_sampling_steps),
    ]


def noise(n, rng):
    """Images of pixels that are uniform in [−1, 1]."""
    return rng.uniform(-1, 1, (n, 28, 28)).astype(np.float32)


def blur(images, width, rng):
    """Add normal noise to each pixel."""
    normal = rng.standard_normal(images.shape, np.float32)
    return images + np.float32(width) * normal


def trained(images, n_updates, n_chains, rng, *, data_noise, **settings):
    """An energy, and the chains of its training.

    The learning rate falls in two straight lines, with as many updates each.
    """
    energy = ebm.ConvolutionalEnergy(28, radius=data_noise, seed=rng)
    buffer = ebm.ReplayBuffer(noise, size=n_chains, fresh_fraction=0, seed=rng)
    for (first, last), n in zip(RATES, n_updates, strict=True):
        ebm.train(
            energy,
            images,
            buffer=buffer,
            n_updates=n,
            learning_rate=first,
            final_learning_rate=last,
            data_noise=data_noise,
            seed=rng,
            **settings,
        )
    return energy, buffer.states


def sampled(energy, x, step, n_steps, rng, window=100):
    """Where chains end, and the virial in their last `window` steps.

    Per pixel ⟨x·∇E⟩ − η⟨|∇E|²⟩/2 is one in a stationary state of Langevin
    steps (eq-image-thermometer, without the drift).
    """
    window = min(window, n_steps)
    if n_steps > window:
        x = langevin(energy, x, step, n_steps - window, rng)
    total = 0.0
    for _ in range(window):
        total = total + virial(energy, x, step)
        x = langevin(energy, x, step, 1, rng)
    readings = total / window
    error = readings.std(ddof=1) / np.sqrt(len(readings))
    return x, Finding(
        "virial of chains from noise, per pixel",
        readings.mean(),
        error,
        published="1",
        source="stationary state",
    )


def langevin(energy, x, step, n_steps, rng):
    """Langevin steps at temperature one."""
    x = ebm.langevin(energy, x, step=step, n_steps=n_steps, seed=rng)
    return x.cpu().numpy()


def slope(energy, x):
    """The gradient of the energy at each image."""
    x = torch.from_numpy(x).to(DEVICE)
    return ebm.input_gradient(energy, x).cpu().numpy()


def virial(energy, x, step):
    """x·∇E − η|∇E|²/2 for each pixel, mean over those of each image."""
    gradient = slope(energy, x).astype(float)
    return (x * gradient - step / 2 * gradient**2).mean((1, 2))


class Gaussian:
    """Mean and covariance of blurred images, as a density."""

    def __init__(self, images, width):
        flat = rows(images).astype(float)
        self.mean = flat.mean(0)
        covariance = np.cov(flat.T) + width**2 * np.eye(flat.shape[1])
        self.root = np.linalg.cholesky(covariance)

    def __call__(self, images):
        """−log p up to a constant, of a tensor of images."""
        off = rows(images.cpu().numpy()) - self.mean
        white = solve_triangular(self.root, off.T, lower=True)
        return torch.from_numpy((white**2).sum(0) / 2)

    def sample(self, n, rng):
        """Draw n images."""
        normal = rng.standard_normal((n, len(self.mean)))
        images = self.mean + normal @ self.root.T
        return images.reshape(n, 28, 28).astype(np.float32)


def outliers(data, width, rng):
    """Images that do not belong, as many as test images, with noise."""
    test = data.test
    order = rng.permutation(28 * 28)
    kinds = {
        "uniform noise": noise(len(test), rng),
        "permuted pixels": rows(test)[:, order].reshape(test.shape),
        "black and white swapped": -test,
        "left and right swapped": test[:, :, ::-1],
        "top and bottom swapped": test[:, ::-1],
        "empty images": np.full_like(test, -1),
        "the mean image": np.broadcast_to(data.train.mean(0), test.shape),
    }
    return {name: blur(images, width, rng) for name, images in kinds.items()}


def detection(models, test, kinds):
    """AUROC of each model against each kind of outliers, as findings."""
    known = {name: energies(model, test) for name, model in models.items()}
    found = []
    for kind, images in kinds.items():
        for name, model in models.items():
            same = name == "energy" and kind in (KEPT, LONGER, OURS)
            found.append(
                Finding(
                    f"AUROC against {kind}, {name}",
                    *auroc(known[name], energies(model, images)),
                    published="0.5" if same else "",
                    source="no difference" if same else "",
                )
            )
    return found


def energies(model, images, part=1000):
    """Energies of images, without derivatives."""
    with torch.no_grad():
        parts = [
            model(torch.from_numpy(images[i : i + part]).to(DEVICE)).cpu()
            for i in range(0, len(images), part)
        ]
    return torch.cat(parts).numpy()


def auroc(known, others):
    """P(energy of an outlier > of an image), its error (eq-image-auroc)."""
    n, m = len(known), len(others)
    a = roc_auc_score(np.repeat([0, 1], [n, m]), np.r_[known, others])
    q, r = a / (2 - a) - a**2, 2 * a**2 / (1 + a) - a**2
    square = (a * (1 - a) + (m - 1) * q + (n - 1) * r) / (n * m)
    return a, np.sqrt(square) if 0 < a < 1 else None


def picture(test, kept, ours, n_steps):
    """The first chains, clean, beside the first test images."""
    panels = {
        "Blurred test images": test,
        "Chains of the training, continued": kept,
        "Chains from noise": ours,
    }
    return Picture(
        grids(panels, 7, limits=(-1.3, 1.3)),
        "Left: the first blurred test images. Middle: the clean images that "
        "the energy sees, $\\mathbf x - \\sigma^2\\nabla E$, in chains of its "
        f"training after {n_steps} more steps in the final energy. Right: the "
        "same for chains that started at uniform noise; none is chosen.",
        "Three grids of seven by seven images: grainy handwritten digits of "
        "the test set, and clean samples of the energy twice.",
    )


if __name__ == "__main__":
    run(experiment)
