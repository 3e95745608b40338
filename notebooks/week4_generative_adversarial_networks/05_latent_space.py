# ---
# jupyter:
#   advml:
#     full: {dataset: mnist, n_train: 60000, n_test: 1000, n_latent: 100, channels: [256, 128, 64], d_channels: [64, 128], size: 5, learning_rate: 2.0e-4, n_updates: 6000, n_few: 500, n_few_updates: 3000, judge_epochs: 10}
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Explore a latent space, and test whether the generator copies
#
# A trained generator is a map from a few normal numbers to images. People walk through its input space, add and subtract
# there, and show the pictures as proof that something was understood. A physicist knows this space well: $n_z$ standard
# normal numbers are the velocities of an ideal gas at temperature one. So we bring a thermometer, linear response and an
# energy to minimise, and end with the question that no picture can answer: did the generator learn a distribution, or its
# training images?
#
# :::{admonition} Plan
# :class: tip
# **You will** find out where normal latents are and are not, see that a straight line between two of them cools a gas to
# half its temperature, predict what latent arithmetic does without doing it, find the latent variables of given images, and
# use two tests for copies whose laws are exact, each on a case where it must fail. **You need** {lecture}`4.4` for the
# generator, its Fréchet distance, precision and recall; {lecture}`3.2` for posteriors. **Time** 45 minutes to read without
# the exercises; less than a minute of CPU.
# :::
#
# The course's package comes first, as it sets up TensorFlow.

# %%
import advml.tensorflow.gan as in_keras  # isort: skip

# %% [markdown]
# Then everything else.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import torch
from scipy.spatial.distance import cdist
from scipy.special import gammainc, gammaln
from scipy.stats import chi, norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from torch.nn.functional import relu, softmax

from advml import datasets
from advml.checks import verify
from advml.display import show_source, show_table
from advml.metrics import (
    copies_among_nearest,
    copying_score,
    frechet_distance,
    hidden_features,
    nearest_distances,
    precision_recall,
)
from advml.plotting import image_grid
from advml.pytorch import gan
from advml.pytorch.networks import dense

# %% [markdown]
# Both frameworks bring threads; one each is enough here.

# %%
plt.style.use("advml.course")
torch.set_num_threads(1)  # two thread pools in one process get in the way

# %% tags=["parameters"]
seed = 0
dataset = "digits"
n_train = 1442  # images to train on
n_test = 355  # held-out images
n_latent = 32
channels = [64, 32, 16]  # generator
d_channels = [32, 64]  # discriminator
size = 3  # of all kernels
learning_rate = 1e-3
n_updates = 1000
n_few = 50  # images of a second, starved generator
n_few_updates = 500
judge_epochs = 60

# %% [markdown]
# The game is that of {lecture}`4.4`, with $\gamma = 1$ and averaged weights, and the judge its classifier. A second
# generator gets the same networks, only 50 images, and half as many updates. We will need it as a culprit. (With MNIST the
# notebook runs without the checks marked `if on_digits`: what we call empirical was seen on the $8\times8$ digits, and
# numbers in the text are theirs.)

# %%
data = getattr(datasets, dataset)()
on_digits = dataset == "digits"
x_train, x_test = (
    2 * images.astype(np.float32) - 1
    for images in (data.train[:n_train], data.test[:n_test])
)
side, d = x_train.shape[-1], x_train[0].size
device = "cuda" if torch.cuda.is_available() else "cpu"


def tensor(x):
    return torch.as_tensor(x, dtype=torch.float32, device=device)


def array(x):
    return x.detach().cpu().numpy().astype(float)


def play(x, n_updates):
    """Averaged generator, and discriminator, after a game with images x."""
    make = gan.ConvolutionalGenerator
    options = {"size": size, "seed": [seed, 0]}
    g = make(side, n_latent, channels, **options)
    critic = gan.ConvolutionalDiscriminator(side, d_channels, **options)
    rules = {"r1": 1.0, "betas": (0.0, 0.99), "averaging": 0.99}
    rules |= {"n_updates": n_updates, "learning_rate": learning_rate}
    memory = gan.train(g, critic, x, seed=[seed, 1], **rules)
    return g.from_numpy(memory.average).requires_grad_(False), critic


# %% [markdown]
# Both games, and the judge. It is fitted with scikit-learn; as we will differentiate it, its layers become tensors.

# %%
generator, critic = play(x_train, n_updates)
few = x_train[np.random.default_rng([seed, 2]).permutation(n_train)[:n_few]]
starved, _ = play(few, n_few_updates)
judge = MLPClassifier((100, 50), max_iter=judge_epochs, random_state=seed)
flat = x_train.reshape(n_train, d)
with warnings.catch_warnings():  # it stops before it has converged
    warnings.simplefilter("ignore", ConvergenceWarning)
    judge.fit(flat, data.train_labels[:n_train])
layers = [
    (tensor(kernel), tensor(bias))
    for kernel, bias in zip(judge.coefs_, judge.intercepts_, strict=True)
]


def class_probabilities(x):
    """The judge's p(class | x), (n, 10), of a tensor of images."""
    return softmax(dense(layers, x.flatten(1), relu), 1)


# %% [markdown]
# The tensors must give what scikit-learn gives. And how good is the judge?

# %%
verify(
    "judge as tensors, and as scikit-learn has it",
    array(class_probabilities(tensor(x_test))),
    equals=judge.predict_proba(x_test.reshape(n_test, d)),
    atol=1e-4,
    source="the same layers; single precision",
)
if on_digits:
    verify(
        "accuracy of the judge on held-out images",
        judge.score(x_test.reshape(n_test, d), data.test_labels[:n_test]),
        at_least=0.93,
        source="counting",
    )

# %% [markdown]
# ## Where the latents are
#
# The density $e^{-|\mathbf z|^2/2}$ is largest at the origin. **Predict**: how far from the origin is a typical
# $\mathbf z$, and how does the scatter of $|\mathbf z|$ grow with the dimension $n_z$?
#
# Read $|\mathbf z|^2/2$ as the energy of a gas with $n_z$ degrees of freedom at $k_\mathrm B T = 1$. The Boltzmann factor
# favours the origin; the number of states, $r^{n_z-1}\,\mathrm dr$, favours large $r$. Their product is the chi
# distribution, Maxwell's law of speeds for $n_z = 3$, with
#
# $$
# \langle|\mathbf z|\rangle = \sqrt2\;\frac{\Gamma\bigl(\frac{n_z+1}2\bigr)}{\Gamma\bigl(\frac{n_z}2\bigr)}, \qquad
# \operatorname{var}|\mathbf z| = n_z - \langle|\mathbf z|\rangle^2 \;\to\; \tfrac12 .
# $$ (eq-latent-chi)
#
# Why one half? $|\mathbf z|^2$ is a sum of $n_z$ squares with variance 2 each, so $\delta(|\mathbf z|^2) \sim \sqrt{2n_z}$.
# Divide by $2|\mathbf z| \approx 2\sqrt{n_z}$. A shell of radius $\sqrt{n_z}$ whose width does not grow at all: the
# thermodynamic limit, in which a canonical ensemble becomes microcanonical.


# %%
def mean_norm(n):
    """⟨|z|⟩ of n normal components (eq-latent-chi)."""
    return np.sqrt(2) * np.exp(gammaln((n + 1) / 2) - gammaln(n / 2))


# %% [markdown]
# The law against draws, and a case that you know:

# %%
rng = np.random.default_rng([seed, 3])
dimensions, n_draws = np.array([1, 2, 3, 8, 32, 100]), 20_000
norms = np.array(
    [
        np.linalg.norm(rng.standard_normal((n_draws, n)), axis=1)
        for n in dimensions
    ]
)
variance = dimensions - mean_norm(dimensions) ** 2
verify(
    "mean norm of normal latents in 1 to 100 dimensions",
    norms.mean(1),
    equals=mean_norm(dimensions),
    atol=5 * np.sqrt(variance / n_draws),
    source="eq-latent-chi; five standard errors",
)
verify(
    "in three dimensions it is Maxwell's mean speed",
    mean_norm(3),
    equals=np.sqrt(8 / np.pi),
    rtol=1e-12,
    source="Maxwell (1860)",
)

# %% [markdown]
# How fast does the variance approach one half?

# %%
grid = np.array([*dimensions, 1000, 10_000])
verify(
    "variance of the norm: one half, less at most a quarter of 1/n",
    0.5 - (grid - mean_norm(grid) ** 2),
    at_least=0,
    at_most=1 / (4 * grid),
    source="eq-latent-chi, gamma functions",
)

# %% [markdown]
# Now the middle of a straight line between two independent latents, $(\mathbf z_1 + \mathbf z_2)/2$. Its components have
# variance $\frac12$, so it lies near $\sqrt{n_z/2}$. How often would the prior itself be that close to the origin? $|\mathbf
# z|^2$ follows $\chi^2$, and for any $s>0$ Markov's inequality gives $P(|\mathbf z|^2\le a) \le e^{sa}\,\langle
# e^{-s|\mathbf z|^2}\rangle = e^{sa}(1+2s)^{-n_z/2}$. With $a = n_z/2$ the best $s$ is $\frac12$:
#
# $$
# P\bigl(|\mathbf z|^2 \le n_z/2\bigr) = \frac{\gamma(n_z/2,\, n_z/4)}{\Gamma(n_z/2)} \;\le\;
# e^{-n_z(\ln 2 - 1/2)/2} \approx e^{-0.097\,n_z},
# $$ (eq-latent-chernoff)
#
# with the incomplete gamma function $\gamma$. An exponent proportional to the number of degrees of freedom: an entropy.

# %%
inside = gammainc(dimensions / 2, dimensions / 4)
verify(
    "prior mass within the radius of a typical midpoint, by drawing",
    (norms**2 <= dimensions[:, None] / 2).mean(1)[:5],
    equals=inside[:5],
    atol=5 * np.sqrt(inside * (1 - inside) / n_draws)[:5],
    source="eq-latent-chernoff, 1 to 32 dimensions; five standard errors",
)
verify(
    "that mass is below the exponential bound",
    gammainc(grid / 2, grid / 4)[:-1],  # the last underflows
    at_most=np.exp(-grid[:-1] * (np.log(2) - 0.5) / 2),
    source="Chernoff's bound",
)
verify(
    "in 32 dimensions it is below one per cent",
    gammainc(16, 8),
    at_most=0.01,
    source="incomplete gamma function",
)

# %% [markdown]
# Full lines move out with the dimension, at constant width; in 100 dimensions midpoints (dashed) hardly meet them.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Densities of the norm of normal latents in 3, 32 and 100 dimensions: bells of equal width at radius 1.6, 5.6 and 10. Dashed, the norms of midpoints in 32 and 100 dimensions, narrower bells at radius 4 and 7, with hardly any overlap with the full lines in 100 dimensions."}, "figure": {"caption": "Density of $|\\mathbf z|$ for the prior (full) and for midpoints of straight lines (dashed). Histogram: draws in 32 dimensions.", "name": "fig-latent-shell"}}
fig, ax = plt.subplots(figsize=(5.8, 2.6))
r = np.linspace(0, 12.5, 600)
for i, n in enumerate((3, 32, 100)):
    ax.plot(r, chi(n).pdf(r), color=f"C{i}", label=f"$n_z$ = {n}")
    if n > 3:
        ax.plot(r, chi(n, scale=0.5**0.5).pdf(r), "--", color=f"C{i}")
ax.hist(norms[4], 60, density=True, color="C1", alpha=0.25)
ax.set(xlabel="norm $|z|$", ylabel="density")
ax.legend()
plt.show()

# %% [markdown]
# ## A straight line cools
#
# More is true. The whole law of $\mathbf z(t) = (1-t)\,\mathbf z_1 + t\,\mathbf z_2$ is known. A sum of independent normal
# numbers is normal:
#
# $$
# \mathbf z(t) \sim \mathcal N(\mathbf 0, T\,\mathbf I), \qquad T(t) = (1-t)^2 + t^2, \qquad T(\tfrac12) = \tfrac12 .
# $$ (eq-latent-cooling)
#
# A straight line cools the gas to half of its temperature and heats it again. A close relative of cooling is known as the
# *truncation trick* {cite}`brock2019`: components of $\mathbf z$ beyond a threshold are drawn again, so that $\mathbf z$
# scatters less than in training, for better and more uniform images. So "is linear interpolation bad?" and "what does less
# scatter do?" are one question, and one experiment answers both.
#
# Two remedies stay warm. On the **great circle**
#
# $$
# \mathbf z(\theta) = \cos\theta\,\mathbf z_1 + \sin\theta\,\mathbf z_2, \qquad 0 \le\theta\le\tfrac\pi2,
# $$ (eq-latent-circle)
#
# the variance is $\cos^2 + \sin^2 = 1$: each point is *exactly* a draw of the prior. **Slerp** {cite}`white2016`,
# the usual code, replaces the right angle by the actual one, $\omega$:
# $\mathbf z(t) = [\sin((1-t)\omega)\,\mathbf z_1 + \sin(t\omega)\,\mathbf z_2]/\sin\omega$. Is that exact, too? With
# $\bar r$ the mean and $\delta$ half the difference of the two norms, its middle has (multiply out)
#
# $$
# |\mathbf z(\tfrac12)|^2 = \bar r^2 + \delta^2\tan^2\tfrac\omega2 .
# $$ (eq-latent-slerp)
#
# Norms and angle are independent, and $\omega$ has a density proportional to $\sin^{n_z-2}\omega$, narrow around $\frac\pi2$
# with $\langle\cos^2\omega\rangle = 1/n_z$. For $n_z > 3$ one finds $\langle\tan^2\frac\omega2\rangle = (n_z-1)/(n_z-3)$,
# and, with $v = \operatorname{var}|\mathbf z|$, $\langle\bar r^2\rangle = n_z - \frac v2$ and $\langle\delta^2\rangle =
# \frac v2$:
#
# $$
# \bigl\langle|\mathbf z(\tfrac12)|^2\bigr\rangle = n_z - \frac v2 + \frac v2\,\frac{n_z-1}{n_z-3} = n_z + \frac{v}{n_z-3} ,
# $$ (eq-latent-slerp-mean)
#
# too large by some $1/(2n_z)$ in $n_z$. And the norm is nearly $\bar r$, an average of two, so its variance is only half of
# $v$. No generator will notice.


# %%
def line(z1, z2, t):
    return (1 - t) * z1 + t * z2


def circle(z1, z2, t):
    """Great circle (eq-latent-circle) with θ = πt/2."""
    return np.cos(np.pi / 2 * t) * z1 + np.sin(np.pi / 2 * t) * z2


def slerp(z1, z2, t):
    norms = np.linalg.norm(z1, axis=1) * np.linalg.norm(z2, axis=1)
    omega = np.arccos((z1 * z2).sum(1) / norms)[:, None]
    parts = np.sin((1 - t) * omega) * z1 + np.sin(t * omega) * z2
    return parts / np.sin(omega)


# %% [markdown]
# Eight dimensions, where the deviations are large enough to see:

# %%
n = 8
z1, z2 = rng.standard_normal((2, 100_000, n))
r1, r2 = (np.linalg.norm(z, axis=1) for z in (z1, z2))
cosine = (z1 * z2).sum(1) / (r1 * r2)
square = (slerp(z1, z2, 0.5) ** 2).sum(1)
error = 5 / np.sqrt(len(z1))
tangent = (1 - cosine) / (1 + cosine)
verify(
    "ends of slerp and of the great circle",
    np.array([f(z1, z2, t) for f in (slerp, circle) for t in (0, 1)]),
    equals=np.array([z1, z2, z1, z2]),
    atol=1e-9,
    source="their definition",
)
verify(
    "squared norm in the middle of slerp, for each pair",
    square,
    equals=(r1 + r2) ** 2 / 4 + (r1 - r2) ** 2 / 4 * tangent,
    rtol=1e-9,
    source="eq-latent-slerp",
)

# %% [markdown]
# Then the averages. (A beta integral gives both: $\cos\omega$ is $2u - 1$ with a beta variable $u$.)

# %%
v = n - mean_norm(n) ** 2
verify(
    "means of cos², of the squared tangent, and of that squared norm",
    [(cosine**2).mean(), tangent.mean(), square.mean()],
    equals=[1 / n, (n - 1) / (n - 3), n + v / (n - 3)],
    atol=error * np.array([(cosine**2).std(), tangent.std(), square.std()]),
    source="beta integrals (eq-latent-slerp-mean); five standard errors",
)

# %% [markdown]
# The narrower shell of slerp needs more dimensions; and the temperatures of the other two paths:

# %%
z3, z4 = rng.standard_normal((2, 20_000, n_latent))
narrow = np.linalg.norm(slerp(z3, z4, 0.5), axis=1).var()
verify(
    "variance of the norm in the middle of slerp, over that of the prior",
    narrow / (n_latent - mean_norm(n_latent) ** 2),
    equals=0.5,
    atol=5 * 0.5 * np.sqrt(2 / len(z3)) + 0.5 / n_latent,
    source="mean of two norms, up to 1/n; five standard errors",
)
middle = [(f(z1, z2, 0.5) ** 2).mean() for f in (line, circle)]
verify(
    "temperature in the middle of a line, and of a great circle",
    middle,
    equals=[0.5, 1],
    atol=error * np.sqrt(2 / n) * np.array([0.5, 1]),
    source="eq-latent-cooling and eq-latent-circle",
)

# %% [markdown]
# Does it matter for pictures? **Predict**: at half the temperature, will images be broken, or will something else be wrong?
# We judge as in {lecture}`4.4`, by the squared Fréchet distance in the judge's features, precision and recall, against the held-out
# images, with twelve draws of as many pairs as there are held-out images.


# %%
def scores(z):
    """Fréchet distance, precision and recall of images from z."""
    with torch.no_grad():
        y = hidden_features(judge, array(generator(z)))
    return frechet_distance(held_out, y), *precision_recall(held_out, y)


held_out = hidden_features(judge, x_test)
ts = np.array([0.0, 0.125, 0.25, 0.375, 0.5])
kinds = {
    "straight line": line,
    "prior, cooled": lambda z1, z2, t: np.sqrt((1 - t) ** 2 + t**2) * z1,
    "slerp": slerp,
    "great circle": circle,
}
judged = {
    name: np.array(
        [
            [
                scores(path(*rng.standard_normal((2, n_test, n_latent)), t))
                for _ in range(12)
            ]
            for t in ts
        ]
    )
    for name, path in kinds.items()
}

# %% [markdown]
# From an end of the path to its middle:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels against the position t along the path from its end to its middle. Fréchet distance: for the straight line it about doubles towards the middle, and the cooled prior follows it; slerp and great circle stay flat. Precision: slightly higher for the line in the middle. Recall: lower for the line in the middle, flat for the others."}, "figure": {"caption": "Images along a path between two latents, from one end ($t = 0$) to the middle. Bars: standard errors.", "name": "fig-latent-paths"}}
fig, axes = plt.subplots(1, 3, figsize=(7.6, 2.6))
styles = ("o-", "x", "s-", "^-")
for (name, values), style in zip(judged.items(), styles, strict=True):
    error = values.std(1, ddof=1) / np.sqrt(values.shape[1])
    for k, ax in enumerate(axes):
        ax.errorbar(
            ts, values.mean(1)[:, k], error[:, k], fmt=style, ms=4, label=name
        )
for ax, label in zip(
    axes, ("Fréchet distance", "precision", "recall"), strict=True
):
    ax.set(xlabel="position $t$", ylabel=label)
axes[0].legend(fontsize=7)
plt.show()

# %% [markdown]
# Crosses lie on the straight line, as they must: only the temperature counts. The great circle is flat, as it must be. Both
# follow from the laws above, whatever the generator.

# %%
mean = {name: v.mean(1) for name, v in judged.items()}
square = {name: v.var(1, ddof=1) / v.shape[1] for name, v in judged.items()}
for one, other, t in (
    ("straight line", "prior, cooled", -1),
    ("great circle", "prior, cooled", 0),
):
    place = "middle" if t else "end"
    verify(
        f"{one} in its middle against {other}, {place}: distance, "
        "precision, recall",
        mean[one][-1],
        equals=mean[other][t],
        atol=6 * np.sqrt(square[one][-1] + square[other][t]) + 1e-9,
        source="equal laws; six standard errors of two times twelve draws",
    )

# %% [markdown]
# The answer is a surprise for anyone who expected broken images. Midpoints lie a little *more* often within the real images
# than samples do, if still less often than perfect samples would ({lecture}`4.4`); but they are too much alike. The Fréchet
# distance and the recall notice, precision rejoices. A cold gas explores less. (What we claim is empirical. Against the
# great circle's, the distance was larger by a factor between 1.8 and 2.2 for the seeds 0, 11, 42 and 2026.)

# %%
if on_digits:
    start, middle = mean["great circle"].mean(0), mean["straight line"][-1]
    verify(
        "middle of a line over great circle: Fréchet distance",
        middle[0] / start[0],
        at_least=1.4,
        source="empirical, see the text",
    )
    verify(
        "precision gained and recall lost in the middle of a line",
        [middle[1] - start[1], start[2] - middle[2]],
        at_least=0,
        source="empirical: held for all seeds tried",
    )

# %% [markdown]
# Is it visible? Compare the middle of each pair of rows:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six rows of nine images. In pairs of rows the same two digits are connected by a straight line and by slerp. In the middle of the lines digits look plainer and are sometimes paler than in the middle of slerp; ends are equal."}, "figure": {"caption": "Three pairs of latents, each connected by a straight line (upper row) and by slerp (lower row). The ends are equal.", "name": "fig-latent-walks"}}
z1, z2 = np.random.default_rng([seed, 4]).standard_normal((2, 3, n_latent))
walks = np.array(
    [[f(z1, z2, t) for t in np.linspace(0, 1, 9)] for f in (line, slerp)]
)
walks = walks.transpose(2, 0, 1, 3).reshape(-1, n_latent)
fig, ax = plt.subplots(figsize=(5.4, 3.4))
image_grid(array(generator(walks)), 9, ax=ax, limits=(-1, 1))
plt.show()

# %% [markdown]
# ## Arithmetic is linear response
#
# {cite:t}`radford2016` average the latents of images with some property, subtract and add such means, and obtain images with
# the property. Why should that work? Let $p_a(\mathbf z)$ be the probability that the judge gives to class $a$ for the image
# $G(\mathbf z)$. Averages over the prior give the share $\pi_a$ of the class and its mean latent,
#
# $$
# \pi_a = \langle p_a\rangle, \qquad \boldsymbol\mu_a = \frac{\langle\mathbf z\,p_a(\mathbf z)\rangle}{\pi_a} .
# $$
#
# Integrate by parts, with $\mathbf z\,e^{-|\mathbf z|^2/2} = -\nabla e^{-|\mathbf z|^2/2}$ (Stein's lemma
# {cite}`stein1981`):
#
# $$
# \pi_a\,\boldsymbol\mu_a = \langle\mathbf z\,p_a\rangle = \langle\nabla p_a\rangle
# = \frac{\partial}{\partial\mathbf h}\bigl\langle p_a(\mathbf z + \mathbf h)\bigr\rangle\Big|_{\mathbf h=0} .
# $$ (eq-latent-stein)
#
# The left side is a correlation in equilibrium, the right side the response to a field $\mathbf h$ that pushes all
# latents: a fluctuation-response theorem, exact for any generator and any judge. The mean latent of a class *is* the
# direction in which its share grows fastest, by averages taken without pushing anything. A test needs gradients through
# both networks; all components of all ten classes:

# %%
n_field = 8000
z = tensor(
    np.random.default_rng([seed, 5]).standard_normal((n_field, n_latent))
)
found = []
for part in z.split(1000):
    part.requires_grad_()
    p = class_probabilities(generator(part))
    slopes = [
        torch.autograd.grad(q.sum(), part, retain_graph=True)[0] for q in p.T
    ]
    found.append([array(p), array(torch.stack(slopes, 1))])
p, slopes = (np.concatenate(f) for f in zip(*found, strict=True))
z = array(z)
products = p[:, :, None] * z[:, None]
verify(
    "mean of z p is the mean slope of p: all classes and components",
    products.mean(0),
    equals=slopes.mean(0),
    atol=6 * (products - slopes).std(0) / np.sqrt(n_field),
    source="Stein's lemma (eq-latent-stein); six paired standard errors",
)
share = p.mean(0)
mu = products.mean(0) / share[:, None]

# %% [markdown]
# So the response to $\mathbf h = h\,\mathbf e$ with $\mathbf e$ along $\boldsymbol\mu_3 - \boldsymbol\mu_8$ is predicted by
# the fluctuations: the share of 3 starts to grow with slope $\pi_3\,\mathbf e\cdot\boldsymbol\mu_3$. We push new latents by
# $\pm h$ and take the difference. (Beyond statistics the difference errs by at most $h^2/\sqrt6$: by parts, the third
# derivative of the share is $\langle p\,\mathrm{He}_3\rangle$, with a Hermite polynomial of mean square $3!$; as $p\le1$,
# the inequality of Cauchy and Schwarz bounds it by $\sqrt6$, and its factor is $h^2/6$.) In a random direction $\mathbf e$
# the mean square of $\mathbf e\cdot\boldsymbol\mu_3$ is only $|\boldsymbol\mu_3|^2/n_z$.


# %%
def probabilities(z):
    with torch.no_grad():
        return array(class_probabilities(generator(z)))


new = np.random.default_rng([seed, 6]).standard_normal((n_field, n_latent))
e = mu[3] - mu[8]
e /= np.linalg.norm(e)
random = np.random.default_rng([seed, 7]).standard_normal(n_latent)
random /= np.linalg.norm(random)
directions = np.random.default_rng(seed).standard_normal((20_000, n_latent))
cosines = directions @ mu[3] / np.linalg.norm(directions, axis=1)
verify(
    "mean square of the response in a random direction, over the largest",
    (cosines**2).mean() / (mu[3] @ mu[3]),
    equals=1 / n_latent,
    atol=5 * np.sqrt(2 / len(directions)) / n_latent,
    source="all directions are equal; five standard errors",
)

# %% [markdown]
# The push itself:

# %%
h = 0.1
response = (probabilities(new + h * e) - probabilities(new - h * e)) / (2 * h)
error = np.hypot((products @ e).std(0), response.std(0)) / np.sqrt(n_field)
verify(
    "response of all ten shares to a push along 3 minus 8",
    response.mean(0),
    equals=share * (mu @ e),
    atol=6 * error + h**2 / np.sqrt(6),
    source="eq-latent-stein; six standard errors",
)
fields = np.linspace(0, 4, 9)
pushed = np.array([probabilities(new[:2000] + h * e) for h in fields])
at_random = np.array([probabilities(new[:2000] + h * random) for h in fields])

# %% [markdown]
# Points leave the tangent when the push is no longer small, those of the 3 upwards; a random direction does less, but not
# nothing:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: shares of the classes 3 and 8 against the size h of the push. Along 3 minus 8 the share of 3 begins at about a tenth along a dashed tangent and soon runs above it, to 0.8 at h = 4, and that of 8 falls to zero; in a random direction both shares change far less. Right: rows of images of eights that turn into threes from left to right."}, "figure": {"caption": "Left: shares of 3 and 8 among images of pushed latents (points), the prediction from fluctuations (dashed), and a push of equal size in a random direction (thin). Right: five latents of the class 8, pushed by 0 to 4 from left to right.", "name": "fig-latent-response"}}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.8), width_ratios=[1.3, 1])
for a, color in ((3, "C0"), (8, "C1")):
    axes[0].plot(fields, pushed[:, :, a].mean(1), "o", color=color, label=a)
    axes[0].plot(fields, at_random[:, :, a].mean(1), color=color, lw=0.8)
    tangent = share[a] * (1 + (mu[a] @ e) * fields)
    axes[0].plot(fields, tangent, "--", color=color)
axes[0].set(xlabel="push $h$", ylabel="share of the class", ylim=(0, 0.9))
axes[0].legend(title="class")
eights = new[:2000][probabilities(new[:2000]).argmax(1) == 8][:5]
steps = np.linspace(0, 4, 8)
walk = (eights[:, None] + steps[:, None] * e).reshape(-1, n_latent)
image_grid(array(generator(walk)), 8, ax=axes[1], limits=(-1, 1))
plt.show()

# %% [markdown]
# How linear is a class in latent space? The components $z_i$ are orthonormal functions under the prior. By Bessel's
# inequality
#
# $$
# \frac{|\langle\mathbf z\,p_a\rangle|^2}{\operatorname{var}p_a} \le 1 ,
# $$ (eq-latent-bessel)
#
# and the left side is the part of the variance of $p_a$ that *any* linear function of $\mathbf z$ can explain at best. (In
# the numerator one half of the draws multiplies the other, as their noise is independent; the square of one mean of $n$
# draws would be too large by about $n_z\langle p_a^2\rangle/n$. So the estimate may fall below zero, by its standard error.)

# %%
half = n_field // 2
linear = (products[:half].mean(0) * products[half:].mean(0)).sum(1)
linear /= p.var(0)
error = np.sqrt((products.var(0) ** 2).sum(1)) / half / p.var(0)
show_table(
    ["class", "share", "norm of the mean latent", "linear part of variance"],
    [
        [a, share[a], np.linalg.norm(mu[a]), linear[a]]
        for a in range(len(share))
    ],
)
verify(
    "linear part of the variance of a class",
    linear,
    at_least=0.1 if on_digits else -5 * error,
    at_most=0.5 if on_digits else 1,
    source="Bessel's inequality, and empirical (see the text)",
)

# %% [markdown]
# Between 0.15 and 0.36 for all classes and seeds 0 to 5, where Bessel would allow one: a direction is a good start and no
# more. (Nor is the push of arithmetic small. From 8 to 3 it had a length of 1.6 to 1.7 in two trainings, where the points of
# {numref}`fig-latent-response` have left their tangent, and it is given to latents of one class only.) Now the arithmetic itself: take latents of class $b$, add $\boldsymbol\mu_a - \boldsymbol\mu_b$, ask the judge, for
# all 90 pairs. The control adds a random vector of equal length. Over seeds 0 to 5 the arithmetic succeeded on average in 60
# to 65 % of cases, the control in 3 to 5 %.

# %%
called = probabilities(new).argmax(1)
rng = np.random.default_rng([seed, 8])
success = []
for b in range(10):
    source = new[called == b][:200]
    for a in set(range(10)) - {b}:
        shift = mu[a] - mu[b]
        control = rng.standard_normal(n_latent)
        control *= np.linalg.norm(shift) / np.linalg.norm(control)
        success.append(
            [
                (probabilities(source + s).argmax(1) == a).mean()
                for s in (shift, control)
            ]
        )
success = np.mean(success, axis=0)
rows = [["difference of means", success[0]], ["random", success[1]]]
show_table(["shift", "success"], rows)
if on_digits:
    verify(
        "arithmetic makes the wanted digit, and a random shift does",
        success,
        at_least=[0.45, 0],
        at_most=[1, 0.15],
        source="empirical, see the text",
    )

# %% [markdown]
# Where do such means lie? A mean of $k$ latents has variance $1/k$ per component: it is a gas at $T = 1/k$, at radius
# $\sqrt{n_z/k}$, far inside the shell. What {ref}`ex-latent-three` makes of that is curious.
#
# ## Inversion: which latent made this image?
#
# Suppose an image is $\mathbf x = G(\mathbf z) + \sigma\mathbf w$ with normal noise. Bayes' theorem, as in {lecture}`3.2`,
# gives the posterior of $\mathbf z$ as $e^{-E}$ up to a factor, with
#
# $$
# E(\mathbf z) = \frac{|\mathbf x - G(\mathbf z)|^2}{2\sigma^2} + \frac{|\mathbf z|^2}{2} .
# $$ (eq-latent-posterior)
#
# So the common recipe "minimise $|\mathbf x - G|^2 + \lambda|\mathbf z|^2$" has $\lambda = \sigma^2$, and finds the most
# probable $\mathbf z$ of the same model as a Gaussian variational autoencoder's. There is no encoder; Adam descends from
# several draws of the prior at once.

# %%
show_source(gan.posterior_energy, gan.invert)

# %% [markdown]
# For a linear generator, $G = \mathbf W\mathbf z + \mathbf m$, all is known. $E$ is a parabola with curvature
# $\mathbf H = \mathbf I + \mathbf W^{\mathsf T}\mathbf W/\sigma^2$ and the minimum
#
# $$
# \mathbf z^* = (\mathbf W^{\mathsf T}\mathbf W + \sigma^2\mathbf I)^{-1}\,\mathbf W^{\mathsf T}(\mathbf x - \mathbf m) .
# $$ (eq-latent-map)
#
# Since $\mathbf H \ge \mathbf I$, a slope bounds the distance to it: $|\mathbf z - \mathbf z^*| \le |\nabla E|$. As linear
# generator we take probabilistic principal components (pPCA, {lecture}`3.2`) of the training images; $\sigma^2$ is the mean
# of the discarded eigenvalues.

# %%
values, axes = np.linalg.eigh(np.cov(flat.T.astype(float)))
values, axes = values[::-1], axes[:, ::-1]
noise = np.sqrt(values[n_latent:].mean())
gain = values[:n_latent] - noise**2  # squared singular values of W
W, m = axes[:, :n_latent] * np.sqrt(gain), flat.mean(0).astype(float)
ppca = gan.DenseGenerator(n_latent, d, (), dtype=torch.float64)
ppca.from_numpy([(W.T, m)])
x = x_test[:50].reshape(-1, d).astype(float)
z, _ = gan.invert(ppca, x, scale=noise, n_steps=400, seed=seed)
z.requires_grad_()
energy = gan.posterior_energy(ppca, z, x, noise)
(slope,) = torch.autograd.grad(energy.sum(), z)
best = np.linalg.solve(W.T @ W + noise**2 * np.eye(n_latent), W.T @ (x - m).T)
gap = np.linalg.norm(array(z) - best.T, axis=1)
verify(
    "inversion of the linear generator: distance to the exact answer",
    gap,
    at_most=np.linalg.norm(array(slope), axis=1) + 1e-9,
    source="eq-latent-map, and a curvature of at least one",
)
verify(
    "that distance, against the width of the prior",
    gap,
    at_most=0.01,
    source="the search has converged",
)

# %% [markdown]
# **Predict**: at which radius do the answers lie, for images that the model made itself? On the shell, you might say, for so
# their latents did. But for a Gaussian the minimum $\mathbf z^*$ is the posterior mean, and the variance of the prior is
# that of this mean plus that of the posterior:
#
# $$
# \bigl\langle|\mathbf z^*|^2\bigr\rangle = \sum_i\frac{s_i^2}{s_i^2 + \sigma^2}, \qquad
# \operatorname{tr}\mathbf H^{-1} = \sum_i\frac{\sigma^2}{s_i^2 + \sigma^2},
# $$ (eq-latent-budget)
#
# with the singular values $s_i$ of $\mathbf W$. The two add up to $n_z$. The first counts the directions that can be read
# off an image.

# %%
rng = np.random.default_rng([seed, 9])
z = rng.standard_normal((4000, n_latent))
x = z @ W.T + noise * rng.standard_normal((4000, d))
best = np.linalg.solve(W.T @ W + noise**2 * np.eye(n_latent), W.T @ x.T).T
for name, found, expected in (
    ("squared norm of the answers", best, gain / (gain + noise**2)),
    ("squared error of the answers", best - z, noise**2 / (gain + noise**2)),
):
    square = (found**2).sum(1)
    verify(
        f"{name}, images made by the linear generator",
        square.mean(),
        equals=expected.sum(),
        atol=5 * square.std() / np.sqrt(len(square)),
        source="eq-latent-budget; five standard errors",
    )

# %% [markdown]
# Now the network, with $\sigma = 0.3$, a choice: 15 % of the range of a pixel. For its own samples we know one good answer,
# the $\mathbf z_0$ that made them, with energy $|\mathbf z_0|^2/2$. A search that works must not end above it, and we count
# how often ours does. (It depends on luck which minimum a start falls into; over seeds 0 to 5 at most one search in 200
# failed.)

# %%
sigma, n_invert = 0.3, 200
rng = np.random.default_rng([seed, 10])
z0 = rng.standard_normal((n_invert, n_latent))
own = array(generator(z0))
pick = rng.permutation(n_train)[:n_invert]
test = x_test[rng.permutation(n_test)[:n_invert]].astype(float)
mixed = test.reshape(n_invert, d)[:, rng.permutation(d)].reshape(test.shape)
sets = {
    "held-out images": test,
    "own samples": own,
    "training images": x_train[pick].astype(float),
    "shifted by one pixel": np.roll(test, 1, axis=2),
    "turned by 90°": np.rot90(test, axes=(1, 2)),
    "pixels in another order": mixed,
    "negatives": -test,
}


# %% [markdown]
# The same search for all sets:


# %%
def inverted(generator, x):
    """Best images for x, their distances from x, and energies."""
    z, energy = gan.invert(generator, x, scale=sigma, seed=seed)
    images = array(generator(z))
    misfit = np.linalg.norm((images - x).reshape(len(x), -1), axis=1)
    return images, misfit, array(energy)


answers = {name: inverted(generator, x) for name, x in sets.items()}
if on_digits:
    verify(
        "own samples: share of searches that end no higher than the truth",
        (answers["own samples"][2] <= (z0**2).sum(1) / 2).mean(),
        at_least=0.95,
        source="the minimum is below any other point; empirical share",
    )

# %% [markdown]
# The energy of the best answer says how well an image fits the model, so it should tell digits from other things
# {cite}`schlegl2017`. The area under the ROC curve (AUROC, {lecture}`2.4`) is the probability that such a thing has more
# energy than a held-out digit. Beside it stands the discriminator with minus its log-odds $f$, whose job was to know real
# from fake: does it know real from *wrong*?


# %%
def auroc(one, other):
    """Probability that an entry of `other` exceeds one of `one`."""
    truth = np.repeat([0, 1], [len(one), len(other)])
    return roc_auc_score(truth, np.concatenate([one, other]))


# %% [markdown]
# The table, with all sets against the held-out images:

# %%
with torch.no_grad():
    odds = {k: array(critic(x.copy())) for k, x in sets.items()}
rows = {
    name: [
        np.sqrt((misfit**2).mean()),
        energy.mean(),
        auroc(answers["held-out images"][2], energy),
        auroc(-odds["held-out images"], -odds[name]),
    ]
    for name, (_, misfit, energy) in answers.items()
}
titles = ["RMS distance", "energy (nats)", "AUROC, energy", "AUROC, −f"]
show_table(["images", *titles], [[k, *row] for k, row in rows.items()])
if on_digits:
    strange = ["turned by 90°", "pixels in another order", "negatives"]
    verify(
        "AUROC of the energy: turned, scrambled and negative digits",
        [rows[name][2] for name in strange],
        at_least=0.95,
        source="empirical, see the text",
    )
    verify(
        "AUROC of the discriminator for the same: better than a coin",
        [rows[name][3] for name in strange],
        at_least=0.5,
        source="empirical, see the text",
    )

# %% [markdown]
# What does the generator answer?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of images. Top: two held-out digits, two training digits, two shifted by a pixel, two turned, two with scrambled pixels, two negatives. Bottom: what the generator makes of each: close matches for held-out and training digits, rough ones for shifted digits, smudges for the rest."}, "figure": {"caption": "Top: two images each of held-out and training digits, shifted, turned, scrambled and negative ones. Bottom: the generator's best answer.", "name": "fig-latent-inversion"}}
names = [name for name in sets if name != "own samples"]
top = np.concatenate([sets[name][:2] for name in names])
bottom = np.concatenate([answers[name][0][:2] for name in names])
fig, ax = plt.subplots(figsize=(6.4, 1.4))
image_grid(np.concatenate([top, bottom]), len(top), ax=ax, limits=(-1, 1))
plt.show()

# %% [markdown]
# The generator cannot make these things. Its answers lie in the right places and are smudges, often no digits at all:
# the search looks for the least distance, wherever that leads. (Over seeds 0 to 5 no AUROC of the energy for the last three
# sets was below 0.99.) The discriminator has only learned to tell digits from *this* generator's samples. For the rest it
# depends on the training: the six seeds gave it values from 0.67 to 1.
#
# The same generator in TensorFlow, with equal weights and in double precision, makes the same images and has the same slope
# of $E$:

# %%
shape = (side, n_latent, channels)
weights, z = generator.to_numpy(), z0[:20]
ours = gan.ConvolutionalGenerator(*shape, size=size, dtype=torch.float64)
theirs = in_keras.ConvolutionalGenerator(*shape, size=size, dtype="float64")
at = torch.as_tensor(z, device=device).requires_grad_()
energy = gan.posterior_energy(ours.from_numpy(weights), at, test[:20], sigma)
(slope,) = torch.autograd.grad(energy.sum(), at)
at = tf.Variable(z)
theirs.from_numpy(weights)
with tf.GradientTape() as tape:
    energy = in_keras.posterior_energy(theirs, at, test[:20], sigma)
slope, other = array(slope), tape.gradient(energy, at).numpy()
verify(
    "images in both frameworks, and slopes of the energy",
    [
        np.abs(array(ours(z)) - theirs(z).numpy()).max(),
        np.abs(slope - other).max() / np.abs(slope).max(),
    ],
    at_most=1e-10,
    source="equal functions; rounding in double precision",
)

# %% [markdown]
# ## Does it copy?
#
# The usual evidence is a picture of samples beside their nearest training images. How near is too near? The scale is set by
# *held-out* images, which cannot be copies. (They must be drawn like the training images. Our digits are by the same few
# writers, so that the scale is short.) Let $d(\mathbf x)$ be the distance of $\mathbf x$ to the nearest training image. If
# samples had the law of the data, then $d$ of samples and $d$ of held-out images would have one law, whatever it is, and
# *ranks* know all about that. Of $n$ samples $\mathbf y_i$ and $m$ held-out images $\mathbf x_j$, count the pairs in which
# the sample is farther away, $U = \sum_{ij}[d(\mathbf y_i) > d(\mathbf x_j)]$, with ties as one half. If all orders are
# equally likely {cite}`mann1947`,
#
# $$
# \zeta = \frac{U - nm/2}{\sqrt{nm(n+m+1)/12}}
# $$ (eq-latent-copies)
#
# has mean zero and variance one exactly (ties reduce the denominator), and is nearly normal. A generator that copies gets
# $\zeta \ll 0$ (the reverse is not true). {cite:t}`meehan2020` use this score, cell by cell of a partition of the data, so that
# copies here are not hidden by bad samples there. For few copies among many honest samples there is a sharper one: of the $k$
# smallest of all $n + m$ distances, how many are samples'? If all orders are equally likely, this number $l$ is hypergeometric,
#
# $$
# P(l) = \binom kl\binom{n+m-k}{n-l}\bigg/\binom{n+m}{n} .
# $$ (eq-latent-nearest)
#
# The tables give the chance $P$ of as many or more.

# %%
show_source(copying_score, copies_among_nearest, docstring="none")

# %% [markdown]
# Two tests of the tests. First, random halves of the held-out images against each other, a thousand times: here equality is
# true. Second, planted copies: replace a fraction $c$ of one half by training images with a little noise. If copies are
# nearer than any held-out image, they add nothing to $U$, so that $\langle U\rangle = (1-c)\,nm/2$ and
#
# $$
# \langle\zeta\rangle = -\frac c2\sqrt{\frac{12\,nm}{n+m+1}} .
# $$ (eq-latent-planted)

# %%
to_train = nearest_distances(x_test.reshape(n_test, d), flat)
rng = np.random.default_rng([seed, 11])
n, m = n_test // 2, n_test - n_test // 2
copies = flat[rng.permutation(n_train)[:n]]
copies = copies + 0.02 * rng.standard_normal(copies.shape)
of_copies = nearest_distances(copies, flat)


def planted(share):
    """Both tests, for halves of held-out images and this share of copies."""
    order = rng.permutation(to_train)
    samples, held_out = order[:n], order[n:]
    samples[: round(share * n)] = of_copies[: round(share * n)]
    return copying_score(samples, held_out), *copies_among_nearest(
        samples, held_out
    )


# %% [markdown]
# Where equality is true, scores must have the exact mean and variance, and counts the hypergeometric mean:

# %%
null = np.array([planted(0) for _ in range(1000)])
verify(
    "random halves of held-out images: mean and variance of the score",
    [null[:, 0].mean(), null[:, 0].var()],
    equals=[0, 1],
    atol=5 * np.sqrt(np.array([1, 2]) / len(null)),
    source="all orders equally likely; five standard errors",
)
expected = 20 * n / n_test
spread = expected * m / n_test * (n_test - 20) / (n_test - 1)
verify(
    "their number among the 20 nearest: mean",
    null[:, 1].mean(),
    equals=expected,
    atol=5 * np.sqrt(spread / len(null)),
    source="hypergeometric law (eq-latent-nearest); five standard errors",
)

# %% [markdown]
# And planted copies, from none to all, 100 random halves each:

# %%
parts = np.array([0, 0.05, 0.1, 0.2, 0.3, 0.5, 1])
power = np.array([[planted(c) for _ in range(100)] for c in parts])
exact = -np.round(parts * n) / n / 2 * np.sqrt(12 * n * m / (n + m + 1))
if on_digits:
    verify(
        "planted copies: mean score",
        power[..., 0].mean(1),
        equals=exact,
        atol=0.5 + 0.01 * np.abs(exact),
        source="eq-latent-planted; five standard errors, and ties",
    )

# %% [markdown]
# Next, suspects of our own: the generator, the starved one (with its own 50 training images), and the same held-out
# images for both.


# %%
def suspect(samples, train, held_out=x_test, distances=nearest_distances):
    """Distances of samples and held-out images, and both tests."""
    pair = [
        distances(x.reshape(len(x), d), train.reshape(len(train), d))
        for x in (samples, held_out)
    ]
    count, chance = copies_among_nearest(*pair)
    return pair, [copying_score(*pair), f"‹{count}›", chance]


made = array(generator.sample(n_test, [seed, 12]))
made_few = array(starved.sample(n_test, [seed, 12]))
near, ours = suspect(made, x_train)
near_few, of_few = suspect(made_few, few)
rows = [["generator", *ours], ["starved generator", *of_few]]
titles = ["samples of", "score ζ", "of the 20 nearest", "P"]
show_table(titles, rows)
if on_digits:
    verify(
        "generator: score, and the chance of as many among the nearest",
        ours[::2],
        at_least=[5, 0.01],
        source="empirical, see the text",
    )

# %% [markdown]
# The usual picture, then. Would you have noticed anything?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four rows of ten images: samples of the generator, the training image nearest to each, held-out digits, and the training image nearest to each. Samples resemble their neighbours in shape, but not in all strokes; held-out digits and their neighbours are more alike."}, "figure": {"caption": "From top: samples, the training image nearest to each, held-out digits, the training image nearest to each.", "name": "fig-latent-neighbours"}}
gallery = []
for x in (made[:10], x_test[:: n_test // 10][:10]):
    nearest = cdist(x.reshape(10, d), flat).argmin(axis=1)
    gallery += [x, x_train[nearest]]
fig, ax = plt.subplots(figsize=(5.6, 2.3))
image_grid(np.concatenate(gallery), 10, ax=ax, limits=(-1, 1))
plt.show()

# %% [markdown]
# The distances, and how strong the evidence for planted copies is. With few copies the tail speaks first:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: histograms of the distance to the nearest training image. Held-out images peak at about two, samples of the generator at about three, with planted copies far left at almost zero. Right: against the share of planted copies, minus the score grows linearly along the exact line, and the evidence of the nearest rises steeply to a plateau at small shares."}, "figure": {"caption": "Left: distance to the nearest training image. Right: mean $-\\zeta$ for planted copies, with {eq}`eq-latent-planted`, and the median $P$ of the 20 nearest, as standard errors of a normal law.", "name": "fig-latent-copies"}}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.7))
bins = np.linspace(0, max(map(np.max, near)), 45)
for x, name in ((near[1], "held-out"), (near[0], "samples")):
    axes[0].hist(x, bins, alpha=0.6, label=name)
axes[0].hist(of_copies, bins, histtype="step", color="k", label="copies")
axes[0].set(xlabel="distance to nearest training image", ylabel="images")
axes[0].legend()
axes[1].plot(parts, -power[..., 0].mean(1), "o", label=r"$-\zeta$")
axes[1].plot(parts, -exact, "C0--")
chance = norm.isf(np.median(power[..., 2], axis=1))
axes[1].plot(parts, chance, "s-", label="20 nearest")
axes[1].set(xlabel="share of copies", ylabel="standard errors")
axes[1].legend()
plt.show()

# %% [markdown]
# No copies among our generator's samples, as far as pixel distances can tell: they are *farther* from the training images
# than held-out digits are. That is no compliment. The same number says that the samples are off the data, the failing that
# precision counts in {lecture}`4.4`. (Bounds are empirical; over seeds 0 to 5 $\zeta$ was at least 15.) For the starved
# generator $\zeta$ lies anywhere from $-4.3$ to $3.4$ over nine seeds. At $-4$ the laws are not equal, but that is all
# $\zeta$ says: samples that are seldom *far* from the 50 images, as some held-out digits are, suffice for that, and among
# the 20 nearest are never more of them than chance allows. Not proven. Is it innocent?
#
# ### A memory that does not show in samples
#
# Invert instead {cite}`webster2019`. A generator that has learned a distribution reaches new digits as well as old ones. So
# compare the distances $|\mathbf x - G(\mathbf z^*)|$ of training and held-out images, with the same ranks.

# %%
old = inverted(generator, x_train[rng.permutation(n_train)[:n_invert]])[1]
old_few = inverted(starved, few[:n_invert])[1]
new_few = inverted(starved, test)[1]
memory = [
    copying_score(old, answers["held-out images"][1]),
    copying_score(old_few, new_few),
]

# %% [markdown]
# If the generator remembers, its own images are to the left:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Histograms of the distance of an image to the best image the generator can make. Left, generator of all images: training and held-out images have the same distribution. Right, starved generator: its training images are closer than held-out images."}, "figure": {"caption": "Distance of training and held-out images to the best answer of the generator trained on all images (left) and of the starved one (right).", "name": "fig-latent-memory"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 2.4), sharex=True)
bins = np.linspace(0, new_few.max(), 30)
for ax, pair, title in (
    (axes[0], (answers["held-out images"][1], old), "all images"),
    (axes[1], (new_few, old_few), f"{n_few} images"),
):
    for x, name in zip(pair, ("held-out", "training"), strict=True):
        ax.hist(x, bins, density=True, alpha=0.6, label=name)
    ax.set(xlabel="distance to best answer", title=title)
axes[0].set(ylabel="density")
axes[0].legend()
plt.show()

# %% [markdown]
# The verdict on both:

# %%
show_table(
    ["generator of", "score ζ of training against held-out images"],
    [["all images", memory[0]], [f"{n_few} images", memory[1]]],
)
if on_digits:
    verify(
        "the starved generator remembers: score",
        memory[1],
        at_most=-3,
        source="empirical, see the text",
    )
    verify(
        "the generator of all images less so: score, less that of the other",
        memory[0] - memory[1],
        at_least=2,
        source="empirical, see the text",
    )
verify(
    "probability at five standard errors, with 200 images on each side",
    0.5 - 5 * np.sqrt(401 / (12 * 200**2)),
    equals=0.36,
    atol=0.005,
    source="eq-latent-copies, U/nm",
)

# %% [markdown]
# The starved generator *is* overfitted. It does not sit on its images, but its manifold bends towards them. Tests of its
# samples could at best suspect that. (Over seeds 0 to 5 its $\zeta$ was at most $-6.4$; that of the other lay between $-1.4$
# and $0.2$.) So the large one shows no memory, as far as 200 images on each side can see: five standard errors would be a
# probability of 0.36, and not one half, that a training image is the worse fit.
#
# ## Break it: shift by one pixel
#
# A cheater stores the training images, and before handing one out shifts it by a pixel (and adds a little noise). To the eye
# these are copies. **Predict** $\zeta$.

# %%
stolen = x_train[np.random.default_rng([seed, 13]).permutation(n_train)]
stolen = np.roll(stolen[:n_test], 1, axis=2) + 0.02 * rng.standard_normal(
    (n_test, side, side)
)


def nearest_up_to_shifts(x, points):
    """Nearest distances over shifts of x by up to one pixel."""
    x = x.reshape(len(x), side, side)
    shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    moved = [np.roll(x, s, axis=(1, 2)).reshape(len(x), d) for s in shifts]
    return np.min([nearest_distances(y, points) for y in moved], axis=0)


# %% [markdown]
# Both suspects under both distances:

# %%
rows = []
for name, distances in (
    ("plain", nearest_distances),
    ("up to shifts", nearest_up_to_shifts),
):
    for who, samples in (("cheater", stolen), ("generator", made)):
        _, found = suspect(samples, x_train, distances=distances)
        rows.append([f"{who}, {name}", *found])
show_table(titles, rows)
verify(
    "cheater, distances up to shifts: score if all copies are nearest",
    rows[2][1],
    equals=-np.sqrt(12 * n_test**2 / (2 * n_test + 1)) / 2,
    rtol=0.01,
    source="eq-latent-planted with c = 1; ties",
)
if on_digits:
    verify(
        "cheater and generator, plain distances: both pass, score",
        [rows[0][1], rows[1][1]],
        at_least=5,
        source="empirical: held for all seeds tried",
    )

# %% [markdown]
# The test acquits the cheater with flying colours. Of the $8\times8$ digits, a shifted one is farther from its own original
# (6.3, median) than a new digit is from the nearest training image (2.1), and nearer to some other image (4.2). The test
# finds what its *distance* can see. With the smallest distance over nine shifts the cheater is caught, and the generator is
# as innocent as before. Which changes leave a copy a copy has to be said by somebody who knows the data; for a physicist
# these are the symmetries.
#
# ## Exercises
#
# ::::{exercise} Three exemplars
# :label: ex-latent-three
# {cite:t}`radford2016` averaged *three* latents for each of the three concepts in $\bar{\mathbf z}_a - \bar{\mathbf z}_b +
# \bar{\mathbf z}_c$. For independent standard normal latents, at which temperature does the result lie? And for $k$ in place
# of three?
# ::::
#
# ::::{solution-start} ex-latent-three
# :class: dropdown
# ::::
#
# Signs do not matter for variances, so $T = 3/k$: exactly one for $k = 3$. The sum returns to the shell that each mean had
# left. One exemplar gives $T = 3$, too hot; class means of thousands give $T\approx 0$, and only the part $\boldsymbol\mu$
# that the class has in common survives. (Latents of a class have the mean $\boldsymbol\mu_a$, so three such means add
# $|\boldsymbol\mu_a - \boldsymbol\mu_b + \boldsymbol\mu_c|^2$ to the square.)

# %% tags=["solution"]
rng = np.random.default_rng([seed, 14])
ks = np.array([1, 3, 10, 100])
found, n = [], 500
for k in ks:
    a, b, c = rng.standard_normal((3, n, k, n_latent)).mean(2)
    found.append(((a - b + c) ** 2).mean())
verify(
    "temperature of the arithmetic with 1, 3, 10 and 100 exemplars",
    found,
    equals=3 / ks,
    atol=5 * 3 / ks * np.sqrt(2 / (n * n_latent)),
    source="sums of variances; five standard errors",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Push without pushing
# :label: ex-latent-reweight
# Show that $\langle p(\mathbf z + h\mathbf e)\rangle = \langle p(\mathbf z)\,w\rangle$ with $w = e^{h\,\mathbf e\cdot\mathbf
# z - h^2/2}$ for any $h$, and that the weights have $\langle w\rangle^2/\langle w^2\rangle = e^{-h^2}$. Predict the share of
# threes at $h = 1$ from unpushed latents.
# ::::
#
# ::::{solution-start} ex-latent-reweight
# :class: dropdown
# ::::
#
# Substitute $\mathbf z\to\mathbf z - h\mathbf e$ in the integral; $e^{-|\mathbf z - h\mathbf e|^2/2} = e^{-|\mathbf
# z|^2/2}\,w$. So $\langle w\rangle = 1$, and $\langle w^2\rangle = e^{-h^2}\langle e^{2h\,\mathbf e\cdot\mathbf z}\rangle =
# e^{-h^2 + 2h^2}$. The first order in $h$ is {eq}`eq-latent-stein`. The effective number of draws falls as $e^{-h^2}$:
# linear response is the cheap end of a reweighting that becomes expensive.

# %% tags=["solution"]
z = np.random.default_rng([seed, 5]).standard_normal((n_field, n_latent))
h = 1.0
w = np.exp(h * z @ e - h**2 / 2)
reweighted, direct = p[:, 3] * w, probabilities(new + h * e)[:, 3]
verify(
    "share of threes at h = 1, reweighted and pushed",
    reweighted.mean(),
    equals=direct.mean(),
    atol=6 * np.hypot(reweighted.std(), direct.std()) / np.sqrt(n_field),
    source="a change of variables; six standard errors",
)
small = np.exp(0.5 * z @ e - 0.125)
verify(
    "mean square of the weights at h = 1/2",
    (small**2).mean(),
    equals=np.exp(0.25),
    atol=6 * np.sqrt((np.exp(1.5) - np.exp(0.5)) / n_field),
    source="moments of a log-normal variable; six standard errors",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} One copy in a hundred
# :label: ex-latent-hundred
# How many samples (and as many held-out images) does $\zeta$ need to see 1 % of copies with five standard errors? How many
# samples contain 22 copies, and what is the chance $P$ that all of the 22 nearest are samples? Plant 22 copies, and let
# `copies_among_nearest` compute $P$.
# ::::
#
# ::::{solution-start} ex-latent-hundred
# :class: dropdown
# ::::
#
# From {eq}`eq-latent-planted` with $n = m$: $5 = \frac c2\sqrt{6n}$, so $n = 100/(6c^2) \approx 170\,000$. And 22 copies
# need $n = 2200$ samples. If they are the 22 nearest, the chance is about $2^{-22} = 2.4\cdot10^{-7}$, less than one side of
# five standard errors. Look at the tail if a tail is what you expect.

# %% tags=["solution"]
honest = np.random.default_rng([seed, 15]).random((2, 2200)) + 1
honest[0, :22] = 0.0
count, chance = copies_among_nearest(*honest, n_nearest=22)
verify(
    "22 copies among 2200 samples: all of the 22 nearest",
    count,
    equals=22,
    source="counting",
)
verify(
    "its chance, and the score of the same data",
    [chance, abs(copying_score(*honest))],
    at_most=[2.4e-7, 5],
    source="2^-22; the five standard errors asked for",
)

# %% [markdown]
# ::::{solution-end}
# ::::

# %% [markdown]
# ## Summary
#
# Normal latents are a gas at temperature one, on a shell of constant width; a straight line cools it to one half, and the
# images become better and more alike, while great circles leave the temperature as it is. Class means are response
# coefficients, exact for small pushes of all latents; arithmetic borrows their direction for a push that is neither small
# nor of all. Whether a generator
# copies is decided by ranks against held-out images, in samples and by inversion, and only up to the symmetries that the
# distance knows.
#
# **Next:** all four families of models learn the same magnet, and are judged by its exact answers ({lecture}`5.1`).
