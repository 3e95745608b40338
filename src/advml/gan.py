"""What adversarial networks are in every framework: layers, batches, memory.

The game itself, its losses and penalties are those of `advml.pytorch.gan`
and `advml.tensorflow.gan`. All random numbers come from NumPy: with one seed
both frameworks see the same data and the same noise, and a training that one
of them left in a checkpoint can go on in the other.
"""

import json
import os
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from advml import networks
from advml.ebm import learning_rates
from advml.validation import count, counts, fraction, nonnegative, positive

PLAYERS = "generator", "discriminator"
LOSSES = "saturating", "non-saturating", "wasserstein"
SLOPE = 0.2  # of the leaky rectifier below zero
GAIN = 2 / (1 + SLOPE**2)  # of weights before it, see advml.networks.dense
GAINS = {"leaky_relu": GAIN, "silu": 2.0, "tanh": 1.0}
NORMAL_EPSILON = 1e-5  # added to variances of a batch
INVERSION_BETAS = 0.9, 0.999  # of Adam in the search for latent variables
MOMENTUM = 0.9  # of the running mean and variance of batches
VALUES = (  # of an update, in the order in which the game returns them
    "generator_loss",
    "discriminator_loss",
    "penalty",
    "real",
    "fake",
)


def dense_layers(widths, activation, seed, sharpness, reach):
    """Layers widths[0] → … → widths[-1], the last of them linear.

    The first kernel W is `sharpness` times its usual size. With `reach` each
    unit of the first layer sees W·(x − c), with a centre c of its own that is
    uniform in a cube from -reach to reach: steps lie all over the cube, and
    not only where W·x = 0.
    """
    if activation not in GAINS:
        raise ValueError(
            f"activation must be one of {list(GAINS)}, not {activation!r}"
        )
    rng, (*hidden, last) = np.random.default_rng(seed), pairwise(widths)
    gain = GAINS[activation]
    layers = [networks.dense(rng, *pair, gain=gain) for pair in hidden]
    layers.append(networks.dense(rng, *last, gain=1.0))
    kernel, bias = layers[0]
    kernel = positive("sharpness", sharpness) * kernel
    if nonnegative("reach", reach):
        centres = rng.uniform(-reach, reach, kernel.shape)
        bias = -(kernel * centres).sum(axis=0)
    return [(kernel, bias), *layers[1:]]


def generator_layers(side, n_latent, channels, size, seed):
    """Layers of a convolutional generator, a list of pairs (kernel, bias).

    The first, z @ kernel, makes an image of the smallest side with
    channels[0]; transposed convolutions of `size` follow, the first at this
    side and the others with twice the side each, up to one channel.
    """
    rng, left = np.random.default_rng(seed), small_side(side, channels)
    n_latent = count("n_latent", n_latent)
    channels = counts("channels", channels)
    kernel, _ = networks.dense(rng, n_latent, left**2 * channels[0], gain=GAIN)
    layers = [(kernel, np.zeros(channels[0]))]
    for i, (n_in, n_out) in enumerate(pairwise([*channels, 1])):
        gain = 1.0 if n_out == 1 and i == len(channels) - 1 else GAIN
        # Where the side doubles, a pixel adds up size² n_in / 4 inputs.
        gain *= 4 if i else 1
        layers.append(
            networks.transposed_convolution(rng, size, n_in, n_out, gain=gain)
        )
    return layers


def discriminator_layers(side, channels, size, seed):
    """Convolutions, each of which halves the side, and a dense layer to one.

    With stride 2 and zeros of width size // 2 around it, an image of side s
    becomes one of side ⌈s/2⌉.
    """
    rng, left = np.random.default_rng(seed), networks.sides(side, channels)[-1]
    channels = counts("channels", channels)
    layers = [
        networks.convolution(rng, size, n_in, n_out, gain=GAIN)
        for n_in, n_out in pairwise([1, *channels])
    ]
    flat = left**2 * [1, *channels][-1]
    return [*layers, networks.dense(rng, flat, 1, gain=1.0)]


def small_side(side, channels):
    """Side of the image that a generator with these channels starts from."""
    if not channels:
        raise ValueError("channels must have one entry or more, not none")
    return networks.sides(side, channels[1:])[-1]


def statistics(channels):
    """Means of zero and variances of one, pairs of arrays, to begin with."""
    return [(np.zeros(n), np.ones(n)) for n in channels]


def latent(name, z, n_latent):
    """Return z if it is a batch (n, n_latent)."""
    if len(z.shape) != 2 or z.shape[1] != n_latent:
        raise ValueError(
            f"{name} must have shape (n, {n_latent}), but has {tuple(z.shape)}"
        )
    return z


def observed(name, x, shape):
    """Return x if it is a batch (n, *shape)."""
    if tuple(x.shape[1:]) != shape:
        wanted = ", ".join(map(str, shape))
        raise ValueError(
            f"{name} must have shape (n, {wanted}), but has {tuple(x.shape)}"
        )
    return x


def paired(z, x):
    """Refuse batches of two lengths; one row would go with all others."""
    n, m = z.shape[0], x.shape[0]
    if n != m and None not in (n, m):  # unknown in a graph
        raise ValueError(
            f"z and x must have equally many rows, but have {n} and {m}"
        )


@dataclass
class Memory:
    """Where a training stands, beside the weights; all of it NumPy's.

    Attributes
    ----------
    n_updates : int
        Updates made so far.
    moments : dict
        For "generator" and "discriminator" the averages m and v of Adam, a
        list of pairs, one for each array that is trained.
    average : list
        The generator's layers averaged over updates, as `from_numpy` of a
        generator takes them; None without `averaging`.
    random : dict
        State of the random numbers, of a `numpy.random.Generator`.
    settings : dict
        Arguments of the training that made it, numbers and words.
    """

    n_updates: int
    moments: dict
    average: list
    random: dict
    settings: dict


@dataclass
class Rules:
    """Arguments of a training that do not change during it, checked."""

    loss: str
    r1: float
    gradient_penalty: float
    n_critic: int
    batch_size: int
    learning_rate: float
    final_learning_rate: float
    rate_ratio: float
    betas: tuple
    instance_noise: float
    averaging: float

    def __post_init__(self):
        """Refuse what has no meaning."""
        check_loss(self.loss)
        nonnegative("r1", self.r1)
        nonnegative("gradient_penalty", self.gradient_penalty)
        count("n_critic", self.n_critic)
        count("batch_size", self.batch_size)
        positive("learning_rate", self.learning_rate)
        positive("rate_ratio", self.rate_ratio)
        nonnegative("instance_noise", self.instance_noise)
        self.betas = [float(fraction("betas", b)) for b in self.betas]
        if len(self.betas) != 2:
            raise ValueError(f"betas must be a pair, not {self.betas!r}")
        if self.averaging is not None:
            fraction("averaging", self.averaging)

    def schedule(self, n_updates, done):
        """Triples (generator's rate, discriminator's rate, noise) to come.

        The noise falls to zero like (1 − t/0.8 n_updates)², and stays there
        (eq-gan-annealing).
        """
        if count("n_updates", n_updates) < done:
            raise ValueError(
                f"n_updates must be at least the {done} that were made "
                f"already, not {n_updates}: it counts from the beginning"
            )
        rates = learning_rates(
            self.learning_rate, self.final_learning_rate, n_updates
        )
        left = np.maximum(1 - np.arange(n_updates) / (0.8 * n_updates), 0)
        noises = (self.instance_noise * left**2).tolist()
        return [
            (rate, self.rate_ratio * rate, noise)
            for rate, noise in zip(rates[done:], noises[done:], strict=True)
        ]


def check_loss(loss):
    """Refuse the name of a loss that does not exist."""
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {list(LOSSES)}, not {loss!r}")


def check_players(generator, discriminator, data):
    """Refuse networks that do not fit each other, or not the data (NumPy)."""
    shape = discriminator.shape
    if generator.shape != shape:
        raise ValueError(
            f"generator makes data of shape {generator.shape}, but "
            f"discriminator takes {shape}"
        )
    if data.shape[1:] != shape or len(data) == 0:
        wanted = ", ".join(map(str, shape))
        raise ValueError(
            f"data must have shape (N, {wanted}) with N >= 1, but has "
            f"{data.shape}"
        )
    limit = generator.limit
    bad = data[~(np.isfinite(data) & (np.abs(data) <= limit))]
    if len(bad):
        wanted = f"lie within ±{limit:g}, what the generator can make"
        if limit == np.inf:
            wanted = f"be finite in {data.dtype}"
        raise ValueError(
            f"data must {wanted}, but holds {bad[0]} (and {len(bad) - 1} more "
            "like it)"
        )


def draw(rng, data, n_latent, rules, noise):
    """Rows of the data, drawn with replacement, and random numbers for them.

    Returns x (n_critic, batch_size, ...), z ~ N(0, 1) with n_latent
    components for each x, u uniform in [0, 1], one for each x, and e, normal
    numbers of this noise to be added to samples; x has its own already.
    """
    shape = rules.n_critic, rules.batch_size
    x = data[rng.integers(len(data), size=shape)]
    z = rng.standard_normal((*shape, n_latent)).astype(data.dtype)
    u = rng.random(shape).astype(data.dtype)
    e = np.zeros((rules.n_critic, *[1] * data.ndim), data.dtype)
    if rules.instance_noise:
        both = noise * rng.standard_normal((2, *x.shape))
        x, e = x + both[0].astype(x.dtype), both[1].astype(x.dtype)
    return x, z, u, e


def stream(memory, seed):
    """Random numbers that go on where `memory` stopped, or new ones."""
    if memory is None:
        return np.random.default_rng(seed)
    kind = getattr(np.random, memory.random["bit_generator"])()
    kind.state = memory.random
    return np.random.Generator(kind)


def play(game, data, n_updates, callback, checkpoint, checkpoint_every):
    """Make the updates that are left, and return the memory of the game."""
    every = count("checkpoint_every", checkpoint_every)
    players, n_latent = game.players, game.generator.n_latent
    for *rates, noise in game.rules.schedule(n_updates, game.n_updates):
        batch = draw(game.rng, data, n_latent, game.rules, noise)
        values = game.update(batch, rates)
        stop_if_diverged(game.n_updates, values)
        if callback is not None:
            callback(game.n_updates, *players, values)
        if checkpoint is not None and game.n_updates % every == 0:
            save_checkpoint(checkpoint, *players, game.memory())
    memory = game.memory()
    if checkpoint is not None:
        save_checkpoint(checkpoint, *players, memory)
    return memory


def in_pairs(arrays):
    """A flat list of arrays as pairs (kernel, bias); None stays None."""
    if arrays is None:
        return None
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def save_checkpoint(path, generator, discriminator, memory):
    """Write weights and memory of a training to a file, all or nothing.

    `path` ends in ".npz". The file has arrays only, no pickles; either
    framework can read it (:func:`load_checkpoint`).
    """
    about = {
        "n_updates": memory.n_updates,
        "random": memory.random,
        "settings": memory.settings,
    }
    # Settings may be numbers of NumPy, and random states hold arrays.
    about = json.dumps(about, default=lambda value: value.tolist())
    arrays = {"about": np.array(about)}
    parts = {
        "generator": generator.to_numpy(),
        "discriminator": discriminator.to_numpy(),
        "average": memory.average or [],
        "moments_generator": memory.moments["generator"],
        "moments_discriminator": memory.moments["discriminator"],
    }
    for name, pairs in parts.items():
        for i, pair in enumerate(pairs):
            for j, array in enumerate(pair):
                arrays[f"{name}/{i}/{j}"] = array
    path = _npz(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path, generator, discriminator):
    """Put a checkpoint's weights into two networks and return its memory.

    The networks must have the shapes of those that were saved (else
    ValueError, and both stay as they are), not their framework.
    """
    path = _npz(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        about = json.loads(str(arrays.pop("about")))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is not a checkpoint: {error}") from None
    networks.same_shapes(generator.to_numpy(), _pairs(arrays, "generator"))
    discriminator.from_numpy(_pairs(arrays, "discriminator"))
    generator.from_numpy(_pairs(arrays, "generator"))
    return Memory(
        moments={name: _pairs(arrays, f"moments_{name}") for name in PLAYERS},
        average=_pairs(arrays, "average") or None,
        **about,
    )


def resume(checkpoint, memory, rules, generator, discriminator):
    """Memory to start from: that of the file, if it exists, or `memory`.

    A file of a training with other rules is refused: who goes on with it by
    mistake would not get what was asked for. FileNotFoundError if there is no
    folder to write it to, before any time is spent on the training.
    """
    if checkpoint is None:
        return memory
    path = _npz(checkpoint)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            "checkpoint must be in a folder that exists, not "
            f"{str(checkpoint)!r}"
        )
    if not path.exists():
        return memory
    if memory is not None:
        raise ValueError(
            f"memory must be None, because checkpoint {str(checkpoint)!r} "
            "exists already"
        )
    players = generator, discriminator
    before = [player.to_numpy() for player in players]
    memory = load_checkpoint(checkpoint, *players)
    asked = asdict(rules)
    changed = [k for k in asked if memory.settings.get(k) != asked[k]]
    if changed:
        for player, layers in zip(players, before, strict=True):
            player.from_numpy(layers)
        name = changed[0]
        raise ValueError(
            f"{name} must be {memory.settings.get(name)!r} as in the "
            f"checkpoint {str(checkpoint)!r}, not {asked[name]!r}; remove the "
            "file to begin anew"
        )
    return memory


def _pairs(arrays, name):
    """What :func:`save_checkpoint` stored under this name, in order."""
    found = {}
    for key, array in arrays.items():
        part, i, j = key.split("/")
        if part == name:
            found[int(i), int(j)] = array
    return [(found[i, 0], found[i, 1]) for i in range(len(found) // 2)]


def _npz(path):
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path must end in .npz, not {str(path)!r}")
    return path


def stop_if_diverged(update, values):
    """Raise FloatingPointError if a value of the game is not finite."""
    for name, value in values.items():
        if not np.isfinite(value):
            raise FloatingPointError(
                f"{name} is not finite in update {update}: the game "
                "diverged; use a smaller learning_rate or a larger penalty"
            )
