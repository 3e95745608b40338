"""The data sets of the course: arrays plus what is known about them.

Digits, bars and stripes and the Gaussian mixtures are made in memory, Ising
configurations lie in the folder ``data`` beside the code, and MNIST comes from
the folder that the environment variable ``ADVML_MNIST`` names, else from the
user's cache, else from the network. A data set that cannot be had, or whose
bytes are not the published ones, raises :class:`DatasetError`.
"""

import gzip
import hashlib
import io
import os
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pooch
import requests
from scipy.special import logsumexp
from sklearn.datasets import load_digits

from advml.validation import count, finite, fraction, positive, shaped

DATA_FOLDER = Path(__file__).resolve().parents[2] / "data"

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# Size in bytes and SHA-256 of each file once unpacked: archives of the same
# file differ from mirror to mirror.
MNIST_FILES = {
    "train-images-idx3-ubyte": (
        47040016,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        60008,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        7840016,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        10008,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
# A mirror is given up when it takes longer to connect, or when nothing more
# arrives for so long, in seconds.
CONNECT_TIMEOUT, STALL_TIMEOUT = 4.0, 8.0

# What reading a damaged archive raises, depending on where the damage is.
DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class DatasetError(RuntimeError):
    """A data set cannot be had, or its bytes are not the published ones."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Arrays plus what is known about them; the first axis is the sample.

    Attributes
    ----------
    name : str
    train, test : array
        Images ``(n, side, side)`` in [0, 1], spins ±1 ``(n, L, L)``, or
        points ``(n, 2)``.
    train_labels, test_labels : array ``(n,)`` or None
        Class of each sample (digit, mode), or its temperature.
    source, licence : str
        Where the data come from and on which terms.
    entropy : float or None
        Exact entropy in nats of the distribution. Its negative is the best
        mean log-likelihood that any model can reach.
    log_prob : function or None
        Exact log p(x) in nats for a batch of samples.
    sample : function or None
        ``sample(n, seed)`` draws n fresh samples.
    centres : array ``(n_modes, 2)`` or None
        Modes of a Gaussian mixture.
    temperatures : array or None
        The temperatures that occur among the labels, ascending.
    """

    name: str
    train: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    train_labels: np.ndarray | None = field(repr=False)
    test_labels: np.ndarray | None = field(repr=False)
    source: str
    licence: str
    entropy: float | None = None
    log_prob: Callable | None = field(default=None, repr=False)
    sample: Callable | None = field(default=None, repr=False)
    centres: np.ndarray | None = field(default=None, repr=False)
    temperatures: np.ndarray | None = field(default=None, repr=False)


def digits():
    """Return the 1797 handwritten digits of scikit-learn, 8×8, in [0, 1].

    The 17 grey levels 0 … 16 are divided by 16. Within each class, in the
    order of the file, every fifth image is a test image: 1442 to train on and
    355 to test, the same on every machine and with all classes in proportion.

    Source: E. Alpaydin and C. Kaynak, Optical recognition of handwritten
    digits, UCI Machine Learning Repository (1998), its test part.
    """
    bunch = load_digits()
    images, labels = bunch.images / 16.0, bunch.target
    is_test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        is_test[np.flatnonzero(labels == digit)[4::5]] = True
    return Dataset(
        name="digits",
        train=images[~is_test],
        test=images[is_test],
        train_labels=labels[~is_test],
        test_labels=labels[is_test],
        source="UCI optical recognition of handwritten digits, test part "
        "(Alpaydin and Kaynak 1998), as shipped with scikit-learn",
        licence="CC BY 4.0",
    )


def binarise(images, threshold=None, *, seed=None):
    """Turn grey values in [0, 1] into 0 and 1, in one of two ways.

    Without a seed a pixel is 1 where its value exceeds `threshold` (0.5 if
    not given): deterministic, with sharp edges. With a seed each pixel is 1
    with a probability equal to its value, from a random number of its own, so
    that the mean over many draws is the grey image.

    Parameters
    ----------
    images : array of any shape, values in [0, 1]
    threshold : float in [0, 1), optional
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    array of the same shape, float64, of 0 and 1
    """
    images = finite("images", images)
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            "images must lie in [0, 1], but reach from "
            f"{images.min()} to {images.max()}"
        )
    if seed is None:
        threshold = (
            0.5 if threshold is None else fraction("threshold", threshold)
        )
        return (images > threshold).astype(np.float64)
    if threshold is not None:
        raise ValueError(
            f"threshold must not be given with a seed, but is {threshold!r}"
        )
    uniform = np.random.default_rng(seed).random(images.shape)
    return (uniform < images).astype(np.float64)


def bars_and_stripes(size=4):
    """Return all bars and stripes on a size×size lattice, equally likely.

    A pattern is constant along each row or along each column. There are
    2^size of either kind, and two belong to both (all 0, all 1), so that

        p(x) = 1 / (2^(size + 1) - 2)     for each pattern, else 0.

    The 30 patterns of size 4 give an entropy of ln 30 = 3.4012 nats. `train`
    and `test` both hold every pattern once: there is nothing to hold out.

    Source: D. MacKay, Information theory, inference, and learning algorithms,
    Cambridge University Press (2003), chapter 43.
    """
    size = count("size", size)
    if size > 10:
        raise ValueError(f"size must be at most 10, not {size!r}")
    bits = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
    rows = np.repeat(bits[:, :, None], size, axis=2)
    columns = rows.transpose(0, 2, 1)[1:-1]  # all 0 and all 1 are rows too
    patterns = np.concatenate([rows, columns]).astype(np.float64)
    entropy = float(np.log(len(patterns)))
    support = {pattern.tobytes() for pattern in patterns.astype(np.int8)}

    def log_prob(x):
        x = shaped("x", finite("x", x), (size, size))
        flat = x.reshape(-1, size, size)
        binary = np.isin(flat, (0, 1)).all(axis=(1, 2))
        known = [image.tobytes() in support for image in flat.astype(np.int8)]
        value = np.where(binary & known, -entropy, -np.inf)
        return value.reshape(x.shape[:-2])

    def sample(n, seed):
        which = np.random.default_rng(seed).integers(
            len(patterns), size=count("n", n)
        )
        return patterns[which]

    return Dataset(
        name="bars_and_stripes",
        train=patterns,
        test=patterns,
        train_labels=None,
        test_labels=None,
        source=f"all {len(patterns)} patterns, by definition",
        licence="none needed",
        entropy=entropy,
        log_prob=log_prob,
        sample=sample,
    )


def gaussian_ring(n=10_000, *, n_modes=8, radius=2.0, scale=0.2, seed=0):
    r"""Return samples of equal Gaussians on a ring in the plane.

        p(x) = (1/K) Σ_k N(x; c_k, σ² I),   c_k = R (cos 2πk/K, sin 2πk/K).

    With the defaults (K = 8, R = 2, σ = 0.2) the entropy is 1.6981 nats.
    Without overlap it would be ln 8 + 1 + ln 2πσ² = 1.6984 nats.

    Parameters
    ----------
    n : int
        Samples to train on, and as many to test.
    n_modes : int
        K.
    radius, scale : float
        R and σ.
    seed : int or numpy.random.Generator

    Returns
    -------
    Dataset
        with `centres`, exact `entropy` and `log_prob`, and a sampler; the
        labels are the modes.
    """
    angle = 2 * np.pi * np.arange(count("n_modes", n_modes)) / n_modes
    radius = positive("radius", radius)
    centres = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _gaussian_mixture("gaussian_ring", centres, scale, n, seed)


def gaussian_grid(n=10_000, *, side=5, spacing=2.0, scale=0.05, seed=0):
    """Return samples of side×side equal Gaussians on a square grid.

        p(x) = (1/K) Σ_k N(x; c_k, σ² I),   K = side².

    The grid is centred on the origin. With the defaults there are 25 modes at
    -4, -2, 0, 2, 4 in either direction, each of width σ = 0.05. See
    :func:`gaussian_ring` for the parameters and what is returned.

    Source: A. Srivastava et al., VEEGAN, NeurIPS 2017 (arXiv:1705.07761).
    """
    step = np.arange(count("side", side)) - (side - 1) / 2
    line = positive("spacing", spacing) * step
    centres = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    return _gaussian_mixture("gaussian_grid", centres, scale, n, seed)


def _gaussian_mixture(name, centres, scale, n, seed):
    scale, n = positive("scale", scale), count("n", n)

    def log_prob(x):
        x = shaped("x", finite("x", x), (2,))
        distance = ((x[..., None, :] - centres) ** 2).sum(axis=-1)
        one_mode = -distance / (2 * scale**2) - np.log(2 * np.pi * scale**2)
        return logsumexp(one_mode, axis=-1) - np.log(len(centres))

    def draw(n, seed):
        rng = np.random.default_rng(seed)
        mode = rng.integers(len(centres), size=count("n", n))
        noise = scale * rng.standard_normal((n, 2))
        return centres[mode] + noise, mode

    train, test, train_labels, test_labels = _halves(*draw(2 * n, seed))
    return Dataset(
        name=name,
        train=train,
        test=test,
        train_labels=train_labels,
        test_labels=test_labels,
        source=f"{len(centres)} Gaussians of width {scale:g}, by definition",
        licence="none needed",
        entropy=_mixture_entropy(log_prob, centres, scale),
        log_prob=log_prob,
        sample=lambda n, seed: draw(n, seed)[0],
        centres=centres,
    )


def _halves(points, labels):
    half = len(points) // 2
    return points[:half], points[half:], labels[:half], labels[half:]


def _mixture_entropy(log_prob, centres, scale):
    """H = -Σ_k ⟨log p⟩_k / K, by the trapezoidal rule around each mode."""
    offset = scale * np.linspace(-8, 8, 81)
    weight = np.exp(-(offset**2) / (2 * scale**2))
    weight /= weight.sum()
    square = np.stack(np.meshgrid(offset, offset), axis=-1)
    means = [weight @ log_prob(centre + square) @ weight for centre in centres]
    return float(-np.mean(means))


def ising(size):
    """Return Ising configurations on a size×size torus (size 8 or 16).

    Spins ±1 (int8) at temperatures around the critical one, generated by the
    cluster algorithm of :mod:`advml.ising` and stored in ``data``. At each
    temperature the first four fifths are to train on, the rest to test. The
    labels are the temperatures, in units of the coupling J.
    """
    path = DATA_FOLDER / f"ising_{count('size', size)}.npz"
    if not path.is_file():
        raise DatasetError(
            f"there are no Ising configurations of size {size}: {path} does "
            "not exist. The course brings sizes 8 and 16; `make data` makes "
            "them anew, and advml.ising.sample draws other sizes. A package "
            "that was not installed with `pip install -e .` has no data."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            packed, temperatures = archive["spins"], archive["temperatures"]
        bits = np.unpackbits(packed, axis=-1, count=size**2)
        spins = bits.reshape(len(temperatures), -1, size, size)
    except DAMAGE as error:
        raise DatasetError(
            f"{path} is damaged ({error}); `make data` makes it anew"
        ) from None
    spins = 2 * spins.astype(np.int8) - 1
    n_train = 4 * spins.shape[1] // 5
    train, test = spins[:, :n_train], spins[:, n_train:]
    return Dataset(
        name=f"ising_{size}",
        train=train.reshape(-1, size, size),
        test=test.reshape(-1, size, size),
        train_labels=np.repeat(temperatures, train.shape[1]),
        test_labels=np.repeat(temperatures, test.shape[1]),
        source="cluster Monte Carlo (advml.ising), see data/README.md",
        licence="CC BY 4.0",
        temperatures=np.sort(temperatures),
    )


def mnist():
    """Return MNIST: 60 000 images to train on and 10 000 to test, 28×28.

    The bytes 0 … 255 are divided by 255. The images are float32, because
    float64 would take half a gigabyte.

    The four IDX files, gzipped or not, are read from the folder that the
    environment variable ``ADVML_MNIST`` names. If it is not set they are read
    from the user's cache, and what the cache lacks is downloaded. Unpacked
    bytes are compared with the published ones (size and SHA-256) before use.

    Raises
    ------
    DatasetError
        If a file is missing, damaged or cannot be downloaded. It says what
        was tried and how to supply the data. Nothing half-written is left.

    Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Proc. IEEE 86, 2278
    (1998).
    """
    chosen = os.environ.get("ADVML_MNIST")
    arrays = {}
    for name in MNIST_FILES:
        if chosen:
            data = _read_from_folder(Path(chosen).expanduser(), name)
        else:
            data = _read_from_cache(mnist_cache(), name)
        arrays[name] = _parse_idx(data)
    train, train_labels, test, test_labels = arrays.values()
    return Dataset(
        name="mnist",
        train=train / np.float32(255),
        test=test / np.float32(255),
        train_labels=train_labels.astype(np.int64),
        test_labels=test_labels.astype(np.int64),
        source="MNIST (LeCun et al. 1998)",
        licence="CC BY-SA 3.0",
    )


def mnist_cache():
    """Return the folder in which downloaded MNIST files are kept."""
    return Path(pooch.os_cache("advml")) / "mnist"


def _parse_idx(data):
    """IDX: two zeros, a type, a number of axes, their lengths, the bytes."""
    n_axes = data[3]
    shape = np.frombuffer(data, dtype=">u4", count=n_axes, offset=4)
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * n_axes)
    return values.reshape(tuple(int(length) for length in shape))


def _read_from_folder(folder, name):
    """Return the checked bytes of a file in the folder that a user named."""
    path = _find(folder, name)
    if path is None:
        raise DatasetError(
            f"ADVML_MNIST is {folder}, but there is neither {name} nor "
            f"{name}.gz in it"
        )
    data, damage = _read(path, name)
    if damage:
        raise DatasetError(
            f"{path} is not MNIST's {name}: {damage}. It was neither used nor "
            "changed; replace it, or unset ADVML_MNIST to download the data"
        )
    return data


def _read_from_cache(cache, name):
    """Return the checked bytes of a cached file, downloaded if need be."""
    path = _find(cache, name)
    damage = None
    if path is not None:
        data, damage = _read(path, name)
        if not damage:
            return data
        damage = f"{path} is damaged ({damage}) and was not used"
    target = cache / f"{name}.gz"
    _must_be_writable(cache)
    packed, data = _download(name, tried=[damage] if damage else [])
    _write_atomically(target, packed)
    return data


def _find(folder, name):
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    return None


def _read(path, name):
    """Return (unpacked bytes, None), or (None, what is wrong with them)."""
    try:
        return _unpack(path.read_bytes(), name), None
    except DAMAGE as error:
        return None, str(error)


def _unpack(packed, name):
    """Unpack a file if it is gzipped; raise unless it is the published one."""
    size, digest = MNIST_FILES[name]
    data = packed
    if packed[:2] == b"\x1f\x8b":
        with gzip.open(io.BytesIO(packed)) as stream:
            data = stream.read(size + 1)  # never more than can be right
    if len(data) != size:
        amount = "more than" if len(data) > size else f"{len(data)} of"
        raise ValueError(f"it holds {amount} {size} bytes")
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError("its SHA-256 is not the published one")
    return data


def _download(name, tried):
    """Return a file from the first mirror that has it, packed and unpacked."""
    tried = list(tried)
    for mirror in MNIST_MIRRORS:
        url = f"{mirror}{name}.gz"
        try:
            packed = _fetch(url)
            data = _unpack(packed, name)
        except requests.HTTPError as error:
            tried.append(f"{url}: HTTP status {error.response.status_code}")
        except (requests.Timeout, TimeoutError):
            tried.append(f"{url}: no answer in time")
        except requests.ConnectionError:
            tried.append(f"{url}: no connection")
        except DAMAGE as error:
            tried.append(f"{url}: what arrived is damaged: {error}")
        else:
            return packed, data
    raise DatasetError(
        "MNIST could not be had:\n  "
        + "\n  ".join(tried)
        + "\nWithout a network, set the environment variable ADVML_MNIST to a "
        "folder with the four IDX files:\n  "
        + "\n  ".join(f"{file}.gz" for file in MNIST_FILES)
    )


def _fetch(url):
    """Return the body of `url`; give up when nothing more arrives.

    A timeout of the socket bounds neither the look-up of the host's name nor
    a server that sends a byte now and then, so the transfer runs in a thread
    of its own that can be left behind.
    """
    body, failure = io.BytesIO(), []

    def transfer():
        timeout = (CONNECT_TIMEOUT, STALL_TIMEOUT)
        try:
            pooch.HTTPDownloader(timeout=timeout)(url, body, None)
        except Exception as error:  # handed to the caller below
            failure.append(error)

    worker = threading.Thread(target=transfer, daemon=True)
    worker.start()
    received = -1
    while worker.is_alive() and body.tell() > received:
        received = body.tell()
        worker.join(STALL_TIMEOUT)
    if worker.is_alive():
        raise TimeoutError(f"{url} stalled")
    if failure:
        raise failure[0]
    return body.getvalue()


def _must_be_writable(cache):
    """Find out before a download whether its result can be kept."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        raise DatasetError(
            f"MNIST cannot be kept in {cache} ({error}). Make that folder "
            "writable, or set the environment variable ADVML_MNIST to a "
            "folder that holds the four IDX files"
        ) from None


def _write_atomically(target, content):
    """Put a whole file in place, or none: others may be reading or writing."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(name, target)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise DatasetError(
                f"{target} cannot be written: {error}"
            ) from None
        raise
