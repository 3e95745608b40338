"""RBM with 500 hidden units on MNIST: likelihood by annealing, both ways."""

import numpy as np
from mnist import average, baseline, images, independent_pixels, trained

from advml.likelihood import (
    annealed_importance_sampling,
    reverse_annealed_importance_sampling,
)
from advml.pytorch import rbm as pytorch
from courseware.results import Finding, run

SALAKHUTDINOV = "Salakhutdinov & Murray 2008, CD-25"


def experiment(
    seed: int = 0,
    epochs: int = 100,
    n_hidden: int = 500,
    n_gibbs_steps: int = 5,
    batch_size: int = 100,
    learning_rate: float = 0.05,
    n_annealed: int = 100,
    n_temperatures: int = 10_000,
    n_burn_in: int = 5_000,
):
    """RBM with 500 hidden units, likelihood by annealed importance sampling.

    Trained as the small one, with five Gibbs steps for each update.
    Binarisation: stochastic, training images anew in each epoch, test images
    once. The reverse chains start at samples that a long Gibbs chain made
    from training images; they bound the likelihood from below as far as
    those are samples of the machine. Annealed forwards, log Z is too small on
    average and the likelihood too large; the published value was obtained in
    this way, too.
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
    ladder = {
        "n_temperatures": n_temperatures,
        "base_visible_bias": start.visible_bias,
    }
    log_z, error = annealed_importance_sampling(
        machine, n_chains=n_annealed, seed=rng, **ladder
    )
    seeds = train[rng.choice(len(train), n_annealed, replace=False)]
    samples = pytorch.RBM.from_numpy(machine).sample(
        n_annealed, n_burn_in, seed=rng, start=(seeds > 0.5).astype(float)
    )
    upper, upper_error = reverse_annealed_importance_sampling(
        machine, samples.numpy(force=True).astype(float), seed=rng, **ladder
    )
    mean, spread = average(-machine.free_energy(test))
    return [
        baseline(start, test),
        Finding(
            "log-likelihood, test, log Z annealed forwards (nats)",
            mean - log_z,
            np.hypot(spread, error),
            published="−86.34",
            source=SALAKHUTDINOV,
        ),
        Finding(
            "the same, log Z annealed backwards (nats)",
            mean - upper,
            np.hypot(spread, upper_error),
        ),
        Finding(
            "reverse minus forward log Z (nats)",
            upper - log_z,
            np.hypot(error, upper_error),
        ),
    ]


if __name__ == "__main__":
    run(experiment)
