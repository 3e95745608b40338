"""The Keras machine: its chains, its training, and what Keras adds.

Formulas and steps are compared with NumPy and PyTorch in test_parity.py.
"""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from advml import rbm as numpy_rbm
from advml.rbm import all_states
from advml.tensorflow import rbm as module
from advml.tensorflow.rbm import RBM, train


def random_rbm(n_visible=7, n_hidden=5, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return numpy_rbm.RBM(
        rng.normal(0, scale, (n_visible, n_hidden)),
        rng.normal(0, 1, n_visible),
        rng.normal(0, 1, n_hidden),
    )


def coins(n, n_visible, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (n, n_visible))


def arrays_of(rbm):
    return [v.numpy() for v in rbm.trainable_variables]


def test_samples_follow_the_exact_distribution():
    exact = random_rbm(4, 3, scale=0.8)
    n = 40_000
    x = RBM.from_numpy(exact).sample(n, 50, seed=2).numpy()
    counts = np.bincount((x @ [8, 4, 2, 1]).astype(int), minlength=16)
    p = np.exp(exact.log_probability(all_states(4)))
    chi_square = np.sum((counts - n * p) ** 2 / (n * p))
    assert chi_square < 50  # 15 degrees of freedom: p = 1e-5


def test_samples_repeat_with_the_seed_and_only_then():
    rbm = RBM.from_numpy(random_rbm(20, 5))
    x = rbm.sample(8, 3, seed=1).numpy()
    np.testing.assert_array_equal(x, rbm.sample(8, 3, seed=1))
    assert not np.array_equal(x, rbm.sample(8, 3, seed=2))
    generator = tf.random.Generator.from_seed(1)
    y = rbm.sample(8, 3, seed=generator).numpy()
    assert not np.array_equal(y, rbm.sample(8, 3, seed=generator))


def test_samples_begin_where_they_are_told():
    rbm, start = RBM(6, 3), coins(5, 6)
    np.testing.assert_array_equal(rbm.sample(5, 0, 0, start=start), start)


def test_chains_have_their_own_random_numbers_at_every_step():
    """Fair coins: 64 bits agree by chance with probability 2^-64."""
    rbm = RBM(64, 2, weight_scale=1e-9)
    states = [rbm.sample(30, k, seed=0).numpy() for k in (1, 2, 3)]
    assert len(np.unique(np.concatenate(states), axis=0)) == 90


def test_uniform_numbers_are_uniform_and_all_different():
    state = tf.Variable([3, 0], dtype=tf.int64)
    rbm = RBM(40, 30, dtype=tf.float64)
    u = [*module._uniforms(rbm, 2, 50, state)]
    u += module._uniforms(rbm, 2, 50, state)
    values = np.concatenate([tf.reshape(v, [-1]).numpy() for v in u])
    assert len(np.unique(values)) == len(values) == 14_000
    assert np.all((values >= 0) & (values < 1))
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    assert np.sum((counts - 700) ** 2 / 700) < 62  # 19 dof: p = 2e-6


@pytest.mark.parametrize(
    "options", [{"method": "pcd"}, {"method": "cd", "n_gibbs_steps": 10}]
)
def test_training_comes_close_to_the_entropy_of_a_ring_of_spins(options):
    """The best mean log p(x) is minus the entropy of the data."""
    spins = 2 * all_states(4) - 1
    bonds = (spins * np.roll(spins, 1, axis=1)).sum(1)
    counts = np.rint(400 * np.exp(bonds / 2) / np.exp(bonds / 2).sum())
    data = np.repeat(all_states(4), counts.astype(int), axis=0)
    p = counts / counts.sum()
    best = np.sum(p * np.log(p))
    rbm = RBM(4, 6, weight_scale=0.1, seed=1)
    assert rbm.to_numpy().log_likelihood(data) < best - 0.5
    train(
        rbm,
        data,
        epochs=200,
        batch_size=50,
        learning_rate=0.2,
        final_learning_rate=0.005,
        momentum=0.5,
        seed=1,
        **options,
    )
    assert best - 0.1 < rbm.to_numpy().log_likelihood(data) <= best


def test_training_is_reproducible_and_leaves_global_state_alone():
    data, runs = coins(30, 6), []
    for seed in (4, 4, 5):
        keras.utils.set_random_seed(1)
        rbm = RBM(6, 4, seed=3)
        train(rbm, data, epochs=3, batch_size=8, seed=seed)
        runs.append([arrays_of(rbm)[0], keras.random.uniform((3,)).numpy()])
    keras.utils.set_random_seed(1)
    untouched = keras.random.uniform((3,)).numpy()
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert not np.array_equal(runs[0][0], runs[2][0])
    for _, drawn in runs:
        np.testing.assert_array_equal(drawn, untouched)


def test_shuffling_visits_every_row_once_per_epoch():
    data = (np.arange(10)[:, None] >> np.arange(4)) & 1
    batches = module._batches(tf.constant(data), 4, 0).take(6)
    seen = [x.numpy() @ [1, 2, 4, 8] for x in batches]
    assert [len(s) for s in seen] == [4, 4, 2] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    np.testing.assert_array_equal(np.sort(first), np.arange(10))
    np.testing.assert_array_equal(np.sort(second), np.arange(10))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, np.arange(10))


def test_the_order_of_the_rows_depends_on_the_seed_alone():
    data = tf.range(50)[:, None]
    orders = []
    for world, number in ((1, 7), (2, 7), (2, 8)):
        tf.random.set_seed(world)
        batches = module._batches(data, 20, number)
        for _ in range(2):  # and not on what was read before
            rows = [x.numpy().ravel() for x in batches.take(6)]
            orders.append(np.concatenate(rows))
    for other in orders[1:4]:
        np.testing.assert_array_equal(orders[0], other)
    assert not np.array_equal(orders[0], orders[4])


def test_the_learning_rate_falls_on_a_straight_line():
    rate = module._rates(0.5, 0.0, 6)
    rates = [float(rate(i)) for i in range(6)]
    np.testing.assert_allclose(rates, [0.5, 0.4, 0.3, 0.2, 0.1, 0], rtol=1e-15)
    assert float(module._rates(0.3, None, 4)(2)) == 0.3
    assert float(module._rates(0.3, 0.1, 1)(0)) == 0.3


def test_callback_and_persistent_chains_are_handed_on():
    data, rbm, epochs = coins(12, 6), RBM(6, 4), []
    chains = train(
        rbm,
        data,
        epochs=2,
        n_chains=5,
        callback=lambda epoch, model: epochs.append((epoch, model)),
    )
    assert epochs == [(1, rbm), (2, rbm)]
    assert chains.shape == (5, 4)
    before = chains.numpy()
    assert train(rbm, data, epochs=1, chains=chains).shape == (5, 4)
    double = chains.numpy().astype(float)
    assert train(rbm, data, epochs=1, chains=double).shape == (5, 4)
    assert train(rbm, data, epochs=1, method="cd") is None
    assert rbm.chains is None
    np.testing.assert_array_equal(chains.numpy(), before)


def test_training_goes_on_from_the_chains_it_is_given(monkeypatch):
    """With a rate too small to matter, one Gibbs step leads to the chains."""
    exact = random_rbm(6, 4)
    rbm = RBM.from_numpy(exact, dtype=tf.float64)
    certain = np.tile([1.0, 0, 1, 0], (200_000, 1))  # these h, for certain
    chains = train(
        rbm, coins(4, 6), epochs=1, chains=tf.constant(certain),
        learning_rate=1e-12,
    )  # fmt: skip
    p_x = expit(exact.weights @ certain[0] + exact.visible_bias)
    x = all_states(6)
    weight = np.prod(np.where(x == 1, p_x, 1 - p_x), axis=1)
    want = weight @ expit(x @ exact.weights + exact.hidden_bias)
    got = chains.numpy().mean(0)
    assert np.all(np.abs(got - want) < 5 * 0.5 / np.sqrt(len(certain)))


def test_divergence_stops_and_names_the_parameter():
    with pytest.raises(FloatingPointError, match=r"weight_matrix.*epoch"):
        train(
            RBM(4, 2), coins(8, 4), epochs=99, learning_rate=1.0,
            weight_decay=4.0,
        )  # fmt: skip


def test_the_last_smaller_batch_is_averaged_over_its_own_rows():
    """With zero weights the mean change of a bias is known exactly."""
    rbm = RBM(3, 2, weight_scale=1e-12, dtype=tf.float64)
    train(
        rbm,
        np.ones((5, 3)),
        epochs=1,
        batch_size=4,
        n_chains=200_000,
        learning_rate=0.1,
    )
    first = 0.1 * 0.5
    second = 0.1 * (1 - expit(first))
    error = 5 * 0.1 * np.sqrt(2 * 0.25 / 200_000)
    got = rbm.visible_bias.numpy()
    np.testing.assert_allclose(got, first + second, rtol=0, atol=error)


def test_a_smaller_last_batch_does_not_trace_the_step_again(monkeypatch):
    traces, original = [], module._loss_gradient

    def counted(*arguments):
        traces.append(None)
        return original(*arguments)

    monkeypatch.setattr(module, "_loss_gradient", counted)
    train(RBM(6, 4), coins(10, 6), epochs=5, batch_size=4)
    assert len(traces) == 1


# ----- what Keras adds -----------------------------------------------------


def compiled(method="pcd", **options):
    rbm = RBM(6, 4, seed=2)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.5)
    rbm.compile(optimizer, method=method, n_chains=8, seed=1, **options)
    return rbm


def test_fit_takes_arrays_and_returns_a_history():
    keras.utils.set_random_seed(0)
    rbm = compiled(weight_decay=0.01, n_gibbs_steps=2)
    x = coins(20, 6).astype(float)
    history = rbm.fit(
        x, epochs=3, batch_size=8, validation_data=(x,), verbose=0
    )
    assert sorted(history.history) == ["mismatch", "val_free_energy"]
    assert len(history.history["mismatch"]) == 3
    want = rbm.to_numpy().free_energy(x).mean()
    got = history.history["val_free_energy"][-1]
    assert abs(got - want) < 1e-5
    np.testing.assert_allclose(
        rbm.predict(x, verbose=0),
        rbm.to_numpy().free_energy(x),
        rtol=0,
        atol=1e-5,
    )


def test_mismatch_is_the_distance_of_the_two_means():
    """Seen in the change of the visible biases at unit rate."""
    rbm = RBM(6, 4)
    rbm.compile(keras.optimizers.SGD(1.0), seed=1)
    history = rbm.fit(coins(20, 6), batch_size=20, verbose=0)
    change = rbm.visible_bias.numpy()
    got = history.history["mismatch"][0]
    assert got == pytest.approx(np.sqrt(np.mean(change**2)), rel=1e-5)


def test_train_and_fit_take_the_same_steps():
    data = coins(20, 6)
    one, other = (RBM(6, 4, seed=2) for _ in range(2))
    train(
        one, data, epochs=2, batch_size=8, learning_rate=0.1, momentum=0.5,
        weight_decay=0.1, n_gibbs_steps=2, n_chains=9, seed=3,
    )  # fmt: skip
    other.compile(
        keras.optimizers.SGD(0.1, momentum=0.5), weight_decay=0.1,
        n_gibbs_steps=2, n_chains=9, seed=(number := module._whole_number(3)),
    )  # fmt: skip
    batches = module._batches(tf.constant(data), 8, number)
    other.fit(batches, epochs=2, steps_per_epoch=3, shuffle=False, verbose=0)
    for a, b in zip(arrays_of(one), arrays_of(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["pcd", "cd"])
def test_a_saved_model_goes_on_as_if_it_had_not_been_saved(tmp_path, method):
    batches = tf.data.Dataset.from_tensor_slices(coins(24, 6)).batch(8)
    options = {"n_gibbs_steps": 2, "weight_decay": 0.1}
    rbm = compiled(method, **options)
    rbm.fit(batches, epochs=2, shuffle=False, verbose=0)
    rbm.save(tmp_path / "rbm.keras")
    loaded = keras.saving.load_model(tmp_path / "rbm.keras")
    x = tf.cast(all_states(6), tf.float32)
    np.testing.assert_array_equal(rbm.free_energy(x), loaded.free_energy(x))
    for model in (rbm, loaded):
        model.fit(batches, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(rbm.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    for a, b in zip(
        rbm.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert loaded.optimizer.iterations.numpy() == 12


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_trained_and_saved_model_keeps_the_digits_of_its_rates(
    tmp_path, precision
):
    """Rates that single precision does not hold: no digit may get lost."""
    data = coins(24, 6)
    rbm = RBM(6, 4, seed=2, dtype=precision)
    batches = module._batches(tf.constant(data), 8, 5)
    rbm.compile(
        keras.optimizers.SGD(module._rates(0.1, 0.01, 12), momentum=0.6),
        n_chains=8,
        seed=1,
    )
    options = {"steps_per_epoch": 3, "shuffle": False, "verbose": 0}
    rbm.fit(batches, epochs=2, **options)
    rbm.save(tmp_path / "rbm.keras")
    loaded = keras.saving.load_model(tmp_path / "rbm.keras")
    for model in (rbm, loaded):
        model.fit(batches.skip(6), epochs=2, **options)
    for a, b in zip(
        rbm.variables + rbm.optimizer.variables,
        loaded.variables + loaded.optimizer.variables,
        strict=True,
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_model_can_be_loaded_for_its_numbers_alone(tmp_path, precision):
    rbm = RBM.from_numpy(random_rbm(), dtype=precision)
    rbm.save(tmp_path / "new.keras")
    train(rbm, coins(8, 7), epochs=1, n_chains=3)
    rbm.save(tmp_path / "trained.keras")
    new, trained = (
        keras.saving.load_model(tmp_path / f"{name}.keras", compile=False)
        for name in ("new", "trained")
    )
    assert new.dtype == trained.dtype == precision
    exact = random_rbm().weights.astype(precision)
    np.testing.assert_array_equal(new.weight_matrix.numpy(), exact)
    for a, b in zip(arrays_of(rbm), arrays_of(trained), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(trained.chains.numpy(), rbm.chains.numpy())


def test_any_optimiser_and_xla_will_do():
    """Four pixels, two of them equal: the correlation is found."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (400, 4))
    x[:, 1] = x[:, 0]
    keras.utils.set_random_seed(0)
    rbm = RBM(4, 4, weight_scale=0.1)
    rbm.compile(keras.optimizers.Adam(0.02), jit_compile=True)
    rbm.fit(x, batch_size=50, epochs=60, verbose=0)
    likelihood = rbm.to_numpy().log_likelihood(x)
    assert likelihood > -4 * np.log(2) + 0.2  # independent: −4 ln 2


def test_real_use_is_silent(tmp_path):
    code = """if True:
        import sys
        import numpy as np
        from advml.tensorflow.rbm import RBM, train
        import keras
        x = np.random.default_rng(0).integers(0, 2, (20, 6))
        for dtype in ("float32", "float64"):
            rbm = RBM(6, 4, dtype=dtype)
            train(rbm, x, epochs=2, batch_size=8)
            rbm.fit(x, epochs=1, verbose=0)
            rbm.predict(x, verbose=0)
            rbm.sample(3, 4, seed=0)
        rbm.compile(keras.optimizers.Adam(0.1))
        rbm.fit(x, epochs=1, verbose=0)
        rbm.save(sys.argv[1])
        keras.saving.load_model(sys.argv[1]).fit(x, epochs=1, verbose=0)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "rbm.keras"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda r: train(r, np.full((4, 3), 0.5)),
            r"data must hold only.*0.5",
        ),
        (
            lambda r: train(r, np.full((4, 3), np.nan)),
            "data must hold only.*nan",
        ),
        (lambda r: train(r, np.zeros((4, 2))), r"data must be.*\(4, 2\)"),
        (lambda r: train(r, np.zeros((0, 3))), r"data must be.*\(0, 3\)"),
        (lambda r: train(r, np.zeros((4, 3)), method="cd-1"), "method.*cd-1"),
        (
            lambda r: train(r, np.zeros((4, 3)), learning_rate=-1),
            "learning_rate",
        ),
        (
            lambda r: train(r, np.zeros((4, 3)), final_learning_rate=-1),
            "final_learning_rate",
        ),
        (lambda r: train(r, np.zeros((4, 3)), momentum=1.0), "momentum.*1.0"),
        (
            lambda r: train(r, np.zeros((4, 3)), weight_decay=-1),
            "weight_decay",
        ),
        (lambda r: train(r, np.zeros((4, 3)), epochs=0), "epochs.*0"),
        (lambda r: train(r, np.zeros((4, 3)), batch_size=0), "batch_size.*0"),
        (lambda r: train(r, np.zeros((4, 3)), n_chains=-1), "n_chains.*-1"),
        (lambda r: train(r, np.zeros((4, 3)), n_chains=0), "n_chains.*0"),
        (
            lambda r: train(r, np.zeros((4, 3)), n_gibbs_steps=0),
            "n_gibbs_steps",
        ),
        (
            lambda r: train(r, np.zeros((4, 3)), chains=tf.zeros((4, 3))),
            r"chains must have shape.*\(4, 3\)",
        ),
        (
            lambda r: train(r, np.zeros((4, 3)), chains=tf.zeros((0, 2))),
            r"chains must have shape.*\(0, 2\)",
        ),
        (lambda r: r.compile("sgd", method="cd-1"), "method.*cd-1"),
        (lambda r: r.compile("sgd", n_gibbs_steps=0), "n_gibbs_steps.*0"),
        (lambda r: r.compile("sgd", weight_decay=-1), "weight_decay.*-1"),
        (lambda r: r.sample(0, 1, 0), "n must be.*0"),
        (lambda r: r.sample(2, -1, 0), "n_steps.*-1"),
        (lambda r: r.sample(2, 1, 0, start=np.zeros((3, 3))), "start.*2 rows"),
        (lambda r: RBM(0, 2), "n_visible.*0"),
        (lambda r: RBM(3, 2, visible_bias=np.zeros(4)), "visible_bias.*4"),
        (lambda r: RBM(3, 2, visible_bias=[0, np.inf, 0]), "visible_bias"),
        (lambda r: RBM(3, 2, weight_scale=0), "weight_scale.*0"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call(RBM(3, 2))


@pytest.mark.skipif(
    not tf.config.list_physical_devices("GPU"), reason="no CUDA device"
)
def test_training_runs_on_a_gpu_as_it_stands():
    rbm = RBM(6, 4)
    assert "GPU" in rbm.weight_matrix.value.device
    train(rbm, coins(32, 6), epochs=2, batch_size=8)
    assert np.isfinite(rbm.to_numpy().log_likelihood(coins(32, 6)))
