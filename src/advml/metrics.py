"""Statistics of correlated samples, and distances between distributions."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import gammaln, xlog1py, xlogy
from scipy.stats import hypergeom, rankdata

from advml.validation import count, finite, positive, shaped


def autocorrelation_function(x):
    """Return ρ(t), the autocorrelation of a time series (eq-autocorrelation).

    ρ(t) = C(t)/C(0) with C(t) = (1/n) Σ_i (x_i - x̄)(x_{i+t} - x̄). `x` has
    shape (n,), and so has the result. ValueError if x is constant, because
    then no correlation is defined. Computed with a zero-padded FFT.
    """
    x = shaped("x", finite("x", x), (None,))
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"x must be one time series, not of shape {x.shape}")
    if np.all(x == x[0]):
        raise ValueError(f"x is constant ({x[0]}): it has no autocorrelation")
    spectrum = np.fft.rfft(x - x.mean(), 2 * len(x))
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[: len(x)]
    return covariance / covariance[0]


def integrated_autocorrelation_time(x, *, window=6):
    """Return τ = 1/2 + Σ_{t=1}^{W} ρ(t), in steps of x (eq-tau-int).

    With this definition n correlated samples are worth n/(2τ) independent
    ones, and white noise has τ = 1/2. The sum stops at the smallest W with
    W >= `window` max(τ(W), 1/2): further terms add noise, not signal. Where ρ
    has a weak but long tail, as for squares of slow variables, or alternates
    in sign, 6 is too early; look at ρ and choose a larger `window`. `x` has
    shape (n,). ValueError if x is constant, shorter than 20 τ, too short for
    its own autocorrelation time to be seen, or if τ comes out negative.

    Source: A. D. Sokal, Monte Carlo Methods in Statistical Mechanics (1997).
    """
    rho, window = autocorrelation_function(x), positive("window", window)
    tau = np.cumsum(rho) - 0.5
    # Below 1/2 where successive values avoid each other: look on all the same.
    closed = np.arange(len(rho)) >= window * np.maximum(tau, 0.5)
    tau = tau[np.argmax(closed)]
    if len(rho) < 20 * tau:
        raise ValueError(
            f"x has {len(rho)} entries, fewer than 20 of its autocorrelation "
            f"times ({tau:.3g}): the chain is too short"
        )
    if tau <= 0:
        raise ValueError(
            f"x alternates: its correlations sum to τ = {tau:.3g} within "
            f"window={window:g}, so choose a larger window"
        )
    return float(tau)


def mean_and_error(x, *, window=6):
    """Return the mean of x and its standard error (eq-standard-error).

    The error is sqrt(2τ/n) times the standard deviation, with τ from
    :func:`integrated_autocorrelation_time`, whose errors apply. `x` has
    shape (n,).
    """
    x = np.asarray(x, dtype=float)
    tau = integrated_autocorrelation_time(x, window=window)
    return float(x.mean()), float(np.sqrt(2 * tau / len(x)) * x.std())


def kl_divergence(p, q):
    """Return KL(p‖q) = Σ p log(p/q) in nats, along the last axis.

    `p` and `q` are probabilities of the same shape, each summing to one
    (else ValueError). A state that p can reach and q cannot makes it inf.
    """
    p, q = _probabilities(p, q)
    where = p > 0
    with np.errstate(divide="ignore"):
        ratio = np.log(np.where(where, p, 1)) - np.log(np.where(where, q, 1))
    return (p * ratio).sum(axis=-1)


def jensen_shannon(p, q):
    """Return ½ KL(p‖m) + ½ KL(q‖m), m = (p + q)/2 (eq-jensen-shannon).

    In nats, along the last axis. `p` and `q` are probabilities of the same
    shape, each summing to one (else ValueError). The result is symmetric and
    between 0 and ln 2, which it reaches where p and q do not overlap.

    Source: J. Lin, IEEE Trans. Inf. Theory 37, 145 (1991).
    """
    p, q = _probabilities(p, q)
    middle = (p + q) / 2
    return (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2


def gaussian_kl(mean, variance, prior_mean=0.0, prior_variance=1.0):
    """Return KL(N(mean, variance)‖prior) of Gaussians (eq-gaussian-kl).

    ½ Σ_k [v_k/V_k + (m_k - M_k)²/V_k - 1 - log(v_k/V_k)], in nats, summed
    over the last axis, whose components are independent under both. The
    prior N(prior_mean, prior_variance) is standard normal unless given. All
    four are numbers or arrays that broadcast against each other; variances
    are squares of standard deviations, and positive (else ValueError).

    Source: Kingma and Welling (2014), appendix B.
    """
    m, M = finite("mean", mean), finite("prior_mean", prior_mean)
    v = finite("variance", variance)
    V = finite("prior_variance", prior_variance)
    for name, value in (("variance", v), ("prior_variance", V)):
        if np.any(value <= 0):
            raise ValueError(f"{name} must be positive, not {value.min()}")
    terms = (v + (m - M) ** 2) / V - 1 - np.log(v / V)
    return np.atleast_1d(terms).sum(axis=-1) / 2


def total_variation(p, q):
    """Return ½ Σ |p - q| along the last axis (eq-total-variation).

    `p` and `q` are probabilities of the same shape, each summing to one
    (else ValueError). The result is between 0 and 1: the largest difference
    that p and q can give to the probability of any event.
    """
    p, q = _probabilities(p, q)
    return np.abs(p - q).sum(axis=-1) / 2


def expected_total_variation(p, n):
    """Mean total variation of p and frequencies of n draws from p itself.

    ½ Σ_s ⟨|X_s/n - p_s|⟩ with binomial X_s, summed by de Moivre's closed form
    ⟨|X - np|⟩ = 2ν C(n, ν) p^ν (1 - p)^(n - ν + 1), ν = ⌊np⌋ + 1
    (eq-capstone-de-moivre). It falls like n^(-1/2) only where each state is
    drawn many times. `p` holds probabilities along its last axis (else
    ValueError) and `n` is the number of draws.

    Source: P. Diaconis & S. Zabell, Statist. Sci. 6, 284 (1991).
    """
    p, _ = _probabilities(p, p)
    n = count("n", n)
    nu = np.minimum(np.floor(n * p) + 1, n)
    log_choose = gammaln(n + 1) - gammaln(nu + 1) - gammaln(n - nu + 1)
    log_mean = log_choose + xlogy(nu, p) + xlog1py(n - nu + 1, -p)
    return (nu * np.exp(log_mean)).sum(axis=-1) / n


def jackknife(function, samples, n_blocks=20):
    """Return function(samples) and its covariance (eq-capstone-jackknife).

    The first axis of `samples` (n, ...) is cut into `n_blocks` blocks, which
    should be independent: of chains, not of states along one chain. Leaving
    out block b gives y_b, and the covariance is (B - 1)/B Σ_b (y_b - ȳ)(y_b -
    ȳ)ᵀ. `function` maps samples to an array (d,); the covariance is (d, d).
    ValueError for fewer than two blocks, or fewer samples than blocks.

    Source: M. H. Quenouille (1956); B. Efron, Ann. Statist. 7, 1 (1979).
    """
    samples = np.asarray(samples)
    n_blocks = count("n_blocks", n_blocks, at_least=2)
    if samples.ndim == 0 or len(samples) < n_blocks:
        raise ValueError(
            f"samples must have at least n_blocks = {n_blocks} rows, but has "
            f"shape {samples.shape}"
        )
    block = np.arange(len(samples)) * n_blocks // len(samples)
    left_out = np.array(
        [function(samples[block != b]) for b in range(n_blocks)]
    )
    off = left_out - left_out.mean(axis=0)
    value = np.asarray(function(samples), float)
    return value, (n_blocks - 1) / n_blocks * off.T @ off


def frechet_distance(x, y):
    """Return the squared Fréchet distance of two samples (eq-frechet).

    The samples `x` (n, d) and `y` (m, d) count by their means and covariances
    only, n, m >= 2. Two samples of one distribution are some distance apart,
    too: those of a standard normal one d(d + 5)/4 · (1/n + 1/m) on average if
    n and m are large. So compare distances at equal n and m only.

    Source: D. C. Dowson & B. V. Landau, J. Multivariate Anal. 12, 450
    (1982); as a score of models: M. Heusel et al. (2017), arXiv:1706.08500.
    """
    return frechet_gaussian(*_gaussian_fit("x", x), *_gaussian_fit("y", y))


def frechet_gaussian(mean_x, cov_x, mean_y, cov_y):
    """Return |μ−μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) of two Gaussians (eq-frechet).

    This is the least mean square of x − y over all ways to draw x and y
    together; a squared distance, in units of x squared. Means have shape
    (d,), covariances (d, d), which may be singular: tr (ΣΣ')^½ is the sum of
    the singular values of AᵀB with Σ = AAᵀ and Σ' = BBᵀ.
    """
    mean_x, mean_y = finite("mean_x", mean_x), finite("mean_y", mean_y)
    cov_x, cov_y = _covariance("cov_x", cov_x), _covariance("cov_y", cov_y)
    shapes = mean_x.shape, mean_y.shape, cov_x.shape, cov_y.shape
    d = len(cov_x)
    if shapes != ((d,), (d,), (d, d), (d, d)):
        raise ValueError(
            "mean_x, mean_y, cov_x and cov_y must agree in d, but have shapes "
            f"{shapes}"
        )
    product = _root(cov_x).T @ _root(cov_y)
    overlap = np.linalg.svd(product, compute_uv=False).sum()
    shift = np.sum((mean_x - mean_y) ** 2)
    return float(shift + np.trace(cov_x) + np.trace(cov_y) - 2 * overlap)


@dataclass(frozen=True)
class ModeCoverage:
    """What :func:`mode_coverage` finds in samples of a mixture.

    Attributes
    ----------
    n_covered : int
        Modes with at least one sample within the radius.
    quality : float
        Fraction of samples within the radius of their nearest mode.
    weights : array (K,)
        Fractions of the samples nearest to each mode.
    divergence : float
        KL(weights‖uniform) in nats.
    """

    n_covered: int
    quality: float
    weights: np.ndarray
    divergence: float


def mode_coverage(x, centres, scale, *, radius=3.0):
    """Count the modes of a mixture that samples reach (eq-gan-coverage).

    A sample belongs to the nearest centre, and is good if it lies within
    `radius` times `scale` of it. Of the mixture's own samples in d dimensions
    P(χ²_d ≤ radius²) are good (in the plane 1 - exp(-radius²/2), 0.989 for
    three), and the divergence of their weights is (K - 1)/2n on average.

    Parameters
    ----------
    x : array (n, d)
    centres : array (K, d)
    scale : float
        Standard deviation of each mode, in units of x.
    radius : float
        In units of `scale`.

    Returns a :class:`ModeCoverage`.

    Source: A. Srivastava et al., VEEGAN, NeurIPS 2017 (arXiv:1705.07761).
    """
    x, centres = _points("x", x), _points("centres", centres)
    shaped("x", x, (centres.shape[1],))
    limit = positive("radius", radius) * positive("scale", scale)
    distance, mode = cKDTree(centres).query(x)
    good = distance <= limit
    weights = np.bincount(mode, minlength=len(centres)) / len(x)
    uniform = np.full(len(centres), 1 / len(centres))
    return ModeCoverage(
        n_covered=len(np.unique(mode[good])),
        quality=float(good.mean()),
        weights=weights,
        divergence=float(kl_divergence(weights, uniform)),
    )


def hidden_features(classifier, x):
    """Return the last hidden layer of a classifier, (n, n_features).

    In these features a Fréchet distance compares what a classifier has
    learned to look at, and not single pixels.

    Parameters
    ----------
    classifier : sklearn.neural_network.MLPClassifier
        Fitted, with rectified units (its default) and a hidden layer.
    x : array (n, ...)
        Data as the classifier has seen it, up to its shape.
    """
    if getattr(classifier, "activation", None) != "relu":
        raise ValueError(
            f"classifier must be an MLPClassifier of relu, not {classifier!r}"
        )
    x = finite("x", x)
    y = shaped("x", x.reshape(len(x), -1), classifier.coefs_[0].shape[:1])
    for kernel, bias in list(
        zip(classifier.coefs_, classifier.intercepts_, strict=True)
    )[:-1]:
        y = np.maximum(y @ kernel + bias, 0)
    return y


def precision_recall(real, fake, *, n_neighbours=3):
    """Return precision and recall of samples (eq-gan-precision-recall).

    A ball around each point reaches to its `n_neighbours`-th neighbour of
    the same set. Precision is the fraction of `fake` (m, d) inside a ball of
    `real` (n, d), recall that of `real` inside a ball of `fake`. Both depend
    on n and m: compare with two samples of the data.

    Source: T. Kynkäänniemi et al., NeurIPS 2019 (arXiv:1904.06991).
    """
    real, fake = _points("real", real), _points("fake", fake)
    shaped("fake", fake, (real.shape[1],))
    k = count("n_neighbours", n_neighbours)
    for name, points in (("real", real), ("fake", fake)):
        if len(points) <= k:
            raise ValueError(
                f"{name} must have more than n_neighbours = {k} rows, but "
                f"has {len(points)}"
            )
    return _inside(fake, real, k), _inside(real, fake, k)


def nearest_distances(x, points):
    """Return the distance of each row of x to the nearest of the points.

    `x` is (n, d), `points` (m, d), the result (n,), in units of x.
    """
    x, points = _points("x", x), _points("points", points)
    shaped("points", points, (x.shape[1],))
    # |x - y|² = |x|² + |y|² - 2 x·y: fast, and precise enough to choose by. In
    # parts, as a table of all of them may not fit into memory.
    parts = np.array_split(x, -(-len(x) * len(points) // 10_000_000))
    square = (points**2).sum(1)
    found = [(square - 2 * part @ points.T).argmin(1) for part in parts]
    return np.linalg.norm(x - points[np.concatenate(found)], axis=1)


def copying_score(samples, held_out):
    """Return z of the test for copies (eq-latent-copies).

    (U − nm/2) / √var(U), where U counts pairs in which the distance of a
    sample to the training data exceeds that of a held-out datum, ties half.
    If samples and held-out data have one law, z has mean 0 and variance 1,
    exactly, and is normal for large n and m; copies make it negative, samples
    off the data positive. `samples` (n,) and `held_out` (m,) are distances,
    for example of :func:`nearest_distances`, or any other statistic.

    Source: C. Meehan, K. Chaudhuri & S. Dasgupta, AISTATS 2020, there in
    cells, with the statistic of H. Mann & D. Whitney (1947).
    """
    samples, held_out = _line("samples", samples), _line("held_out", held_out)
    n, m = len(samples), len(held_out)
    both = np.concatenate([samples, held_out])
    u = rankdata(both)[:n].sum() - n * (n + 1) / 2
    ties = np.unique(both, return_counts=True)[1].astype(float)
    total = float(n + m)
    tied = (ties**3 - ties).sum() / (total * (total - 1))
    variance = n * m / 12 * (total + 1 - tied)
    if variance <= 0:
        raise ValueError(f"samples and held_out are all equal, {both[0]}")
    return float((u - n * m / 2) / np.sqrt(variance))


def copies_among_nearest(samples, held_out, n_nearest=20):
    """Return how many of the smallest distances are samples', and P(≥).

    Of the `n_nearest` smallest of all distances; P is the chance of as many
    or more if samples and held-out data have one law (eq-latent-nearest).
    Ties count for held-out data, so P is never too small. `samples` (n,) and
    `held_out` (m,) as for :func:`copying_score`.
    """
    samples, held_out = _line("samples", samples), _line("held_out", held_out)
    n, m, k = len(samples), len(held_out), count("n_nearest", n_nearest)
    if k > n + m:
        raise ValueError(
            f"n_nearest must be at most all {n + m} distances, not {k}"
        )
    both = np.concatenate([held_out, samples])
    found = int((np.argsort(both, kind="stable")[:k] >= m).sum())
    return found, float(hypergeom.sf(found - 1, n + m, n, k))


def _line(name, x):
    """Finite numbers (n,), n >= 1."""
    x = finite(name, x)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError(f"{name} must have shape (n,), n >= 1, not {x.shape}")
    return x


def _inside(x, points, k):
    """Fraction of x inside of a ball around one of the points."""
    distance = cdist(points, points)
    # The nearest neighbour of a point is the point itself.
    radius = np.partition(distance, k, axis=1)[:, k]
    return float((cdist(x, points) <= radius).any(axis=1).mean())


def _points(name, x):
    """Rows (n, d) of finite numbers, n, d >= 1."""
    x = finite(name, x)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(
            f"{name} must have shape (n, d) with n, d >= 1, not {x.shape}"
        )
    return x


def _root(covariance):
    """A with Σ = AAᵀ. Eigenvalues that rounding alone can make count as 0."""
    values, axes = np.linalg.eigh(covariance)
    rounding = len(values) * np.finfo(float).eps * values[-1]
    return axes * np.sqrt(np.where(values > rounding, values, 0))


def _gaussian_fit(name, x):
    """Mean (d,) and covariance (d, d) of a sample (n, d)."""
    x = finite(name, x)
    if x.ndim != 2 or len(x) < 2 or x.shape[1] < 1:
        raise ValueError(
            f"{name} must have shape (n, d) with n >= 2, not {x.shape}"
        )
    return x.mean(0), np.cov(x.T).reshape(x.shape[1], x.shape[1])


def _covariance(name, value):
    """Return a covariance (d, d), symmetric and without negative variance."""
    value = shaped(name, finite(name, value), (None, None))
    if value.ndim != 2 or value.shape[0] != value.shape[1]:
        raise ValueError(f"{name} must have shape (d, d), not {value.shape}")
    size = np.abs(value).max()
    if not np.allclose(value, value.T, rtol=0, atol=1e-8 * size):
        raise ValueError(f"{name} must be symmetric, but is {value}")
    if np.linalg.eigvalsh(value)[0] < -1e-8 * size:
        raise ValueError(f"{name} must have no negative variance: {value}")
    return value


def _probabilities(p, q):
    p, q = finite("p", p), finite("q", q)
    if p.shape != q.shape:
        raise ValueError(f"p has shape {p.shape}, but q has {q.shape}")
    for name, value in (("p", p), ("q", q)):
        if value.ndim == 0 or np.any(value < 0):
            raise ValueError(f"{name} must hold probabilities, not {value}")
        total = value.sum(axis=-1)
        if not np.allclose(total, 1, rtol=0, atol=1e-8):
            raise ValueError(f"{name} must sum to 1, but sums to {total}")
    return p, q
