"""Generative adversarial networks: samples without a likelihood.

A generator maps noise z ~ N(0, I) to samples G(z); a discriminator maps data
to a number f(x), the log-odds that they are real, D(x) = sigmoid(f(x)). Names,
arguments and numbers are those of the TensorFlow module.
"""

from dataclasses import asdict

import numpy as np
import torch
from torch.nn.functional import batch_norm, leaky_relu, silu, softplus

from advml import gan as shared
from advml import networks
from advml.gan import INVERSION_BETAS, MOMENTUM, NORMAL_EPSILON, SLOPE
from advml.gan import Memory as Memory
from advml.gan import load_checkpoint as load_checkpoint
from advml.gan import save_checkpoint as save_checkpoint
from advml.networks import EPSILON
from advml.pytorch.networks import Network, dense, halve, transposed
from advml.validation import count, counts, numbers, positive

ACTIVATIONS = {
    "leaky_relu": lambda y: leaky_relu(y, SLOPE),
    "silu": silu,
    "tanh": torch.tanh,
}


class _Generator(Network):
    """What both generators share: latent variables, and samples."""

    @torch.no_grad()
    def sample(self, n, seed):
        """Draw z ~ N(0, I), and return G(z), (n, *shape)."""
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((count("n", n), self.n_latent))
        return self(z)

    def forward(self, z):
        """G(z) of latent variables (n, n_latent), shape (n, *shape)."""
        z = shared.latent("z", _beside(self, z), self.n_latent)
        return self.generate(z)

    def remember(self, seen):
        """Nothing: without normalisation there are no statistics."""


class DenseGenerator(_Generator):
    """G(z) of dense layers, for data (n, n_outputs).

    Parameters
    ----------
    n_latent, n_outputs : int
        Dimensions of z and of G(z).
    n_hidden : sequence of int
        Widths of the hidden layers; without any, G is linear.
    activation : "leaky_relu", "silu" or "tanh"
        After each hidden layer; the first has slope 0.2 below zero.
    sharpness, reach : float
        A factor for the first kernel, and how far from the origin the units
        of the first layer have their steps, see `advml.gan.dense_layers`:
        for functions with fine structure in a wide region.
    seed, device, dtype
        Source of the initial weights; where and how precisely they are
        stored (default: the first GPU if there is one, single precision).

    Source: I. Goodfellow et al. (2014).
    """

    limit = np.inf

    def __init__(
        self,
        n_latent,
        n_outputs,
        n_hidden=(128, 128),
        *,
        activation="leaky_relu",
        sharpness=1.0,
        reach=0.0,
        seed=0,
        device=None,
        dtype=torch.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        widths = [
            count("n_latent", n_latent),
            *counts("n_hidden", n_hidden),
            count("n_outputs", n_outputs),
        ]
        layers = shared.dense_layers(
            widths, activation, seed, sharpness, reach
        )
        super().__init__(layers, device, dtype)
        self.n_latent, self.shape = n_latent, (n_outputs,)
        self.activation = ACTIVATIONS[activation]

    def generate(self, z, seen=None):
        """As a call, for tensors; `seen` is for the other generator."""
        return dense(self.layers, z, self.activation)


class ConvolutionalGenerator(_Generator):
    """G(z) of transposed convolutions, for images in [-1, 1].

    z @ kernel is an image of the smallest side with channels[0]; transposed
    convolutions follow, the first at this side, each other one doubles it,
    and the last has one channel and a tanh. Before that every layer is
    normalised, shifted by its bias and rectified, with slope 0.2 below zero.

    Parameters
    ----------
    side : int
        A batch of images has shape (n, side, side).
    n_latent : int
        Dimension of z.
    channels : sequence of int
        Before each transposed convolution.
    size : int
        Of all kernels, odd.
    normalise : bool
        Batch normalisation: in training each channel has mean 0 and variance
        1 over the batch and its pixels, later over what training has seen.
    seed, device, dtype
        As for :class:`DenseGenerator`.

    Source: A. Radford, L. Metz & S. Chintala, ICLR 2016; the default layers
    are those of TensorFlow's tutorial "Deep Convolutional Generative
    Adversarial Network". S. Ioffe & C. Szegedy, ICML 2015, normalise.
    """

    limit = 1.0

    def __init__(
        self,
        side,
        n_latent=100,
        channels=(256, 128, 64),
        *,
        size=5,
        normalise=True,
        seed=0,
        device=None,
        dtype=torch.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        layers = shared.generator_layers(side, n_latent, channels, size, seed)
        statistics = shared.statistics(channels if normalise else [])
        super().__init__([*layers, *statistics], device, dtype)
        self.n_layers, self.n_latent = len(layers), n_latent
        self.shape = (side, side)
        self.sides = networks.sides(side, channels[1:])[::-1]
        for pair in self.statistics:
            pair.requires_grad_(False)

    @property
    def statistics(self):
        """Running mean and variance of each layer that is normalised."""
        return list(self.layers)[self.n_layers :]

    def generate(self, z, seen=None):
        """G(z) of a tensor z, in training with a list for `seen`.

        Then layers are normalised over this batch, and the list gets the
        pairs (mean, variance) that were found.
        """
        (kernel, bias), *layers = list(self.layers)[: self.n_layers]
        left, statistics = self.sides[0], iter(self.statistics)
        y = (z @ kernel).reshape(len(z), left, left, -1).permute(0, 3, 1, 2)
        for side, (kernel, next_bias) in zip(
            [left, *self.sides[1:]], layers, strict=True
        ):
            y = self._rectified(y, bias, next(statistics, None), seen)
            y, bias = transposed(y, kernel, None, side), next_bias
        return torch.tanh(y + bias)[:, 0]

    def _rectified(self, y, bias, statistics, seen):
        """Normalise each channel, add its bias, cut most of what is < 0."""
        if statistics is None:
            y = y + bias[:, None, None]
        elif seen is None:
            mean, variance = statistics
            y = batch_norm(y, mean, variance, None, bias, eps=NORMAL_EPSILON)
        else:
            seen.append([torch.zeros_like(bias) for _ in range(2)])
            y = batch_norm(y, *seen[-1], None, bias, True, 1, NORMAL_EPSILON)
        return leaky_relu(y, SLOPE)

    @torch.no_grad()
    def remember(self, seen):
        """Let running means and variances follow those of a batch."""
        for pair, found in zip(self.statistics, seen, strict=True):
            for running, new in zip(pair, found, strict=True):
                running.lerp_(new, 1 - MOMENTUM)


class DenseDiscriminator(Network):
    """Log-odds f(x) of dense layers, for data (n, n_inputs).

    Parameters
    ----------
    n_inputs : int
        Dimension of x.
    n_hidden, activation, sharpness, reach, seed, device, dtype
        As for :class:`DenseGenerator`; the default seed is another, since
        with one seed both networks begin with the same random numbers.
    """

    def __init__(
        self,
        n_inputs,
        n_hidden=(128, 128),
        *,
        activation="leaky_relu",
        sharpness=1.0,
        reach=0.0,
        seed=1,
        device=None,
        dtype=torch.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        n_inputs = count("n_inputs", n_inputs)
        widths = [n_inputs, *counts("n_hidden", n_hidden), 1]
        layers = shared.dense_layers(
            widths, activation, seed, sharpness, reach
        )
        super().__init__(layers, device, dtype)
        self.shape, self.activation = (n_inputs,), ACTIVATIONS[activation]

    def forward(self, x):
        """Log-odds (n,) of data (n, n_inputs), a tensor or an array."""
        x = shared.observed("x", _beside(self, x), self.shape)
        return dense(self.layers, x, self.activation)[:, 0]


class ConvolutionalDiscriminator(Network):
    """Log-odds f(x) of convolutions, for images.

    Each convolution halves the side (stride 2, zeros of width size // 2
    around the image, slope 0.2 below zero); a dense layer to one number
    follows.

    Parameters
    ----------
    side : int
        A batch of images has shape (n, side, side).
    channels : sequence of int
        Channels of the convolutions.
    size : int
        Of all kernels, odd.
    seed, device, dtype
        As for :class:`DenseDiscriminator`.

    Source: see :class:`ConvolutionalGenerator`; that tutorial also drops
    single activations at random in training.
    """

    def __init__(
        self,
        side,
        channels=(64, 128),
        *,
        size=5,
        seed=1,
        device=None,
        dtype=torch.float32,
    ):
        """Draw the weights; see the class for the arguments."""
        layers = shared.discriminator_layers(side, channels, size, seed)
        super().__init__(layers, device, dtype)
        self.shape = (side, side)

    def forward(self, x):
        """Log-odds (n,) of images (n, side, side), a tensor or an array."""
        x = shared.observed("x", _beside(self, x), self.shape)
        y = x[:, None]
        *convolutions, last = self.layers
        for kernel, bias in convolutions:
            y = leaky_relu(halve(y, kernel, bias), SLOPE)
        y = y.permute(0, 2, 3, 1).flatten(1)
        return dense([last], y, None)[:, 0]


def discriminator_loss(real, fake, loss="non-saturating"):
    """What the discriminator minimises, from its log-odds (eq-gan-losses).

    −⟨log D(x)⟩ − ⟨log(1 − D(G(z)))⟩ with D = sigmoid(f), or for
    "wasserstein" ⟨f(G(z))⟩ − ⟨f(x)⟩. `real` (n,) are the f(x) of data and
    `fake` (m,) those of samples.

    Source: I. Goodfellow et al. (2014); M. Arjovsky et al. (2017).
    """
    shared.check_loss(loss)
    if loss == "wasserstein":
        return fake.mean() - real.mean()
    return softplus(-real).mean() + softplus(fake).mean()


def generator_loss(fake, loss="non-saturating"):
    """What the generator minimises, from log-odds of samples (eq-gan-losses).

    "saturating" ⟨log(1 − D(G(z)))⟩, "non-saturating" −⟨log D(G(z))⟩,
    "wasserstein" −⟨f(G(z))⟩.

    Source: as for :func:`discriminator_loss`.
    """
    shared.check_loss(loss)
    if loss == "wasserstein":
        return -fake.mean()
    if loss == "saturating":
        return -softplus(fake).mean()
    return softplus(-fake).mean()


def r1_penalty(discriminator, x):
    """½⟨|∇f(x)|²⟩ over data x (n, ...) (eq-gan-r1).

    Source: L. Mescheder, A. Geiger & S. Nowozin, ICML 2018.
    """
    x = _beside(discriminator, x).detach().requires_grad_()
    return _squared_slopes(discriminator(x), x).mean() / 2


def lipschitz_penalty(discriminator, x, fake, u):
    """⟨(|∇f(y)| − 1)²⟩, y = u x + (1 − u) G(z) (eq-gan-gradient-penalty).

    Data `x` and samples `fake` (n, ...) are mixed with one u in [0, 1] each,
    of shape (n,).

    Source: I. Gulrajani et al., NeurIPS 2017.
    """
    x, fake, u = (_beside(discriminator, a).detach() for a in (x, fake, u))
    u = u.reshape(-1, *[1] * (x.ndim - 1))
    y = (u * x + (1 - u) * fake).requires_grad_()
    slopes = _squared_slopes(discriminator(y), y)
    # The root has no slope at zero; 1e-12 leaves other lengths as they are.
    return ((torch.sqrt(slopes + 1e-12) - 1) ** 2).mean()


def posterior_energy(generator, z, x, scale):
    """−log p(z|x) up to a constant (n,), pair by pair (eq-latent-posterior).

    |x − G(z)|²/2σ² + |z|²/2, in nats, for latent variables `z` (n, n_latent)
    and data `x` (n, *shape) that are G(z) with normal noise of width σ, which
    is `scale`, in units of x. ValueError unless there are as many z as x.
    """
    x = shared.observed("x", _beside(generator, x), generator.shape)
    z = shared.latent("z", _beside(generator, z), generator.n_latent)
    shared.paired(z, x)
    misfit = ((x - generator(z)) ** 2).flatten(1).sum(1)
    return misfit / (2 * positive("scale", scale) ** 2) + (z**2).sum(1) / 2


def invert(
    generator,
    x,
    *,
    scale,
    n_starts=4,
    n_steps=100,
    learning_rate=0.1,
    seed=0,
):
    """Most probable latent variables of data (eq-latent-posterior).

    Adam minimises :func:`posterior_energy` from `n_starts` draws of the prior
    for each row of `x` (n, *shape); its rate falls linearly to zero within
    `n_steps`. Returns the best z (n, n_latent) and its energy (n,), in nats.
    There may be better ones: the energy has many minima.
    """
    x = shared.observed("x", _beside(generator, x), generator.shape)
    n, starts = len(x), count("n_starts", n_starts)
    x = x.repeat(starts, *[1] * len(generator.shape))
    rng = np.random.default_rng(seed)
    z = _beside(
        generator, rng.standard_normal((n * starts, generator.n_latent))
    )
    z.requires_grad_()
    adam = torch.optim.Adam([z], betas=INVERSION_BETAS, eps=EPSILON)
    rate = positive("learning_rate", learning_rate)
    for left in range(count("n_steps", n_steps), 0, -1):
        total = posterior_energy(generator, z, x, scale).sum()
        (z.grad,) = torch.autograd.grad(total, z)
        adam.param_groups[0]["lr"] = rate * left / n_steps
        adam.step()
    with torch.no_grad():
        energy, best = (
            posterior_energy(generator, z, x, scale).reshape(starts, n).min(0)
        )
    z = z.detach().reshape(starts, n, -1)
    return z[best, torch.arange(n, device=z.device)], energy


def train(
    generator,
    discriminator,
    data,
    *,
    n_updates,
    batch_size=64,
    learning_rate=2e-4,
    final_learning_rate=None,
    rate_ratio=1.0,
    betas=(0.5, 0.999),
    loss="non-saturating",
    r1=0.0,
    gradient_penalty=0.0,
    n_critic=1,
    instance_noise=0.0,
    averaging=None,
    seed=0,
    callback=None,
    checkpoint=None,
    checkpoint_every=500,
    memory=None,
):
    """Play the game: both networks take steps of Adam in turn, in place.

    An update is `n_critic` steps of the discriminator, each on new data and
    new samples, down :func:`discriminator_loss` and the penalties; then one
    of the generator down :func:`generator_loss`, on the last samples.

    Parameters
    ----------
    generator, discriminator
        Networks for data of one shape.
    data : array (N, *shape)
        Batches are drawn from its rows at random, with replacement.
    n_updates, batch_size : int
        Updates in all, with those that `memory` or `checkpoint` has made.
    learning_rate, final_learning_rate, rate_ratio : float
        Of Adam for the generator, linear from the first to the second
        (constant without it); the discriminator's is `rate_ratio` times it.
    betas : pair of float
        Of Adam: the first is the momentum.
    loss : "saturating", "non-saturating" or "wasserstein"
    r1, gradient_penalty : float
        Factors of :func:`r1_penalty` and :func:`lipschitz_penalty`.
    n_critic : int
    instance_noise : float
        Standard deviation of normal noise that data and samples get before
        the discriminator sees them, in units of the data. It falls to zero
        over the first four fifths of the updates: annealing.
    averaging : float, optional
        Average the generator's weights over updates, the latest 1/(1 −
        averaging) of them in effect: see `average` in the result.
    seed : int or numpy.random.Generator
        Source of all batches and noise; unused by a training that goes on.
    callback : function
        Called as callback(update, generator, discriminator, values) after
        each update, from 1 on; `values` has both losses, the penalty and the
        mean log-odds "real" and "fake" of the last batch.
    checkpoint : path, optional
        File (.npz) written every `checkpoint_every` updates and at the end.
        If it exists, the training goes on from there, as if it had never
        been interrupted. Its folder must exist (else FileNotFoundError).
    memory : Memory, optional
        What an earlier call returned, to go on from there.

    Returns the :class:`Memory`. FloatingPointError, with the name of the
    quantity, if anything diverges.

    Source: I. Goodfellow et al. (2014), algorithm 1.
    """
    rules = shared.Rules(
        loss=loss,
        r1=r1,
        gradient_penalty=gradient_penalty,
        n_critic=n_critic,
        batch_size=batch_size,
        learning_rate=learning_rate,
        final_learning_rate=final_learning_rate,
        rate_ratio=rate_ratio,
        betas=betas,
        instance_noise=instance_noise,
        averaging=averaging,
    )
    places = [p.layers[0][0].device for p in (generator, discriminator)]
    if places[0] != places[1]:
        raise ValueError(
            "generator and discriminator must be on one device, not on "
            f"{places[0]} and {places[1]}"
        )
    data = _beside(generator, data).cpu().numpy()
    shared.check_players(generator, discriminator, data)
    memory = shared.resume(checkpoint, memory, rules, generator, discriminator)
    game = _Game(generator, discriminator, rules, memory, seed)
    return shared.play(
        game, data, n_updates, callback, checkpoint, checkpoint_every
    )


class _Game:
    """Two networks with what they remember between updates."""

    def __init__(self, generator, discriminator, rules, memory, seed):
        self.players = generator, discriminator
        self.generator, self.discriminator = self.players
        self.rules = rules
        self.n_updates = memory.n_updates if memory else 0
        self.rng = shared.stream(memory, seed)
        moments = memory.moments if memory else {}
        self.adams = {
            name: _adam(
                network, moments.get(name), self.n_updates * repeats, rules
            )
            for name, network, repeats in zip(
                shared.PLAYERS, self.players, (1, rules.n_critic), strict=True
            )
        }
        self.average = None
        if rules.averaging is not None:
            start = memory.average if memory else None
            self.average = [
                _beside(generator, array).clone()
                for pair in start or generator.to_numpy()
                for array in pair
            ]

    def update(self, batch, rates):
        """Let the discriminator make its steps, and the generator one."""
        self.adams["generator"].param_groups[0]["lr"] = rates[0]
        self.adams["discriminator"].param_groups[0]["lr"] = rates[1]
        for arrays in zip(*batch, strict=True):
            x, z, u, e = (_beside(self.generator, a) for a in arrays)
            seen = []
            fake = self.generator.generate(z, seen) + e
            values = self._discriminator_step(x, fake.detach(), u)
        value = generator_loss(self.discriminator(fake), self.rules.loss)
        _descend(self.adams["generator"], value)
        self.generator.remember(seen)
        self.n_updates += 1
        if self.average is not None:
            self._follow()
        values = torch.stack([value, *values]).tolist()
        return dict(zip(shared.VALUES, values, strict=True))

    def _discriminator_step(self, x, fake, u):
        """One step down loss and penalties; their values, and log-odds."""
        rules, penalty = self.rules, torch.zeros((), device=x.device)
        if rules.r1:
            x.requires_grad_()
        real, of_fake = self.discriminator(x), self.discriminator(fake)
        value = discriminator_loss(real, of_fake, rules.loss)
        if rules.r1:
            penalty = rules.r1 * _squared_slopes(real, x).mean() / 2
        if rules.gradient_penalty:
            penalty = penalty + rules.gradient_penalty * lipschitz_penalty(
                self.discriminator, x, fake, u
            )
        _descend(self.adams["discriminator"], value + penalty)
        terms = value, penalty, real.mean(), of_fake.mean()
        return [term.detach() for term in terms]

    @torch.no_grad()
    def _follow(self):
        """Average over all weights so far, then over the latest ones."""
        share = max(1 - self.rules.averaging, 1 / self.n_updates)
        weights = list(self.generator.parameters())
        torch._foreach_lerp_(self.average, weights, share)

    def memory(self):
        """A copy of the present state, in NumPy's arrays."""
        average = self.average and [_array(a) for a in self.average]
        return Memory(
            n_updates=self.n_updates,
            moments={
                name: [
                    (_array(state["exp_avg"]), _array(state["exp_avg_sq"]))
                    for state in adam.state.values()
                ]
                for name, adam in self.adams.items()
            },
            average=shared.in_pairs(average),
            random=self.rng.bit_generator.state,
            settings=asdict(self.rules),
        )


def _adam(network, moments, n_steps, rules):
    """Adam for what is trained in a network, with what it remembers."""
    trained = [p for p in network.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, betas=tuple(rules.betas), eps=EPSILON)
    for p, pair in zip(trained, moments or [], strict=bool(moments)):
        m, v = (torch.as_tensor(a).to(p, copy=True) for a in pair)
        step = torch.tensor(float(n_steps))
        adam.state[p] = {"step": step, "exp_avg": m, "exp_avg_sq": v}
    return adam


def _descend(adam, value):
    """One step of Adam down the slope of a value in its own parameters."""
    parameters = adam.param_groups[0]["params"]
    slopes = torch.autograd.grad(value, parameters)
    for parameter, slope in zip(parameters, slopes, strict=True):
        parameter.grad = slope
    adam.step()


def _squared_slopes(logits, x):
    """|∇f|² of each x (n,), itself differentiable in the parameters."""
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return (slope**2).flatten(1).sum(1)


def _beside(network, x):
    """Anything like an array as a tensor, beside the parameters."""
    if not torch.is_tensor(x):
        x = torch.from_numpy(numbers(x))
    return x.to(network.layers[0][0])


def _array(tensor):
    return tensor.detach().cpu().numpy().copy()
