"""Autocorrelation on processes solved by hand; distances by hand."""

from itertools import combinations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import sqrtm
from scipy.signal import lfilter
from scipy.special import entr, softmax
from scipy.stats import binom, chi2, mannwhitneyu, norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from advml import metrics


def autoregressive(phi, n, seed):
    """x_{t+1} = φ x_t + w: variance 1/(1 - φ²), ρ(t) = φ^t."""
    rng = np.random.default_rng(seed)
    start = rng.standard_normal() / np.sqrt(1 - phi**2)
    noise = rng.standard_normal(n)
    noise[0] = start
    return lfilter([1], [1, -phi], noise)


def test_autocorrelation_function_is_its_definition():
    x = np.random.default_rng(0).standard_normal(37).cumsum()
    d = x - x.mean()
    direct = [np.sum(d[: len(d) - t] * d[t:]) for t in range(len(d))]
    rho = metrics.autocorrelation_function(x)
    np.testing.assert_allclose(rho, direct / np.sum(d**2), atol=1e-13)
    assert rho[0] == 1


@pytest.mark.parametrize("phi", [0.5, 0.9])
def test_autocorrelation_of_an_autoregressive_process(phi):
    n = 100_000
    rho = metrics.autocorrelation_function(autoregressive(phi, n, seed=1))
    # Bartlett: the variance of ρ(1) is (1 - φ²)/n.
    assert abs(rho[1] - phi) < 4 * np.sqrt((1 - phi**2) / n)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("seed", range(10))
def test_integrated_time_of_an_autoregressive_process(phi, seed):
    n = 200_000
    exact = (1 + phi) / (1 - phi) / 2
    x = autoregressive(phi, n, seed)
    tau = metrics.integrated_autocorrelation_time(x)
    # Madras & Sokal: relative variance 2(2W + 1)/n with W = 6τ; cutting the
    # sum at W loses about exp(-6) of it.
    window = max(1, np.ceil(6 * exact))
    tolerance = 4.5 * np.sqrt(2 * (2 * window + 1) / n) + np.exp(-6)
    assert tau == pytest.approx(exact, rel=tolerance)


def test_mean_and_error_predicts_the_scatter_of_the_mean():
    """z-scores of 400 independent series have variance 1."""
    phi, n = 0.8, 5_000
    scores = []
    for seed in range(400):
        mean, error = metrics.mean_and_error(autoregressive(phi, n, seed))
        scores.append(mean / error)
    # A variance of 400 scores scatters by sqrt(2/400) = 0.07; the finite
    # series and window change it by about 2 %.
    assert np.mean(np.square(scores)) == pytest.approx(1, abs=0.3)


def test_mean_and_error_of_independent_numbers():
    x = np.random.default_rng(0).normal(3, 2, size=100_000)
    mean, error = metrics.mean_and_error(x)
    assert mean == x.mean()
    assert error == pytest.approx(2 / np.sqrt(100_000), rel=0.05)


def test_series_that_have_no_autocorrelation_time():
    for function in (
        metrics.autocorrelation_function,
        metrics.integrated_autocorrelation_time,
        metrics.mean_and_error,
    ):
        with pytest.raises(ValueError, match=r"x is constant \(2.0\)"):
            function(np.full(100, 2.0))
        with pytest.raises(ValueError, match="x must be finite"):
            function([1.0, np.nan, 2.0])
        with pytest.raises(ValueError, match="x must be one time series"):
            function(np.ones((5, 5)))
        with pytest.raises(ValueError, match="x must be one time series"):
            function([1.0])


@pytest.mark.parametrize("seed", range(10))
def test_integrated_time_of_an_alternating_process(seed):
    """τ < 1/2: successive values that avoid each other are worth more."""
    phi, n, width = -0.5, 200_000, 40
    exact = (1 + phi) / (1 - phi) / 2
    x = autoregressive(phi, n, seed)
    tau = metrics.integrated_autocorrelation_time(x, window=width)
    # The sum ends at width/2, where ρ has fallen below 1e-6. Twice τ is the
    # mean over frequencies of Dirichlet's kernel D times the periodogram
    # I/C(0), and I(ω) scatters by its own mean S(ω), independently: the
    # variance is (2/n) ⟨(D - 2τ)² S²⟩, where 2τ is for the division by C(0).
    angle = 2 * np.pi * (np.arange(4096) + 0.5) / 4096
    kernel = np.sin((width / 2 + 0.5) * angle) / np.sin(angle / 2)
    density = (1 - phi**2) / (1 - 2 * phi * np.cos(angle) + phi**2)
    spread = (kernel - 2 * exact) * density
    variance = 2 * np.mean(spread**2) / n / 4
    assert abs(tau - exact) < 4.5 * np.sqrt(variance)
    _, error = metrics.mean_and_error(x, window=width)
    assert error < x.std() / np.sqrt(n)


def test_a_window_too_small_for_an_alternating_process():
    x = autoregressive(-0.9, 100_000, seed=0)
    for function in (
        metrics.integrated_autocorrelation_time,
        metrics.mean_and_error,
    ):
        with pytest.raises(ValueError, match=r"x alternates.*window=6"):
            function(x)
    with pytest.raises(ValueError, match="window must be positive"):
        metrics.integrated_autocorrelation_time(x, window=0)


def test_a_series_shorter_than_its_own_memory_is_refused():
    drift = np.random.default_rng(0).standard_normal(1_000).cumsum()
    with pytest.raises(ValueError, match="x has 1000 entries"):
        metrics.mean_and_error(drift)


def test_kl_divergence_by_hand():
    half, skew = [0.5, 0.5], [0.25, 0.75]
    assert metrics.kl_divergence(half, skew) == pytest.approx(
        np.log(4 / 3) / 2, rel=1e-14
    )
    assert metrics.kl_divergence(skew, half) == pytest.approx(
        np.log(2) - (np.log(4) / 4 + 0.75 * np.log(4 / 3)), rel=1e-13
    )
    assert metrics.kl_divergence([1, 0], half) == pytest.approx(np.log(2))
    assert metrics.kl_divergence(half, [1, 0]) == np.inf
    assert metrics.kl_divergence([1, 0], [1, 0]) == 0


def test_jensen_shannon_by_hand():
    p, q = [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]
    # The middle is (1, 2, 1)/4: each side has half its mass at ratio 2.
    assert metrics.jensen_shannon(p, q) == pytest.approx(np.log(2) / 2)
    assert metrics.jensen_shannon([1, 0], [0, 1]) == pytest.approx(np.log(2))
    assert metrics.jensen_shannon(p, p) == 0
    table = metrics.jensen_shannon([p, q], [q, q])
    np.testing.assert_allclose(table, [np.log(2) / 2, 0])


@pytest.mark.parametrize(
    ("distance", "expected"),
    [(0.5, 0.030311), (1, 0.111421), (2, 0.336831), (4, 0.632720)],
)
def test_jensen_shannon_of_two_gaussians(distance, expected):
    x = np.linspace(-12, 16, 2801)
    p, q = (np.exp(-((x - m) ** 2) / 2) for m in (0, distance))
    p, q = p / p.sum(), q / q.sum()
    # The expected values are quadratures, to six decimals.
    assert metrics.jensen_shannon(p, q) == pytest.approx(expected, abs=6e-7)
    # Symmetric, and an entropy of the middle minus a mean entropy.
    assert metrics.jensen_shannon(q, p) == metrics.jensen_shannon(p, q)
    middle = entr((p + q) / 2).sum() - (entr(p) + entr(q)).sum() / 2
    assert metrics.jensen_shannon(p, q) == pytest.approx(middle, abs=1e-12)


def test_gaussian_kl_against_quadrature():
    mean, variance, prior_mean, prior_variance = 0.7, 0.3, -0.4, 2.1

    def density(x, m, v):
        return np.exp(-((x - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)

    def integrand(x):
        q = density(x, mean, variance)
        return q * np.log(q / density(x, prior_mean, prior_variance))

    expected = quad(integrand, mean - 7, mean + 7, epsabs=1e-12)[0]
    found = metrics.gaussian_kl(mean, variance, prior_mean, prior_variance)
    assert found == pytest.approx(expected, abs=1e-10)


def test_gaussian_kl_adds_components_and_is_zero_for_the_prior():
    mean, variance = np.array([0.0, 1.0, -2.0]), np.array([1.0, 0.5, 3.0])
    single = [
        metrics.gaussian_kl(m, v) for m, v in zip(mean, variance, strict=True)
    ]
    assert single[0] == 0
    assert single[1] == pytest.approx((1 + 0.5 - 1 - np.log(0.5)) / 2)
    assert metrics.gaussian_kl(mean, variance) == pytest.approx(sum(single))
    batch = metrics.gaussian_kl(np.stack([mean, mean]), variance)
    np.testing.assert_allclose(batch, 2 * [sum(single)])
    assert metrics.gaussian_kl(mean, variance, mean, variance) == 0


def test_gaussian_kl_refuses_what_is_no_variance():
    with pytest.raises(ValueError, match=r"variance must be positive.*0\.0"):
        metrics.gaussian_kl([0.0, 0.0], [1.0, 0.0])
    with pytest.raises(ValueError, match=r"prior_variance must be.*-1"):
        metrics.gaussian_kl(0.0, 1.0, prior_variance=-1.0)
    with pytest.raises(ValueError, match="mean must be finite"):
        metrics.gaussian_kl([np.nan], 1.0)


def test_total_variation_by_hand():
    p, q = [0.5, 0.5, 0.0], [0.1, 0.6, 0.3]
    assert metrics.total_variation(p, q) == pytest.approx(0.4)
    assert metrics.total_variation([1, 0], [0, 1]) == 1
    table = metrics.total_variation([p, q], [q, q])
    np.testing.assert_allclose(table, [0.4, 0])


@pytest.mark.parametrize(
    "function",
    [metrics.kl_divergence, metrics.jensen_shannon, metrics.total_variation],
)
def test_distances_refuse_what_is_not_a_distribution(function):
    good = [0.5, 0.5]
    with pytest.raises(ValueError, match="p must sum to 1"):
        function([0.5, 0.4], good)
    with pytest.raises(ValueError, match="q must sum to 1"):
        function(good, [2.0, 3.0])
    with pytest.raises(ValueError, match="q must hold probabilities"):
        function(good, [1.5, -0.5])
    with pytest.raises(ValueError, match="shape"):
        function(good, [0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match="p must be finite"):
        function([np.nan, 1.0], good)


# --- the Fréchet distance of Gaussians ---------------------------------------


def random_covariance(d, seed):
    a = np.random.default_rng(seed).normal(size=(d, d))
    return a @ a.T / d


def test_frechet_distance_in_one_dimension_by_hand():
    """(μ−μ')² + (σ−σ')²."""
    got = metrics.frechet_gaussian([1.0], [[4.0]], [3.0], [[0.25]])
    assert got == pytest.approx(4 + 1.5**2, rel=1e-14)


def test_frechet_distance_of_a_shifted_and_scaled_gaussian():
    """A scale c changes every deviation by a factor: (c−1)² tr Σ."""
    mean, cov = np.array([1.0, -2.0, 0.5]), random_covariance(3, 0)
    shift, c = np.array([0.3, 0.0, -0.4]), 1.7
    got = metrics.frechet_gaussian(mean, cov, mean + shift, c**2 * cov)
    assert got == pytest.approx(0.25 + 0.49 * np.trace(cov), rel=1e-12)


def test_frechet_distance_of_commuting_covariances():
    """In common axes only the deviations along them count."""
    rotation = np.linalg.qr(random_covariance(4, 1))[0]
    one, other = np.array([3.0, 1.0, 0.2, 0.0]), np.array([1.0, 2.0, 0.5, 2.0])
    got = metrics.frechet_gaussian(
        np.zeros(4),
        rotation * one**2 @ rotation.T,
        np.zeros(4),
        rotation * other**2 @ rotation.T,
    )
    assert got == pytest.approx(np.sum((one - other) ** 2), rel=1e-12)


def test_frechet_distance_is_the_cost_of_the_best_map():
    """x → Tx with T = Σ^-½(Σ^½Σ'Σ^½)^½Σ^-½ carries Σ into Σ'; cost |x−Tx|²."""
    cov_x, cov_y = random_covariance(5, 2), random_covariance(5, 3)
    root = sqrtm(cov_x).real
    inverse = np.linalg.inv(root)
    best = inverse @ sqrtm(root @ cov_y @ root).real @ inverse
    np.testing.assert_allclose(best @ cov_x @ best.T, cov_y, atol=1e-10)
    away = np.eye(5) - best
    got = metrics.frechet_gaussian(np.ones(5), cov_x, np.ones(5), cov_y)
    assert got == pytest.approx(np.trace(away @ cov_x @ away.T), rel=1e-8)


def test_frechet_distance_is_symmetric_and_blind_to_rotations():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(50, 3)), rng.exponential(size=(70, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    want = metrics.frechet_distance(x, y)
    assert want > 0.5
    assert metrics.frechet_distance(y, x) == pytest.approx(want, rel=1e-12)
    turned = metrics.frechet_distance(x @ rotation + 5, y @ rotation + 5)
    assert turned == pytest.approx(want, rel=1e-10)


def test_frechet_distance_of_singular_covariances():
    """Images have pixels that never change, and fewer rows than pixels."""
    rng = np.random.default_rng(5)
    x = np.pad(rng.normal(size=(20, 60)), ((0, 0), (0, 4)))
    scale = np.abs(x).sum()
    assert metrics.frechet_distance(x, x) == pytest.approx(
        0, abs=1e-10 * scale
    )
    y = 2 * x
    assert metrics.frechet_distance(x, y) == pytest.approx(
        x.var(0, ddof=1).sum() + np.sum(x.mean(0) ** 2), rel=1e-8
    )


def test_frechet_distance_of_samples_uses_their_means_and_covariances():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(30, 2)), 3 * rng.normal(size=(40, 2)) + 1
    want = metrics.frechet_gaussian(
        x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T)
    )
    assert metrics.frechet_distance(x, y) == pytest.approx(want, rel=1e-14)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_frechet_distance_of_equal_distributions_is_biased_as_stated(d):
    n, m, rng = 400, 900, np.random.default_rng(7)
    got = [
        metrics.frechet_distance(
            rng.normal(size=(n, d)), rng.normal(size=(m, d))
        )
        for _ in range(400)
    ]
    exact = d * (d + 5) / 4 * (1 / n + 1 / m)
    # The next order is smaller by about d/n.
    error = np.std(got) / np.sqrt(len(got))
    assert np.mean(got) == pytest.approx(
        exact, abs=4.5 * error + exact * d / n
    )


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(5), r"x must have shape \(n, d\) .* not \(5,\)"),
        (np.zeros((1, 3)), r"x must have shape \(n, d\) with n >= 2"),
        ([[np.nan], [1.0]], "x must be finite"),
    ],
)
def test_frechet_distance_refuses_what_is_no_sample(x, message):
    with pytest.raises(ValueError, match=message):
        metrics.frechet_distance(x, np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("cov", "message"),
    [
        ([[1.0, 0.0]], r"cov_x must have shape \(d, d\), not \(1, 2\)"),
        ([[1.0, 0.5], [0.0, 1.0]], "cov_x must be symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "cov_x must have no negative variance"),
        ([[1.0]], "must agree in d"),
    ],
)
def test_frechet_gaussian_refuses_what_is_no_covariance(cov, message):
    with pytest.raises(ValueError, match=message):
        metrics.frechet_gaussian([0, 0], cov, [0, 0], np.eye(2))


# ----- modes, precision and recall ------------------------------------------

SQUARE = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])


def test_mode_coverage_counts_what_was_put_there():
    x = np.array(
        [[0.0, 0.0], [0.29, 0.0], [0.31, 0.0], [2.0, 0.5], [0.0, 2.1]]
    )
    found = metrics.mode_coverage(x, SQUARE, 0.1)
    # The first two are good at (0, 0), the last at (0, 2); (2, 2) has none.
    assert found.n_covered == 2
    assert found.quality == pytest.approx(3 / 5)
    np.testing.assert_allclose(found.weights, [3 / 5, 1 / 5, 1 / 5, 0])
    entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.2))
    assert found.divergence == pytest.approx(np.log(4) - entropy)
    assert metrics.mode_coverage(x, SQUARE, 0.1, radius=6).n_covered == 3


def test_mode_coverage_of_the_mixture_itself_is_as_theory_says():
    n, k = 400, 4
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = SQUARE[rng.integers(k, size=n)] + rng.normal(0, 0.1, (n, 2))
        found.append(metrics.mode_coverage(x, SQUARE, 0.1))
    quality = np.mean([f.quality for f in found])
    p = chi2(2).cdf(9)
    assert p == pytest.approx(1 - np.exp(-4.5))
    error = np.sqrt(p * (1 - p) / (n * len(found)))
    assert quality == pytest.approx(p, abs=5 * error)
    divergence = np.mean([f.divergence for f in found])
    # 2n KL is χ² with K - 1 degrees of freedom, of variance 2(K - 1).
    error = np.sqrt(2 * (k - 1) / len(found)) / (2 * n)
    assert divergence == pytest.approx((k - 1) / (2 * n), abs=5 * error)


def test_precision_and_recall_of_points_on_a_line():
    real = np.arange(5.0)[:, None]
    # With one neighbour every real point has a ball of radius one.
    fake = np.array([[-1.5], [-0.5], [2.0], [2.2], [7.0]])
    precision, recall = metrics.precision_recall(real, fake, n_neighbours=1)
    assert precision == pytest.approx(3 / 5)
    # Balls: [-2.5, -.5], [-1.5, .5], [1.8, 2.2], [2, 2.4], [2.2, 11.8].
    assert recall == pytest.approx(4 / 5)


def test_precision_and_recall_see_invention_and_loss():
    rng = np.random.default_rng(0)
    draw = lambda modes: (  # noqa: E731
        SQUARE[rng.choice(modes, 400)] + rng.normal(0, 0.1, (400, 2))
    )
    real, some, more = draw(2), draw([0]), draw(4)
    precision, recall = metrics.precision_recall(real, some)
    assert precision > 0.95
    assert recall == pytest.approx(0.5, abs=5 * np.sqrt(0.25 / 400) + 0.02)
    precision, recall = metrics.precision_recall(real, more)
    assert precision == pytest.approx(0.5, abs=5 * np.sqrt(0.25 / 400) + 0.02)
    assert recall > 0.9
    assert (
        metrics.precision_recall(real, more)
        == metrics.precision_recall(more, real)[::-1]
    )


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (metrics.mode_coverage, (np.zeros(3), SQUARE, 0.1), "x"),
        (metrics.mode_coverage, (np.zeros((3, 3)), SQUARE, 0.1), "x"),
        (metrics.mode_coverage, (np.zeros((0, 2)), SQUARE, 0.1), "x"),
        (metrics.mode_coverage, (SQUARE * np.nan, SQUARE, 0.1), "x"),
        (metrics.mode_coverage, (SQUARE, SQUARE[0], 0.1), "centres"),
        (metrics.mode_coverage, (SQUARE, SQUARE, 0.0), "scale"),
        (metrics.precision_recall, (SQUARE, np.zeros((9, 3))), "fake"),
        (metrics.precision_recall, (SQUARE[:3], SQUARE), "real"),
        (metrics.precision_recall, (SQUARE, SQUARE[:2]), "fake"),
    ],
)
def test_coverage_refuses_bad_input(function, arguments, name):
    with pytest.raises(ValueError, match=name):
        function(*arguments)


# ----- features -------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 2, 3)), rng.integers(0, 3, 90)
    fitted = MLPClassifier((7, 5), max_iter=20, random_state=0)
    with pytest.warns(ConvergenceWarning):
        fitted.fit(x.reshape(90, -1), y)
    return fitted, x


def test_the_output_layer_reads_the_hidden_features(classifier):
    classifier, x = classifier
    y = metrics.hidden_features(classifier, x)
    assert y.shape == (90, 5)
    assert y.min() == 0
    logits = y @ classifier.coefs_[-1] + classifier.intercepts_[-1]
    np.testing.assert_allclose(
        softmax(logits, axis=1), classifier.predict_proba(x.reshape(90, -1))
    )


def test_hidden_features_refuse_what_does_not_fit(classifier):
    classifier, x = classifier
    with pytest.raises(ValueError, match=r"x must have shape \(..., 6\)"):
        metrics.hidden_features(classifier, x[:, :1])
    with pytest.raises(ValueError, match="classifier must be"):
        metrics.hidden_features(MLPClassifier(activation="tanh"), x)


def test_nearest_distances_by_hand_and_in_parts():
    x = np.array([[0.0, 0], [3, 4], [10, 0]])
    points = np.array([[0.0, 1], [9, 0]])
    expected = [1, np.sqrt(18), 1]
    np.testing.assert_allclose(metrics.nearest_distances(x, points), expected)
    rng = np.random.default_rng(0)
    x, points = rng.standard_normal((700, 2)), rng.standard_normal((20_000, 2))
    direct = [np.linalg.norm(points - row, axis=1).min() for row in x[::100]]
    np.testing.assert_allclose(
        metrics.nearest_distances(x, points)[::100], direct
    )
    with pytest.raises(ValueError, match="points must have shape"):
        metrics.nearest_distances(x, points[:, :1])


def test_copying_score_is_exact_over_all_orders():
    """Mean 0 and variance 1 over all ways to deal the values, with ties."""
    for values in ([1.0, 2, 3, 4, 5, 6, 7], [1.0, 1, 2, 3, 3, 3, 4]):
        scores, values = [], np.array(values)
        for chosen in combinations(range(7), 3):
            mine = np.isin(np.arange(7), chosen)
            scores.append(metrics.copying_score(values[mine], values[~mine]))
        assert np.mean(scores) == pytest.approx(0, abs=1e-12)
        assert np.var(scores) == pytest.approx(1, rel=1e-12)


def test_copying_score_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(40).round(1), 0.3 + rng.standard_normal(50)
    z = metrics.copying_score(x, y)
    two_sided = mannwhitneyu(
        x, y, method="asymptotic", use_continuity=False
    ).pvalue
    assert 2 * norm.sf(abs(z)) == pytest.approx(two_sided, rel=1e-10)
    assert z < 0  # smaller distances: copies
    assert metrics.copying_score(y, x) == pytest.approx(-z, rel=1e-12)
    with pytest.raises(ValueError, match="all equal"):
        metrics.copying_score(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match=r"samples must have shape \(n,\)"):
        metrics.copying_score(np.ones((3, 1)), np.ones(4))


def test_copies_among_nearest_against_all_orders():
    n, m, k = 3, 4, 5
    found = []
    for chosen in combinations(range(n + m), n):
        mine = np.isin(np.arange(n + m), chosen)
        values = np.arange(n + m, dtype=float)
        found.append(
            metrics.copies_among_nearest(values[mine], values[~mine], k)
        )
    counts = np.array([c for c, _ in found])
    for c, p in found:
        assert p == pytest.approx(np.mean(counts >= c), rel=1e-12)
    # A tie is no evidence: the held-out datum comes first.
    assert metrics.copies_among_nearest([1.0], [1.0], 1) == (0, 1.0)
    with pytest.raises(ValueError, match="n_nearest must be at most"):
        metrics.copies_among_nearest([1.0], [2.0], 3)


@pytest.mark.parametrize("n", [1, 7, 40])
def test_expected_total_variation_is_its_binomial_sum(n):
    p = np.array([0.5, 0.3, 0.15, 0.05, 0.0])
    k = np.arange(n + 1)[:, None]
    mean = (binom.pmf(k, n, p) * np.abs(k / n - p)).sum(axis=0)
    measured = metrics.expected_total_variation(p, n)
    assert measured == pytest.approx(mean.sum() / 2, abs=1e-13)
    both = metrics.expected_total_variation([p, p[::-1]], n)
    np.testing.assert_allclose(both, measured, rtol=1e-12)


def test_expected_total_variation_of_certainty_is_zero():
    assert metrics.expected_total_variation([1.0, 0.0], 5) == 0


@pytest.mark.parametrize("p, n", [([0.5, 0.4], 3), ([0.5, 0.5], 0)])
def test_expected_total_variation_refuses(p, n):
    with pytest.raises(ValueError, match="n must" if n == 0 else "p must"):
        metrics.expected_total_variation(p, n)


def test_jackknife_of_a_mean_is_the_standard_error():
    x = np.random.default_rng(0).standard_normal((60, 2))
    value, covariance = metrics.jackknife(lambda y: y.mean(axis=0), x, 60)
    np.testing.assert_allclose(value, x.mean(axis=0))
    np.testing.assert_allclose(covariance, np.cov(x.T) / 60, rtol=1e-12)


def test_jackknife_covers_the_variance_of_a_variance():
    rng = np.random.default_rng(1)
    n, repeats = 400, 300
    runs = [
        metrics.jackknife(lambda y: y.var(keepdims=True), x)
        for x in rng.standard_normal((repeats, n))
    ]
    estimate = np.mean([covariance[0, 0] for _, covariance in runs])
    # 2/n for a Gaussian; 20 blocks scatter by (2/19)^½ each.
    assert estimate == pytest.approx(2 / n, rel=5 * (2 / 19 / repeats) ** 0.5)


@pytest.mark.parametrize("n, blocks", [(3, 4), (10, 1)])
def test_jackknife_refuses(n, blocks):
    with pytest.raises(ValueError, match="n_blocks"):
        metrics.jackknife(np.mean, np.zeros(n), blocks)
