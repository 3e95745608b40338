# ---
# jupyter:
#   advml:
#     full: {n_train: 104000, n_test: 26000, epochs: 60}
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Let an autoencoder discover the order parameter, and count what it misses
#
# Landau's theory of phase transitions begins with a guess: what is the order parameter? For a ferromagnet it is easy, for other systems it took decades. In
# 2017 several groups gave raw spin configurations to unsupervised methods and looked at what came out {cite}`wetzel2017,hu2017`. An autoencoder with one
# latent variable found the magnetisation, by itself and with no temperature given. That is a lovely result, and it invites two questions. *Why* this variable and no other? And
# did the model learn the physics, or one number of it? For the Ising model on a torus both can be answered exactly.
#
# :::{admonition} Plan
# :class: tip
# **You will** predict from the structure factor what will be found, find it, see two branches and a transition in the latent variable, derive the best likelihood that any model
# of this kind can have, measure in nats what is missing at each temperature, find the missing energy, add latent variables, and hide the order in a gauge theory.
# **You need** {lecture}`3.3`; the Ising model of {lecture}`1.1`. **Time** an hour to read; half a minute of CPU.
# :::

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.special import gammaln, logsumexp
from sklearn.decomposition import PCA

from advml import datasets, ising
from advml.checks import verify
from advml.display import show_table
from advml.likelihood import (
    gaussian_log_density,
    importance_weighted_bound,
    latent_grid,
)
from advml.pytorch.vae import (
    DenseVAE,
    evidence_lower_bound,
    log_weights,
    train,
)

plt.style.use("advml.course")
torch.set_num_threads(1)  # the networks here are too small to share out

# %% tags=["parameters"]
seed = 0
size = 8  # side of the torus
n_train = 26000  # configurations to train on, of all temperatures
n_test = 2600  # held-out configurations
n_hidden = [64, 32]
epochs = 25
n_samples = 20000  # of each model

# %% [markdown]
# The data: configurations at thirteen temperatures from 1.5 to 3.5, equally many at each, from cluster Monte Carlo. The network will get the spins as coins,
# $x_i = (1+s_i)/2$, in random order and without temperatures.

# %%
data = datasets.ising(size)
temperatures, n = data.temperatures, size**2
spins = data.train[:: len(data.train) // n_train].astype(int)
spins_test = data.test[:: len(data.test) // n_test].astype(int)
T_test = data.test_labels[:: len(data.test) // n_test]
x, x_test = (
    ((s + 1) / 2).reshape(len(s), -1).astype(np.float32)
    for s in (spins, spins_test)
)
m_test = spins_test.mean((1, 2))
verify(
    "held-out configurations are equally many at each temperature",
    [(T_test == T).sum() for T in temperatures],
    equals=len(T_test) // len(temperatures),
    source="data/README.md",
)

# %% [markdown]
# ## What will it find?
#
# Start from what {eq}`eq-vae-critical` says: from the state in which the latent variables are silent, a signal grows along the eigenvectors of the correlation matrix
# whose eigenvalue exceeds $\beta = 1$, and first along the largest. Spins have mean zero and variance one, so this matrix is the correlation function itself,
# averaged over the temperatures. On a torus it depends on the distance only, and plane waves diagonalise it:
#
# $$
# \langle s_{\mathbf r} s_{\mathbf r'}\rangle = G(\mathbf r - \mathbf r'), \qquad \lambda_{\mathbf k} = S(\mathbf k) = \sum_{\mathbf r} G(\mathbf r)\,\cos\mathbf k\cdot\mathbf r .
# $$ (eq-vae-structure)
#
# The eigenvalues are the **structure factor**, and the largest is that at $\mathbf k = 0$: $S(0) = N\langle m^2\rangle$, with the eigenvector $(1, \dots, 1)$. So the first thing to
# be learned must be the magnetisation. For a magnet with neighbours that prefer to be alike this is no surprise; for an antiferromagnet the same formula says $\mathbf k = (\pi,\pi)$.
# $G(\mathbf r)$ is known exactly for a finite torus, {lecture}`1.1`.

# %%
G = np.mean([ising.correlations(size, T) for T in temperatures], axis=0)
S = np.fft.fft2(G).real
order = np.sort(S.ravel())[::-1]
C = np.corrcoef(2 * x.T)
found = np.linalg.eigvalsh(C)[::-1]
modes = np.exp(2j * np.pi * np.outer(np.arange(size), np.arange(size)) / size)
waves = np.einsum("ai,bj->abij", modes, modes).reshape(n, n) / size
amplitude = np.abs((2 * x - 1) @ waves.T) ** 2
error = amplitude.std(0, ddof=1) / np.sqrt(len(x))
verify(
    "mean square of each plane wave in the training data = S(k)",
    amplitude.mean(0),
    equals=S.ravel(),
    atol=6 * error,
    source="exact correlations on the torus; six standard errors",
)
show_table(
    ["eigenvalue", "exact S(k)", "correlation matrix of the data"],
    [[f"{i + 1}", order[i], found[i]] for i in range(7)],
)

# %% [markdown]
# One eigenvalue stands apart, four more are above one (wave vectors of length $2\pi/L$), the next four miss it by a hair. Now train, with one latent variable.


# %%
def trained(x, n_latent, key, **options):
    """An autoencoder of coins, and its means for given configurations."""
    vae = DenseVAE(
        x.shape[1], n_latent, n_hidden, seed=[seed, key], device="cpu"
    )
    schedule = {"learning_rate": 3e-3, "final_learning_rate": 1e-4}
    schedule |= {"batch_size": 128, "epochs": epochs, "seed": seed}
    train(vae, x, **schedule | options)
    return vae


def code(vae, x):
    """Means of q(z|x)."""
    with torch.no_grad():
        return vae.encode(x)[0].numpy()


vae = trained(x, 1, 1)
latent = code(vae, x_test)[:, 0]
latent *= np.sign(np.corrcoef(latent, m_test)[0, 1])  # its sign is free
verify(
    "|correlation| of latent variable and magnetisation, held-out",
    np.corrcoef(latent, m_test)[0, 1],
    at_least=0.95,
    source="S(0) is the largest eigenvalue",
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: latent variable against magnetisation, a narrow curve through the origin that rises steeply and bends at its ends. Right: latent variable against temperature: two branches at low temperature that merge at about 2.4 into one cloud around zero."}, "figure": {"caption": "Left: latent mean of held-out configurations against their magnetisation, coloured by temperature. Right: the same against temperature (points are spread a little); dashed: the critical temperature of the infinite lattice.", "name": "fig-order-branches"}}
rng = np.random.default_rng([seed, 2])
critical = 2 / np.log(1 + np.sqrt(2))
fig, axes = plt.subplots(1, 2, figsize=(7, 3))
picture = axes[0].scatter(m_test, latent, c=T_test, s=4, cmap="coolwarm")
axes[0].set(xlabel="magnetisation $m$", ylabel="latent mean")
fig.colorbar(picture, ax=axes[0], label="temperature $T$")
near = T_test + rng.uniform(-0.03, 0.03, len(T_test))
axes[1].plot(near, latent, ".", ms=2)
axes[1].axvline(critical, color="0.3", ls="--")
axes[1].set(xlabel="temperature $T$")
plt.show()

# %% [markdown]
# The relation is not straight: $\mathbf z$ has to be normally distributed, so the encoder stretches $m$ until it is. A curve is a relabelling, and an order parameter may be relabelled.
#
# Two branches below, one cloud above. To say it in numbers, take the **Binder cumulant** $U = 1 - \langle z^4\rangle/3\langle z^2\rangle^2$ of each temperature. It is
# $2/3$ for two sharp branches $\pm z_0$, and $0$ for a Gaussian cloud. (Exercise {ref}`ex-order-binder`.)


# %%
def binder(z):
    """Cumulant of a sample, 2/3 for two points, 0 for a Gaussian."""
    return 1 - np.mean(z**4) / (3 * np.mean(z**2) ** 2)


def by_temperature(function, *arrays):
    """Apply a function to the entries of each temperature."""
    return np.array(
        [function(*(a[T_test == T] for a in arrays)) for T in temperatures]
    )


U, U_m = by_temperature(binder, latent), by_temperature(binder, m_test)
same_sign = by_temperature(
    lambda z, m: np.mean(np.sign(z) == np.sign(m)), latent, m_test
)
verify(
    "at the lowest temperature two branches, with the sign of m",
    [U[0], same_sign[0]],
    at_least=[0.6, 0.99],
    source="2/3 for two sharp branches",
)
verify(
    "at the highest temperature one cloud",
    U[-1],
    at_most=0.25,
    source="0 for a Gaussian; its standard error here is about 0.1",
)
spread, spread_m = (
    by_temperature(lambda a: a.std(), np.abs(a)) for a in (latent, m_test)
)
verify(
    "|z| fluctuates most near the critical temperature",
    temperatures[np.argmax(spread)],
    at_least=2.0,
    at_most=2.8,
    source="z is a function of m; 1.5 to 3.5 were possible",
)
show_table(
    ["fluctuates most", "at temperature"],
    [
        ["|z|", temperatures[np.argmax(spread)]],
        ["|m|", temperatures[np.argmax(spread_m)]],
    ],
)

# %% [markdown]
# So the transition shows where the branches merge and $|z|$ fluctuates most. The maximum is broad, and that of $|m|$ itself lies above the $T_c = 2.269$ of the infinite lattice, as it must with
# eight spins a side ({lecture}`1.1`): from such data nobody reads $T_c$ to better than some tenths.
#
# Is this better than principal components? Those find the magnetisation too {cite}`wang2016`, in no time:

# %%
component = PCA(1).fit(x).transform(x_test)[:, 0]
verify(
    "|correlation| of the first principal component and m",
    abs(np.corrcoef(component, m_test)[0, 1]),
    at_least=0.999,
    source="eigenvector (1, …, 1) of eq-vae-structure",
)

# %% [markdown]
# They find it *better*, for $m$ is linear. What the autoencoder has and a projection has not is a probability for every configuration. Let us see how good it is.
#
# ## What one variable can know
#
# Given $z$, spins are independent, with means $m_i(z)$. By translation invariance we expect them to be equal, $m_i(z) = m(z)$, and check it below. Such a model gives the same
# probability to all configurations with the same number $k$ of up spins. The *best* distribution of this kind is plain: it must have the right $P(k)$ and share it out equally,
#
# $$
# p^*(\mathbf s) = P(k)\Big/\binom Nk , \qquad
# \langle\log p^*\rangle = -H(k) - \Bigl\langle\log\tbinom Nk\Bigr\rangle .
# $$ (eq-exchangeable)
#
# No mean-field theory with one uniform fluctuating field can do better. On the other hand the true distribution of the data is known: all temperatures are equally likely, so
#
# $$
# p(\mathbf s) = \frac1{13}\sum_T \frac{e^{-E(\mathbf s)/T}}{Z(T)} ,
# $$ (eq-order-truth)
#
# with Kaufman's exact $Z$. So three numbers stand beside each other, in nats per configuration, and none of them is an estimate of a bound: what the autoencoder reaches (by a grid in $z$),
# what any model of its kind could reach, and the truth. **Predict** the two differences.


# %%
def on_line(vae, n_points=1201):
    """Grid in z, log weights of the prior, and means m_i(z) of the spins."""
    z, log_volume = latent_grid(
        np.zeros((1, 1)), np.ones((1, 1)), n_points=n_points
    )
    with torch.no_grad():
        logits = vae.decode(z[0]).double().numpy()
    return logits, gaussian_log_density(z[0]) + log_volume


def exact_log_prob(vae, x):
    """log p(x) of each configuration under a model with one latent."""
    logits, log_prior = on_line(vae)
    log_joint = x @ logits.T - np.logaddexp(0, logits).sum(1) + log_prior
    return logsumexp(log_joint, axis=1)


log_z = np.array([ising.log_partition(size, T) for T in temperatures])
energy = ising.energy(spins_test)
truth = logsumexp(-energy[:, None] / temperatures - log_z, axis=1)
truth -= np.log(len(temperatures))
ups = (data.train.reshape(-1, n) == 1).sum(1)
P = (np.bincount(ups, minlength=n + 1) + 0.5) / (len(ups) + 0.5 * (n + 1))
k = np.arange(n + 1)
log_binomial = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
best = (np.log(P) - log_binomial)[(spins_test == 1).sum((1, 2))]
model = exact_log_prob(vae, x_test)

# %% [markdown]
# The histogram of $k$ comes from the whole training part. Differences are paired, configuration by configuration.

# %%
rows = {
    "free spins": np.full(len(x_test), -n * np.log(2)),
    "autoencoder, one latent": model,
    "best model of m alone": best,
    "truth": truth,
}
show_table(
    ["distribution", "log p (nats)", "short of the truth", "± error"],
    [
        [
            name,
            value.mean(),
            (truth - value).mean(),
            (truth - value).std(ddof=1) / np.sqrt(len(value)),
        ]
        for name, value in rows.items()
    ],
)
difference = truth - model
verify(
    "KL(data‖model) is not zero",
    difference.mean(),
    at_least=5 * difference.std(ddof=1) / np.sqrt(len(difference)),
    source="Gibbs' inequality; five standard errors",
)
verify(
    "the autoencoder is as good as the best model of m alone (nats)",
    model.mean(),
    equals=best.mean(),
    atol=0.2,
    source="eq-exchangeable; 0.2 for training, 0.1 or less so far",
)

# %% [markdown]
# The autoencoder has learned nearly everything that can be learned with one number, to a few hundredths of a nat. And it misses some three and a half nats out of the twenty-two
# that free spins are wrong by. These are the correlations at given magnetisation. At which temperature are most of them missing?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Nats missing against temperature: close to zero at 1.5, rising through 3 at the critical temperature to a maximum of 6 near 2.8 and falling to 4 at 3.5. The curve of the best model of m alone lies on top of that of the autoencoder."}, "figure": {"caption": "Nats per configuration by which the model falls short of the exact log-probability, for each temperature, with standard errors.", "name": "fig-order-nats"}}
missing = by_temperature(np.mean, truth - model)
missing_best = by_temperature(np.mean, truth - best)
error = by_temperature(
    lambda a: a.std(ddof=1) / np.sqrt(len(a)), truth - model
)
fig, ax = plt.subplots(figsize=(5.6, 3))
ax.errorbar(temperatures, missing, error, fmt="o-", label="autoencoder")
ax.plot(temperatures, missing_best, "s--", ms=4, label="best of $m$ alone")
ax.axvline(critical, color="0.3", ls="--", lw=1)
ax.set(xlabel="temperature $T$", ylabel="missing (nats)")
ax.legend()
plt.show()

# %% [markdown]
# Not at $T_c$, but above. Deep in the ordered phase nearly all spins are up, or nearly all down: one number says nearly all. At high temperature spins become free, and one number says nothing, but little
# is left to say. In between the magnet has domains of any shape, and total magnetisations near zero.

# %%
verify(
    "what is missing peaks above the critical temperature",
    temperatures[np.argmax(missing)],
    at_least=critical,
    source="independent spins at given m are exact at T = 0 and T = ∞",
)

# %% [markdown]
# ## The missing energy
#
# Now samples: draw $z$, toss the coins. With equal means, the correlation of two different spins does not depend on their distance, and neighbours are no exception:
#
# $$
# \langle s_{\mathbf r}s_{\mathbf r'}\rangle_\text{model} = \langle m(z)^2\rangle \quad\text{for all } \mathbf r\ne\mathbf r' , \qquad
# \frac{\langle E\rangle}{N} = -2\,\langle m(z)^2\rangle .
# $$ (eq-flat-correlation)
#
# A model with the right $P(k)$ has $\langle m^2\rangle$ right, so the flat value must be the mean of the true $G$ over all distances:
# $(S(0)-1)/(N-1)$. **Predict** the energy per spin with it, from the table above, and compare with the true mean, $-1.33$.

# %%
logits, log_prior = on_line(vae)
means = np.tanh(logits / 2).reshape(-1, size, size)
weight = np.exp(log_prior)
right, below = (np.roll(means, -1, axis=a) for a in (1, 2))
energy_model = -np.einsum("z,zij->", weight, means * (right + below)) / n
flat = weight @ means.mean((1, 2)) ** 2
samples = 2 * vae.sample(n_samples, seed=[seed, 3]).numpy() - 1
samples = samples.reshape(-1, size, size).astype(int)
drawn = ising.energy(samples) / n
exact_energy = np.mean([ising.energy_per_spin(size, T) for T in temperatures])
verify(
    "energy per spin of samples, and from the grid",
    drawn.mean(),
    equals=energy_model,
    atol=5 * drawn.std(ddof=1) / np.sqrt(n_samples),
    source="five standard errors of the sample",
)
verify(
    "energy per spin = −2⟨m²⟩",
    energy_model,
    equals=-2 * flat,
    atol=0.05,
    source="eq-flat-correlation; 0.05 for means that are not quite equal",
)
verify(
    "no lower than the best model of m alone, within its training",
    energy_model,
    at_least=-2 * (S[0, 0] - 1) / (n - 1) - 0.05,
    source="eq-flat-correlation with the exact S(0)",
)
show_table(
    ["energy per spin", "J"],
    [
        ["autoencoder", energy_model],
        ["best model of m alone", -2 * (S[0, 0] - 1) / (n - 1)],
        ["exact", exact_energy],
    ],
)

# %% [markdown]
# More than a fifth of the energy is missing, and no training will bring it back. Who looks only at the order parameter does not see it: a model can have the right magnetisation
# and be wrong about everything local.
#
# ## More latent variables
#
# By {eq}`eq-vae-structure` more variables should become plane waves, longest first. We train with 5 and with 16, judge by 500 importance weights (a lower bound), and ask how well the
# latent means are linear functions of the first five waves.

# %%
waves_test = (2 * x_test - 1) @ waves.T
first = np.argsort(-S.ravel(), kind="stable")[:5]
five = np.hstack([waves_test[:, first].real, waves_test[:, first].imag])
some = rng.permutation(len(x_test))[:400]
models, table = {1: vae}, []
for q in (5, 16):
    models[q] = trained(x, q, q)
for q, wide in models.items():
    noise = rng.standard_normal((1000, len(some), q))
    with torch.no_grad():
        log_w = log_weights(wide, x_test[some], noise).double().numpy().T
    bound = importance_weighted_bound(log_w, 500)[0]
    drawn = 2 * wide.sample(n_samples, seed=[seed, 3]).numpy() - 1
    drawn = drawn.reshape(-1, size, size)
    table.append([q, drawn, (truth[some] - bound).mean()])

# %% [markdown]
# The correlation function of the samples, along an axis of the torus:

# %%
profiles = {
    q: [np.mean(s * np.roll(s, r, axis=1)) for r in range(size // 2 + 1)]
    for q, s, _ in table
}
energies = [
    -(np.mean(s * np.roll(s, 1, 1)) + np.mean(s * np.roll(s, 1, 2)))
    for _, s, _ in table
]
show_table(
    ["latents", "short of the truth (nats)", "energy per spin"],
    [[q, short, e] for (q, _, short), e in zip(table, energies, strict=True)],
)
verify(
    "more latent variables: fewer nats missing, and lower energy",
    [*-np.diff([row[2] for row in table]), *-np.diff(energies)],
    at_least=0,
    source="S(k) > 1 for more modes than one",
)
verify(
    "and all energies stay above the exact one",
    min(energies),
    at_least=exact_energy,
    source="independent spins given z lose correlations",
)
z = code(models[5], x_test)
fit = five @ np.linalg.lstsq(five, z, rcond=None)[0]
explained = 1 - ((z - fit) ** 2).sum(0) / ((z - z.mean(0)) ** 2).sum(0)
verify(
    "the five latent means are functions of the five longest waves",
    explained,
    at_least=0.5,
    source="eq-vae-structure; half of the variance by a linear fit",
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Correlation against distance. The exact curve falls from one to 0.4 at distance four, convex. With one latent variable the points are flat from distance one on; with five and sixteen they follow the exact curve more closely but start lower at distance one."}, "figure": {"caption": "Correlation function along an axis, averaged over the temperatures: exact, and of samples of models with 1, 5 and 16 latent variables.", "name": "fig-order-correlation"}}
fig, ax = plt.subplots(figsize=(5.6, 3))
ax.plot(G[0, : size // 2 + 1], "k-", label="exact")
for (q, profile), marker in zip(profiles.items(), "os^", strict=True):
    ax.plot(profile, marker + "--", ms=4, lw=0.8, label=f"{q} latents")
ax.set(xlabel="distance $r$", ylabel="$G(r)$", ylim=(0, 1.03))
ax.legend()
plt.show()

# %% [markdown]
# Long waves are repaired first, and the nearest neighbour last: exactly where the energy is. One would need a latent variable for nearly each spin, and then nothing is compressed.
#
# ## Break it: a transition without an order parameter
#
# Put Ising spins on the *bonds* of a lattice, with an energy that multiplies the four around each plaquette: Wegner's gauge theory {cite}`wegner1971`. Flipping all bonds that meet at a site changes no
# energy, so no function of single bonds can be an order parameter. On an open lattice the plaquettes $B = \pm1$ are independent, $P(B=1) = 1/(1+e^{-2K})$, and exact samples are easy: draw the plaquettes
# and one half of the bonds, and multiply. **Predict** how many nats an autoencoder will find.


# %%
def gauge_field(n_samples, K, rng, L=8):
    """Bonds ±1 around L×L plaquettes of an open lattice, exact samples."""
    up = 1 / (1 + np.exp(-2 * K))
    B = np.where(rng.random((n_samples, L, L)) < up, 1, -1)
    v = rng.choice([-1, 1], (n_samples, L, L + 1))
    h = np.empty((n_samples, L + 1, L), int)
    h[:, 0] = rng.choice([-1, 1], (n_samples, L))
    for i in range(L):
        h[:, i + 1] = B[:, i] * h[:, i] * v[:, i, :-1] * v[:, i, 1:]
    return np.concatenate(
        [h.reshape(n_samples, -1), v.reshape(n_samples, -1)], axis=1
    ), B


# %% [markdown]
# The truth: each plaquette that is not free saves $\log2 - H(B)$ nats.

# %%
K = 1.0
bonds, _ = gauge_field(20000, K, rng)
bonds_test, plaquettes = gauge_field(2000, K, rng)
up = 1 / (1 + np.exp(-2 * K))
saved = np.log(2) + up * np.log(up) + (1 - up) * np.log1p(-up)
gauge = trained((bonds + 1) / 2, 4, 9, epochs=10)
noise = rng.standard_normal((20, 2000, 4))
with torch.no_grad():
    bound = evidence_lower_bound(gauge, (bonds_test + 1) / 2, noise)
    log_w = log_weights(gauge, (bonds_test + 1) / 2, noise)
free = -bonds.shape[1] * np.log(2)
within = importance_weighted_bound(log_w.double().numpy().T, 10)[0]
verify(
    "plaquettes are +1 with the exact probability",
    np.mean(plaquettes == 1),
    equals=up,
    atol=5 * np.sqrt(up * (1 - up) / plaquettes.size),
    source="five standard errors of a frequency",
)
show_table(
    ["nats per configuration above free bonds", ""],
    [
        ["found by the autoencoder", within.mean() - free],
        ["there", 64 * saved],
    ],
)
verify(
    "the autoencoder finds less than one nat of what is there",
    within.mean() - free,
    at_most=1,
    source="single bonds and pairs are uncorrelated: S = 1 for all modes",
)

# %% [markdown]
# Twenty nats are there, and nothing is found. All means and pair correlations of the bonds are those of coins, every eigenvalue of the correlation matrix is one, and nothing
# grows. The order is in products of four. An encoder that was *given* plaquettes would see it at once: the choice of variables is still ours.
#
# ## Exercises
#
# ::::{exercise} The Binder cumulant
# :label: ex-order-binder
# Show $U = 2/3$ for $z = \pm z_0$ and $U = 0$ for a Gaussian. What is it for a Gaussian of width $\sigma$ around each of $\pm z_0$? At which $\sigma/z_0$ has it fallen to one half?
# ::::
#
# ::::{solution-start} ex-order-binder
# :class: dropdown
# ::::

# %% [markdown]
# $\langle z^2\rangle = z_0^2+\sigma^2$ and $\langle z^4\rangle = z_0^4 + 6z_0^2\sigma^2 + 3\sigma^4$, so with $t = \sigma^2/z_0^2$: $U = \frac{2}{3}\,(1+t)^{-2}$, because
# $3(1+t)^2 - (1+6t+3t^2) = 2$. It is one half for $(1+t)^2 = 4/3$: $\sigma = 0.39\,z_0$.

# %% tags=["solution"]
t = 2 / np.sqrt(3) - 1
z = np.sqrt(t) * rng.standard_normal(400_000) + rng.choice([-1, 1], 400_000)
verify(
    "Binder cumulant of two broad branches",
    [2 / 3 / (1 + t) ** 2, binder(z)],
    equals=0.5,
    atol=0.005,
    source="moments of a Gaussian; five standard errors of the sample",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} The antiferromagnet
# :label: ex-order-antiferromagnet
# Flip the spins of one sublattice of the chequerboard in all data: these are configurations of an antiferromagnet. What will the latent variable be now? And the nats that are missing? Train and
# check.
# ::::
#
# ::::{solution-start} ex-order-antiferromagnet
# :class: dropdown
# ::::

# %% [markdown]
# The structure factor moves to $\mathbf k = (\pi, \pi)$: the staggered magnetisation. A decoder that exchanges two outcomes of some pixels has the same likelihood, so the missing nats are the same, but for the training's chance.

# %% tags=["solution"]
board = 1 - 2 * (np.indices((size, size)).sum(0) % 2)
turned, turned_test = (
    ((s * board + 1) / 2).reshape(len(s), -1) for s in (spins, spins_test)
)
other = trained(turned, 1, 1)
staggered = code(other, turned_test)[:, 0]
plain = (spins_test * board).mean((1, 2))
verify(
    "|correlation| with the staggered magnetisation",
    abs(np.corrcoef(staggered, m_test)[0, 1]),
    at_least=0.95,
    source="S(k) is largest at (π, π)",
)
verify(
    "correlation with the plain magnetisation",
    np.corrcoef(staggered, plain)[0, 1],
    equals=0,
    atol=6 / np.sqrt(len(plain)),
    source="symmetry; six standard errors",
)
verify(
    "nats missing, as for the ferromagnet",
    (truth - exact_log_prob(other, turned_test)).mean(),
    equals=(truth - model).mean(),
    atol=0.2,
    source="a relabelling of outcomes; 0.2 for training",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ## Summary
#
# An autoencoder with one latent variable finds the magnetisation, because the structure factor of the data is largest at wave vector zero, and its branches and fluctuations show the transition without a
# temperature being told. Its likelihood is that of the best model which knows $m$ and nothing else, exactly to hundredths of a nat; three and a half nats, and a fifth of the energy, are in correlations that independent spins
# cannot have. What is not in pair correlations, like the order of a gauge theory, it does not find at all.
#
# The experiment is that of {cite:t}`wetzel2017` and {cite:t}`hu2017`.
#
# **Next:** {lecture}`4.1` gives up the likelihood, and plays a game instead.
