"""What is Keras' and TensorFlow's own; test_parity_vae.py has the rest."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from advml.metrics import gaussian_kl
from advml.tensorflow import vae as module


def coins(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 2, shape).astype("float32")


def small(**options):
    return module.DenseVAE(6, 2, (5,), **options)


def fitted(vae, x, epochs=2, **options):
    vae.compile(keras.optimizers.Adam(0.01), **options)
    vae.fit(x, batch_size=8, epochs=epochs, verbose=0, shuffle=False)
    return vae.to_numpy()


def equal(one, other):
    for pair, same in zip(one, other, strict=True):
        for a, b in zip(pair, same, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("binarise", [False, True])
def test_a_step_of_fit_goes_down_the_slope_of_the_bound(binarise):
    """One batch, plain descent, and the random numbers drawn again."""
    vae = small(dtype="float64")
    x = coins(9, 6) if not binarise else np.full((9, 6), 0.4, "float32")
    vae.compile(keras.optimizers.SGD(0.5), beta=0.7, binarise=binarise, seed=3)
    state, before = vae.random_states[0].numpy(), vae.to_numpy()
    history = vae.fit(x, batch_size=9, verbose=0, shuffle=False).history
    noise = tf.random.stateless_normal((9, 2), state, dtype="float64")
    if binarise:
        u = tf.random.stateless_uniform((9, 6), np.add(state, [0, 1]))
        x = (u.numpy() < x).astype(float)
        assert 0 < x.sum() < 54
    reference = small(dtype="float64").from_numpy(before)
    with tf.GradientTape() as tape:
        bound = module.evidence_lower_bound(reference, x, noise, 0.7)
        loss = -tf.reduce_mean(bound)
    slopes = tape.gradient(loss, reference.trainable_variables)
    for new, old, slope in zip(
        vae.trainable_variables,
        reference.trainable_variables,
        slopes,
        strict=True,
    ):
        want = old.numpy() - 0.5 * slope.numpy()
        np.testing.assert_allclose(new.numpy(), want, rtol=0, atol=1e-12)
    assert history["loss"][0] == pytest.approx(float(loss), rel=1e-12)
    parts = history["divergence"][0], history["log_likelihood"][0]
    assert history["loss"][0] == pytest.approx(0.7 * parts[0] - parts[1])
    want = module.evidence_lower_bound(reference, x, noise, 0.0)
    assert parts[1] == pytest.approx(np.mean(want), rel=1e-12)


@pytest.mark.parametrize("binarise", [False, True])
def test_every_batch_has_noise_and_coins_of_its_own(binarise):
    vae, half = small(), np.full((50, 6), 0.5, "float32")
    vae.compile("sgd", binarise=binarise)
    drawn = [vae._batch(half, vae.random_states[i]) for i in (0, 0, 1, 1)]
    # Each draw has a number that no other has, of noise or of coins.
    counts = [
        s.numpy()[1] - start
        for s, start in zip(vae.random_states, (0, 2**62), strict=True)
    ]
    assert counts == [4 if binarise else 2] * 2
    noise = np.concatenate([n for _, n in drawn])
    assert len(np.unique(noise)) == noise.size
    x = np.array([x for x, _ in drawn])
    if not binarise:
        assert np.all(x == 0.5)
        return
    assert len(np.unique(x, axis=0)) == 4
    assert abs(x.mean() - 0.5) < 4.5 * 0.5 / np.sqrt(x.size)


def test_fit_repeats_with_the_seed_and_only_then():
    x, runs = coins(30, 6), []
    for world, seed in ((1, 4), (2, 4), (2, 5)):
        keras.utils.set_random_seed(world)
        runs.append(fitted(small(), x, seed=seed))
    equal(runs[0], runs[1])
    assert not np.array_equal(runs[0][0][0], runs[2][0][0])


def test_evaluations_change_nothing_and_do_not_disturb_fit():
    x, plain, watched = coins(30, 6), small(), small()
    fitted(plain, x)
    watched.compile(keras.optimizers.Adam(0.01))
    watched.fit(
        x,
        batch_size=8,
        epochs=2,
        verbose=0,
        shuffle=False,
        validation_data=(coins(9, 6, seed=1),),
    )
    equal(plain.to_numpy(), watched.to_numpy())
    before = watched.to_numpy()
    # Four batches, the last of which is smaller.
    found = watched.evaluate(x, batch_size=8, verbose=0, return_dict=True)
    mean, log_variance = (v.numpy() for v in watched.encode(x))
    exact = gaussian_kl(mean, np.exp(log_variance)).mean()
    assert found["divergence"] == pytest.approx(exact, rel=1e-5)
    equal(before, watched.to_numpy())
    noise = np.random.default_rng(0).normal(size=(400, 30, 2))
    bound = module.evidence_lower_bound(watched, x, noise).numpy().mean(1)
    error = float(bound.std() * 5)
    assert found["loss"] == pytest.approx(-bound.mean(), abs=error)
    want = found["divergence"] - found["log_likelihood"]
    assert found["loss"] == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("way", ["dataset", "several steps", "and a target"])
def test_fit_gives_the_same_however_it_is_fed(way):
    """Four batches, the last of which is smaller."""
    x, vae = coins(30, 6), small()
    want = fitted(small(), x)
    steps = 3 if way == "several steps" else 1
    vae.compile(keras.optimizers.Adam(0.01), steps_per_execution=steps)
    options = {"epochs": 2, "verbose": 0, "shuffle": False}
    if way == "dataset":
        batches = tf.data.Dataset.from_tensor_slices(x).batch(8)
        vae.fit(batches, epochs=2, verbose=0)
    elif way == "and a target":
        vae.fit(x, x, batch_size=8, **options)
    else:
        vae.fit(x, batch_size=8, **options)
    equal(want, vae.to_numpy())


@pytest.mark.parametrize("n", [1, 4, 7])
def test_predictions_are_reconstructions_of_any_number(n):
    vae, x = small(dtype="float64"), coins(n, 6)
    got = vae.predict(x, batch_size=4, verbose=0)
    np.testing.assert_allclose(got, vae.reconstruct(x), rtol=0, atol=1e-12)


def test_compiling_again_begins_again():
    vae, x = small(), coins(16, 6)
    vae.compile(keras.optimizers.SGD(1e-9), seed=1)
    first = vae.fit(x, verbose=0, shuffle=False).history
    second = vae.fit(x, verbose=0, shuffle=False).history
    assert first["loss"] != pytest.approx(second["loss"], rel=1e-4)
    vae.compile(keras.optimizers.SGD(1e-9), beta=3.0, seed=1)
    again = vae.fit(x, verbose=0, shuffle=False).history
    assert again["log_likelihood"] == pytest.approx(first["log_likelihood"])
    more = 2 * first["divergence"][0]
    assert again["loss"][0] == pytest.approx(first["loss"][0] + more)


def test_callbacks_of_keras_work():
    vae, x, rates = small(), coins(30, 6), []
    vae.compile(keras.optimizers.Adam(0.01), beta=0.5)
    vae.fit(
        x,
        epochs=3,
        verbose=0,
        callbacks=[
            keras.callbacks.LearningRateScheduler(lambda e, r: r / 2),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda e, logs: rates.append(logs)
            ),
        ],
    )
    assert len(rates) == 3
    assert rates[-1]["learning_rate"] == pytest.approx(0.01 / 8)
    assert {"loss", "log_likelihood", "divergence"} <= set(rates[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_saving_and_loading_changes_nothing(tmp_path, dtype, scale, kind):
    options = {"scale": scale, "dtype": dtype, "seed": 4}
    if kind == "dense":
        vae, x = small(activation="silu", **options), np.ones((2, 6))
    else:
        vae = module.ConvolutionalVAE(
            7, 3, (2, 3), size=5, n_hidden=4, **options
        )
        x = np.ones((2, 7, 7))
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert type(loaded) is type(vae)
    assert (loaded.dtype, loaded.scale) == (dtype, scale)
    equal(loaded.to_numpy(), vae.to_numpy())
    np.testing.assert_array_equal(loaded(x), vae(x))
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), vae.reconstruct(x), rtol=1e-5
    )


def test_a_saved_model_goes_on_where_it_stopped(tmp_path):
    x = coins(30, 6) * np.float32(0.8)
    options = {"beta": 0.5, "binarise": True, "seed": 2}
    want = fitted(small(), x, epochs=4, **options)
    half = small()
    fitted(half, x, **options)
    half.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert (loaded.beta, loaded.binarise) == (0.5, True)
    loaded.fit(x, batch_size=8, epochs=2, verbose=0, shuffle=False)
    equal(want, loaded.to_numpy())


def test_compile_refuses_bad_input():
    with pytest.raises(ValueError, match=r"beta must be .* -1"):
        small().compile("sgd", beta=-1)
    with pytest.raises(ValueError, match=r"binarise must be False .* 0\.3"):
        small(scale=0.3).compile("sgd", binarise=True)


@pytest.mark.parametrize(
    "name", ["loss", "loss_weights", "metrics", "weighted_metrics"]
)
def test_compile_refuses_what_would_have_no_effect(name):
    with pytest.raises(ValueError, match=f"{name} must be left out, .*'mse'"):
        small().compile("sgd", **{name: ["mse"]})


def test_fit_refuses_weights_of_samples():
    vae, x = small(), coins(8, 6)
    vae.compile("sgd")
    with pytest.raises(ValueError, match="sample_weight must be None"):
        vae.fit(x, x, sample_weight=np.ones(8), verbose=0)


@pytest.mark.parametrize("shape", [(64,), (7, 7), (5, 8), (8, 8, 1)])
def test_keras_refuses_images_that_are_none(shape):
    """Some of them would end the process, or be taken for others."""
    vae, x = module.ConvolutionalVAE(8), np.ones((4, *shape))
    vae.compile("sgd")
    for use in (vae.fit, vae.evaluate, vae.predict):
        with pytest.raises(ValueError, match=r"x must have shape \(n, 8, 8\)"):
            use(x, verbose=0)


def test_widths_may_be_an_array_and_the_model_still_be_saved(tmp_path):
    vae = module.DenseVAE(6, 2, np.array([5, 4]))
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    equal(loaded.to_numpy(), vae.to_numpy())


def test_memory_of_another_shape_is_refused():
    memory = module.train(module.DenseVAE(6, 2, (4,)), coins(5, 6), epochs=1)
    with pytest.raises(
        ValueError, match=r"memory must have .* not .*\(6, 4\)"
    ):
        module.train(small(), coins(5, 6), epochs=1, memory=memory)


def test_bounds_work_inside_a_graph():
    vae, x, noise = small(), coins(4, 6), np.ones((4, 2), "float32")
    anything = tf.TensorSpec((None, 6)), tf.TensorSpec((None, 2))

    @tf.function(input_signature=anything)
    def bound(x, noise):
        return module.evidence_lower_bound(vae, x, noise)

    np.testing.assert_allclose(
        bound(x, noise), module.evidence_lower_bound(vae, x, noise), rtol=1e-5
    )


def test_graphs_are_made_once_per_model():
    """Other rates, betas and batches of another size need no new graph."""
    vae = small()
    before = module._descend.experimental_get_tracing_count()
    for i, n in enumerate((10, 11, 13)):
        module.train(
            vae,
            coins(n, 6),
            epochs=2,
            batch_size=4,
            learning_rate=0.1 / (1 + i),
            beta=float(i),
            seed=i,
        )
    # One for the first batch, and one for a batch of any size.
    assert module._descend.experimental_get_tracing_count() - before <= 2
    before = module._descend.experimental_get_tracing_count()
    for n_weights in (5, 3, 7, 9):
        module.train(vae, coins(9, 6), n_weights=n_weights, batch_size=3)
    assert module._descend.experimental_get_tracing_count() - before <= 2


def test_real_use_is_silent():
    """From the first import to training in double precision."""
    code = textwrap.dedent("""
        from advml.tensorflow import vae as module
        import numpy as np
        for dtype in ("float32", "float64"):
            vae = module.ConvolutionalVAE(4, channels=(2,), dtype=dtype)
            x = np.ones((9, 4, 4), "float32")
            module.train(vae, x, epochs=2, batch_size=4)
            vae.compile("sgd")
            vae.fit(x, verbose=0)
            for _ in range(3):
                vae = module.DenseVAE(2, 1, (3,), dtype=dtype)
                module.train(vae, np.ones((4, 2)), epochs=1)
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_saved_convolutional_model_goes_on_where_it_stopped(tmp_path):
    """Moments and step of Adam, and the numbers of the noise, are kept."""

    def fresh():
        vae = module.ConvolutionalVAE(6, 2, (2, 3), n_hidden=4)
        vae.compile(
            keras.optimizers.Adam(0.01),
            beta=0.5,
            binarise=True,
            seed=2,
            steps_per_execution=4,
        )
        return vae

    x = coins(30, 6, 6) * np.float32(0.8)
    options = {"batch_size": 8, "verbose": 0, "shuffle": False}
    whole, half = fresh(), fresh()
    whole.fit(x, epochs=4, **options)
    half.fit(x, epochs=2, **options)
    half.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert loaded.steps_per_execution == 4
    for one, other in (
        (loaded.predict(x, verbose=0), half.predict(x, verbose=0)),
        (loaded.evaluate(x, verbose=0), half.evaluate(x, verbose=0)),
    ):
        np.testing.assert_array_equal(one, other)
    loaded.fit(x, epochs=2, **options)
    equal(whole.to_numpy(), loaded.to_numpy())


@pytest.mark.parametrize("kind", [float, tf.Variable])
def test_beta_is_a_constant_of_the_graph_unless_it_is_a_variable(kind):
    vae, x = small(), coins(30, 6)
    vae.compile("sgd")
    vae.beta = kind(1.0)

    def warm_up(epoch, logs=None):
        if kind is float:
            vae.beta = 0.5 * (epoch + 1)
        else:
            vae.beta.assign(0.5 * (epoch + 1))

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=warm_up)
    seen = vae.fit(x, epochs=3, verbose=0, callbacks=[callback]).history
    beta = np.add(seen["loss"], seen["log_likelihood"]) / seen["divergence"]
    want = [0.5] * 3 if kind is float else [0.5, 1.0, 1.5]
    np.testing.assert_allclose(beta, want, rtol=1e-3)
