# ---
# jupyter:
#   advml:
#     full: {dataset: mnist, n_train: 60000, n_test: 500, n_valid: 4960, channels: [32, 64], n_units: 16, n_hidden: [80, 40], epochs: 30, n_points: 241}
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Put a symmetry into the network: a convolutional autoencoder in Keras
#
# The laws of a field are the same at every point, so a physicist writes one coupling for all sites and not one for each
# pair. An image is a field on a lattice, and a convolution is a layer with that economy: its weights do not depend on where
# it looks. This lecture builds the autoencoder of {lecture}`3.3` from convolutions and has it trained by Keras. Then it asks
# what the symmetry was worth, in nats of exact likelihood, against a dense network with as many weights.
#
# :::{admonition} Plan
# :class: tip
# **You will** see what a convolution keeps and what its stride breaks, derive the way back as the adjoint, count a
# chequerboard, write a training step for `fit` with callbacks, save a run and go on to the last bit, hold both frameworks to
# equal gradients, compare exact likelihoods, shift the images, and watch one wrong average kill all latent variables. **You
# need** {lecture}`3.2` for the bound, {lecture}`3.3` for the dense autoencoder, {lecture}`1.4` for graphs and tracing.
# **Time** an hour to read; three quarters of a minute of CPU.
# :::
#
# The course's package comes first: it makes TensorFlow the engine of Keras.

# %%
import advml.tensorflow.vae as in_keras  # isort: skip

# %% [markdown]
# Then everything else.

# %%
import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import torch
from scipy.integrate import quad
from scipy.special import entr, expit, ndtri
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from advml import datasets
from advml.checks import verify
from advml.display import show_source, show_table
from advml.likelihood import (
    evidence_on_grid,
    importance_weighted_bound,
    latent_grid,
)
from advml.metrics import gaussian_kl
from advml.networks import transposed_convolution
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
n_valid = 162  # of the training images, to watch the training
channels = [16, 32]
n_units = 32  # of the dense layer between convolutions and latents
n_hidden = [100, 50]  # widths of the dense autoencoder to compare with
epochs = 90
n_points = 161  # of the grid in the latent plane, along each axis

# %% [markdown]
# ## What a convolution knows
#
# A convolution with **stride** 2 takes, around every second pixel, the same weighted sum. For one channel and a kernel of
# size $s = 2r+1$, with zeros around the image,
#
# $$
# (K\mathbf x)_{ij} = \sum_{a,b=-r}^{r} k_{ab}\;x_{2i+a,\,2j+b} .
# $$ (eq-conv)
#
# A side of $n$ pixels becomes $\lceil n/2\rceil$. Let $D$ shift an image by two pixels, $(D\mathbf x)_{i+2,j} = x_{ij}$. Put
# it into the sum: $(KD\mathbf x)_{ij} = \sum k_{ab}\,x_{2(i-1)+a,\,2j+b} = (K\mathbf x)_{i-1,j}$, a shift by *one* pixel of
# the small image. Shift, then convolve, or convolve, then shift: this is **equivariance**. Biases and ReLU, $\max(0, y)$,
# act on each pixel by itself and keep it, so it survives the next layer: shifts by four become shifts by one. **Predict**
# what a shift by *one* pixel does.

# %%
rng = np.random.default_rng([seed, 0])
kernels = [
    tf.constant(rng.standard_normal((3, 3, *c)) / 3) for c in ((1, 4), (4, 4))
]
image = rng.standard_normal((1, 32, 32, 1))


def two_layers(image):
    """Two convolutions of stride 2 with ReLU, 32×32 → 8×8."""
    for kernel in kernels:
        image = tf.nn.relu(networks.halve(image, kernel, 0.1))  # 0.1: bias
    return image.numpy()


# %% [markdown]
# We turn the image around a torus by 4 pixels and by 1, and compare away from the walls.

# %%
maps = [
    two_layers(tf.constant(np.roll(image, by, axis=1))) for by in (0, 4, 1)
]
inside = np.s_[:, 3:-1, 1:-1]  # neither the border nor what came in there
expected = np.roll(maps[0], 1, axis=1)
verify(
    "a shift by 4 pixels shifts the second feature map by 1",
    maps[1][inside],
    equals=expected[inside],
    atol=1e-13,
    source="eq-conv, away from the border",
)
verify(
    "after a shift by 1 pixel the map is neither that shifted by 0 nor by 1",
    [np.abs(maps[2] - m)[inside].max() for m in (maps[0], expected)],
    at_least=0.1,
    source="eq-conv: the results at odd places were left out",
)

# %% [markdown]
# A convolution with stride two is one with stride one of which only the results at even places are kept: of the lattice's
# translations one layer keeps a quarter, like a crystal whose cell is $2\times2$. And zeros around the image are a wall. Now
# the price list: from $c$ to $c'$ channels a convolution has $s^2cc'$ weights and $c'$ biases, whatever the size of the
# image. A dense layer between the same numbers has their product, and biases.

# %%
data = getattr(datasets, dataset)()
x, x_test = (
    datasets.binarise(images.astype(float)).astype(np.float32)
    for images in (data.train[:n_train], data.test[:n_test])
)
labels, labels_test = data.train_labels[:n_train], data.test_labels[:n_test]
x_valid, x_fit = x[:n_valid], x[n_valid:]
side, d, on_digits = x.shape[-1], x[0].size, dataset == "digits"
shape = {"channels": channels, "n_hidden": n_units}
vae = in_keras.ConvolutionalVAE(side, 2, **shape, seed=[seed, 1])
start = vae.to_numpy()
rows, n, c = [], side, 1
for (kernel, bias), c_next in zip(start, channels, strict=False):
    half = -(-n // 2)
    dense_weights = (n**2 * c + 1) * half**2 * c_next
    formula = (9 * c + 1) * c_next
    between = f"{n}×{n}×{c} → {half}×{half}×{c_next}"
    rows.append([between, kernel.size + bias.size, formula, dense_weights])
    n, c = half, c_next
show_table(["layer", "weights", "formula", "a dense layer"], rows)
verify(
    "weights of the convolutions",
    [row[1] for row in rows],
    equals=[row[2] for row in rows],
    source="(s²c + 1) c′ with s = 3",
)

# %% [markdown]
# ## The way back is the adjoint
#
# The decoder must make large images from small ones. $K$ is a matrix, so there is a natural candidate. In
# $\langle\mathbf y, K\mathbf x\rangle = \sum_{ij}y_{ij}\sum_{ab}k_{ab}\,x_{2i+a,\,2j+b}$ collect the factor of $x_{uv}$. It
# has $a = u - 2i$ and $b = v - 2j$:
#
# $$
# (K^{\mathsf T}\mathbf y)_{uv} = \sum_{ij} k_{u-2i,\,v-2j}\;y_{ij} .
# $$ (eq-conv-transposed)
#
# Each pixel of the small image *puts* the kernel, times its value, around its place in the large one. This is the
# **transposed convolution**. It is the adjoint, $\langle\mathbf y, K\mathbf x\rangle = \langle K^{\mathsf T}\mathbf y,
# \mathbf x\rangle$, not the inverse ('deconvolution' is a misnomer), and it is what back-propagation computes, so every
# framework has it.

# %%
show_source(networks.halve, networks.transposed)

# %% [markdown]
# Two details. Sides 7 and 8 both become 4, so the way back has to be told which. And the two must agree on the zeros
# ({lecture}`2.5`): the `"SAME"` of TensorFlow has one zero less on the left and above if the side is even, and an image
# turned by 180° exchanges the sides. So we check {eq}`eq-conv` by its sum, in NumPy, for `halve` and for the faster
# `halve_turned` of the models, which turns the image instead of padding it; and then the adjoint, for odd and even sides and
# kernels of two sizes.

# %%
adjoint, slopes, sums = [], [], []
for n, size in ((8, 3), (7, 3), (28, 3), (28, 5), (9, 5)):
    r, half = size // 2, -(-n // 2)
    kernel = tf.constant(rng.standard_normal((size, size, 2, 4)))
    u = tf.constant(rng.standard_normal((3, n, n, 2)))
    v = tf.constant(rng.standard_normal((3, half, half, 4)))
    with tf.GradientTape() as tape:
        tape.watch(u)
        one = tf.reduce_sum(v * networks.halve(u, kernel, 0))
    padded = np.pad(u, ((0, 0), (r, r), (r, r), (0, 0)))
    by_sum = sum(
        padded[:, a : a + n : 2, b : b + n : 2] @ kernel[a, b]
        for a, b in np.ndindex(size, size)
    )
    for function in (networks.halve, networks.halve_turned):
        sums.append(np.abs(function(u, kernel, 0) - by_sum).max())
    back = networks.transposed(v, kernel, 0, n)
    terms = tf.norm(v) * tf.norm(u) * tf.norm(kernel)
    adjoint.append((one - tf.reduce_sum(back * u)) / terms)
    slopes.append(tf.reduce_max(tf.abs(tape.gradient(one, u) - back)))

# %% [markdown]
# The three comparisons:

# %%
verify(
    "both convolutions are the sum that defines them",
    sums,
    equals=0,
    atol=1e-12,
    source="eq-conv, in NumPy",
)
verify(
    "⟨y, Kx⟩ = ⟨Kᵀy, x⟩, relative to |y| |x| |k|",
    adjoint,
    equals=0,
    atol=1e-13,
    source="eq-conv-transposed; rounding errors",
)
verify(
    "Kᵀy is the slope of ⟨y, Kx⟩ in x",
    slopes,
    equals=0,
    atol=1e-12,
    source="automatic differentiation",
)

# %% [markdown]
# ### The chequerboard
#
# How many terms does a pixel receive? In one dimension $u - 2i$ must be $-1$, 0 or 1 for $s = 3$. An even $u$ allows only 0:
# one term. An odd $u$ lies between two places and gets a term from each. In two dimensions the numbers multiply: **one, two,
# two, four**, in a pattern of period two {cite}`odena2016`. (At the last row and column the second neighbour is missing.)
# Let $\mathbf y$ have $c$ channels with the mean square one, and draw kernels with variance $g/s^2c$, with the **gain** $g$.
# A pixel with $t$ terms then has the variance
#
# $$
# \langle (K^{\mathsf T}\mathbf y)_{uv}^2\rangle = t_{uv}\,c\cdot\frac{g}{s^2c} = \frac{g\,t_{uv}}{s^2}, \qquad
# \overline{t} = \frac{s^2}{4} .
# $$ (eq-conv-gain)
#
# ReLU keeps half of a mean square, since half of the $y$ are negative. To have one again behind it, the mean over pixels
# should be 2: $g = 8$. (A dense layer, where all $n$ terms arrive, needs the variance $2/n$, $g = 2$.) But no gain makes the
# variances *equal*: they are 8/9, 16/9 and 32/9.


# %%
def terms(size, n=8):
    """How many terms each pixel receives (eq-conv-transposed)."""
    ones = tf.ones((size, size, 1, 1), tf.float64)
    small = tf.ones((1, -(-n // 2), -(-n // 2), 1), tf.float64)
    return networks.transposed(small, ones, 0, n).numpy()[0, ..., 0]


line = np.array([1, 2, 1, 2, 1, 2, 1, 1])
verify(
    "terms per pixel, kernels of size 3",
    terms(3).astype(int),
    equals=np.outer(line, line),
    source="one at even places, two at odd ones, in each direction",
)

# %% [markdown]
# Now the variance: 4000 output channels are 4000 draws of the kernel.

# %%
n_kernels = 4000  # output channels: one draw of the kernel each
kernel, _ = transposed_convolution(rng, 3, 16, n_kernels, gain=8.0)
flat = tf.ones((1, 4, 4, 16), tf.float64)
drawn = networks.transposed(flat, tf.constant(kernel), 0, 8).numpy()[0]
variance = (drawn**2).mean(-1)
verify(
    "variance of each pixel of an untrained layer",
    variance,
    equals=8 / 9 * terms(3),
    rtol=5 * np.sqrt(2 / n_kernels),
    source="eq-conv-gain; five standard errors of a variance",
)
verify(
    "its mean over a period",
    variance[2:6, 2:6].mean(),
    equals=2,
    rtol=5 * np.sqrt(2 / n_kernels),
    source="eq-conv-gain",
)

# %% [markdown]
# The counts, and what one random kernel paints on a blank sheet:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: an eight by eight pattern of the counts one, two and four with period two, the last row and column lower. Middle: the same for kernels of size five, with counts four, six and nine, and lower ones at the border. Right: the output of one random kernel of size three on a constant image, away from the border a regular chequerboard with four different values."}, "figure": {"caption": "Terms that a pixel receives from a transposed convolution of stride 2 with kernels of size 3 (left) and 5 (middle). Right: a constant image, seen through one untrained layer.", "name": "fig-conv-terms"}}
fig, axes = plt.subplots(1, 3, figsize=(7, 2.5))
for ax, size in zip(axes, (3, 5), strict=False):
    count = terms(size)
    ax.imshow(count, cmap="Blues", vmin=0, vmax=16)
    for i, j in np.ndindex(count.shape):
        ax.text(j, i, f"{count[i, j]:g}", ha="center", va="center", size=8)
    ax.set(title=f"terms, kernel {size}×{size}")
axes[2].imshow(drawn[..., 0], cmap="gray")
axes[2].set(title="one random kernel")
for ax in axes:
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# A physicist sees a staggered field: a Fourier component at the edge of the Brillouin zone that nobody asked for. Training
# must unlearn it, and chequerboards in generated pictures come from here. Larger kernels soften the pattern. (With sizes
# that the stride divides, {ref}`ex-conv-even`, the variances become equal, but a single kernel can still paint it.) Our
# decoder has one more layer at the end, with stride 1, that can average over neighbours.
#
# The whole network: in the encoder two convolutions, a dense layer and the output $(\boldsymbol\mu,
# \log\boldsymbol\sigma^2)$; in the decoder a dense layer, two transposed convolutions, and one more with stride 1. Eight
# layers, ReLU between them.

# %%
show_source(
    in_keras.ConvolutionalVAE._encode, in_keras.ConvolutionalVAE._decode
)

# %% [markdown]
# ## A training step for Keras
#
# `fit` cuts batches, shuffles, calls callbacks and keeps averages. What it cannot know is our objective: there are no
# targets, and the bound {eq}`eq-elbo` needs noise. The place for that is `train_step`; `test_step` serves `evaluate`.

# %%
show_source(
    in_keras.ConvolutionalVAE.train_step,
    in_keras.ConvolutionalVAE.test_step,
    in_keras.ConvolutionalVAE._batch,
    in_keras.ConvolutionalVAE._report,
)

# %% [markdown]
# The noise is *stateless*: it depends on two numbers, kept among the variables of the model, and on nothing else.
# Evaluations have numbers of their own, so that watching does not change the training. What is reported averages over
# images, not over batches, because the last batch may be smaller. `binarise` tosses grey pixels anew in each batch; our
# pixels are already ones and zeros.
#
# **Which images may we watch?** Whoever stops when the held-out ones look best has trained on them. So some of the
# *training* images (a ninth of the digits) serve for validation, and nothing below is chosen or stopped by the held-out ones.
# (The example of Keras whose layers we take {cite}`chollet2020` trains on the test images, too. It makes pretty pictures, and
# no statement about likelihood.)
#
# Three callbacks: ours records the divergence of each latent variable; `ModelCheckpoint` writes the best
# epoch to a file; `EarlyStopping` ends a training that no longer improves, and brings the best weights back.


# %%
def encoded(vae, images):
    """Means and log variances of q(z|x) of any number of images."""
    parts = np.array_split(images, -(-len(images) // 2000))
    return np.concatenate([vae.encode(part) for part in parts], axis=1)


class Divergences(keras.callbacks.Callback):
    """KL(q‖prior) of each latent variable, per epoch (eq-gaussian-kl)."""

    def __init__(self, images):
        super().__init__()
        self.images, self.seen = images, []

    def on_epoch_end(self, epoch, logs=None):
        mean, log_variance = self.model.encode(self.images)
        terms = mean**2 + tf.exp(log_variance) - 1 - log_variance
        self.seen.append(tf.reduce_mean(terms, 0).numpy() / 2)


# %% [markdown]
# `compile` takes the optimiser, and here also `beta`, `binarise` and the `seed` of noise and coins. The order of the images
# comes from Keras' global seed. With `steps_per_execution` a whole epoch is one call of the graph, and Python waits outside.


# %%
def fit(vae, *callbacks, epochs=epochs, **options):
    """Train with a rate that falls; return what `fit` recorded."""
    keras.utils.set_random_seed(seed)  # for the order of the images
    n_batches = -(-len(x_fit) // 128)
    rate = keras.optimizers.schedules.PolynomialDecay(
        3e-3, epochs * n_batches, 1e-4
    )
    optimizer, options = keras.optimizers.Adam(rate), {"seed": seed} | options
    vae.compile(optimizer, steps_per_execution=n_batches, **options)
    images, watched = (a.reshape(-1, *vae.shape) for a in (x_fit, x_valid))
    fitting = {"batch_size": 128, "epochs": epochs, "verbose": 0}
    return vae.fit(
        images, validation_data=(watched,), callbacks=callbacks, **fitting
    ).history


# %% [markdown]
# The callbacks are asked in this order after each epoch.

# %%
divergences = Divergences(x_valid)
folder = tempfile.TemporaryDirectory()
best_file = Path(folder.name) / "best.keras"
history = fit(
    vae,
    divergences,
    keras.callbacks.ModelCheckpoint(
        best_file, "val_loss", save_best_only=True
    ),
    keras.callbacks.EarlyStopping(
        "val_loss", patience=epochs // 4, restore_best_weights=True
    ),
)

# %% [markdown]
# The file and the restored weights must be the same. And what `fit` reports must be the two terms of {eq}`eq-elbo`.

# %%
best = keras.saving.load_model(best_file)
verify(
    "the best file holds the weights that early stopping brought back",
    [
        np.array_equal(a, b)
        for one, other in zip(best.to_numpy(), vae.to_numpy(), strict=True)
        for a, b in zip(one, other, strict=True)
    ],
    equals=True,
    source="both watch the same number",
)
verify(
    "the loss that fit reports is β KL - ⟨log p(x|z)⟩, with β = 1",
    np.subtract(history["divergence"], history["log_likelihood"]),
    equals=history["loss"],
    rtol=1e-5,
    source="eq-elbo; averages are linear",
)
q_mean, q_log_variance = encoded(vae, x_valid)
reported = vae.evaluate(
    x_valid.reshape(-1, *vae.shape), verbose=0, return_dict=True
)
verify(
    "the divergence that evaluate reports",
    reported["divergence"],
    equals=gaussian_kl(q_mean, np.exp(q_log_variance)).mean(),
    rtol=1e-5,
    source="eq-gaussian-kl in NumPy, from what the encoder says",
)

# %% [markdown]
# Look at the right panel first: what did the network find, and when?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: minus the bound of training and validation images falls below 30 nats within a few epochs and then slowly to about 20; in the end validation lies not quite a nat above training. Right: the divergences of both latent variables rise to about one and a half nats each."}, "figure": {"caption": "Left: minus the bound on training and on validation images; the dot marks the epoch that was kept. Right: divergence of each latent variable from the prior, on validation images.", "name": "fig-conv-training"}}
kept = int(np.argmin(history["val_loss"]))
epoch = np.arange(1, len(history["loss"]) + 1)
fig, axes = plt.subplots(1, 2, figsize=(7, 2.8))
axes[0].plot(epoch, history["loss"], label="training")
axes[0].plot(epoch, history["val_loss"], label="validation")
axes[0].plot(kept + 1, history["val_loss"][kept], "o", color="C1")
axes[0].set(xlabel="epoch", ylabel="−ELBO (nats)", ylim=(None, 30))
axes[0].legend()
axes[1].plot(epoch, divergences.seen, label=["$z_1$", "$z_2$"])
axes[1].set(xlabel="epoch", ylabel="KL (nats)", ylim=(0, None))
axes[1].legend()
plt.show()

# %% [markdown]
# Both latent variables come to life within a few epochs, and are then refined. The validation curve trembles, since each
# evaluation draws new noise. The best of many noisy values flatters itself: one more reason to judge on other images.

# %%
if on_digits:
    verify(
        "both latent variables are alive: KL in nats",
        divergences.seen[-1],
        at_least=0.5,
        source="empirical: above one nat for all seeds tried",
    )

# %% [markdown]
# ### Save it, and go on
#
# The file holds weights, the moments and the step of Adam, and the numbers of the noise. As in {lecture}`1.4`, four epochs
# in one go must equal two, a file, and two more, to the last bit. (Without shuffling: the order of the images is `fit`'s
# affair, and not saved.)

# %%
go_on = {"batch_size": 128, "epochs": 2, "verbose": 0, "shuffle": False}
loaded, other = (keras.saving.load_model(best_file) for _ in range(2))
verify(
    "a loaded model predicts the same, to the last bit",
    np.array_equal(*(m.predict(x_test, verbose=0) for m in (loaded, best))),
    equals=True,
    source="the model that was saved",
)
other.fit(x_fit, **go_on | {"epochs": 4})
loaded.fit(x_fit, **go_on)
loaded.save(Path(folder.name) / "halfway.keras")
loaded = keras.saving.load_model(Path(folder.name) / "halfway.keras")
loaded.fit(x_fit, **go_on)
verify(
    "two epochs, saved, loaded, and two more are four epochs",
    [
        np.array_equal(a.numpy(), b.numpy())
        for a, b in zip(
            loaded.variables + loaded.optimizer.variables,
            other.variables + other.optimizer.variables,
            strict=True,
        )
    ],
    equals=True,
    source="the uninterrupted run",
)
folder.cleanup()

# %% [markdown]
# ## The same numbers in PyTorch
#
# Equal weights and equal noise must give equal bounds and equal slopes; up to which error? By {eq}`eq-keras-rounding` a sum
# of $n$ terms rounds by $\sqrt n\,\epsilon$ of the size $S$ of what is added. There are eight layers, and we take $n$ from
# the longest sum of a forward pass. (A slope also adds over images and pixels, some $2\cdot10^4$ terms. There we take $n$
# from these.) For a bound, $S = \sum_i|\ell_i| + |\text{ELBO}|$ with the log-odds $\ell_i$ of the pixels: their errors pass
# into $\log p(\mathbf x\mid\mathbf z)$ with slopes $|x_i - \sigma(\ell_i)| \le 1$. Slopes of the mean are compared with the
# largest entry.
#
# One thing more. A ReLU that lies within rounding of zero may fall on either side of its kink, as a coin did in
# {lecture}`1.4`. The bound does not mind, it is continuous. Its slope *jumps*. With 2000 units for each of 355 images, and
# errors of $10^{-6}$, that happens now and then. (It did, by half a per cent of a slope, in one of our six seeds.) So we ask
# each image for its **clearance**, the smallest $|y|$ of all units in front of their ReLU, and compare where it exceeds
# $10^{-4}$. (Sums of nothing but zeros, over blank paper, are exactly zero in both.)

# %%
noise = rng.standard_normal((n_test, 2))


def clearance(layers):
    """Distance of each image from the kinks, and Σ|ℓ| of its pixels."""
    model = in_keras.ConvolutionalVAE(side, 2, **shape, dtype="float64")
    model.from_numpy(layers)
    near = []

    def watched(y):
        gap = np.where(y == 0, np.inf, np.abs(y))  # 0 in both is no kink
        near.append(gap.reshape(len(x_test), -1).min(1))
        return tf.nn.relu(y)

    model.activation = watched
    mean, log_variance = model.encode(x_test)
    logits = model.decode(mean + tf.exp(log_variance / 2) * noise)
    return np.min(near, axis=0), np.abs(logits).sum((1, 2))


# %% [markdown]
# Bounds and slopes in either framework:


# %%
def bound_and_slopes(module, layers, floats, keep):
    """ELBO of some held-out images, and the slopes of its mean."""
    kind = getattr(torch, floats) if module is in_torch else floats
    options = {"dtype": kind, "device": "cpu"}
    model = module.ConvolutionalVAE(side, 2, **shape, **options)
    model.from_numpy(layers)
    batch = model, x_test[keep], noise[keep]
    if module is in_torch:
        bound = module.evidence_lower_bound(*batch)
        slopes = torch.autograd.grad(bound.mean(), list(model.parameters()))
        bound = bound.detach()
    else:
        with tf.GradientTape() as tape:
            bound = module.evidence_lower_bound(*batch)
            mean = tf.reduce_mean(bound)
        slopes = tape.gradient(mean, model.trainable_variables)
    return bound.numpy(), [s.numpy() for s in slopes]


# %% [markdown]
# We compare before and after training, in both precisions.

# %%
kept_images = {}
longest = max(9 * max(channels), start[len(channels)][0].shape[0])
for name, layers in (("initial", start), ("trained", vae.to_numpy())):
    near, size = clearance(layers)
    keep = near >= min(1e-4, np.quantile(near, 0.9))  # at least a tenth
    kept_images[name] = int(keep.sum())
    for floats in ("float32", "float64"):
        (bound, slopes), (bound_2, slopes_2) = (
            bound_and_slopes(module, layers, floats, keep)
            for module in (in_keras, in_torch)
        )
        scale = size[keep] + np.abs(bound_2)
        rounding = 8 * np.finfo(floats).eps / 2
        verify(
            f"{name} weights, {floats}: bounds agree",
            np.max(np.abs(bound - bound_2) / scale),
            at_most=rounding * np.sqrt(longest),
            source="rounding errors of sums in eight layers",
        )
        largest = max(np.abs(s).max() for s in slopes_2)
        pairs = zip(slopes, slopes_2, strict=True)
        gap = max(np.abs(a - b).max() for a, b in pairs)
        verify(
            f"{name} weights, {floats}: slopes agree",
            gap / largest,
            at_most=rounding * np.sqrt(n_test * d),
            source="rounding errors; a slope adds over images and pixels",
        )


# %% [markdown]
# How many images were far enough from the kinks to be compared (at least a tenth, by the choice above):

# %%
show_table(
    ["weights", "held-out images away from kinks"],
    [[name, f"‹{n}›"] for name, n in kept_images.items()],
)

# %% [markdown]
# ## Judged by exact likelihood
#
# Two latent variables: $\log p(\mathbf x)$ is a sum over a grid, {eq}`eq-evidence`. We move the weights to
# PyTorch and sum there. The competitor is a dense autoencoder with ReLU and almost the same number of weights, trained in
# Keras in the same way.

# %%
dense = in_keras.DenseVAE(d, 2, n_hidden, activation="relu", seed=[seed, 2])
_ = fit(
    dense,
    keras.callbacks.EarlyStopping(
        "val_loss", patience=epochs // 4, restore_best_weights=True
    ),
)


# %% [markdown]
# A Keras model knows how it was built (`get_config`), and the classes of both modules take the same arguments.


# %%
def in_pytorch(vae):
    """The same model, with the same weights, in PyTorch."""
    options = vae.get_config() | {"dtype": torch.float32, "device": "cpu"}
    kind = getattr(in_torch, type(vae).__name__)
    return kind(**options).from_numpy(vae.to_numpy())


def exact_log_prob(vae, images, n_points=n_points):
    """log p(x) of each image, and the error of the grid, in nats."""
    zero, model = np.zeros((1, 2)), in_pytorch(vae)
    z, _ = latent_grid(zero, zero + 1, n_points=n_points)
    with torch.no_grad():
        parts = [model.decode(part) for part in np.array_split(z[0], 50)]
    logits = np.concatenate(parts).astype(float).reshape(-1, d)
    norm = np.logaddexp(0, logits).sum(1)
    found = []
    for part in np.array_split(images.reshape(-1, d), -(-len(images) // 50)):
        centre = np.repeat(zero, len(part), axis=0)
        likelihood = part @ logits.T - norm
        found.append(
            evidence_on_grid(
                lambda z, value=likelihood: value,  # one grid for all
                centre,
                centre + 1,
                n_points=n_points,
            )
        )
    return np.concatenate(found, axis=1)


# %% [markdown]
# Each row of the table is $\mathbf x\cdot\boldsymbol\ell(\mathbf z) - \sum_i\varsigma(\ell_i)$ with the log-odds
# $\boldsymbol\ell$, on one grid for all images as in {lecture}`3.3`. The grid reports its own error, that of a quarter as many
# points. The bounds come from 200 draws for each held-out image.

# %%
exact, grid_error = exact_log_prob(vae, x_test)
exact_dense, dense_error = exact_log_prob(dense, x_test)
log_w = np.concatenate(
    [
        in_keras.log_weights(vae, x_test, rng.standard_normal((5, n_test, 2)))
        for _ in range(40)
    ]
).T.astype(float)
values, errors = np.transpose(
    [importance_weighted_bound(log_w, k) for k in (1, 5, 50)], (1, 0, 2)
)
reports = [
    vae.evaluate(x_test, verbose=0, return_dict=True)["loss"]
    for _ in range(20)
]
rows = {f"$L_{{{k}}}$": v for k, v in zip((1, 5, 50), values, strict=True)}
rows["exact $\\log p$"] = exact
show_table(
    ["held-out images", "nats", "± over images", "below exact"],
    [
        [name, v.mean(), v.std(ddof=1) / np.sqrt(n_test), (exact - v).mean()]
        for name, v in rows.items()
    ],
)

# %% [markdown]
# $L_1$ is the held-out ELBO. `evaluate` estimates it from one draw per image, new ones each time; we hold the mean of twenty
# evaluations to twenty draws of the same two terms.

# %%
draws = rng.standard_normal((20, n_test, 2))
elbo = np.array([in_keras.evidence_lower_bound(vae, x_test, e) for e in draws])
verify(
    "evaluate finds the held-out ELBO",
    -np.mean(reports),
    equals=elbo.mean(),
    atol=5 * np.sqrt(elbo.var(0, ddof=1).sum() * 2 / 20) / n_test,
    source="five standard errors of the draws",
)

# %% [markdown]
# The claim is about these images, so that only the error of the draws counts.

# %%
of_means = np.append(np.sqrt((errors**2).sum(1)) / n_test, 0)
verify(
    "held-out ELBO ≤ L₅ ≤ L₅₀ ≤ log p(x), means over images",
    np.diff([*values.mean(1), exact.mean()])
    + 5 * np.hypot(of_means[1:], of_means[:-1]),
    at_least=0,
    source="eq-iwae; five standard errors of the draws",
)
if on_digits:
    verify(
        "estimated error of the grid: mean over images",
        [grid_error.mean(), dense_error.mean()],
        at_most=0.05,
        source="a quarter of the points; the sum itself is much better",
    )

# %% [markdown]
# Now the contest, with the independent pixels of {eq}`eq-training-baseline` as the floor. All differences are paired: image
# by image.

# %%
ones = (x_fit.sum(0) + 1) / (len(x_fit) + 2)
weights = {
    m: sum(a.size for pair in m.to_numpy() for a in pair) for m in (vae, dense)
}


def log_pixels(images):
    """log p(x) of independent pixels."""
    return np.where(images == 1, np.log(ones), np.log1p(-ones)).sum((1, 2))


def paired(value, reference):
    """Mean of the differences, and its standard error."""
    gap = value - reference
    return gap.mean(), gap.std(ddof=1) / np.sqrt(len(gap))


# %% [markdown]
# The table, with the error of each difference next to it.

# %%
pixels = log_pixels(x_test)
table = [["independent pixels", d, pixels.mean(), "", "", "", ""]]
for name, m, value in (
    ("dense", dense, exact_dense),
    ("convolutional", vae, exact),
):
    row = [name, weights[m], value.mean(), *paired(value, pixels), "", ""]
    table.append(row)
table[-1][5:] = paired(exact, exact_dense)
show_table(
    ["model", "weights", "log p", "above pixels", "±", "above dense", "±"],
    table,
)
verify(
    "both autoencoders beat independent pixels on held-out images",
    [row[3] - 5 * row[4] for row in table[1:]],
    at_least=0,
    source="exact likelihoods; five paired standard errors",
)

# %% [markdown]
# Both learned some five nats beyond the pixels. Neither wins, whatever the last column says. In six seeds that we ran on the
# digits, on one machine, the convolutional model was ahead by $-0.15$ to 0.44 nats, on average by 0.10 with a standard error
# of 0.08. Compare this scatter with the last column: the paired error over images does not contain the luck of a training,
# and with *one* training of each you can publish either ranking. What else changes such a table? With tanh in place of ReLU
# the dense model loses 0.4 to 0.8 nats (measured once, for three seeds), several times the 0.10 of the convolutions. And the
# dense model of {lecture}`3.3`, which has tanh, reached $-18.4$ on the same images, with all 1442 images to train on, batches
# of 100, a larger rate and 100 epochs: the protocol is worth more than activation and convolution together. Change one thing
# at a time, or you credit the symmetry with what something else did.
#
# ### The latent plane
#
# **Predict** which digits share a neighbourhood.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: latent plane with held-out digits drawn as numerals; most classes form clusters, some overlap. Right: a lattice of decoded pictures that change smoothly from one digit shape to another."}, "figure": {"caption": "Left: latent means of held-out images, drawn as their class. Right: decoded probabilities of a lattice of latent points, at normal quantiles, so that each picture stands for equal prior probability, in the orientation of the left panel.", "name": "fig-conv-plane"}}
codes = [encoded(vae, images)[0] for images in (x, x_test)]
quantiles = ndtri((np.arange(13) + 0.5) / 13)
lattice = np.stack(np.meshgrid(quantiles, quantiles[::-1]), -1).reshape(-1, 2)
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.5))
for digit in range(10):
    color = plt.cm.tab10(digit)
    marker = {"marker": f"${digit}$", "s": 20, "lw": 0.2, "color": color}
    axes[0].scatter(*codes[1][labels_test == digit].T, **marker)
axes[0].set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
image_grid(vae.expectation(lattice).numpy(), 13, ax=axes[1])
plt.show()

# %% [markdown]
# Colours keep together, though nobody told the encoder about classes: images of one class need similar decoders. Follow the
# lattice from cluster to cluster. Where two of them touch, the decoder passes through pictures that are no digits. The prior
# puts its probability there all the same, and some samples will come from there.
#
# A number for what the eye sees: 15 nearest neighbours among the training images vote, once in the
# latent plane and once in the plane of two principal components ({lecture}`3.1`). The labels were never shown to the
# encoder.

# %%
pca = PCA(2).fit(x.reshape(-1, d))
linear = [pca.transform(a.reshape(-1, d)) for a in (x, x_test)]
hits = [
    KNeighborsClassifier(15).fit(train, labels).predict(test) == labels_test
    for train, test in (codes, linear)
]
gain, error = paired(*np.array(hits, float))
show_table(
    ["two coordinates", "accuracy"],
    [
        ["latent means", hits[0].mean()],
        ["principal components", hits[1].mean()],
    ],
)
verify(
    "latent means tell digits apart better than principal components",
    gain,
    at_least=2 * error,
    source="two paired standard errors, over images only",
)

# %% [markdown]
# Reconstructions show what two numbers can keep; samples show what the model believes.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels of small pictures. Left: held-out digits. Middle: their reconstructions, smooth, most of the same class, some of another. Right: samples, digit-like strokes with ragged, independent pixels at their edges."}, "figure": {"caption": "Held-out images (left), probabilities at their latent means (middle), and samples (right).", "name": "fig-conv-samples"}}
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.4))
shown = np.linspace(0, n_test - 1, 24).astype(int)
for ax, images, title in zip(
    axes,
    (
        x_test[shown],
        vae.reconstruct(x_test[shown]).numpy(),
        vae.sample(24, seed).numpy(),
    ),
    ("held-out", "reconstructed", "sampled"),
    strict=True,
):
    image_grid(images, 6, ax=ax, title=title)
plt.show()

# %% [markdown]
# Two numbers keep the rough shape; the rest is averaged away, and a digit whose code lies in a neighbour's cluster comes
# back as the neighbour. Ragged edges of samples are built in: given $\mathbf z$ all pixels are independent coins,
# convolutions or not.
#
# ## How far does the symmetry carry?
#
# We shift the held-out images by one pixel. **Predict** the change of $\log p$ for independent pixels, for the dense and for
# the convolutional model. If $p(\mathbf x)$ were the same at every place, it would be zero. (The layers alone promise that
# only for shifts by four, away from the walls.)


# %%
def shifted(images, dy, dx):
    """Images moved by (dy, dx), with zeros coming in."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    return padded[:, 1 - dy : 1 - dy + side, 1 - dx : 1 - dx + side]


# %% [markdown]
# A coarser grid is good enough for differences of nats.

# %%
ways = (0, 1), (0, -1), (1, 0), (-1, 0)
moved = np.concatenate([shifted(x_test, *way) for way in ways])
after = {
    "independent pixels": log_pixels(moved),
    "dense": exact_log_prob(dense, moved, n_points=81)[0],
    "convolutional": exact_log_prob(vae, moved, n_points=81)[0],
}
before = pixels, exact_dense, exact
lost = {
    name: old - new.reshape(4, n_test)
    for (name, new), old in zip(after.items(), before, strict=True)
}
show_table(
    ["nats lost by a shift", "right", "left", "down", "up"],
    [[name, *v.mean(1)] for name, v in lost.items()],
)
beyond = ", beyond those of pixels" if on_digits else ""
for name in ("dense", "convolutional"):
    more = lost[name] - (lost["independent pixels"] if on_digits else 0)
    verify(
        f"nats that a shift costs {name}{beyond}",
        [mean - 3 * error for mean, error in (paired(v, 0) for v in more)],
        at_least=0,
        source="three standard errors over images; exact likelihoods",
    )

# %% [markdown]
# Far from zero. (Up and down cut off a row of ink, for the digits fill the height; only right and left are clean shifts.) A
# shift costs both autoencoders *more* than the independent pixels: they have learned where digits are. Three reasons, all
# worth keeping. Two strides keep only shifts by four, and a map of $2\times2$ has no inside. Between the equivariant layers
# stands a dense one: the two latent variables have no place for a position, and the decoder writes its digits where the
# training images were. And it should be so: in these data the digits fill the height and stand in the middle of the width.
# The likelihood of a good model falls when the data leave the distribution. Convolutions put the symmetry into the *layers*;
# $p(\mathbf x)$ has it only if every step from $\mathbf z$ to $\mathbf x$ has it, and the border and the data as well.
#
# ## Break it: a mean in the place of a sum
#
# A slip that is easy to find in public code is one word. `binary_crossentropy` of Keras averages over the last axis; on
# flattened images that is the mean over the $d$ pixels. Whoever adds the divergence to it minimises
#
# $$
# -\frac1d\bigl\langle\log p(\mathbf x\mid\mathbf z)\bigr\rangle_q + \operatorname{KL}
# = \frac1d\Bigl[-\bigl\langle\log p(\mathbf x\mid\mathbf z)\bigr\rangle_q + d\operatorname{KL}\Bigr],
# $$ (eq-conv-mean)
#
# a $\beta$ equal to the number of pixels: for coins what a $\sigma^2$ of $d/2$ is for real data ({ref}`ex-squared-error`).
# **Predict** what becomes of the latent variables. There is even a bound. Averaged over the $N$ training images, if no two
# are equal, the evidence lower bound cannot exceed the best log-likelihood of any distribution, $-\log N$, so
# $\langle\log p(\mathbf x\mid\mathbf z)\rangle \le \operatorname{KL} - \log N$. The optimum is no worse than a decoder that
# ignores $\mathbf z$ and knows the mean of each pixel, which has $\operatorname{KL} = 0$ and loses $H_1 = \sum_i H(\bar
# x_i)$, with the entropy $H(p)$ of a coin: $d\operatorname{KL} - \langle\log p(\mathbf x\mid\mathbf z)\rangle\le H_1$. Add
# both:
#
# $$
# (d - 1)\operatorname{KL} \;\le\; H_1 - \log N .
# $$ (eq-conv-collapse)


# %%
def keras_loss(vae, x, noise):
    """What the slip minimises: pixel mean of the cost, plus KL."""
    mean, log_variance = vae.encode(x)
    logits = vae.decode(mean + tf.exp(log_variance / 2) * noise)
    cost = keras.losses.binary_crossentropy(
        x.reshape(-1, d), tf.reshape(logits, (-1, d)), from_logits=True
    )
    kl = mean**2 + tf.exp(log_variance) - 1 - log_variance
    return cost + tf.reduce_sum(kl, 1) / 2


small_noise = noise.astype(np.float32)
verify(
    "a mean over pixels is β = d, divided by d",
    d * keras_loss(vae, x_test, small_noise),
    equals=-in_keras.evidence_lower_bound(vae, x_test, small_noise, beta=d),
    rtol=1e-4,
    source="eq-conv-mean",
)
collapsed = in_keras.ConvolutionalVAE(side, 2, **shape, seed=[seed, 1])
watch = Divergences(x_valid)
_ = fit(collapsed, watch, epochs=-(-epochs // 3), beta=float(d))

# %% [markdown]
# Where images occur more than once, $\log N$ becomes the entropy of their frequencies.

# %%
mean, log_variance = encoded(collapsed, x_fit)
kl = (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1).mean() / 2
p = np.clip(x_fit.mean(0).astype(float), 1e-12, 1 - 1e-12)
pixel_entropy = entr(p).sum() + entr(1 - p).sum()
_, counts = np.unique(x_fit.reshape(-1, d), axis=0, return_counts=True)
verify(
    "collapse: divergence of the training images (nats)",
    kl,
    at_most=(pixel_entropy - entr(counts / len(x_fit)).sum()) / (d - 1),
    source="eq-conv-collapse",
)
exact_collapsed, _ = exact_log_prob(collapsed, x_test, n_points=41)
if on_digits:
    verify(
        "exact log p held out: collapsed, less independent pixels",
        paired(exact_collapsed, pixels)[0],
        equals=0,
        atol=0.3,
        source="a decoder that ignores z; empirical margin",
    )

# %% [markdown]
# The same network and images, one word, and a third of the epochs. (It was trained as $\beta = d$; Adam hardly notices the
# factor $1/d$.)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: divergence against epoch, logarithmic. With the sum it rises to about three nats; with the mean it falls to a thousandth of a nat. Right: twelve decoded prior draws of the collapsed model, nearly the same grey blur."}, "figure": {"caption": "Left: divergence of both latent variables together, with the sum over pixels and with their mean; the dotted line is the bound for the optimum, on training images. Right: decoded draws from the prior after training with the mean.", "name": "fig-conv-collapse"}}
bound = (pixel_entropy - entr(counts / len(x_fit)).sum()) / (d - 1)
fig, axes = plt.subplots(1, 2, figsize=(7, 2.7))
for seen, name in ((divergences.seen, "sum"), (watch.seen, "mean")):
    curve = np.sum(seen, axis=1)
    axes[0].plot(np.arange(1, len(curve) + 1), curve, label=name)
axes[0].axhline(bound, color="0.4", ls=":")
axes[0].set(xlabel="epoch", ylabel="KL (nats)", yscale="log")
axes[0].legend()
prior = np.random.default_rng([seed, 4]).standard_normal((12, 2))
image_grid(collapsed.expectation(prior).numpy(), 4, ax=axes[1])
plt.show()

# %% [markdown]
# All latent variables are dead, and the model is the independent pixels (nearly: the decoder still answers a little to
# $\mathbf z$, as the right panel shows). No warning: the printed loss is a *small* number, and who plots it sees a perfect
# training. Check the units: a likelihood of an image is a sum over pixels.
#
# **The same line hides a second slip.** Given probabilities, Keras looks for the log-odds that they came from. In a
# graph it finds them if a sigmoid was the last operation, but not if anything stands between, such as the `reshape` that
# flattens the images; then it clips to $[10^{-7}, 1 - 10^{-7}]$. (Outside of a graph, without `@tf.function`, a plain
# `tf.sigmoid` leaves no trace, and Keras always clips.) **Predict** what a pixel costs whose decoder is wrongly sure, with
# log-odds of 30.

# %%
sure = tf.constant([[30.0]], tf.float64)
blank = tf.zeros((1, 1), tf.float64)


@tf.function
def cost_and_slope(last):
    """What a blank pixel costs after `last`, and the slope in log-odds."""
    with tf.GradientTape() as tape:
        tape.watch(sure)
        p = last(tf.sigmoid(sure))
        cost = keras.losses.binary_crossentropy(blank, p)
    return cost[0], tape.gradient(cost, sure)[0, 0]


verify(
    "the sigmoid last: cost in nats of a pixel with log-odds 30, slope",
    cost_and_slope(lambda p: p),
    equals=[np.logaddexp(0, 30.0), 1],
    rtol=1e-9,
    source="log(1 + e^30)",
)
verify(
    "reshaped after the sigmoid: cost, slope",
    cost_and_slope(lambda p: tf.reshape(p, (-1, 1))),
    equals=[-np.log(1e-7), 0],
    atol=[1e-8, 1e-12],
    source="clipping at 1e-7",
)

# %% [markdown]
# The pixel that is most wrong teaches nothing. Our decoder ends in log-odds, which no `reshape` can hide.
#
# ## Exercises
#
# ::::{exercise} Equal counts
# :label: ex-conv-even
# For which sizes $s$ and strides $S$ does every inner pixel receive the same number of terms, and how many? Check with
# TensorFlow's `conv2d_transpose`, with kernels of ones.
# ::::
#
# ::::{solution-start} ex-conv-even
# :class: dropdown
# ::::
#
# In one dimension, output $u$ collects those places $a$ of the kernel with $a \equiv u$ modulo $S$, up to a constant. Each
# class has the same number $s/S$ if and only if $S$ divides $s$. So $(s/S)^2$ terms: four for $s = 4$, $S = 2$; for $s = S$
# the tiles do not overlap at all. The variances are then equal. But the classes still use different entries of the kernel:
# one kernel, with weights that training leaves unequal, paints a chequerboard all the same.

# %% tags=["solution"]
for size, stride in ((4, 2), (3, 3), (6, 3)):
    n = 6 * stride
    out = tf.nn.conv2d_transpose(
        tf.ones((1, 6, 6, 1)),
        tf.ones((size, size, 1, 1)),
        (1, n, n, 1),
        stride,
        "SAME",
    ).numpy()[0, size:-size, size:-size, 0]
    verify(
        f"terms per inner pixel, size {size} and stride {stride}",
        out.astype(int),
        equals=(size // stride) ** 2,
        source="(s/S)²",
    )

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Grey is not a probability
# :label: ex-conv-grey
# Much code inserts grey values $x\in[0, 1]$ into $x\log\lambda + (1-x)\log(1-\lambda)$. With $\lambda = \sigma(\ell)$,
# integrate $\lambda^x(1-\lambda)^{1-x}$ over $x$. By how much, at least, is such a 'likelihood' wrong for each pixel? Does
# it matter for the optimum?
# ::::
#
# ::::{solution-start} ex-conv-grey
# :class: dropdown
# ::::
#
# Since $\lambda/(1-\lambda) = e^\ell$ the integrand is $(1-\lambda)\,e^{\ell x}$, and
#
# $$
# \int_0^1\lambda^x(1-\lambda)^{1-x}\,\mathrm dx = (1-\lambda)\,\frac{e^\ell - 1}{\ell} = \frac{2\lambda - 1}{\ell}
# = \frac{\tanh(\ell/2)}{\ell} \le \frac12 .
# $$ (eq-conv-grey)
#
# As a density it is too small by a factor of two or more per pixel: at least $\log 2$ nats for each, 543 for MNIST. And the
# missing constant $\log C = \log\bigl[\ell/\tanh(\ell/2)\bigr]$ depends on $\ell$, so the optimum moves: without it
# $\lambda$ is fitted to the mean grey value, with it the mean of the density is. This is the *continuous Bernoulli*
# {cite}`loaizaganem2019`. Without the constant the formula is the mean over coins that are tossed with the grey values: a
# bound for *binary* images, not for grey ones.

# %% tags=["solution"]
odds = np.array([-5.0, -1.0, 0.5, 3.0])


def moment(k, o):
    """∫ xᵏ λˣ(1 - λ)¹⁻ˣ dx for log-odds o."""
    return quad(lambda v: v**k * np.exp(v * o) * expit(-o), 0, 1)[0]


mass, first = (np.array([moment(k, o) for o in odds]) for k in (0, 1))
verify(
    "mass of the formula over grey values",
    mass,
    equals=np.tanh(odds / 2) / odds,
    rtol=1e-9,
    source="eq-conv-grey",
)

# %% [markdown]
# The bound, and the slope of the missing constant:

# %% tags=["solution"]
wide = np.linspace(0.01, 30, 300)
verify(
    "it never exceeds one half",
    np.tanh(wide / 2) / wide,
    at_most=0.5,
    source="tanh u ≤ u; the mass is even in ℓ",
)
h = 1e-5
slope = [
    (
        np.log((o + h) / np.tanh((o + h) / 2))
        - np.log((o - h) / np.tanh((o - h) / 2))
    )
    / (2 * h)
    for o in odds
]
verify(
    "slope of the missing constant: λ minus the mean grey value",
    slope,
    equals=expit(odds) - first / mass,
    atol=1e-8,
    source="log C is minus the log of the mass",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} A switch without a wire
# :label: ex-conv-warmup
# Some warm the bound up: $\beta$ grows from 0 to 1 over the first epochs. Someone writes a callback that sets
# `self.model.beta`, a Python number, at the start of each epoch. **Predict** its effect with {lecture}`1.4`, check, and mend
# it.
# ::::
#
# ::::{solution-start} ex-conv-warmup
# :class: dropdown
# ::::
#
# `train_step` is traced once, and the number that `beta` had then is part of the graph: from the second epoch on the
# callback writes to a place that nobody reads. A `tf.Variable` is read whenever the graph runs. `fit` reports the loss and
# its two parts, and so reveals which $\beta$ was at work. (KL and loss are means over the same images, so
# $\beta = (\text{loss} + \langle\log p\rangle)/\operatorname{KL}$.)


# %% tags=["solution"]
class WarmUp(keras.callbacks.Callback):
    """β = 0.2, 0.4, … 1 in the first epochs."""

    def on_epoch_begin(self, epoch, logs=None):
        beta = min(1.0, 0.2 * (epoch + 1))
        if isinstance(self.model.beta, tf.Variable):
            self.model.beta.assign(beta)
        else:
            self.model.beta = beta


at_work = {}
for kind in (float, tf.Variable):
    small = in_keras.DenseVAE(d, 2, (20,), seed=[seed, 5])
    small.compile(keras.optimizers.Adam(1e-3), seed=seed)
    small.beta = kind(1.0)
    images = x_fit.reshape(-1, d)
    warm = {"epochs": 5, "callbacks": [WarmUp()], "verbose": 0}
    seen = small.fit(images, batch_size=128, **warm).history
    at_work[kind] = np.add(seen["loss"], seen["log_likelihood"])
    at_work[kind] /= seen["divergence"]
verify(
    "β at work: a number, and a variable",
    [at_work[float], at_work[tf.Variable]],
    equals=[[0.2] * 5, [0.2, 0.4, 0.6, 0.8, 1.0]],
    rtol=1e-3,
    source="tracing; what the callback says",
)

# %% [markdown]
# The callback comes before the first batch, so the dead switch is stuck at 0.2, not at one: it trains *another model* to the
# end.
#
# ::::{solution-end}
# ::::
#
# ## Summary
#
# A convolution is a matrix with a symmetry, and the way back is its adjoint, chequerboard included; both were held to
# identities. Keras needs two methods to train a likelihood, and its file holds all that the training depends on but the order of the images; PyTorch,
# given the same weights and noise, finds the same bound and slopes. In exact likelihood the symmetry of the layers is worth
# little for small pictures that stand in the middle of their frames, in maps that end at $2\times2$, since the model behind
# them does not have it, and one mean in the place of a sum costs all that was learned.
#
# The layers are those of Keras' own example {cite}`chollet2020`; {cite:t}`odena2016` show what chequerboards do to larger
# pictures.
#
# **Next:** in {lecture}`3.5` the data have the symmetry themselves: spins on a torus, and a latent variable that should find
# the magnetisation.
