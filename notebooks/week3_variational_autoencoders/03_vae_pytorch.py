# ---
# jupyter:
#   advml:
#     full: {dataset: mnist, n_train: 60000, n_test: 100, n_hidden: [400, 200], epochs: 30, n_grid: 321}
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train a variational autoencoder, and know its likelihood
#
# A robot's arm has a few angles, and its picture has many pixels. A **variational autoencoder** learns such hidden
# causes together with the law by which they make the data, and the law is a probability: its errors are measured in nats.
# Usually only a bound on that probability is known. With two causes, the integral over them is a sum over a grid, and we can
# look behind the bound: what it loses and why, which models it ranks wrongly, and at which strength of its second term the
# causes disappear, at a critical point that we calculate before we train.
#
# :::{admonition} Plan
# :class: tip
# **You will** turn the decoder's output into a likelihood, of coins and of real numbers; train encoder and decoder; compute
# the evidence of held-out images exactly, and split the bound's loss in two; compare models in nats, without comparing a
# mass with a density; and predict the collapse of the posterior. **You need** {lecture}`3.2`. **Time** an hour to read,
# three quarters of a minute of CPU.
# :::

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.special import entr, logsumexp
from scipy.stats import bernoulli, norm
from sklearn.decomposition import PCA

from advml import datasets
from advml.checks import verify
from advml.display import progress, show_source, show_table
from advml.likelihood import (
    evidence_on_grid,
    exact_importance_weighted_bound,
    gauss_hermite,
    gaussian_log_density,
    importance_weighted_bound,
    latent_grid,
)
from advml.metrics import gaussian_kl, kl_divergence
from advml.plotting import image_grid
from advml.pytorch import rbm as boltzmann
from advml.pytorch import vae

plt.style.use("advml.course")
torch.set_num_threads(1)  # the networks are too small to share out

# %% [markdown]
# With `dataset = "mnist"` the same notebook runs on 28×28 images, without the checks marked `if on_digits`.

# %% tags=["parameters"]
seed = 0
dataset = "digits"
n_train = 1442  # images to train on
n_test = 355  # held-out images
n_hidden = [100, 50]  # widths of the encoder; reversed in the decoder
epochs = 100
batch_size = 100
n_grid = 241  # points of the latent grid along each axis

# %% [markdown]
# ## From a network to a likelihood
#
# The model is that of {eq}`eq-evidence`: a cause $\mathbf z\sim\mathcal N(\mathbf 0, \mathbf I)$, data $\mathbf x$ from
# $p(\mathbf x\mid\mathbf z)$. So far the decoder was linear. Now it is a network with hidden layers (of tanh units),
# $\mathbf y = f_\Theta(\mathbf z)$. One thing must be decided first: *of which distribution is* $\mathbf y$ *the parameter?*
# It depends on the data.
#
# **Coins.** We binarise the digits: a pixel is one where its grey value exceeds $\frac12$, as in {lecture}`1.3`. Given the
# cause, pixels are independent coins with $p(x_i{=}1\mid\mathbf z) = \sigma(y_i)$. Since
# $\log\sigma(y) = y - \varsigma(y)$ and $\log[1 - \sigma(y)] = -\varsigma(y)$, with the softplus $\varsigma(y) =
# \log(1+e^y)$,
#
# $$
# \log p(\mathbf x\mid\mathbf z) = \sum_i\bigl[x_i\log\sigma(y_i) + (1-x_i)\log\bigl(1-\sigma(y_i)\bigr)\bigr]
# = \sum_i\bigl[x_i y_i - \varsigma(y_i)\bigr].
# $$ (eq-vae-bernoulli)
#
# The last form is why the network returns *log-odds*, called logits, and not probabilities: at $y = -120$ a single-precision
# sigmoid is zero, and its logarithm infinite, while $xy - \varsigma(y)$ is just $-120$ for a black pixel.
#
# **Real numbers.** For grey values, let $y_i$ be the mean of a Gaussian of width $\sigma$, the same for all $d$ pixels:
#
# $$
# \log p(\mathbf x\mid\mathbf z) = -\frac{\lVert\mathbf x - \mathbf y\rVert^2}{2\sigma^2} - \frac d2\log 2\pi\sigma^2 .
# $$ (eq-vae-gaussian)
#
# The encoder has the mirrored layers and returns $\boldsymbol\mu$ and $\log\boldsymbol\sigma^2$ of $q(\mathbf z\mid\mathbf
# x)$, the logarithm because it may be any number.

# %%
show_source(
    vae.DenseVAE._encode,
    vae.DenseVAE._decode,
    vae._VAE.encode,
    vae._log_likelihood,
)

# %% [markdown]
# The objective is {eq}`eq-elbo`: the divergence by formula, {eq}`eq-gaussian-kl`, the other term with one reparameterised
# draw per image and step. The factor $\beta$ is one until we say otherwise.

# %%
show_source(vae.evidence_lower_bound, vae._two_terms, vae._reparameterised)

# %% [markdown]
# Now the data, binary and grey, and a first check with untrained networks: SciPy's distributions, pixel by pixel.


# %%
def array(tensor):
    return tensor.detach().cpu().numpy().astype(float)


data = getattr(datasets, dataset)()
on_digits = dataset == "digits"
grey_train, grey_test = (
    images[:n].reshape(n, -1).astype(float)
    for images, n in ((data.train, n_train), (data.test, n_test))
)
labels, side = data.test_labels[:n_test], data.train.shape[-1]
x_train, x_test = map(datasets.binarise, (grey_train, grey_test))
x_seen, grey_seen = x_train[:2000], grey_train[:2000]  # of the digits: all
d = x_train.shape[1]
for name, scale, x in (
    ("Bernoulli", None, x_test[:5]),
    ("Gaussian", 0.2, grey_test[:5]),
):
    new = vae.DenseVAE(d, 2, n_hidden, scale=scale, seed=seed)
    z = np.random.default_rng(seed).standard_normal((5, 2))
    mean = array(new.expectation(z))
    one = bernoulli(mean).logpmf if scale is None else norm(mean, scale).logpdf
    verify(
        f"{name} log-likelihood of five images (nats)",
        array(new.log_likelihood(x, z)),
        equals=one(x).sum(axis=1),
        rtol=1e-5,
        source="scipy.stats, summed over pixels; single precision",
    )

# %% [markdown]
# ## Train, and hold images out
#
# We train with Adam on the training part only. To *judge* a model we want no noise: the average over $\mathbf z$ is a
# Gauss–Hermite sum over $8\times8$ nodes.


# %%
def average_over_q(model, x, function, n_nodes=8):
    """Gauss-Hermite average over q of function(model, x, noise), (n,)."""
    nodes, weights = gauss_hermite(n_nodes, 2)
    found = []
    for part in np.array_split(x, -(-len(x) // 500)):
        noise = np.repeat(nodes[:, None], len(part), axis=1)
        with torch.no_grad():
            found.append(weights @ array(function(model, part, noise)))
    return np.concatenate(found)


def elbo(model, x, n_nodes=8):
    """Evidence lower bound of each image (eq-elbo)."""
    return average_over_q(model, x, vae.evidence_lower_bound, n_nodes)


# %% [markdown]
# All trainings below are alike:


# %%
def fit(data, beta=1.0, scale=None, n_latent=2, callback=None):
    """A new model, trained."""
    model = vae.DenseVAE(d, n_latent, n_hidden, scale=scale, seed=[seed, 0])
    vae.train(
        model,
        data,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=5e-3,
        final_learning_rate=1e-5,
        beta=beta,
        seed=[seed, 1],
        callback=callback,
    )
    return model


# %% [markdown]
# The first number to beat has no hidden cause at all: independent pixels, each with its own frequency (one success and one
# failure added, because some pixels were never black).

# %%
curve = []


def note(epoch, model, bound):
    if epoch % 5 == 0:
        both = (elbo(model, x, 4) for x in (x_seen, x_test))
        curve.append([epoch, *(b.mean() for b in both)])


model = fit(x_train, callback=note)
curve = np.array(curve)
frequency = (x_train.sum(axis=0) + 1) / (len(x_train) + 2)
pixels = bernoulli(frequency).logpmf(x_test).sum(axis=1)

# %% [markdown]
# Does it overfit? Watch the distance of the two curves.

# %% mystnb={"image": {"alt": "Evidence lower bound in nats against epoch for training and held-out images. Both rise quickly from minus 24, that of independent pixels, a dotted line, to about minus 19. The held-out curve ends about half a nat below the training curve, and never falls."}, "figure": {"caption": "Evidence lower bound of training and test images. Dotted: independent pixels, test.", "name": "fig-vae-training"}}
fig, ax = plt.subplots(figsize=(5.6, 2.8))
ax.plot(curve[:, 0], curve[:, 1], "o-", ms=3, label="training images")
ax.plot(curve[:, 0], curve[:, 2], "s--", ms=3, label="held-out images")
ax.axhline(pixels.mean(), color="0.4", ls=":", label="independent pixels")
ax.set(xlabel="epoch", ylabel="ELBO (nats per image)")
ax.legend()
plt.show()

# %% [markdown]
# ## Behind the bound
#
# Which part of the deficit is the model, and which the bound? The integral {eq}`eq-evidence` in two dimensions tells. All
# images can share *one* grid, that of the prior, so the network sees each point once. Both likelihoods are linear in
# $\mathbf x$ apart from a term without $\mathbf z$: for coins, {eq}`eq-vae-bernoulli` is $\mathbf x\cdot\mathbf y(\mathbf z) - \sum_i\varsigma(y_i)$,
# and a table of all images and points is a matrix product.

# %%
grid, log_cell = latent_grid(
    np.zeros((1, 2)), np.ones((1, 2)), width=6, n_points=n_grid
)
grid, axis = grid[0], np.unique(grid[0, :, 0])
log_prior = gaussian_log_density(grid) + log_cell  # of a cell of the grid


def decoded(model):
    """Decoder's output at all points of the grid."""
    parts = torch.as_tensor(grid).split(20_000)
    with torch.no_grad():
        return np.concatenate([array(model.decode(z)) for z in parts])


def log_joint(model, x, y):
    """log p(x, z) of each image and each cell of the grid."""
    if model.scale is None:
        return x @ y.T - np.logaddexp(0, y).sum(axis=1) + log_prior
    square = (x**2).sum(axis=1)[:, None] - 2 * x @ y.T + (y**2).sum(axis=1)
    constant = d / 2 * np.log(2 * np.pi * model.scale**2)
    return log_prior - square / (2 * model.scale**2) - constant


# %% [markdown]
# The logarithm of the sum over cells is the evidence. Many images make a big table, so we take fifty at a time.


# %%
def evidence(model, x):
    """log p(x) of each image (eq-evidence), and the change if the grid is
    twice as coarse."""
    y, found = decoded(model), []
    for part in np.array_split(x, len(x) // 50 + 1):
        table = log_joint(model, part, y)
        square = table.reshape(len(part), n_grid, n_grid)
        coarse = logsumexp(square[:, ::2, ::2], axis=(1, 2)) + np.log(4)
        found.append([logsumexp(table, axis=1), coarse])
    fine, coarse = np.concatenate(found, axis=1)
    return fine, np.abs(fine - coarse)


exact, change = evidence(model, x_test)
bound = elbo(model, x_test, 16)

# %% [markdown]
# Is the grid fine and wide enough? Three checks: leave out every second point of each axis; ask what the outer rim holds;
# and, for 40 images, take the independent grids of {lecture}`3.2`, each placed and scaled by the encoder, ten standard
# deviations to each side. The error of such a sum falls faster than any power of the step, so that the change from the
# coarse grid is a pessimistic estimate.

# %%
some, n_some = x_test[:40], 40
log_posterior = log_joint(model, some, decoded(model))
log_posterior -= exact[:n_some, None]
posterior = np.exp(log_posterior)
rim = np.abs(grid).max(axis=1) > 5.5
with torch.no_grad():
    mean, log_variance = map(array, model.encode(x_test))
    own, own_error = evidence_on_grid(
        lambda z: array(model.log_likelihood(some[:, None], z)),
        mean[:n_some],
        np.exp(log_variance[:n_some] / 2),
        width=10,
        n_points=81,
    )

# %% [markdown]
# The three checks:

# %%
if on_digits:
    verify(
        "change of log p(x) if every second point is left out (nats)",
        change,
        at_most=1e-2,
        source="a quarter of the grid points; all held-out images",
    )
    verify(
        "part of the posterior in the outer rim of the grid",
        posterior[:, rim].sum(axis=1),
        at_most=1e-4,
        source="the prior falls like a Gaussian",
    )
    verify(
        "grids placed by the encoder find no more than the shared grid",
        own - exact[:n_some],
        at_most=1e-2,
        source="quadrature, over all of the prior's support",
    )

# %% [markdown]
# (The last is one-sided on purpose. A grid around the encoder's answer holds one mode of the posterior, and if there is a
# second one far away it misses it.) Now the claims of {lecture}`3.2`, for a network. The loss of the bound must be the
# divergence of $q$ from the true posterior, which we know at each point; and more draws must tighten the bound. Both $L_5$
# and $L_{50}$ are exact expectations, by {eq}`eq-iwae-exact` on grids around $q$.


# %%
def from_posterior(mean, log_scale):
    """KL of Gaussians q from the true posteriors, on the grid."""
    variance = np.exp(2 * log_scale)[:, None]
    log_q = gaussian_log_density(grid, mean[:, None], variance)
    log_q -= logsumexp(log_q, axis=1, keepdims=True)
    return (np.exp(log_q) * (log_q - log_posterior)).sum(axis=1)


scale = np.exp(log_variance / 2)
divergence = from_posterior(mean[:n_some], log_variance[:n_some] / 2)
z, log_volume = latent_grid(mean[:n_some], scale[:n_some], width=6)
log_q = gaussian_log_density(z, mean[:n_some, None], scale[:n_some, None] ** 2)
with torch.no_grad():
    log_w = array(model.log_likelihood(some[:, None], z))
log_w += gaussian_log_density(z) - log_q
weights = np.exp(log_q + log_volume[:, None])
L1, L5, L50 = (
    exact_importance_weighted_bound(log_w, weights, k) for k in (1, 5, 50)
)

# %% [markdown]
# 40 held-out images, one by one:

# %%
if on_digits:
    verify(
        "log p(x) - ELBO is the KL of q from the true posterior (nats)",
        (exact - bound)[:n_some],
        equals=divergence,
        atol=1e-2,
        source="sum over the grid, eq-elbo-identity",
    )
    verify(
        "ELBO ≤ IWAE₅ ≤ IWAE₅₀ ≤ log p(x)",
        [L5 - L1, L50 - L5, exact[:n_some] - L50 + change[:n_some]],
        at_least=0,
        source="Burda, Grosse and Salakhutdinov (2016)",
    )
noise = np.random.default_rng([seed, 2]).standard_normal((500, n_some, 2))
with torch.no_grad():
    drawn = array(vae.log_weights(model, some, noise)).T
for k, value in ((1, L1), (5, L5), (50, L50)):
    sampled, error = importance_weighted_bound(drawn, k)
    if on_digits:
        verify(
            f"mean bound of 40 images with k = {k}, sampled and exact (nats)",
            sampled.mean(),
            equals=value.mean(),
            atol=5 * np.sqrt((error**2).sum()) / n_some,
            source="eq-iwae-exact; five standard errors",
        )

# %% [markdown]
# ### Two reasons for the gap
#
# The posterior is not a Gaussian along the axes (*approximation gap*), and the encoder does not return the best one
# (*amortisation gap*, {cite}`cremer2018`). To separate them, forget the encoder: give each of the 40 images its own
# $\boldsymbol\mu$ and $\log\boldsymbol\sigma$, start at the encoder's answer, and maximise its bound. (That finds the
# nearest optimum. With two modes there may be a better one, and then the approximation gap comes out too large.)


# %%
def best_q(model, x, mean, log_scale):
    """Gaussian q with the largest bound, for each image."""
    tensor = torch.as_tensor(mean).to(model.layers[0][0]).new_tensor
    nodes, weights = gauss_hermite(8, 2)
    noise, weights, x = tensor(nodes[:, None]), tensor(weights), tensor(x)
    mean, log_scale = tensor(mean), tensor(log_scale)
    q = [mean.requires_grad_(), log_scale.requires_grad_()]
    optimiser = torch.optim.LBFGS(
        q, max_iter=100, line_search_fn="strong_wolfe"
    )

    def loss():
        optimiser.zero_grad()
        z = mean + log_scale.exp() * noise
        kl = mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale
        value = kl.sum() / 2
        value = value - (weights @ model.log_likelihood(x, z)).sum()
        value.backward()
        return value

    optimiser.step(loss)
    return [array(a) for a in q]


# %% [markdown]
# Its divergence from the true posterior is the approximation gap; what is left of the encoder's is amortisation.

# %%
free = best_q(model, some, mean[:n_some], log_variance[:n_some] / 2)
approximation = from_posterior(*free)
amortisation = divergence - approximation
rows = [
    ["gap", np.mean(divergence), np.max(divergence)],
    ["approximation", approximation.mean(), approximation.max()],
    ["amortisation", amortisation.mean(), amortisation.max()],
]
show_table(["nats", "mean of 40", "largest"], rows)

# %% [markdown]
# A free Gaussian cannot lose to the encoder's.

# %%
if on_digits:
    verify(
        "amortisation only adds to the gap",
        amortisation,
        at_least=-1e-2,
        source="the free q starts at the encoder's; quadrature of the bound",
    )
    verify(
        "mean amortisation gap minus mean approximation gap (nats)",
        amortisation.mean() - approximation.mean(),
        at_least=0,
        source="empirical: 0.08 to 0.61 in ten seeds",
    )

# %% [markdown]
# On average the encoder's part was the larger one in each of ten trainings, as Cremer and co-workers found for bigger
# models. Look where $q$ fails. The encoder mostly misplaces the centre; the best Gaussian fits well.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four panels of the latent plane. Filled contours of the true posterior: compact blobs, some elongated or tilted. Solid ellipses of the encoder's q are along the axes, and for the last images shifted or of the wrong size; dashed ellipses of the best Gaussian lie on the blobs."}, "figure": {"caption": "True posterior (grey) of four held-out images, with the smallest gap, the median, the third quartile, and the largest. Contours at one and two standard deviations: encoder's q (solid) and the best Gaussian along the axes (dashed).", "name": "fig-vae-posteriors"}}
order = np.argsort(divergence)
fig, axes = plt.subplots(1, 4, figsize=(7.4, 2.2))
angle = np.linspace(0, 2 * np.pi, 100)
circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
for ax, i in zip(axes, order[[0, 20, 30, -1]], strict=True):
    density = posterior[i].reshape(n_grid, n_grid).T
    ax.contourf(axis, axis, density, levels=12, cmap="Greys")
    for centre, width, style in (
        (mean[i], scale[i], "C1-"),
        (free[0][i], np.exp(free[1][i]), "C0--"),
    ):
        for r in (1, 2):
            ax.plot(*(centre + r * width * circle).T, style, lw=1.2)
    weight = posterior[i] / posterior[i].sum()
    middle = weight @ grid
    spread = np.sqrt(weight @ (grid - middle) ** 2).max()
    reach = max(4 * spread, np.abs(mean[i] - middle).max() + 2.5 * spread)
    ax.set(
        xlim=(middle[0] - reach, middle[0] + reach),
        ylim=(middle[1] - reach, middle[1] + reach),
        title=f"digit {labels[i]}",
        xlabel="$z_1$",
    )
axes[0].set(ylabel="$z_2$")
plt.show()

# %% [markdown]
# ## One table, two kinds of likelihood
#
# Now the models can be ranked. But what may stand in one table? For coins $p(\mathbf x)$ is a *probability* (a mass), of one
# picture among $2^d$, and $\log p\le0$. For grey values it is a *density*, per unit of volume in pixel space. A density may
# exceed one, and its logarithm depends on the unit of grey ({ref}`ex-vae-units`). So the two kinds must not be compared, nor
# may data that were binarised in different ways. Worse, a density can be gained without end: some pixels of the digits never
# change, and a Gaussian with a width of its own for each pixel reaches infinite likelihood with them. That is why all pixels
# share one $\sigma$ here.
#
# **Coins**: independent pixels; the Boltzmann machine of {lecture}`1.3`, trained briefly, whose $\log Z$ is a sum over the
# 65 536 states of 16 hidden units; our model; and one with ten latent variables, for which there is only a bound: $L_{100}$.

# %%
machine = boltzmann.RBM(
    d,
    16,
    visible_bias=np.log(frequency / (1 - frequency)),
    seed=np.random.default_rng([seed, 3]),
)
boltzmann.train(
    machine,
    x_train[: len(x_train) // batch_size * batch_size],
    method="cd",
    epochs=epochs,
    batch_size=batch_size,
    learning_rate=0.2,
    final_learning_rate=0.0,
    seed=np.random.default_rng([seed, 4]),
)
machine = machine.to_numpy()
ten = fit(x_train, n_latent=10)
noise = np.random.default_rng([seed, 5]).standard_normal((200, n_test, 10))
with torch.no_grad():
    parts = [vae.log_weights(ten, x_test, part) for part in noise[:, None]]
coins = {
    "independent pixels": pixels,
    "Boltzmann machine, 16 hidden": -machine.free_energy(x_test)
    - machine.log_partition(),
    "autoencoder, 2 latent": exact,
    "autoencoder, 10 latent, at least": importance_weighted_bound(
        array(torch.cat(parts)).T, 100
    )[0],
}

# %% [markdown]
# **Grey values**: one Gaussian of the same width for all pixels; probabilistic PCA with two latent variables, exactly, from
# scikit-learn; and a Gaussian autoencoder. Its $\sigma$ is a parameter like others: setting the derivative of
# {eq}`eq-vae-gaussian` in $\sigma^2$, averaged over data and $q$, to zero gives
#
# $$
# \sigma^2 = \frac1d\Bigl\langle\lVert\mathbf x - \mathbf y(\mathbf z)\rVert^2\Bigr\rangle_{\text{data},\,q} .
# $$ (eq-vae-best-noise)
#
# We set it so after every epoch, on the training images.


# %%
def best_scale(model, x, n_nodes=4):
    """σ that maximises the bound, given the networks (eq-vae-best-noise)."""

    def square(model, x, noise):
        mean, log_variance = model.encode(x)
        z = mean + torch.exp(log_variance / 2) * torch.as_tensor(noise).to(
            mean
        )
        x = torch.as_tensor(x).to(mean)
        return ((x - model.decode(z)) ** 2).sum(-1)

    return np.sqrt(average_over_q(model, x, square, n_nodes).mean() / d)


# %% [markdown]
# The other two models are fitted in one line each.


# %%
def adapt(epoch, model, bound):
    model.scale = best_scale(model, grey_seen)


gaussian = fit(grey_train, scale=0.3, callback=adapt)
on_grey, grey_change = evidence(gaussian, grey_test)
best, bounds = gaussian.scale, []
for gaussian.scale in (0.97 * best, best, 1.03 * best):
    bounds.append(elbo(gaussian, grey_seen, 4).mean())
gaussian.scale = best
few = grey_test[:20]
with torch.no_grad():
    grey_mean, grey_log_v = map(array, gaussian.encode(few))
    own, _ = evidence_on_grid(
        lambda z: array(gaussian.log_likelihood(few[:, None], z)),
        grey_mean,
        np.exp(grey_log_v / 2),
        width=10,
        n_points=81,
    )

# %% [markdown]
# Is this σ the best, and does the shared grid find no less than grids of their own for 20 images?

# %%
verify(
    "bound on the training images with σ, less those with 0.97 and 1.03 σ",
    [bounds[1] - bounds[0], bounds[1] - bounds[2]],
    at_least=0,
    source="eq-vae-best-noise",
)
if on_digits:
    verify(
        "grey images: grids placed by the encoder find no more (nats)",
        own - on_grey[:20],
        at_most=1e-2,
        source="quadrature of log p(x|z) of the module",
    )
    verify(
        "and for the median of 20 images no less (nats)",
        np.median(np.abs(own - on_grey[:20])),
        at_most=1e-2,
        source="most posteriors have one mode",
    )
width = grey_train.std(axis=0)
same = np.sqrt((width**2).mean())
greys = {
    "Gaussian, same σ": norm(grey_train.mean(0), same)
    .logpdf(grey_test)
    .sum(1),
    "probabilistic PCA, 2 latent": PCA(2)
    .fit(grey_train)
    .score_samples(grey_test),
    "autoencoder, 2 latent": on_grey,
}

# %% [markdown]
# All entries are held-out log-likelihoods, and all but one are exact; that one is an estimate of a lower bound. (The claim
# counts the pixels that would make a density infinite.) Differences are taken image by image, which removes what makes an
# image difficult for all models.

# %%
rows, leads = [], {}
if on_digits:
    verify(
        "pixels of the training images that never change",
        int((width == 0).sum()),
        at_least=1,
        source="each makes a density infinite",
    )
for kind, models in (("mass", coins), ("density", greys)):
    reference = models["autoencoder, 2 latent"]
    for name, value in models.items():
        error = value.std() / np.sqrt(n_test)
        row = [kind, name, f"‹{value.mean():.2f} ± {error:.2f}›", ""]
        if value is not reference:
            lead = reference - value
            error = lead.std() / np.sqrt(n_test)
            leads[name] = lead.mean() / error
            row[3] = f"‹{lead.mean():.2f} ± {error:.2f}›"
        rows.append(row)
show_table(["", "model", "log p (nats)", "lead of our autoencoder"], rows)

# %% [markdown]
# Two latent variables beat independent pixels, and the curved surface of the network beats the plane of PCA, both by many
# standard errors. (A paired test over the test images knows nothing of the luck of the training; over six seeds the leads
# changed by a few tenths of a nat for coins, and by almost two for grey values.) The kind of model matters: two numbers beat
# the 16 hidden units of a briefly trained Boltzmann machine. So does the number of causes: ten of them help again, by a nat
# or more.

# %%
names = "independent pixels", "Gaussian, same σ", "probabilistic PCA, 2 latent"
verify(
    "lead over independent pixels, same-σ Gaussian, PCA, in standard errors",
    [leads[name] for name in names],
    at_least=5,
    source="paired differences over held-out images",
)
verify(
    "lead of ten latent variables over two, in standard errors",
    -leads["autoencoder, 10 latent, at least"],
    at_least=5,
    source="paired differences; a lower bound against an exact value",
)
if on_digits:
    verify(
        "change of the grey log p(x) on a quarter of the grid points (nats)",
        grey_change.mean(),
        at_most=1e-2,
        source="every second along each axis; mean over held-out images",
    )

# %% [markdown]
# ## The latent plane
#
# Where did the encoder put the images, and what does the decoder make of each place? We place points at equal quantiles of
# the prior, so that each tile stands for the same probability.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: the latent plane with each held-out image drawn as its digit, in ten colours. Most digits form one cluster each, 1 and 9 several; they touch in the middle, around the origin. Right: a grid of 12 by 12 decoded images that morph from digit to digit."}, "figure": {"caption": "Left: means of q for held-out images; the marker is the label. Right: decoded probabilities at normal quantiles from 4 to 96 %, in the same orientation.", "name": "fig-vae-plane"}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.7))
tab10 = plt.get_cmap("tab10")
for digit in range(10):
    chosen = labels == digit
    axes[0].plot(
        *mean[chosen].T, ls="", marker=f"${digit}$", ms=6, color=tab10(digit)
    )
axes[0].set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
quantiles = norm.ppf(np.linspace(0.04, 0.96, 12))
plane = np.stack(np.meshgrid(quantiles, quantiles[::-1]), -1).reshape(-1, 2)
with torch.no_grad():
    means = array(model.expectation(plane)).reshape(-1, side, side)
image_grid(means, 12, ax=axes[1], limits=(0, 1))
plt.show()

# %% [markdown]
# Nobody told the model about classes. What it produces are *coins*: a decoder's mean is not a sample. Pictures in papers
# mostly show means; they look better.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four rows of ten small images. Row one: binarised held-out digits. Row two: smooth grey reconstructions, mostly the same digit. Row three: smooth grey digits decoded from random causes. Row four: the same with tossed coins, binary, with ragged edges."}, "figure": {"caption": "From top: held-out images; decoder's mean at the encoder's mean; decoder's mean at random z from the prior; coins tossed with these means. Only the last row shows samples of the model.", "name": "fig-vae-samples"}}
rng = np.random.default_rng([seed, 6])
first = [np.flatnonzero(labels == digit)[0] for digit in range(10)]
with torch.no_grad():
    decoded_means = array(model.expectation(rng.standard_normal((10, 2))))
rows = [
    x_test[first],
    array(model.reconstruct(x_test[first])),
    decoded_means,
    datasets.binarise(decoded_means, seed=rng),
]
fig, ax = plt.subplots(figsize=(6.4, 2.7))
image_grid(np.concatenate(rows).reshape(-1, side, side), 10, ax=ax)
plt.show()

# %% [markdown]
# **Is the plane filled?** Samples start at the prior, and the decoder was trained where the encoder puts the data. Let
# $\bar q(\mathbf z)$ be the mean of $q(\mathbf z\mid\mathbf x)$ over the training images. Then {cite}`hoffman2016`
#
# $$
# \bigl\langle\operatorname{KL}(q(\mathbf z\mid\mathbf x)\,\Vert\,p)\bigr\rangle
# = \underbrace{\bigl\langle\operatorname{KL}(q(\mathbf z\mid\mathbf x)\,\Vert\,\bar q)\bigr\rangle}_{I} +
# \operatorname{KL}(\bar q\,\Vert\,p) :
# $$ (eq-vae-aggregate)
#
# insert $\log\bar q - \log\bar q$ and average. The first part is the mutual information of image and code, $H(\bar q) -
# \langle H(q)\rangle$, and useful. The second is a pure mismatch. On a grid $\bar q$ is cheap, since $q$ factorises: a
# product of two matrices.

# %%
with torch.no_grad():
    centre, log_v = map(array, model.encode(x_train))
step = axis[1] - axis[0]
factor = np.exp(log_v)[:, :, None]
square = (axis - centre[:, :, None]) ** 2 / factor
both = np.exp(-square / 2) / np.sqrt(2 * np.pi * factor) * step
aggregate = (both[:, 0].T @ both[:, 1] / n_train).ravel()
mismatch = kl_divergence(aggregate / aggregate.sum(), np.exp(log_prior))
h_mixture = entr(aggregate).sum() + log_cell[0]
h_single = (np.log(2 * np.pi * np.e) + log_v.mean(axis=0)).sum() / 2

# %% [markdown]
# The mutual information a second time, from 4000 draws of $\mathbf z$ and the mixture at each, without a grid:

# %%
if on_digits:
    rng = np.random.default_rng([seed, 8])
    own = rng.integers(n_train, size=4000)  # z of random training images
    z = centre[own] + np.exp(log_v[own] / 2) * rng.standard_normal((4000, 2))
    log_q = gaussian_log_density(z[:, None], centre, np.exp(log_v))
    about = gaussian_log_density(z, centre[own], np.exp(log_v[own]))
    information = about - logsumexp(log_q, axis=1) + np.log(n_train)
    verify(
        "mean KL from the prior = mutual information + mismatch (nats)",
        gaussian_kl(centre, np.exp(log_v)).mean(),
        equals=h_mixture - h_single + mismatch,
        atol=1e-2,
        source="closed form, against entropies on the grid",
    )
    verify(
        "mutual information: entropies on the grid, and draws (nats)",
        information.mean(),
        equals=h_mixture - h_single,
        atol=5 * information.std() / np.sqrt(len(information)),
        source="Monte Carlo, five standard errors",
    )
    verify(
        "the mismatch is a small part of the mean KL",
        mismatch / gaussian_kl(centre, np.exp(log_v)).mean(),
        at_most=0.1,
        source="empirical: the plane is filled",
    )

# %% [markdown]
# The plane is well filled: the mismatch is about a tenth of a nat. A hole, with a part $f$ of the prior in it, would cost at
# least $-\log(1-f)$, so that no more than an eighth is empty, and samples are decoded from places that the decoder knows.
#
# ## What σ² weighs
#
# It is sometimes said that this loss has no weight to tune. It has one (entry 12 of the {doc}`../errata`). With a
# Gaussian decoder and a factor $\beta$ in front of the divergence, multiply the loss by $2\sigma^2$:
#
# $$
# 2\sigma^2\Bigl[-\bigl\langle\log p(\mathbf x\mid\mathbf z)\bigr\rangle_q + \beta\operatorname{KL}\Bigr]
# = \bigl\langle\lVert\mathbf x - \mathbf y\rVert^2\bigr\rangle_q + 2\sigma^2\beta\operatorname{KL} + \text{const}(\sigma^2).
# $$ (eq-vae-weight)
#
# Only the product $\sigma^2\beta$ reaches the networks. A model with $(\sigma^2, \beta)$ is *trained* like one with
# $(\beta\sigma^2, 1)$, and the gradients differ by a factor; but as a *probability* it is another model. 'Sum of squares
# plus KL' is $\sigma^2 = \frac12$. For pixels in $[0, 1]$ that is $\sigma = 0.71$, four times the width that
# {eq}`eq-vae-best-noise` finds.


# %%
def slope(variance, beta):
    """Gradient of the loss in all weights, one noise per image."""
    test = vae.DenseVAE(d, 2, n_hidden, scale=variance**0.5, seed=seed)
    noise = np.random.default_rng(seed).standard_normal((n_test, 2))
    bound = vae.evidence_lower_bound(test, grey_test, noise, beta)
    gradients = torch.autograd.grad(-bound.mean(), test.parameters())
    return np.concatenate([array(g).ravel() for g in gradients])


reference = slope(0.02, 1.0)
verify(
    "gradients with equal σ²β are parallel: relative deviation",
    np.linalg.norm(slope(0.5, 0.04) * 25 - reference)
    / np.linalg.norm(reference),
    at_most=1e-4,
    source="eq-vae-weight; single precision",
)

# %% [markdown]
# ## Turn the knob: β
#
# With $\beta$ as a knob {cite}`higgins2017`, name the two terms, averaged over data: the **distortion**
# $D = -\langle\log p(\mathbf x\mid\mathbf z)\rangle$, and the **rate** $R = \langle\operatorname{KL}(q\,\Vert\,p)\rangle$,
# the nats that the code spends on an image {cite}`alemi2018`. Training minimises $D + \beta R$, as thermodynamics minimises
# $E - TS$: the best $q$ at fixed decoder is a Boltzmann distribution, and $\beta$ its *temperature*,
#
# $$
# \begin{gathered}
# q(\mathbf z\mid\mathbf x) \propto p(\mathbf z)\,p(\mathbf x\mid\mathbf z)^{1/\beta}, \\
# \max_q\,\bigl[\langle\log p(\mathbf x\mid\mathbf z)\rangle_q - \beta\operatorname{KL}\bigr] = \beta\log\int p(\mathbf
# z)\,p(\mathbf x\mid\mathbf z)^{1/\beta}\,\mathrm d\mathbf z .
# \end{gathered}
# $$ (eq-vae-temperature)
#
# That is {eq}`eq-gibbs-bogoliubov` with the energy $-\log p(\mathbf x\mid\mathbf z)$, the prior as the density of states, so
# that $-\operatorname{KL}$ is the entropy, and $T = \beta$ (not $1/\beta$). For any encoder and decoder
#
# $$
# D + R = -\text{ELBO} \ge -\langle\log p(\mathbf x)\rangle ,
# $$ (eq-vae-rate-distortion)
#
# and on average over the true distribution of images the right-hand side is at least its entropy. So in the plane of $R$ and
# $D$ there is a forbidden region below a line of slope $-1$. The curve of the best models has the slope $-\beta$, so that it
# comes nearest to that edge at $\beta = 1$.
#
# ### The critical temperature
#
# When does the heat win? The **collapsed** model ignores $\mathbf z$: $q$ is the prior, $R = 0$, and the logits are
# constants $b_i$ with $\sigma(b_i) = p_i$, the pixels' frequencies. Let a small signal grow, $\mathbf y = \mathbf b +
# \mathbf g(\mathbf z)$, with mean zero under the prior. To second order in $\mathbf g$,
#
# $$
# \log\frac{p(\mathbf x\mid\mathbf z)}{p(\mathbf x\mid\text{collapsed})} = \mathbf g\cdot(\mathbf x - \mathbf p) -
# \tfrac12\,\mathbf g^{\mathsf T}\boldsymbol\Gamma\,\mathbf g , \qquad \boldsymbol\Gamma = \operatorname{diag}\,p_i(1-p_i) ,
# $$
#
# because $\varsigma' = \sigma$ and $\varsigma'' = \sigma(1-\sigma)$. Put it into {eq}`eq-vae-temperature`, that is,
# $\beta\log\langle e^{\dots/\beta}\rangle$ over the prior. Its expansion is the mean of the last term plus the variance of
# the first over $2\beta$: what the best $q$ gains over the collapsed model. Now average over the data, with $\langle(\mathbf
# x-\mathbf p)(\mathbf x-\mathbf p)^{\mathsf T}\rangle = \mathbf S$:
#
# $$
# \text{gain} = \tfrac12\Bigl\langle\mathbf g^{\mathsf T}\Bigl(\frac{\mathbf S}{\beta} - \boldsymbol\Gamma\Bigr)\mathbf
# g\Bigr\rangle_{p(\mathbf z)} , \qquad \beta_\text{c} = \lambda_{\max}\bigl(\boldsymbol\Gamma^{-1/2}\,\mathbf
# S\,\boldsymbol\Gamma^{-1/2}\bigr).
# $$ (eq-vae-critical)
#
# Look at that matrix. The variance of a coin *is* $p(1-p)$, so it has a diagonal of ones: it is the **correlation matrix**
# of the pixels (those that never change drop out). Above its largest eigenvalue no small signal pays, whatever the decoder,
# and with the best of all encoders. (A *large* signal could still pay: nothing excludes a transition of first order.) For
# Gaussian decoders $\boldsymbol\Gamma$ is $\mathbf I/\sigma^2$ and $\mathbf x-\mathbf p$ is divided by $\sigma^2$, so the
# condition for growth is $\lambda_k > \beta\sigma^2$, with $\lambda_k$ of the *covariance* $\mathbf S$: the collapse of
# {eq}`eq-collapse` again.
#
# The check needs no training. Put $\mathbf g = \epsilon\,h(z)\,\boldsymbol\Gamma^{-1/2}\mathbf u$ with the leading
# eigenvector $\mathbf u$, for which {eq}`eq-vae-critical` predicts $\frac12\epsilon^2\langle h^2\rangle(\beta_\text{c}/\beta - 1)$, and
# compute {eq}`eq-vae-temperature` by quadrature, for a linear and a strongly curved $h$.

# %%
p = x_train.mean(axis=0)
varies = (p > 0) & (p < 1)
p, x_varies = p[varies], x_train[:, varies]
eigenvalues, vectors = np.linalg.eigh(np.corrcoef(x_varies.T))
critical, u = eigenvalues[-1], vectors[:, -1]
betas = critical * np.array([0.5, 1.0, 2.0])
line = np.linspace(-8, 8, 201)
log_p_line = gaussian_log_density(line[:, None]) + np.log(line[1] - line[0])
logits, epsilon = np.log(p / (1 - p)), 1e-2
w = epsilon * u / np.sqrt(p * (1 - p))
for name, h in (("z", line), ("tanh 3z", np.tanh(3 * line))):
    cost = np.logaddexp(0, logits + h[:, None] * w)
    cost = (cost - np.logaddexp(0, logits)).sum(axis=1)
    signal = (x_varies @ w)[:, None] * h - cost
    gains = [
        b * logsumexp(signal / b + log_p_line, axis=1).mean() for b in betas
    ]
    verify(
        f"gain of a small signal {name} at ½, 1 and 2 critical β, over ε²",
        np.array(gains) / epsilon**2,
        equals=np.exp(log_p_line) @ h**2 * (critical / betas - 1) / 2,
        atol=5e-3,
        source="eq-vae-critical; the next order is smaller by ε",
    )

# %% [markdown]
# And far from the collapsed state? We can do what no training does: climb {eq}`eq-vae-temperature` itself, on a grid in one
# dimension, with the best of all encoders in it and with a decoder that is a free table of log-odds. No noise, no network.
# Unless told otherwise the climb begins with a small signal on top of the collapsed state.


# %%
def without_encoder(beta, start=None):
    """Rate of the best q, gain over the collapsed state, and the table."""
    line = torch.linspace(-4, 4, 33, dtype=torch.float64)
    log_prior = torch.log_softmax(-(line**2) / 2, 0)
    images, collapsed = torch.as_tensor(x_varies), torch.as_tensor(logits)
    small = np.random.default_rng(seed).normal(0, 0.01, (33, len(p)))
    table = collapsed + torch.as_tensor(small) if start is None else start
    table = table.clone().requires_grad_()
    options = {"max_iter": 300, "line_search_fn": "strong_wolfe"}
    optimiser = torch.optim.LBFGS([table], **options)

    def log_joint(y):
        log_p = images @ y.T - torch.nn.functional.softplus(y).sum(-1)
        return log_prior + log_p / beta

    def objective(y):
        return beta * torch.logsumexp(log_joint(y), 1).mean()

    def loss():
        optimiser.zero_grad()
        value = -objective(table)
        value.backward()
        return value

    optimiser.step(loss)
    table = table.detach()
    log_q = torch.log_softmax(log_joint(table), 1)
    rate = (log_q.exp() * (log_q - log_prior)).sum(1).mean()
    gain = objective(table) - objective(collapsed.expand_as(table))
    return float(rate), float(gain), table


# %% [markdown]
# Six temperatures around the critical one. And one more above it, where the climb begins at the answer for
# $0.9\,\beta_\text{c}$:

# %%
near = np.array([0.7, 0.8, 0.9, 0.95, 1.05, 1.2])
if on_digits:
    climbs = [without_encoder(b * critical) for b in near]
    free_rate = np.array([rate for rate, _, _ in climbs])
    table = climbs[2][2]  # at 0.9
    survived = without_encoder(1.02 * critical, table)[:2]
    verify(
        "rate above the critical β, from a small signal (nats)",
        free_rate[near > 1],
        equals=0,
        atol=1e-4,
        source="eq-vae-critical",
    )
    verify(
        "rate below it (nats)",
        free_rate[near < 1],
        at_least=0.05,
        source="eq-vae-critical: at 0.95 a small signal pays",
    )
    verify(
        "a large signal at 1.02 critical β: rate, gain over none (nats)",
        survived,
        at_least=[0.01, 1e-4],
        source="one state of more gain is enough; margins empirical",
    )

# %% [markdown]
# From a small signal the transition is where we calculated it. But that is a statement about the stability of the collapsed
# state, not about the best of all tables. The answer for $0.9\,\beta_\text{c}$ survives when it is carried above
# $\beta_\text{c}$, and pays there, if only by thousandths of a nat; other tables pay farther up. Like water below its freezing
# point, the collapsed state is metastable, and the transition of the best table is weakly of first order. One very unlikely
# image $\mathbf x$ is reason enough. Give it the share $1/N$ of the prior, and let the table show this image there and nothing
# else. That pays as long as $-\log p(\mathbf x\mid\text{collapsed}) > \beta(\log N + 1)$, for the least likely of our images up
# to $1.2\,\beta_\text{c}$. (The image gains $-\log p - \beta\log N$, and the others lose
# $\beta$ together.) Training meets an encoder, noise and a finite time as well, and begins with a small signal.
#
# On the digits $\beta_\text{c} \approx 4.7$. **Predict** for the scan below: where does the rate vanish? Which $\beta$ has
# the best exact $\log p$? What is the value of $D + R$ after the collapse? And what if we forget the KL altogether, $\beta =
# 0$?

# %%
scan = [0, 0.1, 0.3, 1, *(critical * np.array([0.4, 0.6, 0.8, 0.9, 1.1]))]
rows, widths, grid_errors, train_rates = [], [], [], []
for beta in progress(scan, "β"):
    one = model if beta == 1 else fit(x_train, beta)
    with torch.no_grad():
        m, log_v = map(array, one.encode(x_test))
    rate = gaussian_kl(m, np.exp(log_v)).mean()
    widths.append(np.exp(log_v.mean() / 2))
    value, error = evidence(one, x_test)
    grid_errors.append(error.mean())
    total = -elbo(one, x_test).mean()
    train_total = -elbo(one, x_seen).mean()
    with torch.no_grad():
        m_train, log_v = map(array, one.encode(x_seen))
    train_rates.append(gaussian_kl(m_train, np.exp(log_v)).mean())
    # Variance of the means, per latent variable: who is active?
    active = int((m.var(axis=0) > 0.01).sum())
    rows.append([beta, total - rate, rate, value.mean(), train_total, active])
header = ["β", "D", "R", "log p(x)", "D + R, train", "active"]
show_table(header, [[f"‹{r[0]:.2f}›", *r[1:]] for r in rows])
scan, D, R, log_p, train_total, active = np.array(rows).T
train_R = np.array(train_rates)

# %% [markdown]
# What it looks like:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels. Left: rate against beta over its critical value; it falls from more than six nats to zero at 1.1; crosses, the rate without an encoder, fall to zero between 0.95 and 1.05, around a dotted line at one. Middle: distortion against rate; points fall steeply from the collapsed model at rate zero, come closest to a grey forbidden region below a line of slope minus one, and then turn away from it. Right: exact log-likelihood and evidence lower bound against beta; they are less than a nat apart from beta one on and run apart below it, where the bound falls out of the figure."}, "figure": {"caption": "Scan of β, held-out images. Left: rate; crosses: best encoder and free decoder, one latent, from a small signal; dotted: predicted critical point. Middle: rate and distortion; grey: no model whose likelihood is at most that of the best of these can lie there. Right: exact likelihood and ELBO; dashed: independent pixels.", "name": "fig-vae-beta"}}
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.6))
axes[0].plot(scan[1:] / critical, R[1:], "o-", ms=4)
if on_digits:
    axes[0].plot(near, free_rate, "x", ms=5)
axes[0].axvline(1, color="0.4", ls=":")
axes[0].set(xlabel=r"$\beta/\beta_c$", ylabel="rate $R$ (nats)")
reach = np.linspace(0, 1.1 * R[1], 10)
axes[1].fill_between(reach, -log_p.max() - reach, color="0.85", lw=0)
axes[1].plot(R[1:], D[1:], "o-", ms=4)
axes[1].set(xlabel="rate $R$ (nats)", ylabel="distortion $D$ (nats)")
axes[1].set_ylim(0.8 * D.min(), 1.05 * D.max())
axes[2].plot(scan / critical, log_p, "o-", ms=4, label=r"$\log p$")
axes[2].plot(scan / critical, -D - R, "s:", ms=4, label="ELBO")
axes[2].axhline(pixels.mean(), color="0.4", ls="--", lw=1)
low, high = pixels.mean(), log_p.max()
axes[2].set_ylim(low - 0.2 * (high - low), high + 0.1 * (high - low))
axes[2].set(xlabel=r"$\beta/\beta_c$", ylabel="nats per image")
axes[2].legend()
plt.show()

# %% [markdown]
# Above $\beta_\text{c}$ the rate is zero, as predicted, with nothing fitted; at $0.8\,\beta_\text{c}$ a signal pays. In
# between training is no sharp instrument. The gain is quadratic in a small signal, and at $0.9\,\beta_\text{c}$ Adam has
# hardly left the collapsed state, not even after four times as many epochs, where the crosses say that it should. After the
# collapse no signal is left, and the decoder's best constant is the frequency of each pixel, so that $D + R$ on the training
# images is the entropy of independent pixels: exactly, but for what Adam has not finished. (We allow 0.05 nats; over six
# seeds it was 0.01 at most.) At $0.8\,\beta_\text{c}$ one latent variable is active. The second eigenvalue of the
# correlation matrix, 4.2 on the digits, tells where the second one would leave a collapsed state, but by then the first has
# already changed the state.

# %%
constant = np.log1p(-p).sum()
baseline = -(x_seen[:, varies] @ logits).mean() - constant
verify(
    "rate above the critical β (nats)",
    R[-1],
    at_most=0.01,
    source="largest eigenvalue of the pixels' correlation matrix",
)
if on_digits:
    verify(
        "rate at 0.8 of the critical β (nats)",
        R[-3],
        at_least=0.03,
        source="a small signal pays there, eq-vae-critical",
    )
verify(
    "D + R of training images after the collapse (nats)",
    train_total[-1],
    equals=baseline,
    atol=0.05 if on_digits else 0.5,
    source="entropy of independent pixels; margin for Adam",
)

# %% [markdown]
# The likelihoods are sums over the grid, and the bounds are below them:

# %%
if on_digits:
    verify(
        "change of log p(x) on a quarter of the grid points, each β (nats)",
        grid_errors,
        at_most=0.05,
        source="every second along each axis; mean over held-out images",
    )
verify(
    "D + R is above -log p(x) at each β, mean over held-out images",
    D + R + log_p,
    at_least=0,
    source="eq-vae-rate-distortion",
)

# %% [markdown]
# On the training images $D + R$ is smallest near $\beta = 1$, where it is the objective. (The distortion of held-out images is
# larger again below $\beta = 0.3$; that of training images, not shown, is not: overfitting.) The exact likelihood of held-out
# images is more tolerant: at $\beta = 0.3$ the code spends more than a nat and a half more, the bound is looser, and the model
# is as good, or better by a few tenths of a nat. (The bound also punishes decoders whose posterior no $q$ can match; the
# likelihood does not.) Towards the critical point the likelihood falls by nats. Between 0.1 and 1 it changes by a few tenths of
# a nat, and the best of the scan was 0.3 for each of ten seeds: the best $\beta$ for the likelihood is not that of the bound,
# but below it. (The check of $\beta = 0.3$ allows three tenths less as well.)

# %%
if on_digits:
    verify(
        "D + R of training images is larger at 0.1 and from 0.4 critical β on",
        np.delete(train_total, [0, 2, 3]) - train_total[3],
        at_least=0.1,
        source="it is the objective at β = 1; margin empirical",
    )
    verify(
        "exact log p at β = 0.3 minus that at β = 1 (nats)",
        log_p[2] - log_p[3],
        at_least=-0.3,
        at_most=1.2,
        source="empirical: 0.33 ± 0.13 in ten seeds",
    )
    verify(
        "likelihood lost at 0.6 of the critical β (nats)",
        log_p[3] - log_p[5],
        at_least=1,
        source="empirical",
    )

# %% [markdown]
# ## Break it: forget the divergence
#
# The first row of the table is $\beta = 0$, an autoencoder that adds noise of a width it may choose. It chooses none: the
# widths of $q$ shrink from 0.2 to three or four thousandths, and the rate, for which it does not pay, grows to many times
# what $\beta = 1$ spends. Judge it by what most plots of training show, the reconstruction, and it beats $\beta = 1$ (in ten
# seeds also on images that it has never seen). Judge it by their probability, and it has lost much of what hidden causes are
# good for (from two fifths to nearly all of it, in ten seeds). And the bound puts it far below independent pixels. A draw
# from the prior falls between the places that its decoder knows.

# %%
if on_digits:
    verify(
        "without the divergence, q is narrow: typical width",
        widths[0],
        at_most=0.01,
        source="empirical: 0.004 or less in ten seeds",
    )
    verify(
        "β = 0 reconstructs training digits better than β = 1, by (nats)",
        (train_total - train_R)[3] - (train_total - train_R)[0],
        at_least=0,
        source="it is trained for nothing else",
    )
    verify(
        "β = 0 is a worse model than β = 1, by exact log p (nats)",
        log_p[3] - log_p[0],
        at_least=0,
        source="empirical: 2.4 or more in ten seeds",
    )
    verify(
        "the bound of β = 0 is below the likelihood of independent pixels",
        pixels.mean() + D[0] + R[0],
        at_least=0,
        source="empirical: 10 nats or more",
    )

# %% [markdown]
# This is the failure of {lecture}`3.1`, now in nats. Reconstruction error is no likelihood: it counts $D$ and forgets $R$.
#
# ## Exercises
#
# ::::{exercise} A mean in the wrong place
# :label: ex-vae-mean
# Much code takes the *mean* over pixels of the binary cross-entropy, plus the KL. Which $\beta$ is that? Show without
# training that, for any data set of coins, a small signal never grows.
# ::::
#
# ::::{solution-start} ex-vae-mean
# :class: dropdown
# ::::
#
# The loss is $D/d + R$, so $\beta = d$: 64 for the digits, 784 for MNIST. A correlation matrix has a trace equal to the
# number of pixels that vary, at most $d$, and no negative eigenvalue, so $\beta_\text{c}\le d$, with equality only if all
# pixels are copies or negatives of one another. No small signal grows, for any data set. (In the case of equality the second
# order vanishes.) People then "repair" the model with a small weight for the KL.

# %% tags=["solution"]
mean_loss = fit(x_train, beta=d)
with torch.no_grad():
    m, log_v = map(array, mean_loss.encode(x_test))
verify(
    "rate of a model trained with mean cross-entropy plus KL (nats)",
    gaussian_kl(m, np.exp(log_v)).mean(),
    at_most=0.01,
    source="eq-vae-critical",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Units
# :label: ex-vae-units
# Fit probabilistic PCA to the grey images in $[0, 1]$, and again with pixels multiplied by 16. How do the two
# log-likelihoods differ, and what changes for the binarised images?
# ::::
#
# ::::{solution-start} ex-vae-units
# :class: dropdown
# ::::
#
# With $\mathbf x' = 16\,\mathbf x$, probability is conserved: $p'(\mathbf x')\,16^d = p(\mathbf x)$. Each pixel costs $\log
# 16$. A mass has no unit, so nothing changes there. Leads of one density over another do not change either.

# %% tags=["solution"]
small, large = (
    PCA(2).fit(c * grey_train).score(c * grey_test) for c in (1, 16)
)
verify(
    "change of the log-density when the unit changes (nats)",
    large - small,
    equals=-d * np.log(16),
    rtol=1e-6,
    source="change of variables",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} One noise for the whole batch
# :label: ex-vae-noise
# A programmer draws *one* $\boldsymbol\epsilon$ per batch of $B$ images. Is the loss still unbiased? What is its variance,
# over the noise, compared with independent draws? Compute both for 100 images by Gauss–Hermite sums, and by drawing.
# ::::
#
# ::::{solution-start} ex-vae-noise
# :class: dropdown
# ::::
#
# Each image still sees normal noise, so the mean is right. With $\ell_n(\boldsymbol\epsilon)$ the bound of image $n$,
# independent draws give the variance $\sum_n\operatorname{Var}(\ell_n)/B^2$, which falls as $1/B$; with shared ones it is
# the variance of $\bar\ell(\boldsymbol\epsilon) = \sum_n\ell_n/B$, in which covariances stay. A larger batch does not help.

# %% tags=["solution"]
batch, n_draws = x_test[:100], 2000


def square_of_mean(model, x, noise):
    mean = vae.evidence_lower_bound(model, x, noise).mean(-1, keepdim=True)
    return (mean**2).expand(-1, len(x))


def squares(model, x, noise):
    return vae.evidence_lower_bound(model, x, noise) ** 2


one = elbo(model, batch, 16)
own_noise = average_over_q(model, batch, squares, 16) - one**2
shared = average_over_q(model, batch, square_of_mean, 16)[0] - one.mean() ** 2
predicted = {100: own_noise.sum() / 100**2, 1: shared}

# %% [markdown]
# And 2000 batches of each kind:

# %% tags=["solution"]
rng = np.random.default_rng([seed, 7])
for n, name in ((100, "own noise"), (1, "shared noise")):
    draws = []
    for _ in range(n_draws // 100):
        noise = rng.standard_normal((100, n, 2))
        noise = np.repeat(noise, 100 // n, axis=1)
        with torch.no_grad():
            value = array(vae.evidence_lower_bound(model, batch, noise))
        draws.extend(value.mean(axis=1))
    centred = np.array(draws) - one.mean()
    fourth = (centred**4).mean()
    if on_digits:
        verify(
            f"{name}: variance of the bound of a batch of 100",
            (centred**2).mean(),
            equals=predicted[n],
            atol=5 * np.sqrt((fourth - (centred**2).mean() ** 2) / n_draws),
            source="Gauss-Hermite sum; five standard errors",
        )

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ## Summary
#
# A variational autoencoder is a likelihood with a network in it: log-odds for coins, means with a stated $\sigma$ for real
# numbers, and the two kinds of numbers never in one column. With two latent variables the likelihood of every image is a
# sum, which splits the loss of the bound into a wrong family and a lazy encoder, and ranks models that reconstruction ranks
# wrongly. $\sigma^2$ and $\beta$ are one temperature for the code, and above the largest eigenvalue of the pixels'
# correlation matrix no small signal grows. For more, read Kingma and Welling {cite}`kingma2014`, and Alemi and co-workers
# {cite}`alemi2018` on rate and distortion.
#
# **Next:** in {lecture}`3.4` the same model gets convolutions, in another framework.
