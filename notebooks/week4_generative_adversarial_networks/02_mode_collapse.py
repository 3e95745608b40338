# ---
# jupyter:
#   advml:
#     full: {n_updates: 30000}
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Watch modes collapse, and anneal the game
#
# A sampler that never leaves one valley of its energy is not wrong about that valley. It has lost ergodicity, and nothing that it sees tells it so. Generators have the same illness: they make perfect
# samples of a part of the data, and forget the rest. It is called **mode collapse**, and the loss of {lecture}`4.1` hardly punishes it. To study it one needs data of which all modes are known: eight
# Gaussians on a ring, and twenty-five on a grid. We measure the collapse, understand why no generator can be perfect here, and cure it with what physicists know: friction, and slow cooling.
#
# :::{admonition} Plan
# :class: tip
# **You will** put numbers on forgetting and hold them to a perfect sampler, prove that a network must leave bridges between modes and compute how many samples lie on them, see a plain game lose modes,
# cure it with friction and slow cooling, and see two opposite failures on the grid before the same cure.
# **You need** {lecture}`4.1`; {lecture}`2.3` for the data. **Time** an hour to read; a minute of CPU.
# :::

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import brentq
from scipy.stats import norm

from advml.checks import verify
from advml.datasets import gaussian_grid, gaussian_ring
from advml.display import show_source, show_table
from advml.metrics import mode_coverage, precision_recall
from advml.pytorch import gan

plt.style.use("advml.course")
torch.set_num_threads(1)  # the networks here are too small to share out

# %% tags=["parameters"]
seed = 0
n_ring = 1200  # updates of each game on the ring
n_updates = 7000  # of the annealed game on the grid
n_seeds = 3  # games of each kind on the ring

# %% [markdown]
# ## Numbers for forgetting
#
# A sample belongs to the nearest of the $K$ centres $\mathbf c_k$. It is **good** if it lies within three standard deviations of it. From $n$ samples take
#
# $$
# \begin{aligned}
# \text{coverage:}\quad & \text{modes with at least one good sample},\\
# \text{quality:}\quad & \text{share of good samples},\\
# \text{balance:}\quad & \operatorname{KL}(\hat{\mathbf w}\,\Vert\,\text{uniform}) = \sum_k\hat w_k\log K\hat w_k ,
# \end{aligned}
# $$ (eq-gan-coverage)
#
# with the share $\hat w_k$ of the samples nearest to $\mathbf c_k$. The first two are those of {cite:t}`srivastava2017`. What would a *perfect* generator score? In the plane a Gaussian has the share $1 - e^{-9/2} = 0.989$ within three standard deviations. And counting noise
# alone makes the divergence positive: $2n\operatorname{KL}$ is $\chi^2$ with $K-1$ degrees of freedom, $(K-1)/2n$ on average.

# %%
show_source(mode_coverage)
rng = np.random.default_rng([seed, 0])
widths = {8: 0.02, 25: 0.05}  # of each mode
ring = gaussian_ring(20_000, scale=widths[8], seed=rng)
grid = gaussian_grid(20_000, scale=widths[25], seed=rng)
n = 2500
for data in (ring, grid):
    K, p = len(data.centres), 1 - np.exp(-4.5)
    scores = [
        mode_coverage(data.sample(n, rng), data.centres, widths[K])
        for _ in range(100)
    ]
    verify(
        f"quality of perfect samples, {K} modes",
        np.mean([s.quality for s in scores]),
        equals=p,
        atol=5 * np.sqrt(p * (1 - p) / (100 * n)),
        source="1 − exp(−9/2)",
    )
    verify(
        f"2n·KL of their weights, {K} modes",
        np.mean([2 * n * s.divergence for s in scores]),
        equals=K - 1,
        atol=5 * np.sqrt(2 * (K - 1) / 100),
        source="χ² with K − 1 degrees of freedom, mean of 100",
    )

# %% [markdown]
# These numbers need the centres. For data whose modes nobody knows there is a substitute {cite}`kynkaanniemi2019`, to which {lecture}`4.4` will return. Draw a ball around each point that reaches to its $k$-th neighbour in the same set, and let the balls be a guess of the support:
#
# $$
# \begin{aligned}
# \text{precision:}\quad & \text{share of samples inside a ball of the data},\\
# \text{recall:}\quad & \text{share of data inside a ball of the samples}.
# \end{aligned}
# $$
#
# A generator that forgets loses recall and keeps its precision. If it makes $m$ of $K$ equal modes, perfectly, the recall must be about $m/K$:

# %%
few = ring.centres[:3][rng.integers(3, size=1000)]
few = few + widths[8] * rng.standard_normal(few.shape)
precision, recall = precision_recall(ring.sample(1000, rng), few)
verify(
    "recall of a sampler of three modes out of eight",
    recall,
    equals=3 / 8,
    atol=5 * np.sqrt(3 / 8 * 5 / 8 / 1000) + 0.03,
    source="five standard errors, and 0.03 for outliers and overlap",
)
verify(
    "and its precision",
    precision,
    at_least=0.95,
    source="all its samples are samples of the data's distribution",
)

# %% [markdown]
# ## A map cannot tear
#
# Before training anything: what is the best that a generator can do? $G$ is continuous, and the Gaussian $\mathbf z$ has its probability in one piece. So is the support of $G(\mathbf z)$: between any two modes there is a **bridge**. How much probability lies on it depends on how steep $G$ may be.
#
# Take one dimension and two modes at $\pm a$, each of width $\sigma$. The monotone map to this mixture is exact, $G = F^{-1}\circ\Phi$, with the distribution functions $F$ of the mixture and $\Phi$ of $z$. At $z = 0$ its slope is the ratio of the densities,
#
# $$
# G'(0) = \frac{\varphi(0)}{p(0)} = \sigma\,e^{a^2/2\sigma^2} .
# $$ (eq-gan-tear)
#
# For the neighbours on our grid, $a/\sigma = 20$: $G' = e^{200}\sigma$. No network does that. One whose slope is at most $L$ needs an interval of length $2b/L$ in $z$ to get from $-b$ to $b$, and the least probable such interval away from the tails has at least
#
# $$
# P(\text{bridge}) \ge 2\Phi(b/L) - 1 \approx \sqrt{2/\pi}\;b/L
# $$ (eq-gan-bridge)
#
# if half of the samples are to be on either side. With 25 modes there are at least 24 bridges. A generator that puts ninety per cent of its samples within $3\sigma$ of a mode has to be very steep in a few places, and very flat in between.

# %%
sigma = 0.25


def exact_map(z, a=1.0):
    """F⁻¹(Φ(z)) for two modes at ±a of width sigma."""

    def cdf(x):
        return (norm.cdf(x, a, sigma) + norm.cdf(x, -a, sigma)) / 2

    return brentq(lambda x: cdf(x) - norm.cdf(z), -4, 4, xtol=1e-14)


h = 1e-6
verify(
    "slope of the exact map between two modes, four widths from each",
    (exact_map(h) - exact_map(-h)) / (2 * h),
    equals=sigma * np.exp(8.0),
    rtol=1e-3,
    source="eq-gan-tear; the difference quotient is off by h²G‴/6",
)
limit, b = 5.0, 0.25
ramp = lambda z: np.clip(limit * z, -1, 1)  # noqa: E731
inside = np.mean(np.abs(ramp(rng.standard_normal(200_000))) < b)
verify(
    "share of samples on the bridge of the steepest map with slope 5",
    inside,
    equals=2 * norm.cdf(b / limit) - 1,
    atol=5 * np.sqrt(inside / 200_000),
    source="eq-gan-bridge holds with equality for a ramp",
)

# %% [markdown]
# ## The game on the ring
#
# The loop is short enough to read. An update lets the discriminator make its steps, on new data and new samples, and then the generator one, against the new discriminator:

# %%
show_source(gan._Game.update, gan._Game._discriminator_step)

# %% [markdown]
# First without any penalty, with the recipe of countless tutorials: Adam with momentum $\frac12$ and a constant rate, three seeds. The modes are narrow, $\sigma = 0.02$ at a radius of 2, as in the first studies {cite}`metz2017`. One batch of 400 latent points is kept
# fixed; we look where the generator puts it.


# %%
watched = np.random.default_rng([seed, 1]).standard_normal((400, 2))

# %% [markdown]
# One game, from initial weights to its score:


# %%
def play(number, n_updates, options, data=ring, when=(), **network):
    """One game: its score, pictures at some updates, and its players."""
    network = {"sharpness": 3.0, "reach": 2.5} | network
    generator = gan.DenseGenerator(
        2, 2, activation="tanh", reach=2.0, seed=[seed, number, 0]
    )
    discriminator = gan.DenseDiscriminator(
        2, activation="tanh", seed=[seed, number, 1], **network
    )
    pictures = []

    def watch(t, generator, discriminator, values):
        if t in when:
            with torch.no_grad():
                pictures.append(generator(watched).cpu().numpy())

    gan.train(
        generator,
        discriminator,
        data.train,
        n_updates=n_updates,
        batch_size=256,
        seed=[seed, number, 2],
        callback=watch,
        **options,
    )
    x = generator.sample(n, seed=[seed, number, 3]).cpu().numpy()
    score = mode_coverage(x, data.centres, widths[len(data.centres)])
    return score, pictures, generator, discriminator


# %% [markdown]
# Three games:

# %%
momentum = {"learning_rate": 2e-3, "betas": (0.5, 0.999)}
times = [n_ring * k // 5 for k in (1, 2, 3, 4, 5)]
plain = [play(k, n_ring, momentum, when=times) for k in range(n_seeds)]

# %% [markdown]
# The discriminator's first layer is made sharp: units three times as steep as usual, each with its step at a point of its own. (With zero biases every unit has its step on a line through the origin, and the network is slow to learn anything fine elsewhere.)
#
# Now the cures. The first is friction, {eq}`eq-gan-r1`, without momentum, and with a rate that goes to zero. The second is as old as metallurgy: heat, and cool slowly. Add normal noise of width $\sigma_t$ to the data and to the samples before the discriminator sees them {cite}`arjovsky2017`. Both distributions are then convolved with
# the same Gaussian: smooth and overlapping. Their equality is still the optimum, because a convolution with a Gaussian can be undone in principle (its Fourier transform has no zero). Then let $\sigma_t$ fall to zero, over four fifths of the $T$ updates:
#
# $$
# \sigma_t = \sigma_0\Bigl(1 - \frac{t}{0.8\,T}\Bigr)^2 .
# $$ (eq-gan-annealing)

# %%
calm = {"learning_rate": 5e-3, "final_learning_rate": 0.0}
calm |= {"betas": (0.0, 0.99), "r1": 0.01}
annealed = calm | {"instance_noise": 1.0}
cured = [play(k, n_ring, annealed, when=times) for k in range(n_seeds)]
show_table(
    ["game", "seed", "modes of 8", "quality", "KL (nats)"],
    [
        [name, f"{k}", float(s.n_covered), s.quality, s.divergence]
        for name, games in (("plain", plain), ("annealed, R1", cured))
        for k, (s, *_) in enumerate(games)
    ],
)

# %% [markdown]
# The pictures of the first seed:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of five pictures of points and eight circles on a ring. Top, the plain game: points gather at some of the modes and leave others empty. Bottom, the annealed game: a cloud becomes a ring and then eight clusters."}, "figure": {"caption": "The same 400 latent points at five times of the game, first seed. Top: plain; bottom: annealed. Circles mark the modes, ten times as wide as they are.", "name": "fig-collapse-ring"}}
fig, axes = plt.subplots(2, 5, figsize=(7.4, 3.1))
for row, games in zip(axes, (plain, cured), strict=True):
    for ax, points, t in zip(row, games[0][1], times, strict=True):
        ax.plot(*points.T, ".", ms=1.5)
        for centre in ring.centres:
            ax.add_patch(plt.Circle(centre, 0.2, fill=False, color="C1"))
        ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), xticks=[], yticks=[])
        ax.set(aspect=1, title=f"update {t}" if row[0] is axes[0, 0] else "")
plt.show()

# %% [markdown]
# Without friction the discriminator chases the generator. Where samples are too many, it learns to call them fake, and they move on. The plain game makes good samples, and of two or three modes only: its quality is the best in the table. Which modes are lost is a matter of chance; run the notebook with another seed. (With the wide modes of {lecture}`2.3`, $\sigma = 0.2$, even the plain game finds all eight: they overlap enough to be seen from each other.)

# %%
verify(
    "annealed, all eight modes are covered, for each seed",
    [s.n_covered for s, *_ in cured],
    equals=8,
    source="the data have eight",
)
verify(
    "annealed, quality for each seed",
    [s.quality for s, *_ in cured],
    at_least=0.53,
    source="VEEGAN (2017) on its ring; 0.989 for perfect samples",
)
verify(
    "mean imbalance: plain minus annealed",
    np.mean([s.divergence for s, *_ in plain])
    - np.mean([s.divergence for s, *_ in cured]),
    at_least=0,
    source="friction and cooling; empirical",
)

# %% [markdown]
# ## The grid: too blunt, too sharp
#
# Twenty-five modes of width $0.05$, two apart: the good region is two per cent of the square. Without noise, try a discriminator with usual weights and zero biases, and then a sharp one with steps all over the square. **Predict** what each of them does to coverage and to quality.

# %%
grid_options = calm | {"learning_rate": 6e-3}
blunt, *_ = play(
    0, n_updates // 7, grid_options, grid, sharpness=1.0, reach=0.0
)
sharp, *_ = play(0, n_updates // 7, grid_options, grid, reach=5.0)

# %% [markdown]
# A blunt discriminator sees a smooth square, and the generator fills it: many modes are hit, by chance. A sharp one sees the modes it is shown samples of, pins the samples to them, and has nothing to say to the rest: the Jensen–Shannon divergence does not know how far away the
# other modes are. Early sharpness is a *quench*. With noise of $\sigma_0 = 1$ the square is one hill; around $\sigma_t = 0.6$ it breaks up into twenty-five, with samples near all of them.

# %%
annealed = grid_options | {"instance_noise": 1.0}
when = [n_updates * k // 10 for k in (1, 3, 5, 7, 10)]
cool, pictures, generator, discriminator = play(
    0, n_updates, annealed, grid, when=when, reach=5.0
)
show_table(
    ["game on the grid", "modes of 25", "quality", "KL (nats)"],
    [
        [name, float(s.n_covered), s.quality, s.divergence]
        for name, s in (
            ("blunt", blunt),
            ("sharp", sharp),
            ("sharp, annealed", cool),
        )
    ],
)

# %% [markdown]
# The annealed game in pictures:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Five pictures of 400 points on a five by five grid of small dots. First one broad cloud, then a square, then clusters form around all grid points, and in the end nearly all points lie on the grid with few in between."}, "figure": {"caption": "The annealed game on the grid: the same 400 latent points at five times. Crosses: modes.", "name": "fig-collapse-grid"}}
fig, axes = plt.subplots(1, 5, figsize=(7.4, 1.7))
for ax, points, t in zip(axes, pictures, when, strict=True):
    ax.plot(*grid.centres.T, "+", color="C1", ms=4, mew=0.7)
    ax.plot(*points.T, ".", ms=1.5)
    ax.set(xlim=(-5.5, 5.5), ylim=(-5.5, 5.5), xticks=[], yticks=[])
    ax.set(aspect=1, title=f"update {t}")
plt.show()

# %% [markdown]
# For comparison: VEEGAN, proposed against mode collapse, reported 24.6 modes with 40 % of good samples on a grid like this one, and 8 modes with 53 % on a ring {cite}`srivastava2017`.

# %%
verify(
    "annealed: nearly all modes of the grid",
    cool.n_covered,
    at_least=24,
    source="24.6 of VEEGAN; empirical, 24 or 25 so far",
)
verify(
    "annealed: share of good samples on the grid",
    cool.quality,
    at_least=0.8,
    source="0.40 for VEEGAN, 0.989 for perfect samples; empirical, ≥ 0.9",
)
verify(
    "annealing beats both extremes where each of them fails",
    [cool.quality - blunt.quality, sharp.divergence - cool.divergence],
    at_least=0,
    source="blunt: quality; sharp: balance; empirical",
)

# %% [markdown]
# Does the bridge have the size that it must have? Count the samples that belong to no mode, and compare with {eq}`eq-gan-bridge`: the trained generator has some largest slope $L$, which we measure at many latent points. The bound speaks of 24 bridges at least, each as wide as the way between two good regions, $2b = 2 - 0.3$,
# with $\varphi$ at most $\varphi(0)$; so it is a *scale*, not a strict bound, for a map of the plane.

# %%
z = torch.tensor(rng.standard_normal((1000, 2))).float().requires_grad_()
jacobian = torch.stack(
    [
        torch.autograd.grad(generator(z)[:, k].sum(), z, retain_graph=True)[0]
        for k in range(2)
    ],
    dim=1,
)
slopes = torch.linalg.matrix_norm(jacobian, 2).detach().numpy()
show_table(
    ["generator on the grid", ""],
    [
        ["median slope", np.median(slopes)],
        ["largest slope found", slopes.max()],
        ["samples on bridges", 1 - cool.quality],
    ],
)
verify(
    "the largest slope exceeds the median by a factor of five or more",
    slopes.max() / np.median(slopes),
    at_least=5,
    source="eq-gan-tear: steep between modes, flat on them; empirical",
)

# %% [markdown]
# ## What the discriminator sees
#
# In the end it should be undecided on the data. The picture shows how far it has come, and what it thinks of regions that it was never shown.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two maps of log-odds. Left, the plain game: large values of either sign with steep walls. Right, the annealed game with R1: values closer to zero, negative in the middle and outside of the ring."}, "figure": {"caption": "Log-odds of the discriminator at the end of the game on the ring, first seed: plain (left) and annealed with R1 (right), same colours.", "name": "fig-collapse-odds"}}
axis = np.linspace(-3.5, 3.5, 141)
plane = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
fig, axes = plt.subplots(1, 2, figsize=(6.6, 2.9))
for ax, (_, pictures_k, _, d_k), title in zip(
    axes, (plain[0], cured[0]), ("plain", "annealed, R1"), strict=True
):
    with torch.no_grad():
        odds = d_k(plane).cpu().numpy().reshape(141, 141)
    shown = ax.pcolormesh(axis, axis, odds, cmap="RdBu_r", vmin=-4, vmax=4)
    ax.plot(*pictures_k[-1].T, "k.", ms=1)
    ax.set(aspect=1, title=title, xticks=[-2, 0, 2], yticks=[-2, 0, 2])
fig.colorbar(shown, ax=axes, label="log-odds $f$")
plt.show()

# %% [markdown]
# ## Break it
#
# Friction can be too much. **Predict**: $\gamma = 100$ on the ring.

# %%
frozen, *_ = play(
    0,
    n_ring // 2,
    annealed | {"learning_rate": 5e-3, "r1": 100.0, "instance_noise": 0.0},
)
show_table(
    ["γ", "modes of 8", "quality"],
    [
        ["0.01", float(cured[0][0].n_covered), cured[0][0].quality],
        ["100", float(frozen.n_covered), frozen.quality],
    ],
)
verify(
    "with too much friction quality is lost",
    cured[0][0].quality - frozen.quality,
    at_least=0.1,
    source="over-damped: rate 1/4γ, eq-gan-damping; empirical",
)

# %% [markdown]
# A discriminator that may not have any slope gives no direction. In the picture of {eq}`eq-gan-damping` the game is over-damped: it creeps with rate $1/4\gamma$ and has not arrived.
#
# ## Exercises
#
# ::::{exercise} How many samples to see all modes?
# :label: ex-collapse-coupon
# A perfect generator draws from $K$ equal modes, and a share $p$ of its samples is good. What is the expected coverage of $n$ samples? How large must $n$ be for the grid, so that on average less than $0.01$ modes are missed? Check by simulation for $n = 50$.
# ::::
#
# ::::{solution-start} ex-collapse-coupon
# :class: dropdown
# ::::

# %% [markdown]
# A given mode is missed with probability $(1 - p/K)^n$, so the expected coverage is $K\,[1 - (1-p/K)^n]$, and $n > \log(100K)/(-\log(1-p/K))$.

# %% tags=["solution"]
K, p, draws = 25, 1 - np.exp(-4.5), 2000
expected = K * (1 - (1 - p / K) ** 50)
seen = [
    mode_coverage(grid.sample(50, rng), grid.centres, 0.05).n_covered
    for _ in range(draws)
]
verify(
    "expected coverage of 50 perfect samples of the grid",
    np.mean(seen),
    equals=expected,
    atol=5 * np.std(seen) / np.sqrt(draws),
    source="K(1 − (1 − p/K)ⁿ)",
)
show_table(
    ["missed on average less than 0.01 modes", "n"],
    [["at least", int(np.ceil(np.log(100 * K) / -np.log1p(-p / K)))]],
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Weights of modes
# :label: ex-collapse-weights
# A generator makes $m$ of $K$ equal modes with equal shares and forgets the others. What are $\operatorname{KL}(\hat{\mathbf w}\Vert\text{uniform})$ and $2\operatorname{JSD}$, for modes that do not overlap? Which loss would you pay for forgetting one mode of a thousand?
# ::::
#
# ::::{solution-start} ex-collapse-weights
# :class: dropdown
# ::::

# %% [markdown]
# $\operatorname{KL} = \log(K/m)$. In the Jensen–Shannon divergence with $r = m/K$, data have density $r$ times that of the samples on the modes that are made: $2\operatorname{JSD} = r\log\frac{2r}{1+r} + (1-r)\log2 + \log\frac{2}{1+r}$. For
# $r = 1-\epsilon$ this is $\epsilon\log2$ to first order: seven in ten thousand nats for one mode of a thousand. The game does not care.


# %% tags=["solution"]
def double_jsd(r):
    """2 JSD of uniform on all modes and uniform on a share r of them."""
    mixed = (1 + r) / 2
    return r * np.log(r / mixed) + (1 - r) * np.log(2) + np.log(1 / mixed)


K = 1000
p, q = np.full(K, 1 / K), np.r_[np.full(K - 1, 1 / (K - 1)), 0]
m = (p + q) / 2
direct = np.sum(p * np.log(p / m)) + np.sum(q[:-1] * np.log(q[:-1] / m[:-1]))
verify(
    "2 JSD for one forgotten mode of a thousand",
    [direct, double_jsd(1 - 1 / K)],
    equals=np.log(2) / K,
    rtol=2e-3,
    source="first order in 1/K",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ## Summary
#
# Coverage, quality and balance say what a generator has forgotten, and a perfect sampler's scores are known. A continuous map has to leave bridges, and a discriminator that is sharp too early quenches the game into some of the modes: friction by a gradient penalty and slow cooling with noise
# cure ring and grid. The value of the game hardly changes when a mode is lost, so it has to be counted.
#
# Collapse on rings and grids was studied by {cite:t}`metz2017` and {cite:t}`srivastava2017`; the penalties are those of {cite:t}`mescheder2018` and {cite:t}`gulrajani2017`.
#
# **Next:** {lecture}`4.3` plays with images.
