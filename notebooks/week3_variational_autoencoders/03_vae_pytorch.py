# ---
# jupyter:
#   advml:
#     full: {dataset: mnist, n_train: 60000, n_test: 10000, n_hidden: [200, 200], epochs: 100, n_wide: 50, n_points: 161, n_exact: 50}
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train a variational autoencoder, and compute its likelihood exactly
#
# How probable is this picture? An energy-based model can only say which of two pictures is more probable: its $\log Z$ is out of
# reach. A variational autoencoder is normalised by construction, but the sum over its hidden causes is out of reach. That is a
# smaller trouble. With *two* hidden numbers the sum is an integral over a plane, and a plane can be covered with a grid. So this
# lecture builds the model that everybody builds first, with a latent space that one can look at, and then asks what hardly anybody
# asks: how good is it, in nats, and how wrong was the bound that we trained with?
#
# :::{admonition} Plan
# :class: tip
# **You will** train an encoder and a decoder on handwritten digits, walk through their latent plane, compute the exact likelihood of
# held-out images, measure the gap of every bound and find out who is to blame for it, compare with the models of the last
# lectures, derive what the noise and the factor $\beta$ have to do with each other, and drive the model through the phase
# transition at which it stops to use its latent variables.
# **You need** {lecture}`3.2`: the bound, its gradient, importance weights, and the linear autoencoder.
# **Time** an hour to read; three quarters of a minute of CPU.
# :::

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.special import logit, logsumexp, ndtri
from sklearn.decomposition import PCA

from advml import datasets
from advml.checks import verify
from advml.display import show_source, show_table
from advml.likelihood import (
    exact_importance_weighted_bound,
    gaussian_log_density,
    importance_weighted_bound,
    latent_grid,
)
from advml.metrics import gaussian_kl
from advml.plotting import image_grid
from advml.pytorch import vae as module
from advml.pytorch.vae import DenseVAE, evidence_lower_bound, log_weights

plt.style.use("advml.course")
torch.set_num_threads(1)  # the networks here are too small to share out

# %% tags=["parameters"]
seed = 0
dataset = "digits"
n_train = 1442  # images to train on
n_test = 355  # held-out images
n_hidden = [100, 50]  # widths of the encoder; the decoder has them reversed
epochs = 150
n_wide = 10  # latent variables of a wider model
n_points = 241  # of the grid, along each axis of the plane
n_exact = 100  # held-out images whose bounds are computed exactly

# %% [markdown]
# ## Pixels as coins
#
# Each pixel is 1 where its grey value exceeds one half, as in {lecture}`1.3`. State such a choice: likelihoods of pictures that were made
# binary in different ways cannot be compared. The held-out images serve for judging only.

# %%
data = getattr(datasets, dataset)()
grey, grey_test = (
    images.reshape(len(images), -1).astype(float)
    for images in (data.train[:n_train], data.test[:n_test])
)
labels = data.test_labels[:n_test]
side, d = data.train.shape[-1], grey.shape[1]
x, x_test = datasets.binarise(grey), datasets.binarise(grey_test)

# %% [markdown]
# The model: hidden causes $\mathbf z\sim\mathcal N(\mathbf 0,\mathbf I)$, and given them $d$ independent coins. A network, the **decoder**,
# computes their log-odds $\boldsymbol\ell(\mathbf z)$. With $s(\ell) = 1/(1+e^{-\ell})$ the probability of a one,
#
# $$
# \log p(\mathbf x\mid\mathbf z) = \sum_i\bigl[x_i\log s(\ell_i) + (1-x_i)\log(1-s(\ell_i))\bigr]
# = \sum_i\bigl[x_i\ell_i - \log(1+e^{\ell_i})\bigr].
# $$ (eq-vae-bernoulli)
#
# The second form is the one to compute: $1 - s$ is zero in floating point from $\ell\approx 37$ on (in single precision from 17), and its
# logarithm $-\infty$, while $\log(1+e^\ell)$ is nearly $\ell$. Coins that are independent *given* $\mathbf z$ are not independent: the shared
# cause correlates them, as a fluctuating field correlates free spins.
#
# A second network, the **encoder**, computes means and log variances of $q(\mathbf z\mid\mathbf x) = \mathcal N(\boldsymbol\mu(\mathbf x),
# \operatorname{diag}\boldsymbol\sigma^2(\mathbf x))$. One network answers for all images: this is called *amortised* inference. The
# objective is {eq}`eq-elbo` of the last lecture, with one draw $\mathbf z = \boldsymbol\mu + \boldsymbol\sigma\boldsymbol\varepsilon$ per image:

# %%
show_source(
    evidence_lower_bound,
    module._two_terms,
    module._reparameterised,
    module._log_likelihood,
)

# %% [markdown]
# The divergence from the prior is exact, {eq}`eq-gaussian-kl`; only the first term is sampled. Both networks are stacks of dense layers
# with tanh between them:

# %%
show_source(module.dense, module.DenseVAE._encode, module.DenseVAE._decode)

# %% [markdown]
# We train by Adam, with a rate that falls to nearly zero, and record the bound on both parts of the data.

# %%
rng = np.random.default_rng([seed, 0])
schedule = {"learning_rate": 3e-3, "final_learning_rate": 1e-4}
schedule |= {"batch_size": 128, "epochs": epochs, "seed": seed}


def mean_bound(vae, images, n_draws=10):
    """ELBO of a set of images, in nats per image."""
    noise = rng.standard_normal((n_draws, len(images), vae.n_latent))
    with torch.no_grad():
        return float(evidence_lower_bound(vae, images, noise).mean())


history = []
vae = DenseVAE(d, 2, n_hidden, seed=[seed, 1], device="cpu")
memory = module.train(
    vae,
    x,
    callback=lambda epoch, vae, bound: history.append(
        (epoch, mean_bound(vae, x[:n_test]), mean_bound(vae, x_test))
    ),
    **schedule,
)

# %% [markdown]
# The number to beat: coins that are independent altogether, with the training images' frequencies (one count added to either side, so that
# no pixel is certain).

# %%
ones = (x.sum(0) + 1) / (len(x) + 2)
pixels = x_test @ np.log(ones) + (1 - x_test) @ np.log1p(-ones)

# %% [markdown]
# Here is the training, on either part of the data.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two curves of the bound rise steeply within twenty epochs, far above the dashed line of independent pixels at minus 24 nats, and then slowly to about minus 19 nats; the curve of the training images ends a little higher."}, "figure": {"caption": "Evidence lower bound during training, for as many training images as held-out ones.", "name": "fig-vae-training"}}
epoch, on_train, on_test = np.array(history).T
fig, ax = plt.subplots(figsize=(5.6, 3))
ax.plot(epoch, on_train, label="training images")
ax.plot(epoch, on_test, label="held-out images")
ax.axhline(pixels.mean(), color="0.3", ls="--", label="independent pixels")
ax.set(xlabel="epoch", ylabel="ELBO (nats per image)")
ax.legend()
plt.show()

# %% [markdown]
# ## Walk through the latent plane
#
# Two pictures tell what has been learned. Left: where the encoder puts held-out images. It was never told a label. Right: what the
# decoder makes of a lattice of points. They lie at equal steps of *probability* of the prior, so that each picture stands for the same share of
# what the model generates.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: the latent plane with one printed digit for each held-out image at its mean; equal digits form clusters that fill a disc of radius two or three. Right: an eleven by eleven lattice of decoded pictures that change smoothly from one digit into the next."}, "figure": {"caption": "Left: means of q for held-out images, drawn as their label. Right: probabilities of ones for latent points at normal quantiles, oriented as on the left.", "name": "fig-vae-plane"}}
with torch.no_grad():
    means = vae.encode(x_test)[0].numpy()
    quantiles = ndtri((np.arange(11) + 0.5) / 11)
    lattice = np.stack(np.meshgrid(quantiles, quantiles[::-1]), -1)
    manifold = vae.expectation(lattice.reshape(-1, 2)).numpy()
fig, axes = plt.subplots(1, 2, figsize=(7, 3.5))
for digit in range(10):
    color = plt.cm.tab10(digit)
    marker = {"marker": f"${digit}$", "s": 20, "lw": 0.2, "color": color}
    axes[0].scatter(*means[labels == digit].T, **marker)
axes[0].set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
image_grid(manifold.reshape(-1, side, side), 11, ax=axes[1])
plt.show()

# %% [markdown]
# Neighbouring points make similar pictures, and across a border between two clusters the pictures are neither. There is no
# gap: the prior has mass everywhere, and the bound pays for each image that lies far from the origin or too precisely.
#
# Now samples. **Predict**: draw $\mathbf z$ from the prior and decode. Do you get a sample of the model?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three blocks of twenty pictures. Left: smooth grey digits. Middle: the same pictures with black and white pixels, ragged at their edges. Right: held-out binary digits with clean edges."}, "figure": {"caption": "Means of p(x|z) for draws from the prior; tosses of those coins, which are the samples; and held-out data.", "name": "fig-vae-samples"}}
with torch.no_grad():
    z = rng.standard_normal((20, 2))
    mean = vae.expectation(z).numpy()
tossed = datasets.binarise(mean.astype(float), seed=rng)
fig, axes = plt.subplots(1, 3, figsize=(7, 2.4))
for ax, images, title in zip(
    axes,
    (mean, tossed, x_test[:20]),
    ("means", "samples", "data"),
    strict=True,
):
    image_grid(images.reshape(-1, side, side), 5, ax=ax, title=title)
plt.show()

# %% [markdown]
# No: the left block, the one that papers print, shows *means*. A sample needs the coins, and they are tossed independently: its edges are
# ragged in a way that no digit of the data is. What two numbers cannot say about a picture, this model must call noise.
#
# ## The exact likelihood
#
# The integral over the plane, for all images with one grid: $\log p(\mathbf x) = \log\sum_g p(\mathbf x\mid\mathbf z_g)\,p(\mathbf z_g)\,\Delta$.
# By {eq}`eq-vae-bernoulli` all images and all points together are one matrix product.


# %%
def on_grid(vae, images, n_points, width=6.0):
    """log p(x, z)Δ for all images (n, d) and all grid points (m, 2)."""
    z, log_volume = latent_grid(
        np.zeros((1, 2)), np.ones((1, 2)), width=width, n_points=n_points
    )
    with torch.no_grad():
        logits = vae.decode(z[0]).double().numpy()
    log_joint = images @ logits.T - np.logaddexp(0, logits).sum(1)
    return log_joint + gaussian_log_density(z[0]) + log_volume, z[0]


def exact_log_prob(vae, images, n_points=n_points, width=6.0):
    """log p(x) of each image, in nats (eq-evidence)."""
    return logsumexp(on_grid(vae, images, n_points, width)[0], axis=1)


# %% [markdown]
# Is the grid fine and wide enough? A sum over a regular grid converges faster than any power of its step once the step is smaller than the
# narrowest feature, so a grid of half the points is a severe test; and beyond $|z| = 6$ the prior has a mass of $10^{-8}$.

# %%
exact = exact_log_prob(vae, x_test)
others = [
    exact_log_prob(vae, x_test, n_points // 2 + 1),
    exact_log_prob(vae, x_test, n_points, width=5),
]
verify(
    "a grid of half the step, or of another width, changes no image",
    others,
    equals=np.broadcast_to(exact, (2, len(exact))),
    atol=0.05,
    source="regular grids converge faster than any power of the step",
)
verify(
    "and it does not change the mean",
    np.mean(others, axis=1),
    equals=exact.mean(),
    atol=1e-3,
    source="regular grids converge faster than any power of the step",
)

# %% [markdown]
# One more test, of the whole model: do the probabilities of *all* pictures sum to one? There are $2^{64}$ of them. Of four pixels there are only
# sixteen patterns, and the other pixels are summed over by leaving their coins out. We also count the patterns among samples.

# %%
four = np.argsort(np.abs(ones - 0.5))[:4]  # those least certain
patterns = np.array(list(np.ndindex(*[2] * 4)), dtype=float)
z, log_volume = latent_grid(
    np.zeros((1, 2)), np.ones((1, 2)), n_points=n_points
)
with torch.no_grad():
    logits = vae.decode(z[0]).double().numpy()[:, four]
log_p = patterns @ logits.T - np.logaddexp(0, logits).sum(1)
log_p += gaussian_log_density(z[0]) + log_volume
p_four = np.exp(logsumexp(log_p, axis=1))
n_draws = 20_000
drawn = vae.sample(n_draws, seed=rng).numpy()[:, four]
count = np.bincount(
    (drawn @ 2.0 ** np.arange(3, -1, -1)).astype(int), minlength=16
)
verify(
    "the 16 patterns of four pixels have total probability one",
    p_four.sum(),
    equals=1,
    atol=1e-6,
    source="normalisation",
)
verify(
    "their frequencies among samples of the model",
    count / n_draws,
    equals=p_four,
    atol=5.5 * np.sqrt(p_four * (1 - p_four) / n_draws) + 1 / n_draws,
    source="5.5 standard errors of a frequency, and one count",
)

# %% [markdown]
# ## How wrong is the bound?
#
# For the first held-out images we compute the bounds exactly, too: a grid around each encoder mean, six of its standard deviations
# wide, gives the weights $w = p(\mathbf x, \mathbf z)/q(\mathbf z\mid\mathbf x)$ and their probabilities, and {eq}`eq-iwae-exact` the rest.
# **Predict** the gap of the ELBO in nats, and by how much 5 and 50 draws reduce it.

# %%
few = x_test[:n_exact]
with torch.no_grad():
    mean, log_variance = (a.double().numpy() for a in vae.encode(few))
    scale = np.exp(log_variance / 2)
    z, log_volume = latent_grid(mean, scale, n_points=41)
    log_p = vae.log_likelihood(few[:, None], z).double().numpy()
log_joint = log_p + gaussian_log_density(z)
log_q = gaussian_log_density(z, mean[:, None], scale[:, None] ** 2)
q = np.exp(log_q + log_volume[:, None])
bounds = {
    k: exact_importance_weighted_bound(log_joint - log_q, q, k)
    for k in (1, 5, 50)
}
verify(
    "ELBO ≤ IWAE₅ ≤ IWAE₅₀ ≤ log p(x) for each image",
    np.diff([*bounds.values(), exact[:n_exact]], axis=0),
    at_least=-1e-3,
    source="Burda, Grosse and Salakhutdinov (2016); 0.001 for the grids",
)

# %% [markdown]
# The gap of the ELBO should be $\operatorname{KL}(q\,\Vert\,p(\mathbf z\mid\mathbf x))$, image by image. For an independent check we take the ELBO from
# sampled noise, as in training, and the divergence from the grids: $\langle\log q - \log p(\mathbf z\mid\mathbf x)\rangle_q$.

# %%
divergence = (q * (log_q - (log_joint - exact[:n_exact, None]))).sum(1)
noise = rng.standard_normal((4000, n_exact, 2))
with torch.no_grad():
    sampled = evidence_lower_bound(vae, few, noise).double().numpy()
error = sampled.std(0, ddof=1) / np.sqrt(len(sampled))
verify(
    "gap of the ELBO of each image = KL(q‖posterior)",
    exact[:n_exact] - sampled.mean(0),
    equals=divergence,
    atol=6 * error + 1e-3,
    source="eq-elbo-identity; six standard errors of the sampled ELBO",
)
verify(
    "mean gap = mean KL(q‖posterior), to a hundredth of a nat",
    (exact[:n_exact] - sampled.mean(0)).mean(),
    equals=divergence.mean(),
    atol=1e-2,
    source="eq-elbo-identity",
)
show_table(
    ["bound", "mean (nats)", "gap (nats)"],
    [
        ["ELBO", bounds[1].mean(), (exact[:n_exact] - bounds[1]).mean()],
        ["IWAE₅", bounds[5].mean(), (exact[:n_exact] - bounds[5]).mean()],
        ["IWAE₅₀", bounds[50].mean(), (exact[:n_exact] - bounds[50]).mean()],
        ["log p", exact[:n_exact].mean(), "0"],
    ],
)

# %% [markdown]
# Half a nat or more is lost, on average; fifty draws get most of it back. Who is to blame? There are two suspects {cite}`cremer2018`. A Gaussian with
# independent components may be unable to resemble the posterior (*approximation gap*). Or the encoder, one network for all images, does not
# find the best Gaussian (*amortisation gap*). Let us find the best one for each image by itself: Adam on its two means and two log
# variances, from the encoder's answer on, with fixed noise.


# %%
def best_gaussians(vae, images, mean, log_variance, n_steps=150):
    """Maximise the ELBO of each image in its own mean and log variance."""
    free = [
        torch.tensor(a, dtype=torch.float32, requires_grad=True)
        for a in (mean, log_variance)
    ]
    half = rng.standard_normal((16, *mean.shape))
    noise = torch.as_tensor(np.concatenate([half, -half])).float()
    images = torch.as_tensor(images).float()
    adam = torch.optim.Adam(free, lr=0.03)
    for _ in range(n_steps):
        z = free[0] + torch.exp(free[1] / 2) * noise
        kl = (free[0] ** 2 + free[1].exp() - 1 - free[1]).sum() / 2
        fit = vae.log_likelihood(images, z).mean(0).sum()
        adam.zero_grad()
        (kl - fit).backward()
        adam.step()
    return [a.detach().double().numpy() for a in free]


own_mean, own_log_variance = best_gaussians(vae, few, mean, log_variance)
with torch.no_grad():
    z = own_mean + np.exp(own_log_variance / 2) * noise[:1000]
    log_p = vae.log_likelihood(few, z).double().numpy()
own = log_p - gaussian_kl(own_mean, np.exp(own_log_variance))

# %% [markdown]
# The noise for judging is not that of the optimisation, so the new bound is an honest bound: it may not exceed $\log p$.

# %%
gain = own.mean(0) - sampled[:1000].mean(0)
gap = exact[:n_exact] - own.mean(0)
error = own.std(0, ddof=1) / np.sqrt(len(own))
verify(
    "no Gaussian of its own lifts an image's bound above log p",
    gap + 6 * error,
    at_least=0,
    source="evidence lower bound; six standard errors",
)
verify(
    "on average the image's own Gaussian is better than the encoder's",
    gain.mean(),
    at_least=0,
    source="the encoder's is where the search began",
)
show_table(
    ["part of the gap", "mean (nats)"],
    [
        ["amortisation: best Gaussian − encoder's", gain.mean()],
        ["approximation: log p − best Gaussian", gap.mean()],
    ],
)

# %% [markdown]
# The pictures show the four images with the largest gaps.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four panels with contours of a true posterior, filled, and two ellipses. Some posteriors are curved or have two separate peaks; the solid ellipse of the encoder sits beside or covers one of them, the dashed one of the best Gaussian fits better."}, "figure": {"caption": "Exact posteriors (filled) of the four images with the largest gaps, the encoder's Gaussian (solid ellipse, two standard deviations) and the best Gaussian for that image alone (dashed). Insets: the images.", "name": "fig-vae-posterior"}}
worst = np.argsort(divergence)[-4:][::-1]
log_p, grid = on_grid(vae, few[worst], n_points)
axis, turn = grid[::n_points, 0], np.linspace(0, 2 * np.pi, 100)
fig, axes = plt.subplots(1, 4, figsize=(7, 2.1))
for ax, k, density in zip(axes, worst, log_p, strict=True):
    density = np.exp(density - density.max()).reshape(n_points, -1).T
    ax.contourf(axis, axis, density, [0.01, 0.1, 0.3, 0.6, 1], cmap="Blues")
    spread = 0.05
    for m, s, style in (
        (mean[k], scale[k], "k-"),
        (own_mean[k], np.exp(own_log_variance[k] / 2), "C1--"),
    ):
        circle = np.stack([np.cos(turn), np.sin(turn)])
        ax.plot(*(m[:, None] + 2 * s[:, None] * circle), style, lw=1)
        spread = max(spread, *(3 * s))
    inside = np.argwhere(density > 0.01)
    low = np.minimum(axis[inside.min(0)[::-1]], mean[k] - spread)
    high = np.maximum(axis[inside.max(0)[::-1]], mean[k] + spread)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="$z_1$")
    inset = ax.inset_axes([0.68, 0.68, 0.3, 0.3])
    image_grid(few[k].reshape(1, side, side), 1, ax=inset)
axes[0].set_ylabel("$z_2$")
plt.show()

# %% [markdown]
# The larger part is the encoder's: a network for all images, trained on some hundred, is a poor approximation of many small optimisations. The
# figure shows the worst cases. A picture between two digits has a posterior with two peaks, and $\operatorname{KL}(q\,\Vert\,p)$ makes $q$ choose
# one of them, as in {lecture}`3.2`. But the ELBO is also what the *decoder* was trained on: it has learned to make posteriors that its encoder can
# describe. A bound that is not tight does not only report a wrong number; it changes the model.
#
# ## In one table
#
# Now the likelihood of held-out pictures, exact where it can be. We add a model with more latent variables, for which only a lower
# bound is left: 500 importance weights.

# %%
wide = DenseVAE(d, n_wide, n_hidden, seed=[seed, 2], device="cpu")
module.train(wide, x, **schedule)
with torch.no_grad():
    noise = rng.standard_normal((1000, len(x_test), n_wide))
    log_w = torch.cat(
        [
            log_weights(wide, x_test, part)
            for part in noise.reshape(20, 50, len(x_test), -1)
        ]
    )
    mean, log_variance = wide.encode(x_test)
wide_bound, _ = importance_weighted_bound(log_w.double().numpy().T, 500)
divergences = (mean**2 + log_variance.exp() - 1 - log_variance).mean(0) / 2
active = int((divergences > 0.01).sum())


# %% [markdown]
# Differences are taken image by image: pictures with much ink are improbable under every model, and that cancels.


# %%
def paired(one, other):
    """Mean difference and its standard error over images."""
    difference = one - other
    return difference.mean(), difference.std(ddof=1) / np.sqrt(len(one))


coins = {
    "independent pixels": pixels,
    "autoencoder, 2 latents (exact)": exact,
    f"autoencoder, {n_wide} latents (bound)": wide_bound,
}
show_table(
    ["model of binary pictures", "log p (nats)", "above pixels", "± error"],
    [[k, v.mean(), *paired(v, pixels)] for k, v in coins.items()],
)
gain, error = paired(exact, pixels)
verify(
    "two latent variables beat independent pixels on held-out images",
    gain,
    at_least=5 * error,
    source="five standard errors, paired over images",
)
verify(
    "no latent variable: more than two are active in the wide model",
    active,
    at_least=3,
    source="divergence above 0.01 nats; fewer would not use its width",
)

# %% [markdown]
# ### Do not compare a density with a probability
#
# Where is principal component analysis in this table? It models grey values by a *density*. The probability of a binary picture is at most one,
# its logarithm at most zero. A density has units, one over grey level to the power 64: it is doubled by measuring one pixel in
# other units, and can be any number. The two belong in two tables. For the second one, a decoder for real data: $p(\mathbf x\mid\mathbf z) =
# \mathcal N(\mathbf f(\mathbf z), \sigma^2\mathbf I)$ with
#
# $$
# \log p(\mathbf x\mid\mathbf z) = -\frac{\lvert\mathbf x - \mathbf f(\mathbf z)\rvert^2}{2\sigma^2} - \frac d2\log 2\pi\sigma^2 .
# $$ (eq-vae-gaussian)
#
# The noise $\sigma$ is a parameter of the model, and the bound knows its best value: the derivative with respect to $\sigma^2$ vanishes where $d\,\sigma^2$ is the
# mean of $\lvert\mathbf x-\mathbf f\rvert^2$. We start from the noise of PCA and repeat three times: train, measure, insert.

# %%
pca = PCA(2, svd_solver="full").fit(grey)
sigma, seen = np.sqrt(pca.noise_variance_), []
for _ in range(3):
    real = DenseVAE(d, 2, n_hidden, scale=sigma, seed=[seed, 3], device="cpu")
    module.train(real, grey, **schedule | {"epochs": epochs // 2})
    with torch.no_grad():
        mean, log_variance = real.encode(grey)
        z = mean + torch.exp(log_variance / 2) * torch.randn(
            mean.shape, generator=torch.Generator().manual_seed(seed)
        )
        square = (real.expectation(z).numpy() - grey) ** 2
    seen.append(sigma)
    sigma = float(np.sqrt(square.mean()))

# %% [markdown]
# On the grid the squares are again a matrix product, $\lvert\mathbf x - \mathbf f\rvert^2 = \lvert\mathbf x\rvert^2 - 2\mathbf x\cdot\mathbf f +
# \lvert\mathbf f\rvert^2$.

# %%
z, log_volume = latent_grid(
    np.zeros((1, 2)), np.ones((1, 2)), n_points=n_points
)
with torch.no_grad():
    f = real.expectation(z[0]).double().numpy()
square = (grey_test**2).sum(1)[:, None] - 2 * grey_test @ f.T + (f**2).sum(1)
log_joint = -square / (2 * seen[-1] ** 2) + gaussian_log_density(z[0])
exact_real = logsumexp(log_joint, axis=1) + log_volume
exact_real -= d / 2 * np.log(2 * np.pi * seen[-1] ** 2)
# %% [markdown]
# The competitors: one Gaussian with a common variance, and probabilistic PCA in closed form.

# %%
flat = gaussian_log_density(grey_test, grey.mean(0), grey.var(0).mean())
densities = {
    "one Gaussian, equal variances": flat,
    "probabilistic PCA, 2 latents (exact)": pca.score_samples(grey_test),
    "autoencoder, 2 latents (exact)": exact_real,
}
show_table(
    ["model of grey pictures", "log density (nats)", "above PCA", "± error"],
    [
        [k, v.mean(), *paired(v, pca.score_samples(grey_test))]
        for k, v in densities.items()
    ],
)
gain, error = paired(exact_real, pca.score_samples(grey_test))
verify(
    "two curved coordinates beat two straight ones on held-out images",
    gain,
    at_least=5 * error,
    source="five standard errors, paired over images",
)
verify(
    "the noise has converged",
    seen[-1],
    equals=sigma,
    rtol=0.05,
    source="fixed point dσ² = ⟨|x − f|²⟩",
)

# %% [markdown]
# Two non-linear coordinates are worth about five linear ones here (the likelihood of PCA with five components is close, see
# {ref}`ex-vae-five`).
#
# ## There is a tuning parameter
#
# Slides say that a variational autoencoder has no tuning parameter. Look at {eq}`eq-vae-gaussian`. Multiply the objective with weight $\beta$ by
# $\sigma^2$:
#
# $$
# \sigma^2\,\mathcal L_{\sigma,\beta} = -\tfrac12\bigl\langle\lvert\mathbf x - \mathbf f(\mathbf z)\rvert^2\bigr\rangle
# - \beta\sigma^2\,\operatorname{KL}\bigl(q\,\Vert\,p(\mathbf z)\bigr) + \text{const}.
# $$ (eq-vae-weight)
#
# Only the product $\beta\sigma^2$ counts for encoder and decoder: the noise *is* the weight of the divergence. Check it on the gradients.

# %%
slopes = []
for scale_, beta in ((0.2, 1.0), (0.1, 4.0), (0.4, 0.25)):
    probe = DenseVAE(
        d,
        2,
        n_hidden,
        scale=scale_,
        seed=[seed, 4],
        dtype=torch.float64,
        device="cpu",
    )
    noise = np.random.default_rng([seed, 5]).standard_normal((64, 2))
    bound = evidence_lower_bound(probe, grey[:64], noise, beta).mean()
    slope = torch.autograd.grad(bound, list(probe.parameters()))
    slopes.append(scale_**2 * torch.cat([s.flatten() for s in slope]).numpy())
verify(
    "σ² times the gradient is the same for equal βσ²",
    slopes[1:],
    equals=np.broadcast_to(slopes[0], (2, slopes[0].size)),
    atol=1e-10 * np.abs(slopes[0]).max(),
    source="eq-vae-weight",
)

# %% [markdown]
# The most common slip follows. Written as "mean squared error plus KL", with a mean over the $d$ pixels and $\sigma$ never mentioned, the loss is
# $\frac2d\bigl[\frac12\lvert\mathbf x-\mathbf f\rvert^2 + \frac d2\operatorname{KL}\bigr]$: a noise of $\sigma^2 = d/2$, for pixels between 0 and 1. By {eq}`eq-collapse`
# a linear model would use no latent variable unless the covariance had an eigenvalue above $d/2 = 32$; that of the digits has a *trace* of
# less than 5. **Predict** what training with this loss finds.

# %%
careless = DenseVAE(
    d, 2, n_hidden, scale=np.sqrt(d / 2), seed=[seed, 3], device="cpu"
)
module.train(careless, grey, **schedule | {"epochs": epochs // 2})
with torch.no_grad():
    mean, log_variance = careless.encode(grey_test)
kl = gaussian_kl(mean.numpy(), log_variance.exp().numpy()).mean()
verify(
    "with the mean over pixels nothing passes the latent plane (nats)",
    kl,
    at_most=0.01,
    source="below the first threshold of eq-collapse, trace/(d/2) ≤ 0.2",
)

# %% [markdown]
# All pictures come out as one blurred mean, and on forums the advice is "anneal the KL" or "a stronger decoder". The cure is a sum
# instead of a mean.
#
# ## The phase transition at β
#
# Back to coins, which have no $\sigma$. Weigh the divergence by $\beta$ {cite}`higgins2017`: $\mathcal L_\beta = -D - \beta R$, with **rate**
# $R = \langle\operatorname{KL}(q\,\Vert\,p(\mathbf z))\rangle$, what the code costs in nats, and **distortion** $D = -\langle\log p(\mathbf x\mid\mathbf z)\rangle$
# {cite}`alemi2018`. $D + R = -\text{ELBO}$ for any $\beta$, so the points $(R, D)$ of all models lie above the line
# $D + R = -\langle\log p\rangle$.
#
# For large $\beta$ any code is too expensive, $R = 0$: the model is that of independent pixels. When does this state become unstable? Expand
# for a weak signal: log-odds $\boldsymbol\ell = \operatorname{logit}\mathbf p + \mathbf w z$, encoder mean $\mathbf v\cdot(\mathbf x-\mathbf p)$ and variance one. With the
# covariance $\mathbf S$ of the pixels and $\mathbf P = \operatorname{diag}p_i(1-p_i)$, the curvature of $\log(1+e^\ell)$, second order in $\mathbf w$ and
# $\mathbf v$ is
#
# $$
# \mathcal L_\beta - \mathcal L_0 \simeq \mathbf v^{\mathsf T}\mathbf S\mathbf w - \tfrac12\mathbf w^{\mathsf T}\mathbf P\mathbf w - \tfrac\beta2\,\mathbf v^{\mathsf T}\mathbf S\mathbf v
# \;\le\; \tfrac12\,\mathbf w^{\mathsf T}\Bigl(\tfrac1\beta\mathbf S - \mathbf P\Bigr)\mathbf w ,
# $$ (eq-vae-critical)
#
# with equality at $\mathbf v = \mathbf w/\beta$. The signal grows if this is positive for some $\mathbf w$. With $\mathbf w = \mathbf P^{-1/2}\mathbf u$: if
# $\mathbf P^{-1/2}\mathbf S\mathbf P^{-1/2}$, the **correlation matrix** of the pixels, has an eigenvalue above $\beta$. So
# $\beta_c = \lambda_1$, the Bernoulli twin of {eq}`eq-collapse`. We insert $\mathbf w = \epsilon\,\mathbf P^{-1/2}\mathbf u_1$ in a real linear
# autoencoder, and average over noise with the two points of a Gauss–Hermite rule.

# %%
varied = x.std(0) > 0  # some pixels are never inked
correlation = np.corrcoef(x[:, varied].T)
eigenvalues, vectors = np.linalg.eigh(correlation)
beta_c, u = eigenvalues[-1], vectors[:, -1]
p = x[:, varied].mean(0)


def weak_signal(epsilon, beta):
    """⟨L_β⟩ over the data with w = ε P^(-1/2) u and v = w/β."""
    w = epsilon * u / np.sqrt(p * (1 - p))
    linear = DenseVAE(varied.sum(), 1, (), dtype=torch.float64, device="cpu")
    encoder = np.stack([w / beta, 0 * w], axis=1), [-w @ p / beta, 0]
    linear.from_numpy([encoder, (w[None], logit(p))])
    noise = np.ones((2, len(x), 1)) * [[[1.0]], [[-1.0]]]
    bound = evidence_lower_bound(linear, x[:, varied], noise, beta)
    return bound.mean().item()


# %% [markdown]
# Twice the change over $\epsilon^2$ should be $\beta_c/\beta - 1$, on both sides of the transition.

# %%
factors = np.array([0.5, 0.9, 1.0, 1.1, 2.0])
curvature = [
    2e6 * (weak_signal(1e-3, f * beta_c) - weak_signal(0, f * beta_c))
    for f in factors
]
verify(
    "curvature of the objective at the collapsed state",
    curvature,
    equals=1 / factors - 1,
    atol=1e-3,
    source="eq-vae-critical; the next order is 10⁻⁶ times some hundred",
)

# %% [markdown]
# Whether the networks' transition is there, too, the expansion does not say: it excludes a weak signal, not a strong one at a
# distance (a first-order transition). So train.

# %%
scan = []
betas = [0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0]
for beta in [*betas, 0.9 * beta_c, 1.5 * beta_c]:
    model = DenseVAE(d, 2, n_hidden, seed=[seed, 6], device="cpu")
    module.train(model, x, **schedule | {"beta": beta, "epochs": epochs // 2})
    with torch.no_grad():
        mean, log_variance = model.encode(x_test)
    rate = gaussian_kl(mean.numpy(), log_variance.exp().numpy()).mean()
    distortion = -mean_bound(model, x_test, 30) - rate
    log_p = exact_log_prob(model, x_test, n_points // 2 + 1).mean()
    scan.append((beta, rate, distortion, log_p))
beta, rate, distortion, log_p = np.array(scan).T
# %% [markdown]
# What theory says about this scan:

# %%
verify(
    "D + R ≥ −log p for all β",
    distortion + rate + log_p,
    at_least=-0.05,
    source="evidence lower bound; 0.05 nats for sampling",
)
verify(
    "above the critical β the rate is zero and log p that of the pixels",
    [rate[-1], log_p[-1] - pixels.mean()],
    equals=[0, 0],
    atol=0.1,
    source="eq-vae-critical; a tenth of a nat for unfinished training",
)
verify(
    "at β = 1, below it, the code is worth at least a nat",
    rate[4],
    at_least=1,
    source="eq-vae-critical; empirical margin, two or more so far",
)

# %% [markdown]
# Rate, distortion and exact likelihood in two pictures:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: distortion against rate; the points of ten values of beta form a convex curve that starts at rate zero and the distortion of independent pixels and falls to the right. Right: rate and exact log-likelihood against beta on a logarithmic axis; the rate falls from some ten nats to zero at a dashed vertical line, the likelihood has a flat maximum somewhat below beta one."}, "figure": {"caption": "Left: rate and distortion of held-out images, labelled by β; grey lines have equal ELBO. Right: exact log-likelihood and rate against β. Dashed: the critical β = λ₁ of the expansion; dotted: independent pixels.", "name": "fig-vae-beta"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 3))
for level in range(18, 30, 2):
    axes[0].axline((0, level), slope=-1, color="0.85", lw=0.8)
axes[0].plot(rate[1:], distortion[1:], "o-", ms=4)
for b, r, dist in zip(beta[1:-2], rate[1:-2], distortion[1:-2], strict=True):
    axes[0].annotate(f"{b:g}", (r, dist), (3, 4), textcoords="offset points")
axes[0].set(xlabel="rate $R$ (nats)", ylabel="distortion $D$ (nats)")
axes[1].semilogx(beta[1:], log_p[1:], "o-", ms=4, label="exact log p")
axes[1].axhline(pixels.mean(), color="C0", ls=":")
axes[1].axvline(beta_c, color="0.3", ls="--")
axes[1].set(xlabel=r"$\beta$", ylabel=r"$\log p$ (nats)")
right = axes[1].twinx()
right.semilogx(beta[1:], rate[1:], "s-", ms=4, color="C1")
right.set_ylabel("rate $R$ (nats)", color="C1")
plt.show()

# %% [markdown]
# The rate falls to zero at $\beta_c$, continuously as far as we can see: an order parameter, with the eigenvector $\mathbf u_1$ as the mode that
# condenses first. And the likelihood? One expects its maximum at $\beta = 1$, where the objective is its lower bound. It is flat, and in our
# runs higher at $\beta = \tfrac12$: a smaller $\beta$ lets the posteriors become narrower than the bound would like, the gap grows, and the
# likelihood gains all the same. Who knows only the ELBO cannot see this.

# %%
verify(
    "the best β of the scan is at most one",
    beta[np.argmax(log_p)],
    at_most=1.0,
    source="empirical, all seeds tried; the next one is lower by 0.3 nats",
)

# %% [markdown]
# ## Break it
#
# With $\beta = 0$ nothing pays for precision. **Predict**: the reconstruction of held-out pictures, compared with $\beta = 1$? The
# samples?

# %%
show_table(
    ["β", "distortion (nats)", "rate (nats)", "exact log p (nats)"],
    [
        [f"{b:g}", *row]
        for b, *row in zip(
            beta[:8], distortion[:8], rate[:8], log_p[:8], strict=True
        )
    ],
)
verify(
    "without the divergence: better reconstruction than at β = 1, worse model",
    [distortion[4] - distortion[0], log_p[4] - log_p[0]],
    at_least=[0, 1],
    source="nothing pays for the rate; empirical, two nats or more so far",
)

# %% [markdown]
# The reconstructions are better and the model is worse, by nats. The encoder's Gaussians have shrunk to dots, far from each other and from where
# the prior draws; between them the decoder was never trained. Reconstruction error alone is no measure of a generative model.

# %% [markdown]
# ## Exercises
#
# ::::{exercise} How many straight coordinates?
# :label: ex-vae-five
# How many principal components does probabilistic PCA need to reach the exact held-out density of the autoencoder with two latents? Give
# its number, and explain why adding components to PCA may at some point *lower* the held-out density.
# ::::
#
# ::::{solution-start} ex-vae-five
# :class: dropdown
# ::::

# %% [markdown]
# Scan the number of components and compare.

# %% tags=["solution"]
scores = [
    PCA(q, svd_solver="full").fit(grey).score(grey_test) for q in range(1, 11)
]
needed = 1 + int(np.argmax(np.array(scores) > exact_real.mean()))
verify(
    "more than two components are needed",
    needed,
    at_least=3,
    source="the autoencoder with two beats PCA with two",
)

# %% [markdown]
# Five or six. With more and more components the noise variance $\sigma^2$, the mean of the discarded eigenvalues, goes to zero, for some pixels are
# constant in the training images. A held-out picture with ink there then has a density near zero.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} Where do unlikely images lie?
# :label: ex-vae-mutual
# The rate splits: averaged over the data, $R = I(\mathbf x;\mathbf z) + \operatorname{KL}(q(\mathbf z)\,\Vert\,p(\mathbf z))$, where $q(\mathbf z)$ is the mean of all
# $q(\mathbf z\mid\mathbf x)$. Derive it, compute both terms for the $N$ held-out images on the grid, and check $I\le\log N$.
# ::::
#
# ::::{solution-start} ex-vae-mutual
# :class: dropdown
# ::::

# %% [markdown]
# Insert $q(\mathbf z)$ in the logarithm: $\log\frac{q(\mathbf z\mid\mathbf x)}{p(\mathbf z)} = \log\frac{q(\mathbf z\mid\mathbf x)}{q(\mathbf z)} +
# \log\frac{q(\mathbf z)}{p(\mathbf z)}$. The mean of the first term is the mutual information; the second depends on $\mathbf z$ alone, so its mean is over
# $q(\mathbf z)$. By sampling: draw $\mathbf z$ from each $q$, and sum over all images for $q(\mathbf z)$.

# %% tags=["solution"]
with torch.no_grad():
    mean, log_variance = (a.double().numpy() for a in vae.encode(x_test))
scale = np.exp(log_variance / 2)
n = len(mean)
z = mean + scale * rng.standard_normal((50, n, 2))
log_each = gaussian_log_density(
    z[:, :, None], mean, scale**2
)  # of each draw, under each image's q
log_own = gaussian_log_density(z, mean, scale**2)
log_mean = logsumexp(log_each, axis=-1) - np.log(n)
information = (log_own - log_mean).mean()
aggregate = (log_mean - gaussian_log_density(z)).mean()
rates = (log_own - gaussian_log_density(z)).mean(1)
error = rates.std(ddof=1) / np.sqrt(len(rates))
verify(
    "R = mutual information + KL(aggregate‖prior)",
    information + aggregate,
    equals=gaussian_kl(mean, scale**2).mean(),
    atol=6 * error,
    source="closed-form KL, eq-gaussian-kl; six standard errors",
)
verify(
    "the information is at most log N, both terms are not negative",
    [np.log(n) - information, information, aggregate],
    at_least=-6 * error,
    source="entropy of the index of the image; KL ≥ 0",
)

# %% [markdown]
# Nearly all of the rate is information: the aggregate resembles the prior, and samples from the prior meet a decoder that was trained there.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} A tighter bound for training
# :label: ex-vae-iwae
# Train with $k = 20$ importance weights, `n_weights=20`, instead of one. The exact likelihood of held-out images: better or worse? And the ELBO?
# ::::
#
# ::::{solution-start} ex-vae-iwae
# :class: dropdown
# ::::

# %% [markdown]
# All else is equal, the number of epochs too.

# %% tags=["solution"]
tight = DenseVAE(d, 2, n_hidden, seed=[seed, 1], device="cpu")
module.train(tight, x, n_weights=20, **schedule | {"epochs": epochs // 2})
loose = DenseVAE(d, 2, n_hidden, seed=[seed, 1], device="cpu")
module.train(loose, x, **schedule | {"epochs": epochs // 2})
rows = []
for name, model in (("k = 1", loose), ("k = 20", tight)):
    log_p = exact_log_prob(model, x_test, n_points // 2 + 1)
    rows.append([name, mean_bound(model, x_test, 50), log_p.mean()])
show_table(["training", "ELBO (nats)", "exact log p (nats)"], rows)
verify(
    "trained with 20 weights the gap of the ELBO is larger",
    np.diff([row[2] - row[1] for row in rows]),
    at_least=0,
    source="the encoder need not be close to the posterior; empirical",
)

# %% [markdown]
# The exact likelihood gains and the ELBO loses: with many weights the posterior may be what it likes, for the encoder only has to propose
# draws of which *one* is good.
#
# ::::{solution-end}
# ::::
#
# ## Summary
#
# Coins or Gaussians with a network behind them are a normalised model: with two latent variables its likelihood is an integral over a plane, and every bound
# can be held to it. The ELBO loses half a nat or more per image, part of it because one encoder serves all images, part because posteriors are no Gaussians. What weighs the
# divergence, $\beta$ or the noise $\sigma^2$, is a tuning parameter whatever the slides say, and at $\beta = \lambda_1$ of the pixels' correlation matrix the latent
# variables fall silent.
#
# The model goes back to {cite:t}`kingma2014` and {cite:t}`rezende2014`; on its bounds read {cite:t}`cremer2018`, on rate and distortion
# {cite:t}`alemi2018`.
#
# **Next:** in {lecture}`3.4` the same model gets convolutions, and Keras trains it.
