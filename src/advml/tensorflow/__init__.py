"""The models of the course in TensorFlow and Keras.

Import this package before TensorFlow and Keras, which read their settings
from the environment when they start.
"""

import contextlib
import logging
import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever else is installed
# Notes about the processor go to the terminal and into notebooks. Who wants
# to read them sets this variable to 0 or 1 first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextlib.contextmanager
def _standard_error_closed():
    """Drop what C++ writes to the terminal, past Python's sys.stderr."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# With oneDNN, TensorFlow's default on a CPU, the slope of a convolution takes
# three quarters of the time, and an RBM no longer than without. It announces
# itself at any level as soon as it is loaded: hence here, and in silence.
if "tensorflow" not in sys.modules:
    silent = os.environ["TF_CPP_MIN_LOG_LEVEL"] >= "2"
    with _standard_error_closed() if silent else contextlib.nullcontext():
        import tensorflow  # noqa: F401


def _worth_reading(record):
    """Not where a new graph for a new model is taken for a mistake."""
    message = record.getMessage()
    graphs = "TensorFlowTrainer", "_sweeps", "_chains", "_descend"
    ours = any(name in message for name in graphs)
    return not (ours and "tf.function retracing" in message)


logging.getLogger("tensorflow").addFilter(_worth_reading)
