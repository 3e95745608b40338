"""The direction of dependencies, and imports that stay silent."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import advml

ROOT = Path(advml.__file__).parent
MODULES = sorted(
    ".".join(
        ("advml", *path.relative_to(ROOT).with_suffix("").parts)
    ).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
)
# Lower layers first: a module may import from its own layer's left neighbours
# and from the leaves, never from a layer above.
LEAVES = {"checks", "display", "plotting", "validation"}
LAYERS = [
    {"datasets", "ising"},
    {"rbm", "sampling", "likelihood", "metrics", "networks", "ebm"},
    {"quantum", "vae", "gan"},
    {"pytorch", "tensorflow"},
]
FRAMEWORKS = {
    "torch": "pytorch",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
}


def imported(source, package):
    """Full names of all modules that a source imports, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) + 1 - node.level] if node.level else []
            name = ".".join([*base, *filter(None, [node.module])])
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)


def of(module):
    path = ROOT.joinpath(*module.split(".")[1:])
    if path.is_dir():
        return (path / "__init__.py").read_text(encoding="utf-8"), module
    source = path.with_suffix(".py").read_text(encoding="utf-8")
    return source, module.rpartition(".")[0]


def part(module):
    """advml.pytorch.rbm -> pytorch; advml itself -> ''."""
    return [*module.split("."), ""][1]


def complaints(module, source, package):
    """What `module` imports and must not."""
    mine, found = part(module), []
    depth = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    for name in imported(source, package):
        top, other = name.split(".")[0], part(name)
        if top == "courseware":
            found.append(name)
        elif top in FRAMEWORKS and FRAMEWORKS[top] != mine:
            found.append(name)
        elif top == "advml" and other and other != mine:
            upward = depth.get(other, -1) > depth.get(mine, -1)
            siblings = {mine, other} == {"pytorch", "tensorflow"}
            if upward or siblings:
                found.append(name)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_dependencies_point_one_way(module):
    assert complaints(module, *of(module)) == []


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_place(module):
    known = LEAVES.union({""}, *LAYERS)
    assert part(module) in known


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("advml.ising", "import courseware.run"),
        ("advml.ising", "def f():\n    from courseware import run"),
        ("advml.ising", "from advml.rbm import RBM"),
        ("advml.datasets", "from advml import metrics"),
        ("advml.datasets", "from . import sampling"),
        ("advml.rbm", "from .pytorch import rbm"),
        ("advml.rbm", "import torch"),
        ("advml.checks", "from advml.ising import energy"),
        ("advml.pytorch.rbm", "import tensorflow as tf"),
        ("advml.pytorch.rbm", "import keras"),
        ("advml.pytorch.rbm", "from advml.tensorflow import rbm"),
        ("advml.pytorch.rbm", "from ..tensorflow.rbm import RBM"),
        ("advml.tensorflow.rbm", "from torch import nn"),
        ("advml.tensorflow.rbm", "import advml.pytorch.rbm"),
    ],
)
def test_a_wrong_direction_is_noticed(module, source):
    assert complaints(module, source, module.rpartition(".")[0])


@pytest.mark.parametrize("module", MODULES)
def test_importing_prints_nothing_and_loads_one_framework(module):
    # TensorFlow writes to the terminal from C++, so a process of its own.
    code = (
        f"import {module}, sys\n"
        "loaded = {'torch', 'tensorflow', 'keras', 'courseware'}\n"
        "sys.exit(' '.join(sorted(loaded & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:advml", "-c", code],
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""
    allowed = {
        "pytorch": {"", "torch"},
        "tensorflow": {"", "tensorflow", "keras tensorflow"},
    }.get(part(module), {""})
    # sys.exit(text) writes the text to stderr: nothing else may stand there.
    assert done.stderr.strip() in allowed
