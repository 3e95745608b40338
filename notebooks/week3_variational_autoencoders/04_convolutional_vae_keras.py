# ---
# jupyter:
#   advml:
#     full: {dataset: mnist, n_train: 60000, n_test: 10000, channels: [32, 64], n_units: 16, n_hidden: [200, 100], epochs: 30, n_points: 121}
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train a convolutional autoencoder in Keras, and hold it to PyTorch
#
# A picture is a field on a lattice, and the laws of fields are the same everywhere. A dense layer does not know that: it has a weight for
# each pair of pixels, and would learn just as well if all pixels were shuffled. A convolution has the symmetry built in. This lecture builds the
# autoencoder of {lecture}`3.3` from convolutions, trains it the way Keras wants it, and checks it the way a physicist wants it: against an
# operator identity, against a second implementation, and against its exact likelihood.
#
# :::{admonition} Plan
# :class: tip
# **You will** see which symmetry a convolution keeps, derive the layer that undoes it as its adjoint, find the chequerboard in it, write
# a training step for Keras, train with callbacks, save and continue to the last bit, compare every number with PyTorch, judge the model by its
# exact likelihood, and meet two losses that look like likelihoods and are none.
# **You need** {lecture}`3.3`; {lecture}`1.4` for graphs in TensorFlow. **Time** an hour to read; three quarters of a minute of CPU.
# :::
#
# The course's package comes first: it makes TensorFlow the engine of Keras.

# %%
import advml.tensorflow.vae as in_keras  # isort: skip

# %% [markdown]
# Then everything else. The two modules hold the same names.

# %%
import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import torch
from scipy.integrate import quad
from scipy.special import expit, logsumexp, ndtri
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from advml import datasets
from advml.checks import verify
from advml.display import show_source, show_table
from advml.likelihood import (
    gaussian_log_density,
    importance_weighted_bound,
    latent_grid,
)
from advml.plotting import image_grid
from advml.pytorch import vae as in_torch
from advml.tensorflow import networks

plt.style.use("advml.course")
torch.set_num_threads(1)  # two thread pools in one process get in the way

# %% tags=["parameters"]
seed = 0
dataset = "digits"
n_train = 1442  # images to train on, with those for validation
n_test = 355  # held-out images
n_valid = 150  # of the training images, to watch the training
channels = [16, 32]
n_units = 32  # of the dense layer between convolutions and latents
n_hidden = [100, 50]  # widths of the dense autoencoder to compare with
epochs = 100
n_points = 161  # of the grid in the latent plane, along each axis

# %% [markdown]
# ## What a convolution knows
#
# A convolution with **stride** 2 computes, at every second pixel, the same weighted sum of the pixels around it. For one channel and a kernel
# of size $s = 2r+1$, with zeros around the image,
#
# $$
# (K\mathbf x)_{ij} = \sum_{a,b=-r}^{r} k_{ab}\,x_{2i+a,\,2j+b} .
# $$ (eq-conv)
#
# An image of side $n$ becomes one of side $\lceil n/2\rceil$. Shift the image by two pixels, and $K\mathbf x$ shifts by one: **equivariance**. It holds
# exactly, except where the border comes into sight. We test it with the layer that the model uses.

# %%
rng = np.random.default_rng([seed, 0])
kernel = tf.constant(rng.standard_normal((3, 3, 1, 4)))
image = np.zeros((1, 16, 16, 1))
image[0, 4:10, 4:10, 0] = rng.standard_normal((6, 6))
before = networks.halve_turned(tf.constant(image), kernel, 0).numpy()
shifted = np.roll(image, (2, 4), axis=(1, 2))
after = networks.halve_turned(tf.constant(shifted), kernel, 0).numpy()
verify(
    "a shift by (2, 4) pixels shifts the feature map by (1, 2)",
    after,
    equals=np.roll(before, (1, 2), axis=(1, 2)),
    atol=1e-13,
    source="eq-conv; the image does not touch the border",
)

# %% [markdown]
# The price list. A convolution from $c$ to $c'$ channels has $s^2cc' + c'$ weights, whatever the size of the image; a dense layer between the
# same numbers $n^2c$ and $(n/2)^2c'$ has their product. **Predict** the ratio for the second layer below.

# %%
data = getattr(datasets, dataset)()
x, x_test = (
    datasets.binarise(images.astype(float)).astype(np.float32)
    for images in (data.train[:n_train], data.test[:n_test])
)
labels, labels_test = data.train_labels[:n_train], data.test_labels[:n_test]
x_valid, x_fit = x[-n_valid:], x[:-n_valid]
side = x.shape[-1]
shape = {"channels": channels, "n_hidden": n_units}
vae = in_keras.ConvolutionalVAE(side, 2, **shape, seed=[seed, 1])
kernel, bias = vae.to_numpy()[1]
c, c_next, half = *channels, -(-side // 2)
quarter = -(-half // 2)
verify(
    "weights of the second convolution",
    kernel.size + bias.size,
    equals=9 * c * c_next + c_next,
    source="s²cc′ + c′",
)
show_table(
    ["second layer", "weights"],
    [
        ["convolution", kernel.size + bias.size],
        ["dense", half**2 * c * quarter**2 * c_next + quarter**2 * c_next],
    ],
)

# %% [markdown]
# ## The way back is the adjoint
#
# The decoder has to make large images from small ones. $K$ is a matrix, so there is a natural candidate: its transpose. From
# $\langle\mathbf y, K\mathbf x\rangle = \sum_{ij}y_{ij}\sum_{ab}k_{ab}x_{2i+a,2j+b}$ read off the factor of $x_{mn}$:
#
# $$
# (K^{\mathsf T}\mathbf y)_{mn} = \sum_{ij}\;k_{m-2i,\,n-2j}\;y_{ij} :
# $$ (eq-conv-transposed)
#
# each pixel of the small image *puts* the kernel, times its value, around its place in the large one. This is the **transposed convolution**
# (sometimes called deconvolution, which it is not: it inverts nothing). It is also what back-propagation does with a convolution, so every
# framework has it. Frameworks disagree about the zeros at the border, though, and an identity finds that out:

# %%
show_source(networks.halve_turned, networks.transposed)

# %% [markdown]
# PyTorch puts the same number of zeros on both sides; TensorFlow's `"SAME"` puts one less on the left and above if the side is even. An
# image turned by 180° exchanges the sides.

# %%
gaps = []
for n, size in ((8, 3), (7, 3), (28, 5)):
    kernel = tf.constant(rng.standard_normal((size, size, 2, 4)))
    u = tf.constant(rng.standard_normal((3, n, n, 2)))
    small = -(-n // 2)
    v = tf.constant(rng.standard_normal((3, small, small, 4)))
    one = tf.reduce_sum(v * networks.halve_turned(u, kernel, 0))
    other = tf.reduce_sum(networks.transposed(v, kernel, 0, n) * u)
    gaps.append(float(one - other) / np.sqrt(float(tf.size(u))))
verify(
    "⟨y, Kx⟩ = ⟨Kᵀy, x⟩ for sides and kernels, even and odd",
    gaps,
    equals=0,
    atol=1e-12,
    source="definition of the adjoint, eq-conv-transposed",
)

# %% [markdown]
# ### The chequerboard
#
# How many terms does a pixel of the large image receive? In one dimension and with $s = 3$: an even pixel sits on a place of the small image, and only
# the kernel's centre reaches it, one term. An odd pixel lies between two places, and gets a term from each. In two dimensions the numbers multiply:
# **one, two or four terms**, in a pattern of period two {cite}`odena2016`. (At the right and lower border the second neighbour is missing.)


# %%
def terms(size, n=8):
    """How many terms of the sum each pixel receives."""
    ones = tf.ones((size, size, 1, 1), tf.float64)
    small = tf.ones((1, -(-n // 2), -(-n // 2), 1), tf.float64)
    return networks.transposed(small, ones, 0, n).numpy()[0, ..., 0]


line = np.array([1, 2, 1, 2, 1, 2, 1, 1])
verify(
    "terms per pixel with kernels of size 3",
    terms(3).astype(int),
    equals=np.outer(line, line),
    source="one at even pixels, two at odd ones, in each direction",
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: an eight by eight pattern of values one, two and four with period two. Right: the same for kernels of size five, with values four, six and nine; borders have fewer."}, "figure": {"caption": "Number of terms that each pixel receives from a transposed convolution of stride 2, kernel sizes 3 and 5.", "name": "fig-conv-terms"}}
fig, axes = plt.subplots(1, 2, figsize=(5.6, 2.5))
for ax, size in zip(axes, (3, 5), strict=True):
    count = terms(size)
    ax.imshow(count, cmap="viridis", vmin=0, vmax=9)
    for i, j in np.ndindex(count.shape):
        ax.text(j, i, f"{count[i, j]:g}", ha="center", va="center", c="w")
    ax.set(xticks=[], yticks=[], title=f"kernel {size}×{size}")
plt.show()

# %% [markdown]
# So with random weights the variance of the output has this pattern, and training must unlearn it: chequerboards in generated pictures
# come from here. A kernel whose size is a multiple of the stride gives every pixel the same number of terms, at the price of having no centre.
# Ours has a centre, and one layer with stride 1 at the end that smooths.
#
# ## A training step for Keras
#
# `keras.Model.fit` loops over batches, shuffles, calls callbacks and keeps averages. What it cannot know is our objective: the bound needs the
# noise, and the loss is not a comparison of output and label. The place for it is `train_step`:

# %%
show_source(
    in_keras.ConvolutionalVAE.train_step,
    in_keras.ConvolutionalVAE.test_step,
    in_keras.ConvolutionalVAE._batch,
    in_keras.ConvolutionalVAE._report,
)

# %% [markdown]
# Three details. The noise is *stateless*: a function of two numbers that are stored with the weights, so that a model that is saved and loaded goes on
# with the noise that would have come. Evaluating has numbers of its own, and does not disturb the training. And the averages are over images,
# not over batches: a smaller last batch counts less.
#
# Who watches the held-out images during training, and stops when they are best, has trained on them. So a part of the *training* images serves for
# validation. One callback stops early and restores the best weights; one of our own records the divergence of each latent variable.


# %%
class Divergences(keras.callbacks.Callback):
    """KL(q‖prior) of each latent variable on given images, per epoch."""

    def __init__(self, images):
        super().__init__()
        self.images, self.seen = images, []

    def on_epoch_end(self, epoch, logs=None):
        mean, log_variance = self.model.encode(self.images)
        terms = mean**2 + tf.exp(log_variance) - 1 - log_variance
        self.seen.append(tf.reduce_mean(terms, 0).numpy() / 2)


# %% [markdown]
# The rate falls in a straight line. `seed` is that of the noise; Keras shuffles with its own.

# %%
keras.utils.set_random_seed(seed)
n_steps = epochs * -(-len(x_fit) // 128)
rate = keras.optimizers.schedules.PolynomialDecay(3e-3, n_steps, 1e-4)
vae.compile(keras.optimizers.Adam(rate), seed=seed)
divergences = Divergences(x_valid)
stop = keras.callbacks.EarlyStopping(
    "val_loss", patience=epochs // 4, restore_best_weights=True
)
history = vae.fit(
    x_fit,
    validation_data=(x_valid,),
    batch_size=128,
    epochs=epochs,
    callbacks=[divergences, stop],
    verbose=0,
).history

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: loss of training and validation images falls together from 40 to about 20 nats. Right: divergences of the two latent variables rise one after the other to about one and a half nats each."}, "figure": {"caption": "Left: minus the bound on training and validation images. Right: divergence from the prior of each latent variable, on validation images.", "name": "fig-conv-training"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 2.8))
axes[0].plot(history["loss"], label="training")
axes[0].plot(history["val_loss"], label="validation")
axes[0].set(xlabel="epoch", ylabel="−ELBO (nats)")
axes[0].legend()
axes[1].plot(divergences.seen, label=["$z_1$", "$z_2$"])
axes[1].set(xlabel="epoch", ylabel="KL (nats)")
axes[1].legend()
plt.show()

# %% [markdown]
# The validation curve trembles, because each evaluation draws new noise, and `EarlyStopping` picks its luckiest epoch: a small bias, and one more reason
# to judge on other images.
#
# ### Save it, and go on
#
# A saved model holds its weights, its optimiser and its noise. **Predict**: train four epochs in one go, and two, save, load, two more. (Without
# shuffling, which has a state that is not saved.) Equal to rounding, or to the last bit?

# %%
again = {"batch_size": 128, "epochs": 2, "verbose": 0, "shuffle": False}
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "vae.keras"
    vae.save(path)
    loaded = keras.models.load_model(path)
    other = keras.models.load_model(path)
other.fit(x_fit, **again | {"epochs": 4})
loaded.fit(x_fit, **again)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "vae.keras"
    loaded.save(path)
    loaded = keras.models.load_model(path)
loaded.fit(x_fit, **again)
weights = [[a for pair in m.to_numpy() for a in pair] for m in (loaded, other)]
verify(
    "two epochs, saved, loaded, and two more are four epochs",
    sum(int((a != b).sum()) for a, b in zip(*weights, strict=True)),
    equals=0,
    source="the file holds all that training depends on",
)

# %% [markdown]
# ## The same numbers in PyTorch
#
# Equal weights and equal noise must give equal bounds and equal gradients. The sums have up to 300 terms in some eight layers, so a
# difference of $8\sqrt{300}\,\epsilon \approx 140\,\epsilon$ is chance, with $\epsilon$ half of NumPy's `eps`: $8\cdot10^{-6}$ in single precision. Bounds are
# relative to their own size, for all their large terms have one sign; gradients to their largest entry.

# %%
noise = rng.standard_normal((n_test, 2))


def bound_and_slopes(module, layers, floats):
    """ELBO of each held-out image, and gradients of their mean."""
    kind = getattr(torch, floats) if module is in_torch else floats
    model = module.ConvolutionalVAE(side, 2, **shape, dtype=kind, device="cpu")
    model.from_numpy(layers)
    if module is in_torch:
        bound = module.evidence_lower_bound(model, x_test, noise)
        slopes = torch.autograd.grad(bound.mean(), list(model.parameters()))
        return bound.detach().numpy(), [s.numpy() for s in slopes]
    with tf.GradientTape() as tape:
        bound = module.evidence_lower_bound(model, x_test, noise)
        mean = tf.reduce_mean(bound)
    slopes = tape.gradient(mean, [w for pair in model.pairs for w in pair])
    return bound.numpy(), [s.numpy() for s in slopes]


# %% [markdown]
# We compare before and after training, in both precisions.

# %%
start = in_keras.ConvolutionalVAE(side, 2, **shape, seed=[seed, 1]).to_numpy()
for name, layers in (("initial", start), ("trained", vae.to_numpy())):
    for floats in ("float32", "float64"):
        (bound, slopes), (bound_2, slopes_2) = (
            bound_and_slopes(module, layers, floats)
            for module in (in_keras, in_torch)
        )
        largest = max(np.abs(s).max() for s in slopes)
        gap = max(
            np.abs(a - b).max() for a, b in zip(slopes, slopes_2, strict=True)
        )
        relative = np.abs(bound / bound_2 - 1).max()
        verify(
            f"{name} weights, {floats}: bounds and gradients agree",
            [relative, gap / largest],
            at_most=70 * np.finfo(floats).eps,
            source="rounding errors of sums in eight layers",
        )

# %% [markdown]
# ## Judged by its likelihood
#
# Two latent variables: the grid of {lecture}`3.3` gives $\log p(\mathbf x)$ of held-out images exactly. The competitor is a dense autoencoder with
# nearly as many weights, trained in PyTorch on the same images, with the same rate.

# %%
dense = in_torch.DenseVAE(side**2, 2, n_hidden, seed=[seed, 2], device="cpu")
memory = in_torch.train(
    dense,
    x_fit.reshape(len(x_fit), -1),
    epochs=epochs,
    batch_size=128,
    learning_rate=3e-3,
    final_learning_rate=1e-4,
    seed=seed,
)
z, log_volume = latent_grid(
    np.zeros((1, 2)), np.ones((1, 2)), n_points=n_points
)


def exact_log_prob(model, images):
    """log p(x) of each image, in nats (eq-evidence)."""
    with torch.no_grad():
        logits = np.asarray(model.decode(z[0]), float)
    logits = logits.reshape(len(logits), -1)
    log_joint = images.reshape(len(images), -1) @ logits.T
    log_joint = log_joint - np.logaddexp(0, logits).sum(1)
    return logsumexp(log_joint + gaussian_log_density(z[0]), 1) + log_volume


# %% [markdown]
# The bounds of the trained model come by sampling, for all held-out images.

# %%
draws = rng.standard_normal((1000, n_test, 2))
log_w = np.concatenate(
    [in_keras.log_weights(vae, x_test, part) for part in np.split(draws, 10)]
).T.astype(float)
exact = exact_log_prob(vae, x_test)
exact_dense = exact_log_prob(dense, x_test)
ones = (x_fit.sum(0) + 1) / (len(x_fit) + 2)
pixels = np.where(x_test == 1, np.log(ones), np.log1p(-ones)).sum((1, 2))
bounds = [importance_weighted_bound(log_w, k) for k in (1, 5, 50)]
values = np.array([bound for bound, _ in bounds])
errors = np.array([error for _, error in bounds])
order = np.diff([*values.mean(1), exact.mean()])
spread = np.sqrt((errors**2).sum(1)) / n_test  # of the means, over draws
verify(
    "held-out ELBO ≤ IWAE₅ ≤ IWAE₅₀ ≤ log p(x), means over images",
    order + 5 * np.hypot(spread, [*spread[1:], 0]),
    at_least=0,
    source="Burda, Grosse and Salakhutdinov (2016); five standard errors",
)

# %% [markdown]
# Errors of differences are over images, pairwise.

# %%
n_weights = [
    sum(a.size for pair in m.to_numpy() for a in pair) for m in (vae, dense)
]
rows = {
    "independent pixels": (side**2, pixels),
    "dense": (n_weights[1], exact_dense),
    "convolutional": (n_weights[0], exact),
}
show_table(
    [
        "autoencoder",
        "weights",
        "exact log p (nats)",
        "above pixels",
        "± error",
    ],
    [
        [
            name,
            n,
            value.mean(),
            (value - pixels).mean(),
            (value - pixels).std(ddof=1) / np.sqrt(n_test),
        ]
        for name, (n, value) in rows.items()
    ],
)
gain = np.array([exact_dense - pixels, exact - pixels])
verify(
    "both autoencoders beat independent pixels on held-out images",
    gain.mean(1) - 5 * gain.std(1, ddof=1) / np.sqrt(n_test),
    at_least=0,
    source="five standard errors, paired over images",
)

# %% [markdown]
# At equal numbers of weights and epochs the convolutional model is better, by half a nat on these pictures of $8\times8$ pixels, and takes four
# times as long to train. There is little symmetry to exploit where a digit fills the frame; the advantage grows with the image, because the number of a
# convolution's weights does not.

# %%
verify(
    "the convolutional model beats the dense one on held-out images",
    (exact - exact_dense).mean(),
    at_least=0,
    source="empirical: 0.4 to 0.9 nats for all seeds tried",
)

# %% [markdown]
# The latent plane again, with a number for what the eye sees: a nearest-neighbour classifier on two coordinates, those of the encoder and those of
# principal components, trained on training images and judged on held-out ones.

# %%
codes = [np.asarray(vae.encode(images)[0]) for images in (x, x_test)]
pca = PCA(2).fit(x.reshape(len(x), -1))
linear = [pca.transform(a.reshape(len(a), -1)) for a in (x, x_test)]
accuracy = [
    KNeighborsClassifier(15).fit(train, labels).score(test, labels_test)
    for train, test in (codes, linear)
]
error = np.sqrt(0.5 / n_test)
verify(
    "two curved coordinates tell digits apart better than two straight ones",
    accuracy[0] - accuracy[1],
    at_least=2 * error,
    source="two standard errors of a difference of two frequencies",
)
show_table(
    ["coordinates", "accuracy of nearest neighbours"],
    [["encoder", accuracy[0]], ["principal components", accuracy[1]]],
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: latent plane with held-out digits drawn as numerals in clusters. Middle: lattice of decoded pictures. Right: pairs of rows, held-out pictures and their blurred reconstructions."}, "figure": {"caption": "Left: latent means of held-out images. Middle: decoded points at normal quantiles. Right: held-out images (odd rows) and probabilities at their latent means (even rows).", "name": "fig-conv-plane"}}
quantiles = ndtri((np.arange(11) + 0.5) / 11)
lattice = np.stack(np.meshgrid(quantiles, quantiles[::-1]), -1).reshape(-1, 2)
pairs = np.stack([x_test[:24], np.asarray(vae.reconstruct(x_test[:24]))])
pairs = pairs.reshape(2, 4, 6, side, side).swapaxes(0, 1)
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.6))
for digit in range(10):
    color = plt.cm.tab10(digit)
    marker = {"marker": f"${digit}$", "s": 14, "lw": 0.2, "color": color}
    axes[0].scatter(*codes[1][labels_test == digit].T, **marker)
axes[0].set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
image_grid(np.asarray(vae.expectation(lattice)), 11, ax=axes[1])
image_grid(pairs.reshape(-1, side, side), 6, ax=axes[2])
plt.show()

# %% [markdown]
# ## How far does the symmetry carry?
#
# The convolutions are equivariant. **Predict**: shift the held-out pictures by one pixel. What happens to $\log p$ under the convolutional and under the dense
# model?


# %%
def shift(images, dy, dx):
    """Shift images, and fill up with zeros."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    return padded[:, 1 - dy : 1 - dy + side, 1 - dx : 1 - dx + side]


ways = [(0, 1), (0, -1), (1, 0), (-1, 0)]
losses = {
    name: [
        (value - exact_log_prob(model, shift(x_test, *way))).mean()
        for way in ways
    ]
    for name, model, value in (
        ("dense", dense, exact_dense),
        ("convolutional", vae, exact),
    )
}
show_table(
    ["nats lost by a shift", "right", "left", "down", "up"],
    [[name, *loss] for name, loss in losses.items()],
)
verify(
    "shifts cost at least a nat per image, convolutions or not",
    [*losses["dense"], *losses["convolutional"]],
    at_least=1,
    source="empirical, with a margin of several nats for all seeds tried",
)

# %% [markdown]
# Nats are lost in either model. The symmetry is in the layers but not in the model: between encoder and decoder stands a dense layer, and two
# numbers with no place for a position. And it should be lost, for the data are centred in their frames and do not have the symmetry. A model whose
# distribution is invariant needs convolutions from end to end, and data on a torus: {lecture}`3.5` has such data.
#
# ## Break it: two losses that are no likelihoods
#
# **Probabilities instead of logits.** Most public code ends the decoder with a sigmoid, and calls `binary_crossentropy`. Keras then clips
# probabilities to $[10^{-7}, 1-10^{-7}]$. **Predict** what a pixel costs of which the decoder is wrongly sure, with log-odds 30.

# %%
sure = tf.constant([[30.0]])
with tf.GradientTape() as tape:
    tape.watch(sure)
    cost = keras.losses.binary_crossentropy([[0.0]], tf.sigmoid(sure))
slope = tape.gradient(cost, sure)
exact_cost = np.logaddexp(0, 30.0)
verify(
    "log-odds of 30 for the wrong pixel: cost by logits (nats)",
    keras.losses.binary_crossentropy([[0.0]], sure, from_logits=True)[0],
    equals=exact_cost,
    rtol=1e-6,
    source="log(1 + e^30)",
)
verify(
    "by probabilities it costs half of that, and the slope is zero",
    [cost[0], slope[0, 0]],
    at_most=[-np.log(1e-7) + 0.1, 0],
    source="clipped at 1e-7",
)

# %% [markdown]
# The pixel that is most wrong has no gradient at all.
#
# **Grey values as probabilities.** The other habit is to insert grey levels $x\in[0,1]$ in {eq}`eq-vae-bernoulli`. With
# $\lambda = s(\ell)$ it is $\lambda^x(1-\lambda)^{1-x}$, and as a density of $x$ it is not normalised:
#
# $$
# \int_0^1\lambda^x(1-\lambda)^{1-x}\,\mathrm dx = (1-\lambda)\int_0^1 e^{\ell x}\,\mathrm dx = \frac{2\lambda - 1}{\ell} \le \frac12 .
# $$ (eq-continuous-bernoulli)
#
# Who reports it as a likelihood reports a number that is too low by $\log 2$ or more *per pixel*, and, what is worse, by an amount that depends on
# $\lambda$: the missing constant draws the optimum away {cite}`loaizaganem2019`.

# %%
odds = np.array([-5.0, -1.0, 0.5, 3.0])
verify(
    "integral of the Bernoulli formula over grey values",
    [quad(lambda v, o=o: np.exp(v * o) * expit(-o), 0, 1)[0] for o in odds],
    equals=(2 * expit(odds) - 1) / odds,
    rtol=1e-10,
    source="eq-continuous-bernoulli",
)
flat = np.linspace(-20, 20, 401)
flat = flat[flat != 0]
verify(
    "it never exceeds one half",
    (2 * expit(flat) - 1) / flat,
    at_most=0.5,
    source="tanh(ℓ/2)/ℓ ≤ 1/2",
)

# %% [markdown]
# Honest choices are coins for binary pictures, with the rule stated; the same formula with its constant; or a Gaussian with its $\sigma$.
#
# ## Exercises
#
# ::::{exercise} A kernel without chequerboard
# :label: ex-conv-even
# Show that a transposed convolution with kernel size 4 and stride 2 gives each inner pixel the same number of terms. What is the smallest kernel with this
# property for stride 3? Check with TensorFlow's own `conv2d_transpose`.
# ::::
#
# ::::{solution-start} ex-conv-even
# :class: dropdown
# ::::

# %% [markdown]
# In one dimension, output $m$ collects the taps $t$ with $t \equiv m$ modulo the stride $S$. A kernel of size $s$ has $s/S$ of them in each class if and only if $S$ divides
# $s$. So 4 gives two everywhere, and the smallest sizes are $S$ itself: 2 for stride 2 (one term, and no overlap at all), 3 for stride 3.

# %% tags=["solution"]
for size, stride, want in ((4, 2, 4), (3, 3, 1), (6, 3, 4)):
    ones_kernel, n = tf.ones((size, size, 1, 1)), 5
    out = tf.nn.conv2d_transpose(
        tf.ones((1, n, n, 1)),
        ones_kernel,
        (1, n * stride, n * stride, 1),
        stride,
        "SAME",
    ).numpy()[0, size:-size, size:-size, 0]
    verify(
        f"terms per inner pixel, size {size} and stride {stride}",
        out.astype(int),
        equals=want,
        source="(size / stride)²",
    )

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Shuffled pixels
# :label: ex-conv-shuffle
# Apply one fixed random permutation to the pixels of all images, training and held-out. What happens to the exact likelihood of the dense model, in
# theory? Show it on the trained model, by permuting weights. Then train the convolutional one for a third of the epochs, with and without permutation.
# ::::
#
# ::::{solution-start} ex-conv-shuffle
# :class: dropdown
# ::::

# %% [markdown]
# A permutation of the inputs is undone by the same permutation of the rows of the first kernel, and one of the outputs by the last kernel's columns and
# biases. Independent normal initial weights have the same distribution in any order, so the dense model cannot tell, but for chance.

# %% tags=["solution"]
turn = np.random.default_rng([seed, 3]).permutation(side**2)
layers = dense.to_numpy()
layers[0] = layers[0][0][turn], layers[0][1]
layers[-1] = layers[-1][0][:, turn], layers[-1][1][turn]
twin = in_torch.DenseVAE(side**2, 2, n_hidden, device="cpu")
twin.from_numpy(layers)
noise_2 = rng.standard_normal((100, 2))
flat_test = x_test.reshape(n_test, -1)[:100]
with torch.no_grad():
    bounds = [
        in_torch.evidence_lower_bound(model, images, noise_2).numpy()
        for model, images in ((dense, flat_test), (twin, flat_test[:, turn]))
    ]
verify(
    "a dense model with permuted weights, on permuted images: the same ELBO",
    bounds[1],
    equals=bounds[0],
    rtol=70 * np.finfo("float32").eps,
    source="a dense layer knows no order; rounding errors",
)
short = {"epochs": epochs // 3, "batch_size": 128, "seed": seed}
short |= {"learning_rate": 3e-3, "final_learning_rate": 1e-4}
found = []
for order in (np.arange(side**2), turn):
    images, test = (
        a.reshape(len(a), -1)[:, order].reshape(a.shape)
        for a in (x_fit, x_test)
    )
    model = in_torch.ConvolutionalVAE(
        side, 2, **shape, seed=[seed, 1], device="cpu"
    )
    in_torch.train(model, images, **short)
    found.append(exact_log_prob(model, test).mean())
show_table(
    ["convolutional model", "exact log p (nats)"],
    [["pixels in order", found[0]], ["pixels shuffled", found[1]]],
)

# %% [markdown]
# The convolution has lost its neighbours, and on such small pictures it hardly matters: two layers of stride 2 and a dense one see everything anyway. In
# our runs the difference had either sign. What the symmetry is worth shows on larger images.
#
# ::::{solution-end}
# ::::
#
# ## Summary
#
# A convolution is a matrix with a symmetry, and the layer that leads back is its adjoint, chequerboard included; both were held to identities. Keras needs one method to
# train a model with a likelihood, and stores all that a training depends on; PyTorch, given the same weights and noise, finds the same bound and gradients. Judged by exact
# likelihood, convolutions gain half a nat on small centred pictures, and neither a clipped nor an unnormalised loss is a likelihood at all.
#
# The layers are those of Keras' own example {cite}`chollet2020`; for transposed convolutions and their patterns read {cite:t}`odena2016`.
#
# **Next:** {lecture}`3.5` gives an autoencoder spins instead of digits, and asks whether it finds the magnetisation.
