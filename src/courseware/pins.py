"""The versions that the course is pinned to, stated in three files.

pyproject.toml has what the course asks for by name, constraints.txt the rest
of what then gets installed, environment.yml the former again for conda.
"""

import re
import subprocess
import sys
import tomllib

import yaml

# PyTorch and what only PyTorch brings: these differ between its builds.
_TORCH = r"torch|triton.*|nvidia-.*|cuda-.*|filelock|fsspec|networkx|sympy"
_PIN = re.compile(r"([A-Za-z0-9._-]+)(\[[\w,-]+\])?==([^\s;,]+)(\s*;\s*.+)?")
_HEADER = """\
# What the pins of pyproject.toml bring with them, frozen, without PyTorch's
# parts, which differ between its builds. Written by
# 'python -m courseware freeze' in an environment that passes 'make test'.
"""


def project_pins(root):
    """The requirements of pyproject.toml: {normalised name: requirement}."""
    with open(root / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    return _by_name(
        project["dependencies"] + project["optional-dependencies"]["course"]
    )


def freeze(root):
    """The text of constraints.txt for the environment that runs this."""
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    frozen = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    own = project_pins(root)
    rest = [
        line
        for name, line in _by_name(frozen).items()
        if name not in own and not re.fullmatch(_TORCH, name)
    ]
    return _HEADER + "\n".join(rest) + "\n"


def disagreements(root):
    """Sentences on what is wrong with the three files, none if all is well."""
    for name in ("pyproject.toml", "constraints.txt", "environment.yml"):
        if not (root / name).exists():
            yield f"{name} is missing"
            return
    pins = project_pins(root)
    constraints = _requirements(root / "constraints.txt")
    conda = yaml.safe_load((root / "environment.yml").read_text("utf-8"))
    listed = conda["dependencies"][-1]["pip"]
    copies = _by_name(line for line in listed if not re.match("-[ce] ", line))
    yield from _not_exact("pyproject.toml", pins)
    yield from _not_exact("constraints.txt", constraints)
    for name, line in pins.items():
        if name in constraints:
            yield f"constraints.txt repeats {name}: leave it to pyproject.toml"
        if copies.get(name) != line:
            found = copies.get(name, f"no {name}")
            yield f"environment.yml has {found}, pyproject.toml {line}"
    for name in copies.keys() - pins.keys():
        yield f"environment.yml has {copies[name]}, pyproject.toml has not"
    for name in constraints:
        if re.fullmatch(_TORCH, name):
            yield f"constraints.txt pins {name}, a part of PyTorch's builds"
    for line in ("-c constraints.txt", "-e ."):
        if line not in listed:
            yield f"environment.yml lacks '{line}'"


def _not_exact(file, pins):
    for line in pins.values():
        if not _PIN.fullmatch(line):
            yield f"{file} does not pin exactly: {line}"


def _requirements(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return _by_name(x for x in lines if x.strip() and not x.startswith("#"))


def _by_name(lines):
    pins = {}
    for line in lines:
        name = re.match(r"[A-Za-z0-9._-]+", line.strip()).group()
        pins[re.sub(r"[-_.]+", "-", name).lower()] = line.strip()
    return pins
