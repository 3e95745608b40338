"""Data sets: exact densities, fixed splits, and every way MNIST can fail."""

import functools
import gzip
import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from scipy.integrate import dblquad
from sklearn.datasets import load_digits

from advml import datasets

# --- digits -----------------------------------------------------------------


def test_digits_are_scikit_learns_with_a_stratified_split():
    data = datasets.digits()
    assert data.train.shape == (1442, 8, 8)
    assert data.test.shape == (355, 8, 8)
    assert data.train.dtype == np.float64
    both = np.concatenate([data.train, data.test])
    assert both.min() == 0 and both.max() == 1
    # The two parts together are the whole, with labels: nothing lost or twice.
    labels = np.concatenate([data.train_labels, data.test_labels])
    ours = np.column_stack([both.reshape(len(both), -1) * 16, labels])
    bunch = load_digits()
    theirs = np.column_stack([bunch.data, bunch.target])
    assert np.array_equal(np.unique(ours, axis=0), np.unique(theirs, axis=0))
    assert len(ours) == len(theirs)
    share = np.bincount(data.test_labels) / np.bincount(labels)
    assert np.all(share > 0.19) and np.all(share <= 0.2)


def test_digits_are_the_same_on_each_call_and_cannot_spoil_each_other():
    first = datasets.digits()
    first.train[:] = -1
    assert datasets.digits().train.min() == 0


def test_a_dataset_is_frozen_and_its_repr_is_short():
    data = datasets.digits()
    with pytest.raises(AttributeError):
        data.train = None
    assert len(repr(data)) < 300


def test_binarise_with_a_threshold():
    grey = np.array([[0, 0.25, 0.5, 0.51, 1]])
    assert datasets.binarise(grey).tolist() == [[0, 0, 0, 1, 1]]
    assert datasets.binarise(grey, 0.2).tolist() == [[0, 1, 1, 1, 1]]
    assert datasets.binarise(grey, 0).tolist() == [[0, 1, 1, 1, 1]]
    assert datasets.binarise(grey).dtype == np.float64


@pytest.mark.parametrize("seed", range(10))
def test_binarise_at_random_has_the_grey_image_as_its_mean(seed):
    grey = np.linspace(0, 1, 5)
    n = 20_000
    binary = datasets.binarise(np.tile(grey, (n, 1)), seed=seed)
    assert set(np.unique(binary)) == {0, 1}
    error = np.sqrt(grey * (1 - grey) / n)
    assert np.all(np.abs(binary.mean(0) - grey) <= 5 * error)
    # Pixels of one image must not share their random number.
    pair = datasets.binarise(np.full((n, 2), 0.5), seed=seed)
    assert abs(np.mean(pair[:, 0] * pair[:, 1]) - 0.25) < 5 * np.sqrt(
        3 / 16 / n
    )


def test_binarise_refuses_bad_input():
    with pytest.raises(ValueError, match=r"images.*reach from 0.0 to 16.0"):
        datasets.binarise(np.array([0.0, 16.0]))
    with pytest.raises(ValueError, match=r"images must be finite"):
        datasets.binarise(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match=r"threshold.*0.3"):
        datasets.binarise(np.zeros(3), 0.3, seed=0)
    with pytest.raises(ValueError, match=r"threshold.*-1"):
        datasets.binarise(np.zeros(3), -1)


# --- toy distributions ------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_bars_and_stripes_are_all_patterns_by_brute_force(size):
    data = datasets.bars_and_stripes(size)
    states = np.arange(2 ** (size**2))[:, None] >> np.arange(size**2) & 1
    images = states.reshape(-1, size, size)
    in_rows = (images == images[:, :, :1]).all(axis=(1, 2))
    in_columns = (images == images[:, :1, :]).all(axis=(1, 2))
    good = in_rows | in_columns
    assert np.array_equal(
        np.unique(data.train, axis=0), np.unique(images[good], axis=0)
    )
    assert len(data.train) == good.sum()
    log_prob = data.log_prob(images)
    assert np.array_equal(np.isfinite(log_prob), good)
    assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-12)
    assert data.entropy == pytest.approx(-log_prob[good].mean(), abs=1e-12)


def test_bars_and_stripes_4x4_are_30_with_entropy_ln_30():
    data = datasets.bars_and_stripes(4)
    assert data.train.shape == (30, 4, 4)
    assert data.entropy == pytest.approx(3.4012, abs=5e-5)
    assert data.log_prob(np.full((4, 4), 0.5)) == -np.inf


@pytest.mark.parametrize("seed", range(10))
def test_bars_and_stripes_samples_are_uniform(seed):
    n = 30_000
    data = datasets.bars_and_stripes(4)
    samples = data.sample(n, seed).reshape(n, -1)
    patterns, counts = np.unique(samples, axis=0, return_counts=True)
    assert len(patterns) == 30
    # chi^2 with 29 degrees of freedom: mean 29, above 75 with p = 6e-6.
    assert ((counts - n / 30) ** 2 / (n / 30)).sum() < 75


MIXTURES = [datasets.gaussian_ring, datasets.gaussian_grid]


@pytest.mark.parametrize("make", MIXTURES)
def test_mixture_density_is_normalised_and_has_its_entropy(make):
    # Wide modes, so that they overlap and the entropy is no closed form.
    data = make(n=10, scale=0.7)
    line = np.linspace(-12, 12, 481)
    points = np.stack(np.meshgrid(line, line), axis=-1)
    log_p = data.log_prob(points)
    area = (line[1] - line[0]) ** 2
    assert np.exp(log_p).sum() * area == pytest.approx(1, abs=1e-10)
    entropy = -(np.exp(log_p) * log_p).sum() * area
    assert data.entropy == pytest.approx(entropy, abs=1e-9)


def test_ring_entropy_is_the_closed_form_up_to_the_overlap():
    data = datasets.gaussian_ring(n=10)
    separate = np.log(8) + 1 + np.log(2 * np.pi * 0.2**2)
    assert separate == pytest.approx(1.698, abs=5e-4)
    # Overlap can only lower the entropy; neighbours are 7.65 σ apart.
    assert 0 < separate - data.entropy < 1e-3
    value, _ = dblquad(
        lambda y, x: (
            -np.exp(data.log_prob(np.array([x, y])))
            * data.log_prob(np.array([x, y]))
        ),
        *(0, 3.6),
        *(0, lambda x: x * np.tan(np.pi / 8)),
        epsabs=1e-7,
    )
    # One of sixteen equal wedges, by an independent quadrature.
    assert 16 * value == pytest.approx(data.entropy, abs=2e-6)


def test_grid_entropy_is_the_closed_form():
    data = datasets.gaussian_grid(n=10)
    exact = np.log(25) + 1 + np.log(2 * np.pi * 0.05**2)
    assert data.entropy == pytest.approx(exact, abs=1e-9)


def test_mixture_centres():
    ring = datasets.gaussian_ring(n=10).centres
    assert ring.shape == (8, 2)
    assert np.allclose(np.hypot(*ring.T), 2, atol=1e-14)
    angle = np.sort(np.arctan2(ring[:, 1], ring[:, 0]))
    assert np.allclose(np.diff(angle), np.pi / 4)
    grid = datasets.gaussian_grid(n=10).centres
    wanted = [(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)]
    assert sorted(map(tuple, grid)) == wanted


@pytest.mark.parametrize("make", MIXTURES)
@pytest.mark.parametrize("seed", range(10))
def test_mixture_samples_follow_the_density(make, seed):
    n = 20_000
    data = make(n=10)
    x = data.sample(n, seed)
    log_p = data.log_prob(x)
    error = log_p.std() / np.sqrt(n)
    assert abs(log_p.mean() + data.entropy) < 5 * error
    distance = np.linalg.norm(x[:, None] - data.centres, axis=-1)
    counts = np.bincount(distance.argmin(1), minlength=len(data.centres))
    k = len(data.centres)
    assert np.all(np.abs(counts / n - 1 / k) < 5.5 / np.sqrt(k * n))
    assert np.array_equal(x, data.sample(n, seed))
    assert not np.array_equal(x, data.sample(n, seed + 1))


def test_mixture_parts_are_disjoint_and_labelled_by_mode():
    data = datasets.gaussian_ring(n=500, seed=3)
    assert data.train.shape == data.test.shape == (500, 2)
    assert not np.intersect1d(data.train, data.test).size
    for x, label in (
        (data.train, data.train_labels),
        (data.test, data.test_labels),
    ):
        distance = np.linalg.norm(x[:, None] - data.centres, axis=-1)
        assert np.array_equal(distance.argmin(1), label)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.gaussian_ring(scale=0), "scale.*0"),
        (lambda: datasets.gaussian_ring(n=0), "n must.*0"),
        (lambda: datasets.gaussian_ring(n_modes=1.5), "n_modes.*1.5"),
        (lambda: datasets.gaussian_ring(radius=-2), "radius.*-2"),
        (lambda: datasets.gaussian_grid(spacing=np.inf), "spacing.*inf"),
        (lambda: datasets.bars_and_stripes(0), "size.*0"),
        (lambda: datasets.bars_and_stripes(11), "size.*11"),
        (lambda: datasets.bars_and_stripes(2).sample(0, 0), "n must.*0"),
        (lambda: datasets.bars_and_stripes(2).log_prob([[1.0]]), "x must"),
        (lambda: datasets.gaussian_ring().log_prob(np.zeros(3)), r"x .*\(3,"),
        (lambda: datasets.gaussian_ring().log_prob([np.nan, 0]), "x.*nan"),
        (lambda: datasets.ising(8.0), "size.*8.0"),
    ],
)
def test_bad_input_names_the_argument_and_its_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Ising ------------------------------------------------------------------


def write_ising(folder, size=4):
    rng = np.random.default_rng(0)
    spins = rng.choice([-1, 1], size=(2, 10, size, size)).astype(np.int8)
    bits = np.packbits(spins.reshape(2, 10, -1) == 1, axis=-1)
    path = folder / f"ising_{size}.npz"
    temperatures = np.array([2.0, 3.0])
    np.savez(path, spins=bits, temperatures=temperatures, size=size, seed=0)
    return path, spins


def test_ising_unpacks_the_spins_and_splits_each_temperature(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(datasets, "DATA_FOLDER", tmp_path)
    _, spins = write_ising(tmp_path)
    data = datasets.ising(4)
    assert data.train.dtype == np.int8
    assert np.array_equal(data.train, spins[:, :8].reshape(-1, 4, 4))
    assert np.array_equal(data.test, spins[:, 8:].reshape(-1, 4, 4))
    assert data.train_labels.tolist() == [2.0] * 8 + [3.0] * 8
    assert data.test_labels.tolist() == [2.0] * 2 + [3.0] * 2
    assert data.temperatures.tolist() == [2.0, 3.0]


def test_ising_says_what_is_missing_or_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "DATA_FOLDER", tmp_path)
    with pytest.raises(datasets.DatasetError, match=r"ising_4.npz.*make data"):
        datasets.ising(4)
    path, _ = write_ising(tmp_path)
    whole = path.read_bytes()
    for broken in (whole[:100], b"", whole[:-200], b"no archive at all"):
        path.write_bytes(broken)
        with pytest.raises(datasets.DatasetError, match=r"ising_4.npz.*damag"):
            datasets.ising(4)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(datasets.DatasetError, match=r"ising_4.npz.*damaged"):
        datasets.ising(4)


@pytest.mark.parametrize("size", [8, 16])
def test_bundled_ising_data_have_the_exact_energies(size):
    from advml.ising import energy, energy_per_spin, heat_capacity

    data = datasets.ising(size)
    assert set(np.unique(data.train)) == {-1, 1}
    assert data.train.shape[1:] == (size, size)
    for t in data.temperatures:
        spins = data.train[data.train_labels == t]
        u = energy(spins) / size**2
        # The variance is T² c / N exactly; an autocorrelation time of up to
        # 4 sweeps between stored configurations is allowed for.
        error = t * np.sqrt(4 * heat_capacity(size, t)) / size
        error /= np.sqrt(len(spins))
        assert abs(u.mean() - energy_per_spin(size, t)) < 5 * error


# --- MNIST: a stand-in with the same four names -----------------------------


def idx(values):
    header = bytes([0, 0, 8, values.ndim])
    return header + np.array(values.shape, ">u4").tobytes() + values.tobytes()


@pytest.fixture
def small_mnist(monkeypatch):
    """Four small IDX files, registered as if they were the published ones."""
    rng = np.random.default_rng(0)
    contents = {}
    for name in datasets.MNIST_FILES:
        n = 20 if name.startswith("train") else 10
        shape = (n, 28, 28) if "images" in name else (n,)
        high = 256 if "images" in name else 10
        contents[name] = idx(rng.integers(high, size=shape, dtype=np.uint8))
    registry = {
        name: (len(data), hashlib.sha256(data).hexdigest())
        for name, data in contents.items()
    }
    monkeypatch.setattr(datasets, "MNIST_FILES", registry)
    monkeypatch.setattr(datasets, "MNIST_MIRRORS", ())
    # A loaded machine may be slow to answer; only the tests that wait for a
    # time-out shorten it.
    monkeypatch.setattr(datasets, "CONNECT_TIMEOUT", 20.0)
    monkeypatch.setattr(datasets, "STALL_TIMEOUT", 20.0)
    monkeypatch.delenv("ADVML_MNIST", raising=False)
    return contents


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache" / "mnist"
    monkeypatch.setattr(datasets, "mnist_cache", lambda: folder)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch, small_mnist, cache):
    """A folder of the user's with all four files, gzipped."""
    path = tmp_path / "mine"
    path.mkdir()
    for name, data in small_mnist.items():
        (path / f"{name}.gz").write_bytes(gzip.compress(data))
    monkeypatch.setenv("ADVML_MNIST", str(path))
    return path


@pytest.fixture
def serve(monkeypatch):
    """Start HTTP servers on 127.0.0.1 and make them the mirrors."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = []

    def start(*behaviours):
        mirrors = []
        for behaviour in behaviours:
            handler = functools.partial(Handler, behaviour)
            server = Server(("127.0.0.1", 0), handler)
            server.requests = []
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.append(server)
            mirrors.append(f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(datasets, "MNIST_MIRRORS", tuple(mirrors))
        return servers[-len(behaviours) :]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class Server(http.server.ThreadingHTTPServer):
    """A server that many clients may call at the same moment."""

    request_queue_size = 64


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer a request as `behaviour(self, name)` says."""

    def __init__(self, behaviour, *args):
        self.behaviour = behaviour
        super().__init__(*args)

    def do_GET(self):
        self.server.requests.append(self.path)
        try:
            self.behaviour(self, self.path.strip("/").removesuffix(".gz"))
        except (BrokenPipeError, ConnectionResetError):
            pass

    def answer(self, body, length=None):
        self.send_response(200)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def good(contents):
    return lambda h, name: h.answer(gzip.compress(contents[name]))


def missing(handler, name):
    handler.send_error(404)


def hanging(handler, name):
    time.sleep(10)


def dripping(handler, name):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"\x1f")
        handler.wfile.flush()
        time.sleep(0.1)


def left_behind(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def snapshot(folder):
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
    }


def check(data, contents):
    for name, array in zip(
        datasets.MNIST_FILES,
        (data.train, data.train_labels, data.test, data.test_labels),
        strict=True,
    ):
        raw = np.frombuffer(contents[name], np.uint8)[-array.size :]
        scale = 255 if "images" in name else 1
        assert np.array_equal(np.rint(array.ravel() * scale), raw)
    assert data.train.shape[1:] == data.test.shape[1:] == (28, 28)
    assert data.train.dtype == data.test.dtype == np.float32
    assert data.train_labels.dtype == np.int64


def test_the_users_folder_is_read_and_left_alone(folder, small_mnist, cache):
    before = snapshot(folder)
    check(datasets.mnist(), small_mnist)
    assert snapshot(folder) == before
    assert not cache.exists()


def test_unpacked_files_are_read_too(folder, small_mnist):
    for name, data in small_mnist.items():
        (folder / f"{name}.gz").unlink()
        (folder / name).write_bytes(data)
    check(datasets.mnist(), small_mnist)


def truncated(data):
    return gzip.compress(data)[:-30]


def altered(data):
    return gzip.compress(data[:-1] + bytes([data[-1] ^ 1]))


def wrong_header(data):
    return gzip.compress(b"\0\0\x08\x02" + data[4:])


def too_long(data):
    return gzip.compress(data + b"\0")


def bad_checksum(data):
    packed = bytearray(gzip.compress(data))
    packed[-6] ^= 1
    return bytes(packed)


def not_gzip(data):
    return b"<html>not found</html>"


def empty(data):
    return b""


DAMAGES = [
    truncated,
    altered,
    wrong_header,
    too_long,
    bad_checksum,
    not_gzip,
    empty,
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", range(4))
def test_a_damaged_file_of_the_user_is_named_and_left_alone(
    folder, small_mnist, cache, serve, damage, which
):
    (server,) = serve(good(small_mnist))
    name = list(small_mnist)[which]
    path = folder / f"{name}.gz"
    path.write_bytes(damage(small_mnist[name]))
    before = snapshot(folder)
    with pytest.raises(datasets.DatasetError) as error:
        datasets.mnist()
    assert str(path) in str(error.value)
    assert snapshot(folder) == before
    assert not server.requests and not cache.exists()


@pytest.mark.parametrize("which", range(4))
def test_a_missing_file_of_the_user_is_named(folder, small_mnist, which):
    name = list(small_mnist)[which]
    (folder / f"{name}.gz").unlink()
    with pytest.raises(datasets.DatasetError, match=f"{folder}.*{name}"):
        datasets.mnist()


def test_a_folder_that_does_not_exist_is_named(
    tmp_path, monkeypatch, small_mnist
):
    monkeypatch.setenv("ADVML_MNIST", str(tmp_path / "nowhere"))
    with pytest.raises(datasets.DatasetError, match="nowhere"):
        datasets.mnist()


def test_download_fills_the_cache_once(small_mnist, cache, serve):
    (server,) = serve(good(small_mnist))
    check(datasets.mnist(), small_mnist)
    assert len(server.requests) == 4
    assert left_behind(cache) == sorted(f"{n}.gz" for n in small_mnist)
    check(datasets.mnist(), small_mnist)
    assert len(server.requests) == 4


def test_a_body_that_arrives_unpacked_is_as_good(small_mnist, cache, serve):
    serve(lambda h, name: h.answer(small_mnist[name]))
    check(datasets.mnist(), small_mnist)
    check(datasets.mnist(), small_mnist)


def short_body(contents):
    def behaviour(handler, name):
        packed = gzip.compress(contents[name])
        handler.answer(packed[:-40], length=len(packed))

    return behaviour


def damaged_body(contents):
    return lambda h, name: h.answer(altered(contents[name]))


@pytest.mark.parametrize(
    "first",
    [
        lambda contents: missing,
        lambda contents: hanging,
        lambda contents: dripping,
        short_body,
        damaged_body,
    ],
    ids=["missing", "hanging", "dripping", "short", "damaged"],
)
def test_the_second_mirror_stands_in(
    small_mnist, cache, serve, monkeypatch, first
):
    monkeypatch.setattr(datasets, "STALL_TIMEOUT", 3.0)
    # The slow ones are slow for one file only, to keep the test short.
    name = next(iter(small_mnist))

    def behaviour(handler, wanted):
        chosen = first(small_mnist) if wanted == name else good(small_mnist)
        chosen(handler, wanted)

    serve(behaviour, good(small_mnist))
    check(datasets.mnist(), small_mnist)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda contents: missing, "HTTP status 404"),
        (lambda contents: hanging, "no answer in time"),
        (lambda contents: dripping, "no answer in time"),
        (short_body, "damaged"),
        (damaged_body, "SHA-256"),
    ],
    ids=["missing", "hanging", "dripping", "short", "damaged"],
)
def test_when_both_mirrors_fail_one_error_says_all(
    small_mnist, cache, serve, monkeypatch, bad, says
):
    serve(bad(small_mnist), bad(small_mnist))
    monkeypatch.setattr(datasets, "STALL_TIMEOUT", 1.5)
    start = time.monotonic()
    with pytest.raises(datasets.DatasetError) as error:
        datasets.mnist()
    # Two mirrors, each given up after the stall time.
    assert time.monotonic() - start < 3 + 9
    message = str(error.value)
    assert message.count(says) == 2
    assert all(mirror in message for mirror in datasets.MNIST_MIRRORS)
    assert "ADVML_MNIST" in message
    assert left_behind(cache) == []


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_without_a_network_one_error_within_seconds(
    small_mnist, cache, monkeypatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mirrors = tuple(f"http://127.0.0.1:{closed_port()}/" for _ in range(2))
    monkeypatch.setattr(datasets, "MNIST_MIRRORS", mirrors)
    start = time.monotonic()
    with pytest.raises(datasets.DatasetError) as error:
        datasets.mnist()
    assert time.monotonic() - start < 10
    assert str(error.value).count("no connection") == 2
    assert error.value.__suppress_context__ or not error.value.__context__
    assert left_behind(cache) == []


def test_the_real_settings_give_up_within_seconds():
    assert len(datasets.MNIST_MIRRORS) == 2
    assert 2 * max(datasets.CONNECT_TIMEOUT, datasets.STALL_TIMEOUT) <= 20


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_replaced_whole_or_named(
    small_mnist, cache, serve, monkeypatch, damage
):
    name = next(iter(small_mnist))
    cache.mkdir(parents=True)
    path = cache / f"{name}.gz"
    path.write_bytes(damage(small_mnist[name]))
    before = path.read_bytes()
    with pytest.raises(datasets.DatasetError) as error:
        datasets.mnist()  # no mirror at all
    assert f"{path} is damaged" in str(error.value)
    assert path.read_bytes() == before
    serve(good(small_mnist))
    check(datasets.mnist(), small_mnist)
    assert gzip.decompress(path.read_bytes()) == small_mnist[name]
    assert left_behind(cache) == sorted(f"{n}.gz" for n in small_mnist)


def test_an_unwritable_cache_is_found_out_before_the_download(
    small_mnist, tmp_path, serve, monkeypatch
):
    # A path below a file: even root cannot make a folder there.
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setattr(datasets, "mnist_cache", lambda: blocked / "mnist")
    (server,) = serve(good(small_mnist))
    with pytest.raises(datasets.DatasetError) as error:
        datasets.mnist()
    assert str(blocked) in str(error.value)
    assert "ADVML_MNIST" in str(error.value)
    assert not server.requests
    assert blocked.read_text() == "in the way"


def test_a_full_disk_leaves_nothing_behind(
    small_mnist, cache, serve, monkeypatch
):
    serve(good(small_mnist))

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets.os, "replace", full)
    with pytest.raises(datasets.DatasetError, match="No space left"):
        datasets.mnist()
    assert left_behind(cache) == []


def test_a_complete_cache_needs_neither_network_nor_writing(
    small_mnist, cache, monkeypatch
):
    cache.mkdir(parents=True)
    for name, data in small_mnist.items():
        (cache / f"{name}.gz").write_bytes(gzip.compress(data))
    monkeypatch.setattr(datasets, "_must_be_writable", None)
    check(datasets.mnist(), small_mnist)


def test_many_at_once_end_well(small_mnist, cache, serve):
    serve(good(small_mnist))
    failures = []

    def load():
        try:
            check(datasets.mnist(), small_mnist)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert left_behind(cache) == sorted(f"{n}.gz" for n in small_mnist)


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    code = "from advml.datasets import mnist_cache; print(mnist_cache())"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().endswith(os.path.join("advml", "mnist"))
    if sys.platform.startswith("linux"):
        assert done.stdout.startswith(str(tmp_path))


@pytest.mark.skipif(
    not os.environ.get("ADVML_MNIST"),
    reason="ADVML_MNIST does not name a folder with MNIST",
)
def test_the_real_mnist():
    data = datasets.mnist()
    assert data.train.shape == (60_000, 28, 28)
    assert data.test.shape == (10_000, 28, 28)
    assert data.train.min() == 0 and data.train.max() == 1
    # LeCun's page: ten classes; the counts are those of Wikipedia's table.
    assert np.bincount(data.train_labels)[[0, 1, 5]].tolist() == [
        5923,
        6742,
        5421,
    ]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    # The mean and deviation that all tutorials divide by.
    assert data.train.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert data.train.std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)
