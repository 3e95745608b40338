"""The models of the course in TensorFlow and Keras.

Import this package before TensorFlow and Keras, which read their settings
from the environment when they start.
"""

import logging
import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever else is installed
# Notes about the processor go to the terminal and into notebooks. Who wants
# to read them, or oneDNN's kernels, which announce themselves at any level
# and complain in double precision, sets these variables first. An RBM is as
# fast without them; convolutions on a CPU are about twice as fast with them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def _worth_reading(record):
    """Not where a new graph for a new model is taken for a mistake."""
    message = record.getMessage()
    ours = "TensorFlowTrainer" in message or "_sweeps" in message
    return not (ours and "tf.function retracing" in message)


logging.getLogger("tensorflow").addFilter(_worth_reading)
