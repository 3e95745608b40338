"""The versions that the course is pinned to, stated in three files.

pyproject.toml has what the course asks for by name, constraints.txt the rest
of what then gets installed, environment.yml the former again for conda.
"""

import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata

import yaml
from packaging.requirements import Requirement

# PyTorch and what only PyTorch brings: these differ between its builds.
_TORCH = r"torch|triton.*|nvidia-.*|cuda-.*|filelock|networkx|sympy"
_PIN = re.compile(r"([A-Za-z0-9._-]+)(\[[\w,-]+\])?==([^\s;,]+)(\s*;\s*.+)?")
_HEADER = """\
# What the pins of pyproject.toml bring with them, frozen, without PyTorch's
# parts, which differ between its builds. Written by
# 'python -m courseware freeze' in an environment that passes 'make test'; it
# leaves what is not installed there as it was: another Python or another
# system needs it, such as aiohttp (Python 3.12) and appnope (macOS).
"""
# What markers ask for, on every Python and system that the course supports.
_PYTHONS = ("3.11", "3.12", "3.13")
_SYSTEMS = (
    ("linux", "Linux", "x86_64"),
    ("linux", "Linux", "aarch64"),
    ("darwin", "Darwin", "arm64"),
)
_MARKERS = [
    {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": system,
        "python_full_version": f"{python}.9",
        "python_version": python,
        "sys_platform": platform,
    }
    for python in _PYTHONS
    for platform, system, machine in _SYSTEMS
]


def project_pins(root):
    """The requirements of pyproject.toml: {normalised name: requirement}."""
    with open(root / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    return _by_name(
        project["dependencies"] + project["optional-dependencies"]["course"]
    )


def freeze(root):
    """The text of constraints.txt for the environment that runs this.

    What is not installed in it keeps the pin that it has.
    """
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    command += ["--all", "--exclude", "pip"]
    frozen = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    own = project_pins(root)
    pins = _requirements(root / "constraints.txt") | _by_name(frozen)
    rest = [
        line
        for name, line in pins.items()
        if name not in own and not re.fullmatch(_TORCH, name)
    ]
    return _HEADER + "\n".join(sorted(rest, key=_sort_key)) + "\n"


def _sort_key(line):
    return line.partition("==")[0].lower()


def unpinned(root):
    """What would be installed in a version that no file says, with who asks.

    This follows the requirements through the metadata of what is installed
    here, for every Python and system of the course. What another one needs
    is known by name, but not what that needs in turn.
    """
    own = project_pins(root)
    pinned = own | _requirements(root / "constraints.txt")
    found = {}
    for markers in _MARKERS:
        new = [(Requirement(line), "the course") for line in own.values()]
        seen = {}
        while new:
            wanted, whose = new.pop()
            name = _normalised(wanted.name)
            if re.fullmatch(_TORCH, name) and name not in own:
                continue
            if name not in pinned:
                found.setdefault(name, f"{whose} needs {wanted}")
            for extra in {"", *wanted.extras} - seen.get(name, set()):
                seen.setdefault(name, set()).add(extra)
                new += [
                    (x, name)
                    for x in _asked(name)
                    if not x.marker
                    or x.marker.evaluate(markers | {"extra": extra})
                ]
    return found


@cache
def _asked(name):
    """Requirements of a package; none if it is not installed here."""
    try:
        return [Requirement(line) for line in metadata.requires(name) or []]
    except metadata.PackageNotFoundError:
        return []


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
        pins[_normalised(name)] = line.strip()
    return pins


def _normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()
