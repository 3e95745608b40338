"""Speeds as ratios, measured side by side in one run.

Each round times every contestant once, one after the other, so that a drift
of the machine's clock or load meets all of them; a ratio is the median over
rounds of the ratio within a round. Run it on an otherwise idle machine: all
contestants use all cores, and a busy core stalls them in different ways.
"""

import functools
import json
import multiprocessing
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.neural_network import BernoulliRBM

from advml import gan as adversarial
from advml import ising
from advml.metrics import integrated_autocorrelation_time
from advml.pytorch import ebm, gan, vae
from advml.pytorch.rbm import RBM, train
from courseware import library
from courseware.results import hardware

N_VISIBLE, N_HIDDEN, BATCH = 784, 500, 64
N_IMAGES = 156 * BATCH  # about 10 000, in batches of equal size
PRODUCTS = 5  # of batch × visible × hidden, per step of PCD-1
RATE = 0.05
EPOCHS = 3  # per measurement, so that checking the data once weighs little
SQUARE = 2048
LATTICE = 32
IMAGES, SIDE = 128, 32
CHAIN = {  # of D. Foster, Generative Deep Learning (2023), chapter 7
    "step": 10.0,
    "noise": 0.005,
    "n_steps": 60,
    "max_gradient": 0.03,
    "limits": (-1.0, 1.0),
}
N_STEPS = 10  # of the autoencoder, per measurement
MNIST = 28  # its images' side; its layers are those of Keras' example
N_UPDATES, GAME = 5, 64  # of the game, per measurement; images in a batch
N_LATENT = 100


def main(rounds=5, n_images=N_IMAGES, n_sweeps=40_000, keep=False):
    """Measure, print the tables and write `_build/bench.json`.

    With `keep`, the option --keep, the course pages show these results.
    """
    images = binary_images(n_images)
    with Console(file=sys.stderr).status("persistent contrastive divergence"):
        training = training_times(images, rounds)
    with Console(file=sys.stderr).status("Langevin chains of images"):
        chains = langevin_times(rounds)
    with Console(file=sys.stderr).status("variational autoencoder"):
        autoencoders = vae_times(rounds)
    with Console(file=sys.stderr).status("adversarial networks"):
        games = gan_times(rounds)
    with Console(file=sys.stderr).status("Ising model"):
        sampling = sampling_times(max(1, rounds // 2), n_sweeps)
    results = {
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "rounds": rounds,
        "training": training_results(training, len(images)),
        "langevin": langevin_results(chains),
        "autoencoder": vae_results(autoencoders),
        "game": gan_results(games),
        "sampling": sampling_results(sampling),
    }
    show(results)
    write(results, keep)
    return results


def binary_images(n, seed=0):
    """Sparse random images, (n, 784) float32: speed ignores the content."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.3, 1.5, N_VISIBLE)
    return (rng.random((n, N_VISIBLE)) < probability).astype(np.float32)


def training_times(images, rounds):
    """Seconds of each contestant in each round, after one warm-up."""
    tensor, double = torch.as_tensor(images), images.astype(np.float64)
    contestants = {
        "advml.pytorch.rbm": lambda: course_epochs(tensor),
        "scikit-learn, float32": lambda: scikit_learn_epochs(images),
        "scikit-learn, float64": lambda: scikit_learn_epochs(double),
        "autograd, as published": lambda: published_epochs(tensor),
        "autograd, lean": lambda: autograd_epochs(tensor),
        "products, same shapes": lambda: products(tensor),
        "products, square": square_products,
    }
    # A process of its own: in one process the threads of PyTorch and of
    # TensorFlow stand in each other's way, here they only take turns.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as other:
        contestants["advml.tensorflow.rbm"] = lambda: other.submit(
            keras_epochs, len(images)
        ).result()
        return alternate(contestants, rounds)


def alternate(contestants, rounds):
    """Time all contestants in turn; round zero warms up and is dropped."""
    seconds = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: values[1:] for name, values in seconds.items()}


def course_epochs(images):
    """Epochs of PCD-1 as in the lectures."""
    rbm = RBM(N_VISIBLE, N_HIDDEN, device="cpu")
    train(rbm, images, epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE)


def keras_epochs(n_images):
    """Epochs of `fit`; the first call, which warms up, compiles as well."""
    if not keras_fit:
        import advml.tensorflow.rbm as tensorflow
        from advml.tensorflow.rbm import keras, tf

        images = tf.constant(binary_images(n_images))
        rbm = tensorflow.RBM(N_VISIBLE, N_HIDDEN, device="cpu")
        n_batches = -(-n_images // BATCH)
        rbm.compile(
            keras.optimizers.SGD(RATE),
            n_chains=BATCH,
            steps_per_execution=n_batches,
        )
        keras_fit.append(
            lambda: rbm.fit(
                tensorflow._batches(images, BATCH, 0),
                epochs=EPOCHS,
                steps_per_epoch=n_batches,
                shuffle=False,
                verbose=0,
            )
        )
    keras_fit[0]()


keras_fit = []  # filled in the process of TensorFlow


def scikit_learn_epochs(images):
    """Epochs of scikit-learn's PCD-1."""
    BernoulliRBM(
        n_components=N_HIDDEN,
        batch_size=BATCH,
        learning_rate=RATE,
        n_iter=EPOCHS,
        random_state=0,
    ).fit(images)


def published_epochs(images):
    """Epochs of CD-1 as in the example that most code for PyTorch follows.

    loss = F(data) − F(reconstructions), where the coins of the
    reconstructions, max(0, sign(p − u)), are part of the graph: their
    derivative is zero, and backward computes it. Sizes and batches are
    those of the benchmark.

    Source: "Beginner's guide to Boltzmann machines in PyTorch", Paperspace.
    """
    weights = torch.nn.Parameter(0.01 * torch.randn(N_HIDDEN, N_VISIBLE))
    visible = torch.nn.Parameter(torch.zeros(N_VISIBLE))
    hidden = torch.nn.Parameter(torch.zeros(N_HIDDEN))
    optimiser = torch.optim.SGD([weights, visible, hidden], lr=RATE)
    linear, relu = torch.nn.functional.linear, torch.nn.functional.relu

    def free_energy(x):
        field = linear(x, weights, hidden)
        return (-field.exp().add(1).log().sum(1) - x.mv(visible)).mean()

    def coins(field):
        probability = torch.sigmoid(field)
        return relu(torch.sign(probability - torch.rand(field.shape)))

    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            x = images[rows].bernoulli()
            h = coins(linear(x, weights, hidden))
            model_x = coins(linear(h, weights.T, visible))
            coins(linear(model_x, weights, hidden))  # where it would go on
            loss = free_energy(x) - free_energy(model_x)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def autograd_epochs(images):
    """Epochs of PCD-1, with nothing but the free energies in the graph."""
    weights = torch.nn.Parameter(0.01 * torch.randn(N_VISIBLE, N_HIDDEN))
    visible = torch.nn.Parameter(torch.zeros(N_VISIBLE))
    hidden = torch.nn.Parameter(torch.zeros(N_HIDDEN))
    optimiser = torch.optim.SGD([weights, visible, hidden], lr=RATE)
    softplus = torch.nn.functional.softplus

    def free_energy(x):
        return -x @ visible - softplus(x @ weights + hidden).sum(1)

    chains = torch.bernoulli(torch.full((BATCH, N_VISIBLE), 0.5))
    orders = (torch.randperm(len(images)).split(BATCH) for _ in range(EPOCHS))
    for rows in (batch for order in orders for batch in order):
        with torch.no_grad():
            h = torch.bernoulli(torch.sigmoid(chains @ weights + hidden))
            field = h @ weights.T + visible
            chains = torch.bernoulli(torch.sigmoid(field))
        loss = (free_energy(images[rows]) - free_energy(chains)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def products(images):
    """Only the five matrix products of each step of the epochs."""
    weights, change = torch.zeros(2, N_HIDDEN, N_VISIBLE).mT  # as in `RBM`
    x, hidden = images[:BATCH], torch.full((BATCH, N_HIDDEN), 0.5)
    for _ in range(EPOCHS * len(images) // BATCH):
        x @ weights
        hidden @ weights.T
        x @ weights
        change.addmm_(x.T, hidden, alpha=1e-3)
        change.addmm_(x.T, hidden, alpha=-1e-3)


def square_products():
    """Ten products of two large square matrices."""
    matrix = torch.full((SQUARE, SQUARE), 0.5)
    for _ in range(10):
        matrix @ matrix


def training_results(seconds, n_images):
    """Ratios to the course's own epoch, and matrix-product rates."""
    n_steps = EPOCHS * n_images // BATCH
    work = PRODUCTS * 2 * BATCH * N_VISIBLE * N_HIDDEN * n_steps
    epoch = seconds["advml.pytorch.rbm"]
    large = seconds["products, square"]
    square_rate = [10 * 2 * SQUARE**3 / s for s in large]
    return {
        "seconds": {k: statistics.median(v) for k, v in seconds.items()},
        "speed-up over scikit-learn, float32": ratio(
            seconds["scikit-learn, float32"], epoch
        ),
        "speed-up over scikit-learn, float64": ratio(
            seconds["scikit-learn, float64"], epoch
        ),
        "speed-up over autograd, as published": ratio(
            seconds["autograd, as published"], epoch
        ),
        "speed-up over autograd, lean": ratio(
            seconds["autograd, lean"], epoch
        ),
        "TensorFlow's time over PyTorch's": ratio(
            seconds["advml.tensorflow.rbm"], epoch
        ),
        "fraction of the rate of the same products": ratio(
            seconds["products, same shapes"], epoch
        ),
        "fraction of the rate of large square products": ratio(
            [work / s for s in epoch], square_rate
        ),
        "GFLOP/s": work / statistics.median(epoch) / 1e9,
        "GFLOP/s, square": statistics.median(square_rate) / 1e9,
    }


def ratio(numerators, denominators):
    """Median over rounds of the ratio within each round."""
    pairs = zip(numerators, denominators, strict=True)
    return statistics.median(a / b for a, b in pairs)


def langevin_times(rounds):
    """Seconds of each sampler in each round, after one warm-up.

    Both samplers of TensorFlow run in one other process, with TensorFlow's
    default settings: advml changes none that matters for speed.
    """
    energy = ebm.ConvolutionalEnergy(SIDE, device="cpu")
    contestants = {
        "advml.pytorch.ebm": lambda: ebm.langevin(
            energy, noise_images(), seed=0, **CHAIN
        ),
    }
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as other:
        for name, run in (
            ("advml.tensorflow.ebm", keras_chains),
            ("plain tf.function", plain_chains),
        ):
            contestants[name] = lambda run=run: other.submit(run).result()
        return alternate(contestants, rounds)


def noise_images():
    """Images of uniform noise, (128, 32, 32) float32."""
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (IMAGES, SIDE, SIDE)).astype(np.float32)


def keras_chains():
    """Chains as in the lectures; the first call, to warm up, compiles."""
    if "course" not in compiled_once:
        import advml.tensorflow.ebm as tensorflow

        energy = tensorflow.ConvolutionalEnergy(SIDE, device="cpu")
        compiled_once["course"] = lambda: tensorflow.langevin(
            energy, noise_images(), seed=0, **CHAIN
        )
    compiled_once["course"]()


def plain_chains():
    """Chains as a tutorial writes them: Keras' layers, and a tf.function."""
    if "plain" not in compiled_once:
        from advml.tensorflow.ebm import keras, tf

        layers = keras.layers
        network = keras.Sequential(
            [keras.Input((SIDE, SIDE, 1))]
            + [
                layers.Conv2D(n, size, 2, padding="same", activation="silu")
                for n, size in ((16, 5), (32, 3), (64, 3), (64, 3))
            ]
            + [layers.Flatten(), layers.Dense(64, "silu"), layers.Dense(1)]
        )

        @tf.function
        def chains(x):
            for _ in tf.range(CHAIN["n_steps"]):
                x += tf.random.normal(tf.shape(x), 0, CHAIN["noise"])
                x = tf.clip_by_value(x, *CHAIN["limits"])
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    score = -network(x)
                slope = tape.gradient(score, x)
                clip = CHAIN["max_gradient"]
                x += CHAIN["step"] * tf.clip_by_value(slope, -clip, clip)
                x = tf.clip_by_value(x, *CHAIN["limits"])
            return x

        compiled_once["plain"] = lambda: chains(
            tf.constant(noise_images()[..., None])
        ).numpy()
    compiled_once["plain"]()


compiled_once = {}  # filled in the process of TensorFlow


def langevin_results(seconds):
    """Ratios to the plain loop, and the time per step of each."""
    plain = seconds["plain tf.function"]
    return {
        "milliseconds per step": {
            name: 1e3 * statistics.median(values) / CHAIN["n_steps"]
            for name, values in seconds.items()
        },
        **{
            f"plain loop's time over {name}'s": ratio(plain, values)
            for name, values in seconds.items()
            if values is not plain
        },
    }


def vae_times(rounds):
    """Seconds of N_STEPS training steps in each round, after one warm-up.

    Both models of Keras run in one other process, one after the other.
    """
    model = vae.ConvolutionalVAE(MNIST, device="cpu")
    contestants = {
        "advml.pytorch.vae": lambda: vae.train(model, digits(), epochs=1),
    }
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as other:
        for name, run in (
            ("advml.tensorflow.vae", keras_vae),
            ("plain Keras", plain_vae),
        ):
            contestants[name] = lambda run=run: other.submit(run).result()
        return alternate(contestants, rounds)


@functools.cache
def digits():
    """Random images of ones and zeros, (10 · 128, 28, 28) float32."""
    return binary_images(N_STEPS * 128).reshape(-1, MNIST, MNIST)


def keras_vae():
    """Steps of `fit` as in the lectures; the first call compiles."""
    if "vae" not in compiled_once:
        import advml.tensorflow.vae as tensorflow

        model = tensorflow.ConvolutionalVAE(MNIST, device="cpu")
        model.compile(tensorflow.keras.optimizers.Adam())
        compiled_once["vae"] = lambda: model.fit(
            digits(), batch_size=128, verbose=0
        )
    compiled_once["vae"]()


def plain_vae():
    """Steps of `fit` as in the code examples of Keras; see plain_model."""
    if "plain vae" not in compiled_once:
        model, images = plain_model(), digits()[..., None]
        compiled_once["plain vae"] = lambda: model.fit(
            images, batch_size=128, verbose=0
        )
    compiled_once["plain vae"]()


def plain_model():
    """Variational autoencoder after F. Chollet, code examples of Keras."""
    from advml.tensorflow.vae import keras, tf

    ops, conv, dense = keras.ops, keras.layers.Conv2D, keras.layers.Dense
    transposed = keras.layers.Conv2DTranspose
    same = {"padding": "same", "activation": "relu"}
    x = keras.Input((MNIST, MNIST, 1))
    y = conv(64, 3, 2, **same)(conv(32, 3, 2, **same)(x))
    y = dense(16, "relu")(keras.layers.Flatten()(y))
    encoder = keras.Model(x, [dense(2)(y), dense(2)(y)])
    z = keras.Input((2,))
    y = keras.layers.Reshape((7, 7, 64))(dense(7 * 7 * 64, "relu")(z))
    y = transposed(32, 3, 2, **same)(transposed(64, 3, 2, **same)(y))
    y = transposed(1, 3, padding="same", activation="sigmoid")(y)
    decoder = keras.Model(z, y)

    class Plain(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = encoder, decoder
            names = "loss", "reconstruction_loss", "kl_loss"
            self.trackers = [keras.metrics.Mean(name) for name in names]

        def train_step(self, data):
            with tf.GradientTape() as tape:
                mean, log_variance = self.encoder(data)
                noise = keras.random.normal(ops.shape(mean))
                z = mean + ops.exp(0.5 * log_variance) * noise
                entropy = keras.losses.binary_crossentropy(
                    data, self.decoder(z)
                )
                reconstruction = ops.mean(ops.sum(entropy, axis=(1, 2)))
                kl = 1 + log_variance - ops.square(mean)
                kl = -0.5 * (kl - ops.exp(log_variance))
                kl = ops.mean(ops.sum(kl, axis=1))
                loss = reconstruction + kl
            slopes = tape.gradient(loss, self.trainable_weights)
            self.optimizer.apply_gradients(
                zip(slopes, self.trainable_weights, strict=True)
            )
            for tracker, value in zip(
                self.trackers, (loss, reconstruction, kl), strict=True
            ):
                tracker.update_state(value)
            return {t.name: t.result() for t in self.trackers}

    model = Plain()
    model.compile(keras.optimizers.Adam())
    return model


def vae_results(seconds):
    """Ratios to the plain example, and the time per step of each."""
    plain = seconds["plain Keras"]
    return {
        "milliseconds per step": {
            name: 1e3 * statistics.median(values) / N_STEPS
            for name, values in seconds.items()
        },
        **{
            f"plain example's time over {name}'s": ratio(plain, values)
            for name, values in seconds.items()
            if values is not plain
        },
    }


def gan_times(rounds):
    """Seconds of N_UPDATES updates in each round, after one warm-up."""
    players = (
        gan.ConvolutionalGenerator(MNIST, N_LATENT, device="cpu"),
        gan.ConvolutionalDiscriminator(MNIST, device="cpu"),
    )
    contestants = {
        "advml.pytorch.gan": lambda: gan.train(
            *players, digits(), n_updates=N_UPDATES, batch_size=GAME
        ),
        "plain PyTorch": plain_torch_game(),
    }
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as other:
        for name, run in (
            ("advml.tensorflow.gan", tensorflow_game),
            ("plain TensorFlow", plain_tensorflow_game),
        ):
            contestants[name] = lambda run=run: other.submit(run).result()
        return alternate(contestants, rounds)


def plain_torch_game():
    """A loop with the layers of the default networks, each from torch.nn."""
    nn, opposite = torch.nn, torch.nn.ConvTranspose2d
    same = {"padding": 2, "bias": False}
    twice = {"stride": 2, "output_padding": 1, **same}

    def then(channels):
        return nn.BatchNorm2d(channels), nn.LeakyReLU(0.2, inplace=True)

    generator = nn.Sequential(
        nn.Linear(N_LATENT, 7 * 7 * 256, bias=False),
        nn.Unflatten(1, (256, 7, 7)),
        *then(256),
        opposite(256, 128, 5, **same),
        *then(128),
        opposite(128, 64, 5, **twice),
        *then(64),
        opposite(64, 1, 5, **twice | {"bias": True}),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, 64, 5, 2, 2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(64, 128, 5, 2, 2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),
        nn.Linear(7 * 7 * 128, 1),
    )
    adams = [
        torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999))
        for net in (generator, discriminator)
    ]
    loss, images = nn.BCEWithLogitsLoss(), torch.tensor(digits()[:, None])
    real, fake = torch.ones(GAME, 1), torch.zeros(GAME, 1)

    def run():
        for _ in range(N_UPDATES):
            x = images[torch.randint(len(images), (GAME,))]
            made = generator(torch.randn(GAME, N_LATENT))
            discriminator.zero_grad()
            value = loss(discriminator(x), real)
            value = value + loss(discriminator(made.detach()), fake)
            value.backward()
            adams[1].step()
            generator.zero_grad()
            loss(discriminator(made), real).backward()
            adams[0].step()

    return run


def tensorflow_game():
    """Updates as in the lectures; the first call compiles."""
    if "game" not in compiled_once:
        import advml.tensorflow.gan as tensorflow

        rules = {"r1": 0.0, "gradient_penalty": 0.0, "n_critic": 1}
        rules |= {"learning_rate": 2e-4, "final_learning_rate": None}
        rules |= {"rate_ratio": 1.0, "betas": (0.5, 0.999)}
        rules |= {"loss": "non-saturating", "averaging": None}
        rules |= {"instance_noise": 0.0}
        game = tensorflow._Game(
            tensorflow.ConvolutionalGenerator(MNIST, N_LATENT, device="cpu"),
            tensorflow.ConvolutionalDiscriminator(MNIST, device="cpu"),
            adversarial.Rules(batch_size=GAME, **rules),
            memory=None,
            seed=0,
        )
        compiled_once["game"] = lambda: adversarial.play(
            game, digits(), game.n_updates + N_UPDATES, None, None, 500
        )
    compiled_once["game"]()


def plain_tensorflow_game():
    """A loop of TensorFlow with layers of Keras; see plain_torch_game."""
    if "plain game" not in compiled_once:
        compiled_once["plain game"] = plain_tensorflow_loop()
    compiled_once["plain game"]()


def plain_tensorflow_loop():
    """Layers as in TensorFlow's tutorial, with networks that take turns."""
    from advml.tensorflow.gan import keras, tf

    layers, opposite = keras.layers, keras.layers.Conv2DTranspose
    same = {"padding": "same", "use_bias": False}

    def then():
        return layers.BatchNormalization(), layers.LeakyReLU(0.2)

    generator = keras.Sequential(
        [
            keras.Input((N_LATENT,)),
            layers.Dense(7 * 7 * 256, use_bias=False),
            layers.Reshape((7, 7, 256)),
            *then(),
            opposite(128, 5, **same),
            *then(),
            opposite(64, 5, 2, **same),
            *then(),
            opposite(1, 5, 2, padding="same", activation="tanh"),
        ]
    )
    discriminator = keras.Sequential(
        [
            keras.Input((MNIST, MNIST, 1)),
            layers.Conv2D(64, 5, 2, "same"),
            layers.LeakyReLU(0.2),
            layers.Conv2D(128, 5, 2, "same"),
            layers.LeakyReLU(0.2),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    adams = [keras.optimizers.Adam(2e-4, 0.5) for _ in range(2)]
    images = tf.constant(digits()[..., None])
    real, fake = tf.ones((GAME, 1)), tf.zeros((GAME, 1))

    @tf.function
    def update():
        rows = tf.random.uniform((GAME,), 0, len(images), tf.int32)
        z = tf.random.normal((GAME, N_LATENT))
        with tf.GradientTape() as tape:
            made = generator(z, training=True)
            with tape.stop_recording(), tf.GradientTape() as inner:
                value = loss(real, discriminator(tf.gather(images, rows)))
                value += loss(fake, discriminator(made))
            with tape.stop_recording():
                step(inner, value, discriminator, adams[1])
            value = loss(real, discriminator(made))
        step(tape, value, generator, adams[0])

    def step(tape, value, network, adam):
        weights = network.trainable_variables
        slopes = tape.gradient(value, weights)
        adam.apply_gradients(zip(slopes, weights, strict=True))

    def run():
        for _ in range(N_UPDATES):
            update()

    return run


def gan_results(seconds):
    """Ratios to the plain loops, and the time per update of each."""
    return {
        "milliseconds per update": {
            name: 1e3 * statistics.median(values) / N_UPDATES
            for name, values in seconds.items()
        },
        **{
            f"plain loop's time over {name}'s": ratio(
                seconds[plain], seconds[name]
            )
            for name, plain in (
                ("advml.pytorch.gan", "plain PyTorch"),
                ("advml.tensorflow.gan", "plain TensorFlow"),
            )
        },
    }


def sampling_times(rounds, n_sweeps):
    """Seconds per effective sample of |M| at L = 32, T_c, in each round."""
    samplers = {
        "Wolff clusters": lambda seed: compiled(n_sweeps // 4, seed, "wolff"),
        "Metropolis, compiled": lambda seed: compiled(
            n_sweeps, seed, "metropolis"
        ),
        "Metropolis, plain NumPy": lambda seed: plain(n_sweeps, seed),
    }
    compiled(10, 0, "wolff"), compiled(10, 0, "metropolis")
    seconds = {name: [] for name in samplers}
    for seed in range(rounds):
        for name, run in samplers.items():
            taken, magnetisation = run(seed)
            tau = integrated_autocorrelation_time(np.abs(magnetisation))
            samples = len(magnetisation) / (2 * tau)
            seconds[name].append(taken / samples)
    return seconds


def compiled(n_sweeps, seed, algorithm):
    """Time a chain of the course; its start-up counts, unlike plain's."""
    start = time.perf_counter()
    chain = ising.chain(
        LATTICE,
        ising.CRITICAL_TEMPERATURE,
        n_sweeps,
        seed=seed,
        algorithm=algorithm,
    )
    return time.perf_counter() - start, chain.magnetisations


def plain(n_sweeps, seed):
    """Time checkerboard Metropolis in NumPy, both colours per sweep."""
    rng = np.random.default_rng(seed)
    spins = ising.sample(LATTICE, ising.CRITICAL_TEMPERATURE, 1, seed=seed)[
        0
    ].astype(float)
    row, column = np.indices(spins.shape)
    colours = [(row + column) % 2 == c for c in (0, 1)]
    magnetisation = np.empty(n_sweeps)
    start = time.perf_counter()
    for i in range(n_sweeps):
        for colour in colours:
            field = sum(np.roll(spins, s, a) for a in (0, 1) for s in (1, -1))
            cost = 2 * spins * field / ising.CRITICAL_TEMPERATURE
            accept = rng.random(spins.shape) < np.exp(-cost)
            spins[accept & colour] *= -1
        magnetisation[i] = spins.sum()
    return time.perf_counter() - start, magnetisation


def sampling_results(seconds):
    """Speed-ups of cluster updates at equal effective samples."""
    wolff = seconds["Wolff clusters"]
    return {
        "seconds per effective sample": {
            name: statistics.median(values) for name, values in seconds.items()
        },
        **{
            f"Wolff's speed-up over {name}": ratio(values, wolff)
            for name, values in seconds.items()
            if values is not wolff
        },
    }


TARGETS = {
    "speed-up over scikit-learn, float32": 1.5,
    "speed-up over autograd, as published": 2.0,
    "speed-up over autograd, lean": 2.0,
    "fraction of the rate of the same products": 0.6,
    "plain loop's time over advml.pytorch.ebm's": 1.0,
    "plain loop's time over advml.tensorflow.ebm's": 1.0,
    "plain example's time over advml.pytorch.vae's": 0.77,
    "plain example's time over advml.tensorflow.vae's": 0.77,
    "plain loop's time over advml.pytorch.gan's": 0.83,
    "plain loop's time over advml.tensorflow.gan's": 0.83,
}


LIMITS = {"TensorFlow's time over PyTorch's": 1.5}


def show(results):
    """Print one table per subject."""
    console = Console()
    console.print(conditions(results))
    for title, rows in tables(results):
        table = Table(title=title)
        table.add_column("what")
        table.add_column("measured", justify="right")
        table.add_column("target", justify="right")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def conditions(results):
    """How the numbers were found, in words."""
    return (
        f"{results['cores']} cores, {results['torch_threads']} threads, "
        f"medians of {results['rounds']} rounds"
    )


def tables(results):
    """Title and rows (what, measured, target) of one table per subject."""
    titles = {
        "training": f"PCD-1, {N_VISIBLE}×{N_HIDDEN}, batch {BATCH}, float32",
        "langevin": f"Langevin, {IMAGES} images of {SIDE}×{SIDE}, "
        f"{CHAIN['n_steps']} steps, four convolutions (Foster, chapter 7)",
        "autoencoder": f"variational autoencoder of Keras' examples, "
        f"{MNIST}×{MNIST}, batch 128",
        "game": f"adversarial networks with the layers of TensorFlow's "
        f"tutorial, {MNIST}×{MNIST}, batch {GAME}",
        "sampling": f"Ising model, L = {LATTICE}, T_c, samples of |M|",
    }
    for part, title in titles.items():
        rows = []
        for name, value in flat(results[part]):
            rows.append((name, f"{value:.3g}", goal(name, value)))
        yield title, rows


def goal(name, value):
    """What the course wants to reach, if anything, and whether it has not."""
    if name in TARGETS:
        missed = ", missed" if value < TARGETS[name] else ""
        return f"≥ {TARGETS[name]:g}{missed}"
    if name in LIMITS:
        missed = ", missed" if value > LIMITS[name] else ""
        return f"≤ {LIMITS[name]:g}{missed}"
    return ""


def flat(results):
    """Yield (name, number) with nested names joined."""
    for name, value in results.items():
        if isinstance(value, dict):
            for inner, number in value.items():
                yield f"{name}: {inner}", number
        else:
            yield name, value


def write(results, keep):
    """Write `_build/bench.json`, and what the pages show if it is to stay."""
    text = json.dumps(results, indent=2) + "\n"
    library.replace(library.ROOT / "_build" / "bench.json", text)
    if keep:
        kept = {
            "hardware": hardware(),
            "conditions": conditions(results),
            "tables": list(tables(results)),
        }
        text = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
        library.replace(library.ROOT / "pages" / "benchmarks.json", text)


if __name__ == "__main__":
    main(keep="--keep" in sys.argv[1:])
