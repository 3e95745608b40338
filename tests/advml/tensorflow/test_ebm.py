"""What is Keras' and TensorFlow's own; test_parity_ebm.py has the rest."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from advml.tensorflow import ebm


def flat(x):
    return 0 * tf.reduce_sum(x, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("radius", [None, 1.5])
@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_saving_and_loading_changes_nothing(tmp_path, dtype, radius, kind):
    options = {"radius": radius, "dtype": dtype, "seed": 4}
    if kind == "dense":
        energy, x = ebm.DenseEnergy(3, (5, 4), **options), np.ones((2, 3))
    else:
        energy = ebm.ConvolutionalEnergy(
            7, (2, 3), (5, 3), n_hidden=4, **options
        )
        x = np.ones((2, 7, 7))
    energy.save(tmp_path / "energy.keras")
    loaded = keras.saving.load_model(tmp_path / "energy.keras")
    assert type(loaded) is type(energy)
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded(x), energy(x))
    assert len(loaded.trainable_variables) == len(energy.trainable_variables)
    np.testing.assert_allclose(
        energy.predict(x, verbose=0), energy(x), rtol=1e-6
    )


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_widths_may_be_an_array_and_the_model_still_be_saved(tmp_path, kind):
    widths = np.array([5, 3])
    if kind == "dense":
        energy, shape = ebm.DenseEnergy(3, widths), (3,)
    else:
        energy, shape = ebm.ConvolutionalEnergy(7, widths, widths), (7, 7)
    x = np.ones((2, *shape))
    energy.save(tmp_path / "energy.keras")
    loaded = keras.saving.load_model(tmp_path / "energy.keras")
    np.testing.assert_array_equal(loaded(x), energy(x))


def test_memory_of_another_shape_is_refused():
    options = {"n_updates": 1, "batch_size": 4, "step": 0.1, "n_steps": 1}
    options["buffer"] = ebm.ReplayBuffer(
        lambda n, rng: rng.normal(size=(n, 2)), size=8
    )
    data = np.zeros((5, 2))
    memory = ebm.train(ebm.DenseEnergy(2, (4,)), data, **options)
    with pytest.raises(
        ValueError, match=r"memory must have .* not .*\(2, 4\)"
    ):
        ebm.train(ebm.DenseEnergy(2, (3,)), data, memory=memory, **options)


def test_graphs_are_made_once_per_model():
    """Other seeds, steps, lengths and batches need no new graph."""
    energy = ebm.DenseEnergy(2, (4,))
    before = ebm._chains.experimental_get_tracing_count()
    for i, (n, n_steps) in enumerate(((3, 2), (3, 5), (4, 2), (9, 3), (2, 1))):
        ebm.langevin(
            energy,
            np.zeros((n, 2)),
            step=0.1 + i,
            noise=0.1 * i,
            n_steps=n_steps,
            seed=i,
        )
    # One for the first batch, and one for a batch of any size.
    assert ebm._chains.experimental_get_tracing_count() - before <= 2
    before = ebm._descend.experimental_get_tracing_count()
    for rate in (0.1, 0.2):
        ebm.train(
            energy,
            np.zeros((5, 2)),
            buffer=ebm.ReplayBuffer(lambda n, r: np.ones((n, 2)), size=5),
            n_updates=3,
            learning_rate=rate,
            max_norm=rate,
            step=0.1,
            n_steps=2,
        )
    assert ebm._descend.experimental_get_tracing_count() - before == 1


def test_a_graph_follows_the_weights():
    """Compiled before the weights changed, it uses the new ones."""
    energy = ebm.DenseEnergy(2, (4,), dtype="float64")
    options = {"step": 0.5, "noise": 0.0, "n_steps": 1, "seed": 0}
    x = np.ones((3, 2))
    ebm.langevin(energy, x, **options)
    other = ebm.DenseEnergy(2, (4,), seed=9, dtype="float64")
    energy.from_numpy(other.to_numpy())
    want = x - 0.5 * ebm.input_gradient(other, x)
    np.testing.assert_allclose(
        ebm.langevin(energy, x, **options), want, rtol=1e-12
    )


def test_chains_take_a_generator_of_tensorflow():
    runs = []
    for _ in range(2):
        generator = tf.random.Generator.from_seed(3)
        runs += [
            ebm.langevin(
                flat, np.zeros((2, 3)), step=0.5, n_steps=2, seed=generator
            ).numpy()
            for _ in range(2)
        ]
    np.testing.assert_array_equal(runs[:2], runs[2:])
    assert not np.any(runs[0] == runs[1])


def test_keras_layers_are_an_energy_as_well():
    """Also if they wait for data before they make their variables."""

    class Energy(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = keras.layers.Dense(4, "silu")
            self.last = keras.layers.Dense(1)

        def call(self, x):
            y = self.last(self.hidden(x))
            return tf.reduce_sum(x**2, 1) / 2 + y[:, 0]

    energy, weights = Energy(), []
    ebm.train(
        energy,
        np.ones((9, 2)),
        buffer=ebm.ReplayBuffer(
            lambda n, rng: rng.normal(size=(n, 2)), size=9
        ),
        n_updates=2,
        step=0.1,
        n_steps=2,
        callback=lambda *_: weights.append(energy.get_weights()[0]),
    )
    # The second step of Adam is at most √2 times as long as the first.
    changed = np.abs(weights[1] - weights[0]).max()
    assert 1e-5 < changed < 1.5e-3


def test_real_use_is_silent():
    """From the first import to training in double precision."""
    code = textwrap.dedent("""
        from advml.tensorflow import ebm
        import numpy as np
        for dtype in ("float32", "float64"):
            energy = ebm.ConvolutionalEnergy(8, (3,), (3,), dtype=dtype)
            buffer = ebm.ReplayBuffer(
                lambda n, rng: rng.normal(size=(n, 8, 8)), size=9
            )
            for _ in range(7):
                energy = ebm.ConvolutionalEnergy(8, (3,), (3,), dtype=dtype)
                ebm.train(
                    energy,
                    np.zeros((9, 8, 8)),
                    buffer=buffer,
                    n_updates=2,
                    step=0.1,
                    n_steps=2,
                )
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_terminal_is_open_again_after_the_import():
    code = textwrap.dedent("""
        import os, sys
        import advml.tensorflow
        os.write(2, b"from below, ")
        print("from Python", file=sys.stderr)
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.stderr == "from below, from Python\n"
