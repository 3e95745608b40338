# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Compress data with autoencoders, and see why that is not enough
#
# A crystal of $10^{23}$ atoms is described by phonons, a magnet by its magnetisation, a molecule by a few soft bends. Finding
# such **collective coordinates** is what physicists do before they calculate anything. An autoencoder looks for them in data: it
# squeezes each sample through a narrow *code* and is judged by how well it gets the sample back. This lecture is about what it
# finds. Where everything is linear we can say so exactly, down to the rate at which training converges; the rest is measured
# against exact results where there are any. At the end we ask the autoencoder for *new* samples, and it has no answer. That
# failure is the starting point of variational autoencoders.
#
# :::{admonition} Plan
# :class: tip
# **You will** solve principal components exactly for the Ising magnet, find every critical point of the linear autoencoder, see
# non-linear ones win on a curved manifold and stumble over its topology, turn a denoiser into a score, and measure how wrong
# decoded random codes are.
# **You need** eigenvectors, PyTorch, and for one remark {lecture}`2.3`.
# **Time** an hour to read, exercises not counted; half a minute of CPU.
# :::

# %%
from itertools import combinations, pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import erfc, ive
from sklearn.decomposition import PCA
from torch import nn

from advml import datasets, ising
from advml.checks import verify
from advml.display import progress, show_source, show_table
from advml.plotting import image_grid

plt.style.use("advml.course")
torch.set_num_threads(1)  # the networks here are too small to share out

# %% tags=["parameters"]
seed = 0
n_code = 8  # numbers that a digit is compressed to
epochs = 80  # of the networks on digits
n_steps_ring = 1500  # of the networks on the ring of detectors

# %% [markdown]
# ## The best linear code
#
# The data are vectors $\mathbf x$ with $d$ entries, shifted to mean zero, with covariance
# $\mathbf C = \langle \mathbf x \mathbf x^{\mathsf T}\rangle$. A linear code of $q$ numbers is a projection
# $\mathbf z = \mathbf V^{\mathsf T}\mathbf x$ on $q$ orthonormal columns, and $\mathbf V\mathbf z$ is the reconstruction. (Any
# other matrix of rank $q$ does no better than the orthogonal projector on its range.) By Pythagoras
#
# $$
# \big\langle |\mathbf x - \mathbf V\mathbf V^{\mathsf T}\mathbf x|^2 \big\rangle
#   = \operatorname{Tr}\mathbf C - \operatorname{Tr}\mathbf V^{\mathsf T}\mathbf C\mathbf V :
# $$ (eq-pca-two-views)
#
# *least reconstruction error is the same as most variance kept*. Let $\mathbf C\mathbf u_i = \lambda_i\mathbf u_i$ with
# $\lambda_1 \ge \lambda_2 \ge \dots$ The variance kept is $\sum_i \lambda_i w_i$ with weights
# $w_i = |\mathbf V^{\mathsf T}\mathbf u_i|^2$. Each is between 0 and 1, as the squared length of a projected unit vector, and their
# sum is $\operatorname{Tr}\mathbf V\mathbf V^{\mathsf T} = q$. Nothing beats weight one on the $q$ largest eigenvalues:
#
# $$
# \min_{\mathbf V} \big\langle |\mathbf x - \mathbf V\mathbf V^{\mathsf T}\mathbf x|^2 \big\rangle = \sum_{i > q} \lambda_i ,
# \qquad \mathbf V = (\mathbf u_1, \dots, \mathbf u_q) .
# $$ (eq-pca-discarded)
#
# These are the **principal components** {cite}`pearson1901`. In terms of the data matrix $\mathbf X$, one sample per row, with the
# singular value decomposition $\mathbf X = \mathbf Q\mathbf S\mathbf U^{\mathsf T}$, we have
# $\mathbf C = \mathbf X^{\mathsf T}\mathbf X/n = \mathbf U\,(\mathbf S^2/n)\,\mathbf U^{\mathsf T}$, and {eq}`eq-pca-discarded`
# is the theorem of {cite:t}`eckart1936`: the best approximation of rank $q$ keeps the $q$ largest singular values.
#
# You know an example. In a harmonic crystal, $E = \frac12\mathbf x^{\mathsf T}\mathbf K\mathbf x$, thermal fluctuations have
# $\mathbf C = T\,\mathbf K^{-1}$. With equal masses, and the crystal pinned so that $\mathbf K$ has an inverse, its principal
# components are the **normal modes**, the softest first: $\lambda$ is the temperature over the stiffness of the mode.


# %%
def principal_components(x):
    """Mean, variances (divided by n) and components as rows."""
    mean = x.mean(axis=0)
    _, s, vt = np.linalg.svd(x - mean, full_matrices=False)
    return mean, s**2 / len(x), vt


# %% [markdown]
# We work from the singular values, because forming $\mathbf C$ would square the condition number.
#
# ## A magnet, solved exactly
#
# What are the normal modes of a magnet? {cite:t}`wang2016` gave snapshots of the Ising model to a principal component analysis,
# which returned the order parameter. We can say exactly what it must return. The mean spin is zero by symmetry, and on a torus
# the correlations depend on the displacement only, $C_{ij} = G(\mathbf r_i - \mathbf r_j)$. Such a matrix commutes with all
# translations, so its eigenvectors are plane waves, and its eigenvalues are the *structure factor*
#
# $$
# \lambda(\mathbf k) = S(\mathbf k) = \sum_{\mathbf r} G(\mathbf r)\, e^{-i\mathbf k\cdot\mathbf r}
#   = \frac1N \Big\langle \Big| \sum_j s_j\, e^{-i\mathbf k\cdot\mathbf r_j} \Big|^2 \Big\rangle ,
# \qquad S(0) = \frac{\langle M^2\rangle}{N} .
# $$ (eq-pca-structure-factor)
#
# In a ferromagnet no correlation is negative (Griffiths), so $|S(\mathbf k)|\le\sum_{\mathbf r} G(\mathbf r) = S(0)$, and $\mathbf k = 0$ is the
# largest: the first component is uniform, its code is $M/\sqrt N$, and its eigenvalue is $T\chi$, with the **susceptibility**
# $\chi = \langle M^2\rangle/NT$, the response of the magnetisation per spin to a field. (Below $T_c$ one usually subtracts
# $\langle|M|\rangle^2$.) Two sums come for free. As $s_j^2 = 1$, the $S(\mathbf k)$ average to one; and
# $\frac1N\sum_{\mathbf k} S(\mathbf k)(\cos k_x + \cos k_y) = -u$ is minus the energy per spin.
#
# We even know $G$. Let $\mathcal T$ be the transfer matrix between neighbouring rows of $L$ spins, $2^L \times 2^L$. With
# the spin in column $c$ of a row as a diagonal matrix $\hat s_c$,
#
# $$
# G(r, c) = \frac{\operatorname{Tr}\, \hat s_0\, \mathcal T^{\,r}\, \hat s_c\, \mathcal T^{\,L-r}}{\operatorname{Tr}\, \mathcal T^{\,L}} .
# $$ (eq-pca-transfer)

# %%
show_source(ising.correlations)

# %% [markdown]
# Two checks: Kaufman's energy for the neighbours at all temperatures, and the sum over all 65 536 configurations of a $4\times4$
# torus for all correlations and for the claim about plane waves.

# %%
data = datasets.ising(8)
temperatures = data.temperatures
structure = np.array(
    [np.fft.fft2(ising.correlations(8, t)).real for t in temperatures]
)
k = 2 * np.pi * np.arange(8) / 8
cosines = np.cos(k)[:, None] + np.cos(k)
verify(
    "energy per spin from the exact structure factors, 13 temperatures",
    -(structure * cosines).mean(axis=(1, 2)),
    equals=ising.energy_per_spin(8, temperatures),
    atol=1e-12,
    source="Kaufman (1949)",
)
spins = ising.all_configurations(4)
weights = np.exp(-(ising.energy(spins) + 32) / temperatures[5])
flat = spins.reshape(-1, 16).astype(float)
covariance = (flat.T * weights / weights.sum()) @ flat
s4 = np.fft.fft2(ising.correlations(4, temperatures[5])).real
verify(
    "covariance of the 4×4 magnet has the eigenvalues S(k)",
    np.linalg.eigvalsh(covariance),
    equals=np.sort(s4.ravel()),
    atol=1e-12,
    source="enumeration of 65536 configurations, at the critical temperature",
)

# %% [markdown]
# Now the analysis of *data*: 8000 snapshots of the $8\times8$ magnet at each of 13 temperatures.

# %%
found, error, top = [], [], []
for t in temperatures:
    x = data.train[data.train_labels == t].astype(float)
    power = np.abs(np.fft.fft2(x)) ** 2 / 64  # |Σ s e^{-ikr}|²/N, (n, 8, 8)
    found.append(power.mean(axis=0))
    error.append(power.std(axis=0) / np.sqrt(len(x)))
    top.append(principal_components(x.reshape(-1, 64))[1][:5])
found, error, top = np.array(found), np.array(error), np.array(top)

# %% [markdown]
# The measured power of each plane wave and the largest eigenvalue agree with theory at all temperatures.

# %%
verify(
    "power of the plane waves in the data, 13 temperatures × 64 waves",
    found,
    equals=structure,
    atol=5 * error,
    source="transfer matrix; 5 standard errors",
)
verify(
    "largest eigenvalue of the data = mean squared magnetisation per spin",
    top[:, 0],
    equals=structure[:, 0, 0],
    atol=5 * error[:, 0, 0],
    source="transfer matrix; 5 standard errors",
)

# %% [markdown]
# The figure also shows the analysis of all temperatures together, as Wang did. The waves must come back: a mixture of
# temperatures is translation invariant too.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: eigenvalue over 64 against temperature, logarithmic. The first falls from nearly one to 0.1, smoothly through the critical temperature; the next four lie on one curve that rises from 0.0006 to 0.05 and flattens. Circles lie on the exact lines. Right: six images of 8 by 8 spins. The first is uniform, the next four are waves with one period across the lattice in some direction, the sixth is a wave of shorter period."}, "figure": {"caption": "Left: the five largest eigenvalues of the data at each temperature (circles) and exact structure factors (lines). Right: the first six components of all temperatures together.", "name": "fig-pca-magnet"}}
fig, (left, right) = plt.subplots(1, 2, figsize=(6.8, 2.9))
for name, wave, colour in (("0", (0, 0), "C0"), ("2\\pi/L", (0, 1), "C1")):
    line = structure[:, *wave] / 64
    left.semilogy(temperatures, line, color=colour, label=f"$k = {name}$")
left.semilogy(temperatures, top[:, 0] / 64, "o", color="C0", mfc="w")
for i in range(1, 5):
    left.semilogy(temperatures, top[:, i] / 64, "o", color="C1", mfc="w", ms=4)
left.axvline(ising.CRITICAL_TEMPERATURE, color="0.6", ls=":", lw=1)
left.set(xlabel="temperature $T$", ylabel=r"$\lambda / N$")
left.legend()
pooled = data.train[:: len(data.train) // 20000].reshape(-1, 64)
_, _, vectors = principal_components(pooled.astype(float))
vectors *= np.sign(vectors.sum(axis=1, keepdims=True))
limits = (-0.25, 0.25)
images = vectors[:6].reshape(-1, 8, 8)
image_grid(images, 3, ax=right, limits=limits, cmap="RdBu_r")
plt.show()

# %% [markdown]
# So the analysis measures the structure factor, and it finds the magnetisation because translations are a symmetry and
# $\mathbf k = 0$ is soft. Two lessons carry over. First, *eigenvalues come in multiplets*: components 2 to 5 span the four waves
# with $|\mathbf k| = 2\pi/L$, but which basis of that space you see is sampling noise. (A small perturbation mixes degenerate
# states.) A code of three numbers cuts the multiplet, and its subspace is arbitrary. Second, the leading *eigenvalue* is a
# smooth function of $T$ on a finite lattice, and its component is uniform at all $T$: it shows order, not a transition.

# %% [markdown]
# ## Digits, by hand and by library
#
# From now on the data are the $8\times8$ digits: no symmetry, no exact spectrum. We hold the test images out. scikit-learn, told to
# diagonalise the covariance, must agree up to the sign of each component and one convention: it divides variances by $n - 1$.

# %%
digits = datasets.digits()
x_train, x_test = (
    images.reshape(-1, 64) for images in (digits.train, digits.test)
)
mean, lam, components = principal_components(x_train)
n = len(x_train)
library = PCA(svd_solver="covariance_eigh").fit(x_train)
signs = np.sign((library.components_ * components).sum(axis=1))
scale = signs * np.sqrt(library.explained_variance_ * (n - 1) / n)
verify(
    "first 40 components, times their standard deviations",
    (scale[:, None] * library.components_)[:40],
    equals=(np.sqrt(lam)[:, None] * components)[:40],
    atol=1e-10,
    source="scikit-learn, from the covariance",
)

# %% [markdown]
# The reconstruction error of the training images is the sum of discarded eigenvalues. Here and below, squared errors are summed
# over the 64 pixels.


# %%
def pca_error(x, q):
    """Squared error of each sample after q components."""
    z = (x - mean) @ components[:q].T
    return ((x - mean - z @ components[:q]) ** 2).sum(axis=1)


verify(
    "reconstruction error of the training images = discarded eigenvalues",
    [pca_error(x_train, q).mean() for q in range(0, 64, 7)],
    equals=[lam[q:].sum() for q in range(0, 64, 7)],
    atol=1e-10,
    source="sum of discarded eigenvalues",
)

# %% [markdown]
# With 2080 numbers in the covariance and $64 \times 1442$ in the data, overfitting is slight:

# %%
held_out = pca_error(x_test, n_code)
bar = held_out.std() / np.sqrt(len(x_test))
bar_train = pca_error(x_train, n_code).std() / np.sqrt(n)
verify(
    "held-out error minus training error, in standard errors",
    (held_out.mean() - lam[n_code:].sum()) / np.hypot(bar, bar_train),
    at_least=-5,
    at_most=5,
    source="no overfitting beyond sampling errors",
)

# %% [markdown]
# ## The linear autoencoder
#
# Now let gradient descent find the code. An **encoder** $\mathbf z = \mathbf A\mathbf x$ and a **decoder**
# $\hat{\mathbf x} = \mathbf B\mathbf z$, both free matrices, minimise
#
# $$
# \ell(\mathbf A, \mathbf B) = \big\langle |\mathbf x - \mathbf B\mathbf A\mathbf x|^2 \big\rangle
#   = \operatorname{Tr}\,\mathbf R\,\mathbf C\,\mathbf R^{\mathsf T} , \qquad \mathbf R = \mathbf I - \mathbf B\mathbf A .
# $$ (eq-pca-linear-loss)
#
# This is not convex: it is of fourth order. Still we can find all its critical points {cite}`baldi1989`. Let $\mathbf C$ be
# invertible (else restrict it to what varies; three pixels of ours never do) and $\mathbf B$ of full rank. The two gradients
# vanish if
#
# $$
# \mathbf R\,\mathbf C\mathbf A^{\mathsf T} = 0, \qquad \mathbf B^{\mathsf T}\mathbf R\,\mathbf C = 0 .
# $$ (eq-pca-critical)
#
# The second says $\mathbf B^{\mathsf T}\mathbf B\mathbf A = \mathbf B^{\mathsf T}$, so
# $\mathbf B\mathbf A = \mathbf B(\mathbf B^{\mathsf T}\mathbf B)^{-1}\mathbf B^{\mathsf T} \equiv \mathbf P$ is an orthogonal
# projector. The first, times $\mathbf B^{\mathsf T}$ from the right, says $\mathbf C\mathbf P = \mathbf P\mathbf C\mathbf P$,
# whose right side is symmetric: $\mathbf P$ commutes with $\mathbf C$. So *each critical point projects on some set of $q$
# eigenvectors*, and the loss is the sum of the other eigenvalues. (An unused code unit, $\mathbf B$ of lower rank, is a saddle
# too.)
#
# Which of them are minima? For any invertible $\boldsymbol\Omega$ the change $\mathbf A \to \boldsymbol\Omega\mathbf A$,
# $\mathbf B \to \mathbf B\boldsymbol\Omega^{-1}$ leaves the loss alone. It leads from one point to all others with the same
# $\mathbf P$, and being linear it keeps the signs of the curvatures. So we may take $\mathbf A = \mathbf B^{\mathsf T}$. Let one
# code unit, which holds $\mathbf u_j$, mix in a missing $\mathbf u_k$: decoder column $\mathbf u_j + b\,\mathbf u_k$, encoder row
# $\mathbf u_j + a\,\mathbf u_k$. To second order {eq}`eq-pca-linear-loss` changes by
# $\lambda_k a^2 + \lambda_j b^2 - 2\lambda_k ab$, a quadratic form whose Hessian has the smaller eigenvalue
#
# $$
# \kappa_{jk} = \lambda_j + \lambda_k - \sqrt{(\lambda_j - \lambda_k)^2 + 4\lambda_k^2} ,
# $$ (eq-pca-curvature)
#
# negative exactly if $\lambda_k > \lambda_j$. Every set but the $q$ largest is a saddle: *there are no bad minima*.


# %%
C = torch.tensor((components.T * lam) @ components)
eye = torch.eye(64, dtype=torch.float64)


def linear_loss(A, B):
    """Loss of a linear autoencoder, (eq-pca-linear-loss)."""
    residual = eye - B @ A
    return torch.trace(residual @ C @ residual.T)


def curvature(j, k):
    """Smaller Hessian eigenvalue if u_j is in the code and u_k is not."""
    root = np.sqrt((lam[j] - lam[k]) ** 2 + 4 * lam[k] ** 2)
    return lam[j] + lam[k] - root


def of_vector(theta):
    A, B_transposed = theta.reshape(2, -1, 64)
    return linear_loss(A, B_transposed.T)


# %% [markdown]
# Test it on the full Hessian, for all ten ways to choose two of the first five components. The first choice is the minimum.

# %%
lowest, predicted, zeros = [], [], []
for chosen in combinations(range(5), 2):
    A = torch.tensor(components[list(chosen)])
    point = torch.cat([A, A]).ravel()
    hessian = torch.func.hessian(of_vector)(point)
    curvatures = torch.linalg.eigvalsh(hessian)
    lowest.append(curvatures[0].item())
    zeros.append((curvatures.abs() < 1e-10).sum().item())
    missing = sorted(set(range(64)) - set(chosen))
    pairs = [curvature(j, k) for j in chosen for k in missing]
    predicted.append(min(0, *pairs))
verify(
    "most negative curvature at ten critical points, zero at one of them",
    lowest,
    equals=predicted,
    atol=1e-10,
    source="the plane of two eigenvectors, derived above",
)

# %% [markdown]
# The flat directions at the minimum are symmetries: $q$ encoder weights are free for each pixel that never varies, and, less
# trivially, there are the $q^2$ directions of $\boldsymbol\Omega$:

# %%
dead = int((x_train.std(axis=0) == 0).sum())
verify(
    "flat directions at the minimum: 2² of the symmetry, 2 per dead pixel",
    zeros[0],
    equals=2**2 + 2 * dead,
    source="change of basis of the code; encoder weights on dead pixels",
)

# %% [markdown]
# Thus *the autoencoder learns the principal subspace, not the components*: its code has whatever scale and mixture the random
# start gave it. As in Noether's theorem, the symmetry comes with a conserved quantity. Under gradient flow
#
# $$
# \frac{\mathrm d}{\mathrm dt}\big( \mathbf B^{\mathsf T}\mathbf B - \mathbf A\mathbf A^{\mathsf T} \big) = 0 ,
# $$ (eq-pca-conserved)
#
# because both terms change at the rate $2(\mathbf B^{\mathsf T}\mathbf R\mathbf C\mathbf A^{\mathsf T} + \text{transpose})$. A
# small start therefore ends balanced, with $\mathbf A = \mathbf B^{\mathsf T}$ and orthonormal columns, still rotated at random.

# %% [markdown]
# How fast does gradient descent get there? Let the columns of $\mathbf U_<$ be the $q$ leading components, those of $\mathbf U_>$
# the others. In the matrix $\mathbf t = (\mathbf U_>^{\mathsf T}\mathbf B)\,(\mathbf U_<^{\mathsf T}\mathbf B)^{-1}$, which does
# not depend on $\boldsymbol\Omega$, the element $t_{kj}$ says how much $\mathbf u_k$ is mixed into $\mathbf u_j$. Near the
# minimum they decay independently: each step of length $\eta$ should shrink $t_{kj}$ by $1 - \eta\,\kappa_{jk}$. Slowest, of
# what we shall see, is the exchange of the last component inside with the first outside,
# $\kappa_{q,q+1} \approx \lambda_q - \lambda_{q+1}$ if the gap is small. (Encoder weights on components of small variance are
# softer still, $\kappa_{jk} \approx 2\lambda_k$ for $\lambda_k \ll \lambda_j$; with $q = 3$ that is every component from the
# fifteenth on. But they tilt the decoder by $a\lambda_k/\lambda_j$ only, and with a start so close to zero $a$ stays tiny.)
# Predict which code size is slower: 3, or 11?

# %%
eta, histories = 0.3, {}
rng = np.random.default_rng([seed, 1])
cov, identity = C.numpy(), np.eye(64)
for q, end in ((3, 1e-8), (11, 1e-6)):
    A = 1e-7 * rng.standard_normal((q, 64))
    B = 1e-7 * rng.standard_normal((64, q))
    history = []
    for i in range(20_000):
        RC = (identity - B @ A) @ cov
        A, B = A + 2 * eta * B.T @ RC, B + 2 * eta * RC @ A.T
        if i % 5 == 0:
            overlap = components @ B
            t = np.linalg.solve(overlap[:q].T, overlap[q:].T).T
            history.append([i, np.linalg.norm(t), abs(t[0, -1])])
            if history[-1][1] < end:
                break
    histories[q] = A, B, np.transpose(history)

# %% [markdown]
# The neglected terms are of second order in $\mathbf t$. We fit where its norm is below $10^{-4}$.

# %%
rates = {}
for q, (A, B, (steps, norm, exchange)) in histories.items():
    tail = norm < 1e-4
    slope = np.polyfit(steps[tail], np.log(exchange[tail]), 1)[0]
    rates[q] = np.log(1 - eta * curvature(q - 1, q))
    verify(
        f"rate at which the last exchange decays, {q} code units",
        slope,
        equals=rates[q],
        rtol=1e-3,
        source="Hessian at the minimum",
    )
    verify(
        f"loss at the end = discarded eigenvalues, {q} code units",
        linear_loss(*map(torch.tensor, (A, B))).item(),
        equals=lam[q:].sum(),
        rtol=1e-6,
        source="no local minima: Baldi & Hornik (1989)",
    )
    verify(
        f"the conserved matrix stays near its small start, {q} code units",
        np.abs(B.T @ B - A @ A.T).max(),
        at_most=0.01,
        source="conserved by gradient flow, up to the finite step",
    )

# %% [markdown]
# The clock of training is the spectrum of the data.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels, size of the exchanges between components against training step, both logarithmic in size. With 3 code units they fall to one in a million within about 250 steps, with 11 units they need several thousand steps for that. Dashed straight lines with the predicted slopes lie on both tails."}, "figure": {"caption": "Gradient descent on the linear autoencoder: norm of $\\mathbf t$, that is, of all exchanges between learned and missing components (grey), the slowest of them (colour), and its predicted slope (dashed). Mind the two scales.", "name": "fig-pca-descent"}}
fig, axes = plt.subplots(1, 2, figsize=(6.6, 2.6), sharey=True)
for ax, (q, (*_, history)) in zip(axes, histories.items(), strict=True):
    steps, norm, exchange = history
    ax.semilogy(steps, norm, color="0.6", lw=3, label="all")
    ax.semilogy(steps, exchange, color="C0", label=f"{q} ↔ {q + 1}")
    anchor = np.argmax(norm < 1e-3)
    line = exchange[anchor] * np.exp(rates[q] * (steps - steps[anchor]))
    ax.semilogy(steps, line, "k--", lw=1, label="predicted")
    end = np.argmax(norm < 1e-6)
    ax.set(xlabel="step", ylim=(1e-6, 30), xlim=(0, steps[end]))
    ax.set_title(f"$q = {q}$")
    ax.legend(fontsize=8)
axes[0].set(ylabel="exchange $|t|$")
plt.show()

# %% [markdown]
# The gap between components 3 and 4 is thirty times that between 11 and 12, and the speed nearly so. Every
# autoencoder below has such a spectrum of rates, and nobody prints it for you.

# %% [markdown]
# ## A curved manifold
#
# When are non-linear networks better? When the data lie on a surface that bends. Let 32 detectors stand on a circle at angles
# $\varphi_i$, and let a particle at the angle $\varphi$ leave the signal
#
# $$
# x_i(\varphi) = e^{\beta\,(\cos(\varphi - \varphi_i) - 1)} , \qquad \beta = 5 .
# $$ (eq-pca-ring)
#
# There is one degree of freedom. The linear answer is again exact, by rotational symmetry: the components are waves
# $\cos m\varphi_i$, $\sin m\varphi_i$, and from $e^{\beta\cos\alpha} = I_0(\beta) + 2\sum_{m>0} I_m(\beta) \cos m\alpha$, with
# modified Bessel functions $I_m$ and up to the negligible aliasing of 32 detectors,
#
# $$
# \lambda_m = 32\, e^{-2\beta}\, I_m(\beta)^2 , \quad \text{twice for each } m = 1, 2, \dots
# $$ (eq-pca-bessel)
#
# The spectrum has no edge at one: to a linear code, one degree of freedom looks like ten.

# %%
beta = 5.0
detectors = 2 * np.pi * np.arange(32) / 32


def signal(phi):
    """Signals of the ring of detectors, (eq-pca-ring): (n, 32)."""
    return np.exp(beta * (np.cos(np.asarray(phi)[:, None] - detectors) - 1))


phi_test = 2 * np.pi * np.arange(2000) / 2000
ring_test = signal(phi_test)
_, ring_lam, _ = principal_components(ring_test)
exact = np.repeat(32 * ive(np.arange(1, 13), beta) ** 2, 2)  # ive: e^-β I_m
verify(
    "eigenvalues of the ring of detectors, 24 of them",
    ring_lam[:24],
    equals=exact,
    rtol=1e-6,
    source="Bessel functions",
)
rows = [[q, exact[q:].sum() / exact.sum()] for q in (1, 2, 4, 6, 8, 10)]
show_table(["linear code", "variance lost"], rows)

# %% [markdown]
# And a non-linear code of *one* number? Here is a theorem about any continuous encoder $f$ that maps the circle to a line. Let
# $g(\varphi) = f(\varphi) - f(\varphi + \pi)$. Since $g(\pi) = -g(0)$, it vanishes somewhere: *two opposite particles get the
# same code*, and hence the same reconstruction. If the distance of opposite signals is $\Delta$, one of the two is wrong by at
# least $\Delta/2$:
#
# $$
# \max_\varphi |\mathbf x - \hat{\mathbf x}|^2 \ge \frac{\Delta^2}4 = 16\, e^{-2\beta} \big(I_0(2\beta) - 1\big) \approx 2 .
# $$ (eq-pca-antipodal)
#
# No width, depth or training changes that. A circle needs *two* code numbers, though it has one dimension. (In
# {doc}`../00_start_here` it was the other way round: a disc of latents had to cover a ring.) The training loop serves for all
# networks that follow.


# %%
def train(encoder, decoder, x, n_epochs, batch_size, rate):
    """Minimise the mean squared reconstruction error."""
    parameters = [*encoder.parameters(), *decoder.parameters()]
    adam = torch.optim.Adam(parameters, lr=rate)
    n_batches = -(-len(x) // batch_size)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(
        adam, n_epochs * n_batches
    )
    for _ in progress(range(n_epochs), "training"):
        for rows in torch.randperm(len(x)).split(batch_size):
            batch = x[rows]
            adam.zero_grad()
            misfit = (batch - decoder(encoder(batch))) ** 2
            misfit.sum(dim=1).mean().backward()
            adam.step()
            slower.step()


@torch.no_grad()
def squared_error(model, x):
    encoder, decoder = model
    return ((x - decoder(encoder(x))) ** 2).sum(dim=1).double().numpy()


def dense(*sizes, bend=nn.Tanh):
    """Linear layers with a non-linearity between them."""
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), bend()]
    return nn.Sequential(*layers[:-1])


# %% [markdown]
# 500 random angles to train on, 2000 others to test. With two code numbers a training may end in a knot: now and then the codes form a
# figure eight, with the crossing hidden in a gap between the training angles. The loss is small and stays so, and no gradient step
# undoes a crossing; but in the gap the error is as large as with one number. So we train three networks and keep the one that does best
# on 500 more angles, a **validation set**.

# %%
torch.manual_seed(seed)
angles = np.random.default_rng([seed, 2]).uniform(0, 2 * np.pi, 1000)
x_ring, x_validate = torch.tensor(signal(angles)).float().split(500)
x_ring_test = torch.tensor(ring_test, dtype=torch.float32)
ring, ring_error = {}, {}
for q, n_trainings in ((1, 1), (2, 3)):
    tries = []
    for _ in range(n_trainings):
        tries.append((dense(32, 32, 32, q), dense(q, 32, 32, 32)))
        train(*tries[-1], x_ring, n_steps_ring, len(x_ring), 0.005)
    errors = [squared_error(model, x_validate).mean() for model in tries]
    ring[q] = tries[np.argmin(errors)]
    ring_error[q] = squared_error(ring[q], x_ring_test)
show_table(
    ["code numbers", "linear: mean", "network: mean", "network: worst"],
    [[q, exact[q:].sum(), e.mean(), e.max()] for q, e in ring_error.items()],
)
verify(
    "two non-linear code numbers beat eight linear ones",
    ring_error[2].mean(),
    at_most=exact[8:].sum(),
    source="no linear code of eight numbers is below this",
)
verify(
    "one non-linear code number has a third of the linear error or less",
    ring_error[1].mean(),
    at_most=exact[1:].sum() / 3,
    source="no linear code of one number is below three times that",
)

# %% [markdown]
# A root finder exhibits the pair that the theorem promises: the zero of $g$. If their errors have the lengths $e_1$ and $e_2$, then
# $\Delta \le e_1 + e_2$, and $(e_1 + e_2)^2 \le 2(e_1^2 + e_2^2)$: the two squared errors add up to $\Delta^2/2$ or more.

# %%
encoder, decoder = (part.double() for part in ring[1])


@torch.no_grad()
def code(phi):
    return encoder(torch.tensor(signal(np.atleast_1d(phi))))[:, 0].numpy()


twin = brentq(lambda p: np.subtract(*code([p, p + np.pi])), 0, np.pi)
pair = torch.tensor(signal([twin, twin + np.pi]))
delta_squared = ((pair[0] - pair[1]) ** 2).sum().item()
verify(
    "squared distance of the signals of opposite particles",
    delta_squared,
    equals=64 * (ive(0, 2 * beta) - np.exp(-2 * beta)),
    rtol=1e-6,
    source="Bessel functions",
)
verify(
    "two opposite particles with one code: sum of their squared errors",
    squared_error(ring[1], pair).sum(),
    at_least=delta_squared / 2 * (1 - 1e-4),
    source="triangle inequality",
)

# %% [markdown]
# Where does the one-number code hide the impossible point?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: squared error against angle, logarithmic. With one code number it is small almost everywhere, with one or more narrow spikes that reach above a dashed line at two. With two code numbers it is near one thousandth or below everywhere. Right: code plane of the two-number code, a closed loop coloured by angle."}, "figure": {"caption": "Left: squared error of two autoencoders on the ring of detectors; dashed: the topological bound on the worst error of a one-number code. Right: the two-number code, coloured by the angle of the particle.", "name": "fig-pca-ring"}}
fig, (left, right) = plt.subplots(1, 2, figsize=(6.8, 2.8))
for q, e in ring_error.items():
    left.semilogy(phi_test, e, label=f"{q} code number" + "s" * (q > 1))
left.axhline(delta_squared / 4, color="k", ls="--", lw=1)
left.set(xlabel=r"angle $\varphi$", ylabel="squared error", ylim=(1e-7, 30))
left.legend(loc="lower center")
with torch.no_grad():
    loop = ring[2][0](x_ring_test).numpy()
dots = right.scatter(*loop.T, c=phi_test, s=4, cmap="twilight")
fig.colorbar(dots, ax=right, label=r"$\varphi$")
right.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
plt.show()

# %% [markdown]
# It cuts the circle open, often at more than one seam, and makes the seams narrow. The *mean* error can be made as small as you
# like that way, the worst cannot. Mean losses do not see rare failures; look at the tail of the errors too. With two numbers the
# code is a closed loop, and $\varphi$ runs around it once.

# %% [markdown]
# ## Digits, with convolutions
#
# Digits lie on no known manifold, so we compare on held-out images, at equal code size, two networks of about the same number of
# parameters. One is dense, as in {cite:t}`hinton2006`; the other has convolutions that halve the image twice, and
# transposed ones on the way back (convolutional autoencoders: {cite}`masci2011`). A convolution slides one small kernel of weights,
# here $3\times3$, over the image; in steps of two pixels the result is half as wide. A transposed convolution is the transpose of such a
# linear map, here with kernels of $4\times4$: each number paints a patch, and the patches lie two pixels apart.


# %%
def n_parameters(model):
    return sum(p.numel() for part in model for p in part.parameters())


def convolutional(q, c=12):
    """Convolutions of stride 2: 8×8 → 4×4 → 2×2 → code and back."""
    halve = {"kernel_size": 3, "stride": 2, "padding": 1}
    double = {"kernel_size": 4, "stride": 2, "padding": 1}
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        *(nn.Conv2d(1, c, **halve), nn.SiLU()),
        *(nn.Conv2d(c, 2 * c, **halve), nn.SiLU()),
        *(nn.Flatten(), nn.Linear(8 * c, q)),
    )
    decoder = nn.Sequential(
        *(nn.Linear(q, 8 * c), nn.SiLU(), nn.Unflatten(1, (2 * c, 2, 2))),
        *(nn.ConvTranspose2d(2 * c, c, **double), nn.SiLU()),
        *(nn.ConvTranspose2d(c, 1, **double), nn.Flatten()),
    )
    return encoder, decoder


# %% [markdown]
# The dense network has one hidden layer of 64 units on either side.

# %%
t_train, t_test = (
    torch.tensor(x, dtype=torch.float32) for x in (x_train, x_test)
)
models = {
    "dense": tuple(
        dense(*sizes, bend=nn.SiLU)
        for sizes in ((64, 64, n_code), (n_code, 64, 64))
    ),
    "convolutional": convolutional(n_code),
}

# %% [markdown]
# The first row of the table, the linear optimum, is a bound for linear codes only.

# %%
test_error = {"principal components": held_out}
rows = [["principal components", 64 + 64 * n_code, lam[n_code:].sum()]]
for name, model in models.items():
    train(*model, t_train, epochs, 103, 0.01)
    test_error[name] = squared_error(model, t_test)
    train_error = squared_error(model, t_train).mean()
    rows.append([name, n_parameters(model), train_error])
for row in rows:
    row.append(test_error[row[0]].mean())
show_table(["8 code numbers", "parameters", "train", "test"], rows)
for name, factor in (("dense", 0.75), ("convolutional", 0.7)):
    verify(
        f"held-out error over that of principal components, {name}",
        test_error[name].mean() / held_out.mean(),
        at_most=factor,
        source="the same held-out images",
    )

# %% [markdown]
# Both lose markedly less than any linear code can. The difference is easy to see:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three rows of ten digits. Top: held-out test images. Middle: reconstructions from eight principal components, blurred and with grey ghosts in the background. Bottom: reconstructions by the convolutional autoencoder, closer to the originals, with a cleaner background."}, "figure": {"caption": "Held-out digits (top), from 8 principal components (middle), from 8 numbers by the convolutional autoencoder (bottom).", "name": "fig-pca-digits"}}
pick = [np.flatnonzero(digits.test_labels == i)[0] for i in range(10)]
z = (x_test[pick] - mean) @ components[:n_code].T
linear = mean + z @ components[:n_code]
encoder, decoder = models["convolutional"]
with torch.no_grad():
    bent = decoder(encoder(t_test[pick])).numpy()
fig, ax = plt.subplots(figsize=(6, 2))
strip = np.concatenate([x_test[pick], linear, bent]).reshape(-1, 8, 8)
image_grid(strip, 10, ax=ax, limits=(0, 1))
plt.show()

# %% [markdown]
# ## Denoising: the bridge to the score
#
# Instead of a narrow code one can ask for a harder task: give the network
# $\tilde{\mathbf x} = \mathbf x + \sigma\boldsymbol\epsilon$, with Gaussian noise, and ask for $\mathbf x$. The best answer in
# the mean square is the posterior mean, $\mathbf D(\tilde{\mathbf x}) = \langle\mathbf x\,|\,\tilde{\mathbf x}\rangle$. Now the
# density of noisy data is
# $p_\sigma(\tilde{\mathbf x}) = \int p(\mathbf x)\,\mathcal N(\tilde{\mathbf x};\, \mathbf x, \sigma^2\mathbf I)\,\mathrm d\mathbf x$.
# Differentiate under the integral,
# $\nabla p_\sigma = \int p(\mathbf x)\,\mathcal N(\tilde{\mathbf x};\, \mathbf x, \sigma^2\mathbf I)\,(\mathbf x - \tilde{\mathbf x})/\sigma^2\,\mathrm d\mathbf x$,
# and divide by $p_\sigma$:
#
# $$
# \frac{\mathbf D(\tilde{\mathbf x}) - \tilde{\mathbf x}}{\sigma^2} = \nabla \log p_\sigma(\tilde{\mathbf x}) .
# $$ (eq-pca-tweedie)
#
# Whatever $p$ is, the optimal denoiser is, in disguise, the **score** of the noisy data, as the gradient $\nabla\log p_\sigma$ of a
# log-density is called {cite}`miyasawa1961,efron2011`; for
# autoencoders at small $\sigma$ see {cite:t}`alain2014`. This is the score matching of {lecture}`2.3`, seen from the other side.
#
# For Gaussian data the score is linear, $-(\mathbf C + \sigma^2\mathbf I)^{-1}\tilde{\mathbf x}$, and {eq}`eq-pca-tweedie`
# becomes the **Wiener filter**
#
# $$
# \mathbf D(\tilde{\mathbf x}) = \mathbf C\,(\mathbf C + \sigma^2\mathbf I)^{-1}\,\tilde{\mathbf x} :
# \qquad \text{component } i \text{ is multiplied by } \frac{\lambda_i}{\lambda_i + \sigma^2} .
# $$ (eq-pca-wiener)
#
# It is the best *linear* denoiser for any data of this covariance, since the error of a linear map involves nothing but
# $\mathbf C$. A code of $q$ numbers cuts the spectrum sharply; the Wiener filter rolls off where $\lambda_i$ falls below
# $\sigma^2$. Fit a linear map by least squares to 40 noisy copies of each digit. In the basis of components its diagonal has at
# most the standard error $\sqrt{\lambda_i\sigma^2/n'}\,/(\lambda_i + \sigma^2)$ of a fit to $n' = 40 \times 1442$ independent
# Gaussian images.

# %%
sigma = 0.3
rng = np.random.default_rng([seed, 3])
clean = np.tile((x_train - mean) @ components.T, (40, 1))
noisy = clean + sigma * rng.standard_normal(clean.shape)
fitted = np.linalg.lstsq(noisy, clean, rcond=None)[0].T
shrinkage = lam / (lam + sigma**2)
error_bar = np.sqrt(lam * sigma**2 / len(clean)) / (lam + sigma**2)
verify(
    "best linear denoiser of digits: shrinkage of 64 components",
    np.diag(fitted),
    equals=shrinkage,
    atol=5 * error_bar + 1e-9,
    source="Wiener filter; 5 standard errors",
)

# %% [markdown]
# For a distribution with two modes the score is not linear. Take weights 0.3 and 0.7 at $\mp1$, each of width 0.3, and
# $\sigma = 0.5$. Noisy data are the same mixture with variance $v = 0.3^2 + \sigma^2$, so that everything is known: given mode
# $k$ the posterior mean is $\mu_k + 0.3^2\,(\tilde x - \mu_k)/v$, and $D$ averages it over the posterior weights of the modes.

# %%
centres, shares, width, sigma = np.array([-1, 1]), [0.3, 0.7], 0.3, 0.5
v = width**2 + sigma**2
grid = np.linspace(-3.5, 3.5, 1401)
offset = grid[:, None] - centres
bells = shares * np.exp(-(offset**2) / (2 * v)) / np.sqrt(2 * np.pi * v)
density = bells.sum(axis=1)
given_mode = centres + width**2 * offset / v
best = (bells * given_mode).sum(axis=1) / density
score = -(bells * offset).sum(axis=1) / v / density
verify(
    "posterior mean = noisy value + variance × score, on a grid",
    best,
    equals=grid + sigma**2 * score,
    atol=1e-12,
    source="Bayes' rule, mode by mode",
)

# %% [markdown]
# A network that never sees a density is trained on pairs $(\tilde x, x)$, fresh ones in each step.

# %%
torch.manual_seed(seed + 1)
denoiser = dense(1, 32, 32, 1)
adam = torch.optim.Adam(denoiser.parameters(), lr=0.01)
slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 2500)
for _ in progress(range(2500), "denoiser"):
    mode = torch.where(torch.rand(1024, 1) < shares[0], -1.0, 1.0)
    x = mode + width * torch.randn(1024, 1)
    x_noisy = x + sigma * torch.randn(1024, 1)
    adam.zero_grad()
    ((denoiser(x_noisy) - x) ** 2).mean().backward()
    adam.step()
    slower.step()
with torch.no_grad():
    r = denoiser(torch.tensor(grid[:, None], dtype=torch.float32))
r = r[:, 0].double().numpy()
learned = (r - grid) / sigma**2
misfit = (density * (learned - score) ** 2).sum()
verify(
    "relative error of the denoiser's score, root mean square",
    np.sqrt(misfit / (density * score**2).sum()),
    at_most=0.05,
    source="exact score of the mixture",
)

# %% [markdown]
# The denoiser is a staircase: it pulls a noisy value to one mode or the other, and is undecided where the posterior is.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: denoised against noisy value. A smooth staircase with plateaus near minus one and one, steep in between, crosses the diagonal; the Wiener filter is a straight line of slope 0.79. Network and exact curve coincide. Right: the score of the noisy density, a curve with zeros near minus one and one and a third between them; network dashed on top of exact, except far outside."}, "figure": {"caption": "Left: exact posterior mean, trained denoiser and Wiener filter. Right: the exact score of the noisy density and that of the denoiser.", "name": "fig-pca-denoiser"}}
fig, (left, right) = plt.subplots(1, 2, figsize=(6.8, 2.8))
m = np.dot(shares, centres)
spread = np.dot(shares, centres**2) - m**2 + width**2
left.plot(grid, best, color="0.6", lw=4, label="posterior mean")
left.plot(grid, r, "C1--", label="network")
wiener = m + spread / (spread + sigma**2) * (grid - m)
left.plot(grid, wiener, "C0:", label="Wiener filter")
left.set(xlabel=r"noisy $\tilde x$", ylabel=r"denoised $D(\tilde x)$")
left.set(xlim=(-3, 3), ylim=(-2.2, 2.2))
left.legend(fontsize=8)
right.plot(grid, score, color="0.6", lw=4, label="exact")
right.plot(grid, learned, "C1--", label="network")
right.axhline(0, color="k", lw=0.8)
right.set(xlabel=r"noisy $\tilde x$", ylabel=r"$\nabla\log p_\sigma$")
right.set(xlim=(-3, 3), ylim=(-6, 6))
right.legend()
plt.show()

# %% [markdown]
# ## Why an autoencoder is not a generative model
#
# It has a decoder. Why not draw a code, decode it, and call it a sample? Because nothing says *which* codes to draw. The loss
# knows no $p(\mathbf z)$: relabel the codes by any invertible map and undo it in the decoder, and no reconstruction changes. For
# the linear autoencoder that is the symmetry $\boldsymbol\Omega$ above. Halve $\mathbf A$ and double $\mathbf B$: the loss is the
# same, but decoded draws from $\mathcal N(0, \mathbf I)$, whose covariance is $\mathbf B\mathbf B^{\mathsf T}$, have four times
# the variance.
#
# On the ring of detectors we can measure how wrong decoded codes are. A true signal lies on the curve {eq}`eq-pca-ring`; a
# decoded code lies at some distance from it. We try three priors: the standard Gaussian, the box that holds all codes, and a
# Gaussian fitted to the codes.


# %%
def draws(codes, n, generator):
    """Codes from three priors that one might try."""
    q = codes.shape[1]
    low, high = codes.min(dim=0).values, codes.max(dim=0).values
    chol = torch.linalg.cholesky(torch.cov(codes.T))
    normal = torch.randn(n, q, generator=generator)
    uniform = torch.rand(n, q, generator=generator)
    return {
        "standard Gaussian": normal,
        "box": low + (high - low) * uniform,
        "fitted Gaussian": codes.mean(dim=0) + normal @ chol.T,
    }


# %% [markdown]
# The distance is measured to the 2000 signals of the test grid, which stand for the curve.

# %%
dice = torch.Generator().manual_seed(seed)
encoder, decoder = ring[2]
with torch.no_grad():
    ring_draws = draws(encoder(x_ring), 4000, dice)
    off_ring = {
        name: torch.cdist(decoder(z), x_ring_test).min(dim=1).values ** 2
        for name, z in ring_draws.items()
    }
rows = [["held-out signals, worst", ring_error[2].max()]]
rows += [[f"{k}, median", d.median().item()] for k, d in off_ring.items()]
show_table(["squared distance from a true signal", ""], rows)
verify(
    "median of three priors, over the worst held-out reconstruction error",
    [d.median().item() / ring_error[2].max() for d in off_ring.values()],
    at_least=10,
    source="distance to the exact curve",
)

# %% [markdown]
# Here is why: the codes are a loop, and each prior spends most of its probability off it.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Map of the code plane. Colour: squared distance of the decoded signal from the nearest true signal, logarithmic; dark along a thin closed loop, bright inside and, in most directions, far outside. White dots, draws from the fitted Gaussian, are scattered over the whole area, few of them on the loop."}, "figure": {"caption": "Squared distance between a decoded code and the nearest true signal. Black: codes of true signals; white: draws from a Gaussian fitted to them.", "name": "fig-pca-code-plane"}}
reach = 1.25 * np.abs(loop).max()
ticks = torch.linspace(-reach, reach, 121)
plane = torch.cartesian_prod(ticks, ticks)
with torch.no_grad():
    away = torch.cdist(decoder(plane), x_ring_test).min(dim=1).values ** 2
fig, ax = plt.subplots(figsize=(4.6, 3.4))
away = away.reshape(121, 121).T.numpy()
norm = plt.matplotlib.colors.LogNorm(1e-4, 10)
picture = ax.pcolormesh(ticks, ticks, away, norm=norm, rasterized=True)
ax.plot(*loop.T, "k.", ms=2)
ax.plot(*ring_draws["fitted Gaussian"][:300].T.numpy(), "w.", ms=3)
ax.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
fig.colorbar(picture, ax=ax, label="squared distance")
plt.show()

# %% [markdown]
# Now digits, with the same three priors.

# %%
encoder, decoder = models["convolutional"]
with torch.no_grad():
    digit_draws = draws(encoder(t_train), 1000, dice)
    invented = {name: decoder(z) for name, z in digit_draws.items()}

# %% [markdown]
# No exact manifold tells right from wrong here, so be the judge: which would you have taken for digits?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of ten decoded random codes. Top, fitted Gaussian: smooth blobs and strokes, some like a digit, several like none. Bottom, box: high-contrast tangles, some like a digit, many like none."}, "figure": {"caption": "Decoded codes drawn from a Gaussian fitted to the codes of the training images (top), and uniformly from the box that holds them (bottom).", "name": "fig-pca-invented"}}
fig, ax = plt.subplots(figsize=(6, 1.4))
strip = torch.cat([invented["fitted Gaussian"][:10], invented["box"][:10]])
image_grid(strip.numpy().reshape(-1, 8, 8), 10, ax=ax, limits=(0, 1))
plt.show()

# %% [markdown]
# Nor does the reconstruction error tell probable from improbable. Encode the inventions and decode them again: draws of either
# Gaussian are reconstructed *better* than real digits that the autoencoder has not seen. With principal components this is exact.
# A point $\bar{\mathbf x} + 1000\,\mathbf u_1$ has error zero, a thousand standard deviations or more from any image. And the
# double exposure of two unrelated images has, on average, *half* the error of a real one, since the two residuals are averaged.

# %%
again = {
    name: np.median(squared_error(models["convolutional"], x))
    for name, x in {**invented, "real, held out": t_test}.items()
}
show_table(["images", "median squared error"], list(again.items()))
verify(
    "error of inventions over that of real held-out images, medians",
    [
        again[f"{kind} Gaussian"] / again["real, held out"]
        for kind in ("standard", "fitted")
    ],
    at_most=1,
    source="an autoencoder reconstructs what it can decode",
)
order = np.random.default_rng([seed, 4]).permutation(len(x_test))
double = pca_error((x_test + x_test[order]) / 2, n_code)
residual = (x_test - mean) @ components[n_code:].T
overlap = (residual * residual[order]).sum(axis=1) / 2
verify(
    "mean error of double exposures = half of that of images",
    double.mean(),
    equals=held_out.mean() / 2,
    atol=5 * overlap.std() / np.sqrt(len(overlap)),
    source="residuals of random pairs are uncorrelated; 5 standard errors",
)

# %% [markdown]
# A low error says 'I can decode this', not 'this is probable'. A generative model needs a prior, a density that includes the
# decoder, and a training that makes codes fill the prior. All three come in the next lecture.

# %% [markdown]
# ## Break it: forget the mean, mix the units
#
# Two mistakes that raise no error. *First, do not centre.* Predict: what will the first 'component' be, and what does it cost? An
# affine space of dimension $q$ fits into a linear space of dimension $q + 1$, so the error without centring lies between the
# proper ones of $q$ and $q - 1$ components.

# %%
_, s, vt = np.linalg.svd(x_train, full_matrices=False)
uncentred = [(s[q:] ** 2).sum() / n for q in range(1, 30)]
verify(
    "errors of 1 to 29 components without centring lie between the proper",
    uncentred,
    at_least=[lam[q:].sum() - 1e-9 for q in range(1, 30)],
    at_most=[lam[q - 1 :].sum() + 1e-9 for q in range(1, 30)],
    source="Eckart & Young (1936), for linear and affine spaces",
)
cosine = abs(vt[0] @ mean) / np.linalg.norm(mean)
verify(
    "cosine between the first uncentred component and the mean image",
    cosine,
    at_least=0.99,
    source="the mean carries most of the second moment",
)

# %% [markdown]
# You pay at most one component, which the mean image takes. *Second, mix the units.* Record one pixel in units a hundred times
# smaller, as you would by putting metres beside centimetres. Its variance grows ten thousandfold. What are the components now?

# %%
units = np.ones(64)
pixel = np.argmin(np.abs(x_train.var(axis=0) - np.median(x_train.var(axis=0))))
units[pixel] = 100
m, _, mixed = principal_components(x_train * units)
verify(
    "share of that pixel in the first component",
    mixed[0, pixel] ** 2,
    at_least=0.99,
    source="its variance exceeds all others together",
)
z = ((x_train * units) - m) @ mixed[:n_code].T
back = (m + z @ mixed[:n_code]) / units
cost = ((x_train - back) ** 2).sum() / n
verify(
    "error with mixed units lies between those of 8 and 7 components",
    cost,
    at_least=lam[n_code:].sum(),
    at_most=lam[n_code - 1 :].sum(),
    source="one code number is the pixel; seven components are left",
)
show_table(
    ["8 components", "squared error per image, in grey values"],
    [
        ["equal units", lam[n_code:].sum()],
        ["one pixel in other units", cost],
        ["7 components, equal units", lam[n_code - 1 :].sum()],
    ],
)

# %% [markdown]
# One component is spent on a single pixel and what it says about its neighbours. Principal components depend on units, because
# 'variance' and 'squared error' do. With quantities of different kinds, divide each by its standard deviation or, better, by its
# measurement error. A neural autoencoder inherits the problem through its loss.

# %% [markdown]
# ## Exercises
#
# ::::{exercise} Weight decay
# :label: ex-pca-decay
# Add $\gamma\,(\|\mathbf A\|^2 + \|\mathbf B\|^2)$ to {eq}`eq-pca-linear-loss`. What becomes of the code with $q = 8$ and
# $\gamma = 0.25$? How many dimensions of the code stay alive? Does the autoencoder now learn the components themselves? *Hint:* one
# mode with $a = b$.
# ::::
#
# ::::{solution-start} ex-pca-decay
# :class: dropdown
# ::::
#
# Why may one look at single modes? At given $\mathbf M = \mathbf B\mathbf A$ the penalty is least at $2\gamma$ times the sum of the singular
# values of $\mathbf M$, which is at least $2\gamma\operatorname{tr}\mathbf M = 2\gamma\sum_i\mu_i$, with the diagonal elements $\mu_i$ of
# $\mathbf M$ in the basis of the components; and the misfit is at least $\sum_i\lambda_i(1 - \mu_i)^2$, since the other elements of
# $\mathbf I - \mathbf M$ only add to it. Both are equalities for a diagonal $\mathbf M$ with $\mu_i\ge0$, and as long as no more than $q$ modes
# survive, as here, such an $\mathbf M$ is within reach.
#
# A mode has the loss $\lambda(1 - ab)^2 + \gamma(a^2 + b^2)$. At given $ab$ the penalty is least for $a = b$; then
# $a^2 = 1 - \gamma/\lambda$ if $\lambda > \gamma$, else zero. So the singular values of $\mathbf B$ are
# $\sqrt{1 - \gamma/\lambda_i}$, modes with $\lambda_i < \gamma$ die, and the left singular vectors, no longer degenerate, are the
# components {cite}`kunin2019`. But they are found only by a singular value decomposition of $\mathbf B$: rotations
# $\boldsymbol\Omega$ of the code change no penalty, so each code unit is still a random mixture.

# %% tags=["solution"]
gamma = 0.25
rng = np.random.default_rng([seed, 5])
A = 0.1 * rng.standard_normal((n_code, 64))
B = 0.1 * rng.standard_normal((64, n_code))
for _ in range(6000):
    RC = (identity - B @ A) @ cov
    A, B = (
        A + 2 * eta * (B.T @ RC - gamma * A),
        B + 2 * eta * (RC @ A.T - gamma * B),
    )
left_vectors, strength, _ = np.linalg.svd(B, full_matrices=False)
verify(
    "singular values of the decoder with weight decay, three of 8 zero",
    strength,
    equals=np.sqrt(np.maximum(0, 1 - gamma / lam[:n_code])),
    atol=1e-4,
    source="minimum of a single mode",
)
verify(
    "overlap of the decoder's singular vectors with the components",
    np.abs(np.diag(components[:n_code] @ left_vectors))[lam[:n_code] > gamma],
    at_least=1 - 1e-6,
    source="Kunin et al. (2019)",
)
verify(
    "shortest decoder column, in units of the error allowed above",
    np.linalg.norm(B, axis=0).min() / 1e-4,
    at_least=100,
    source="a random rotation of five nonzero singular values",
)

# %% [markdown]
# Weight decay reduces the symmetry to rotations and prunes *directions* of the code at a sharp threshold. Remember it: in the next
# lecture a variational autoencoder does the same, with the noise $\sigma^2$ in the place of $\gamma$.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} A Gaussian magnet
# :label: ex-pca-clipped
# Fit a Gaussian to the codes of the $8\times8$ magnet at $T_c$, with *all* 64 components, draw, decode, and take the sign of each
# spin. Which energy do you expect? *Hint:* two Gaussians of unit variance with correlation $G$ have the same sign with
# probability $\frac12 + \frac1\pi \arcsin G$.
# ::::
#
# ::::{solution-start} ex-pca-clipped
# :class: dropdown
# ::::
#
# The decoded field is Gaussian with the exact covariance, so *before* the sign its energy is exact. The sign turns $G$ into
# $\frac2\pi\arcsin G$ {cite}`vanvleck1966`, and $u = -2G(0,1)$ into $-\frac4\pi\arcsin(-u/2)$.

# %% tags=["solution"]
t_c = temperatures[5]
noise = np.random.default_rng([seed, 6]).standard_normal((20000, 8, 8))
waves = np.sqrt(structure[5]) * np.fft.fft2(noise)
clipped = np.where(np.fft.ifft2(waves).real > 0, 1, -1)
u = ising.energy(clipped) / 64
exact_u = ising.energy_per_spin(8, t_c)
verify(
    "energy per spin of the signs of a Gaussian magnet",
    u.mean(),
    equals=-4 / np.pi * np.arcsin(-exact_u / 2),
    atol=5 * u.std() / np.sqrt(len(u)),
    source="arcsine law; 5 standard errors",
)
show_table(["magnet", "Gaussian, signs"], [[exact_u, u.mean()]])

# %% [markdown]
# All two-point correlations were right, before the sign, and the samples have the energy of a hotter magnet. Principal components
# with a Gaussian prior *are* a generative model, a Gaussian, and this is what it misses.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} Denoise a box
# :label: ex-pca-box
# Let $p$ be uniform on $[-1, 1]$ and $\sigma = 0.5$. Find the optimal denoiser from the score, and compare with a quadrature of the
# posterior mean. What does it do to $\tilde x = 5$? *Hint:* far from the box the posterior is nearly exponential.
# ::::
#
# ::::{solution-start} ex-pca-box
# :class: dropdown
# ::::
#
# $p_\sigma(\tilde x) = \frac14\big[\operatorname{erfc}\frac{\tilde x - 1}{\sqrt2\,\sigma} - \operatorname{erfc}\frac{\tilde x + 1}{\sqrt2\,\sigma}\big]$,
# and {eq}`eq-pca-tweedie` gives $D$. At $\tilde x = 5$ the posterior falls off from the edge like
# $e^{-(\tilde x - 1)(1 - x)/\sigma^2}$: its mean is $\sigma^2/(\tilde x - 1) = \sigma^2/4$ below 1, or a little less.

# %% tags=["solution"]
at, sigma = np.linspace(0, 5, 11), 0.5
edge = np.stack([at - 1, at + 1]) / (np.sqrt(2) * sigma)
box = (erfc(edge[0]) - erfc(edge[1])) / 4
slope = (np.exp(-(edge[1] ** 2)) - np.exp(-(edge[0] ** 2))) / np.sqrt(np.pi)
d_box = at + sigma**2 * slope / (2 * np.sqrt(2) * sigma * box)
nodes, node_weights = np.polynomial.legendre.leggauss(80)
gauss = np.exp(-((at[:, None] - nodes) ** 2) / (2 * sigma**2))
verify(
    "optimal denoiser of a box, 11 points",
    d_box,
    equals=gauss @ (node_weights * nodes) / (gauss @ node_weights),
    atol=1e-8,
    source="Gauss-Legendre quadrature of the posterior",
)
verify(
    "what it makes of 5",
    d_box[-1],
    at_least=1 - sigma**2 / 4,
    at_most=1 - sigma**2 / 4 + 2 * (sigma**2 / 4) ** 3 / sigma**2,
    source="asymptotic series of the error function",
)

# %% [markdown]
# It moves $\tilde x = 5$ to just inside of 1, the nearest point that can be true: a denoiser is a soft projection on the data.
#
# ::::{solution-end}
# ::::

# %% [markdown]
# ## Summary
#
# Principal components are the best linear code, a linear autoencoder finds their subspace without bad minima and at rates that
# the gaps of the spectrum set, and for a magnet the spectrum is the structure factor. Non-linear autoencoders win where the data
# bend, within the limits that topology sets, and the optimal denoiser is the score in disguise. But a small reconstruction error
# is no probability, and a decoder without a prior over its codes is no generative model.
#
# **Next:** {lecture}`3.2` adds the prior, bounds the likelihood, and finds principal components again.
