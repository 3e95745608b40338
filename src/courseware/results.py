"""Experiments at full scale: run one by hand, and keep what it found.

An experiment is a script in ``pages/results/``, too long for a lecture. It
ends with ``run(experiment)``, which turns the arguments of that function into
options of the command line, and writes what the function returns, with
command, settings, hardware and time, to a JSON file beside the script, and
pictures to PNG files that it names. The pages show every such file that there
is.
"""

import io
import json
import math
import os
import platform
import re
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from functools import wraps
from importlib.metadata import version
from inspect import getdoc, signature
from pathlib import Path

import typer
from matplotlib.figure import Figure

from courseware import library

KEYS = (
    "title",
    "command",
    "settings",
    "hardware",
    "seconds",
    "findings",
    "text",
)
DOTS_PER_INCH = 150


@dataclass(frozen=True)
class Finding:
    """One number, beside the one that was published if there is one."""

    quantity: str
    found: float
    error: float | None = None  # one standard error
    published: str = ""
    source: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure for the page, and the words that stand for it.

    `caption` is Markdown; `alt` is plain text that says what is to be seen.
    """

    figure: Figure
    caption: str
    alt: str


def run(experiment, name=None):
    """Call `experiment` with options of the command line; keep the result.

    It returns a list of `Finding` and `Picture`. Its docstring is title (the
    first line) and text. The result is NAME.json, with the settings put into
    `name`, as in "vae_{n_weights}"; that of the script is the default. A
    picture is NAME.png, or NAME_1.png, NAME_2.png, … if there are several.
    """
    script = Path(sys.modules[experiment.__module__].__file__).resolve()

    @wraps(experiment)
    def command(**settings):
        wall, cpu = time.perf_counter(), time.process_time()
        found = experiment(**settings)
        title, _, text = getdoc(experiment).partition("\n\n")
        content = {
            "title": title.replace("\n", " ").rstrip("."),
            "text": text,
            "command": shlex.join(
                ["python", f"pages/results/{script.name}", *sys.argv[1:]]
            ),
            "settings": settings,
            "hardware": hardware(),
            "seconds": {
                "elapsed": round(time.perf_counter() - wall),
                "CPU": round(time.process_time() - cpu),
            },
            "findings": [asdict(x) for x in found if isinstance(x, Finding)],
        }
        stem = (name or script.stem).format(**settings)
        pictures = [x for x in found if isinstance(x, Picture)]
        keep(script.with_name(f"{stem}.json"), content, pictures)

    command.__signature__ = signature(experiment)
    typer.run(command)


def keep(path, content, pictures):
    """Write a result, and its pictures beside it.

    All is drawn before anything is written. The pictures come first, so that
    a result never names one that is not there; those that only the last
    result named are removed at the end.
    """
    names = [f"{path.stem}.png"]
    if len(pictures) != 1:
        names = [f"{path.stem}_{i + 1}.png" for i in range(len(pictures))]
    drawn = [png(picture.figure) for picture in pictures]
    words = [
        {"file": name, "caption": picture.caption, "alt": picture.alt}
        for name, picture in zip(names, pictures, strict=True)
    ]
    content = content | {"pictures": words}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    old = _named(path)
    for name, data in zip(names, drawn, strict=True):
        library.replace(path.with_name(name), data)
    library.replace(path, text)
    for name in old - set(names):
        path.with_name(name).unlink(missing_ok=True)


def _named(path):
    """Files of the pictures that a result names; none if there is none."""
    if not path.exists():
        return set()
    pictures = json.loads(path.read_text("utf-8")).get("pictures", [])
    return {picture["file"] for picture in pictures}


def png(figure):
    """The bytes of a figure, which say nothing of the software's version."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None}
    )
    return buffer.getvalue()


def hardware():
    """What the numbers were made on, in words."""
    import torch

    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )
    words = [f"{cores} cores of {_processor()}"]
    if torch.cuda.is_available():
        words.append(torch.cuda.get_device_name())
    packages = [f"{name} {version(name)}" for name in ("torch", "numpy")]
    return "; ".join(
        [*words, f"Python {platform.python_version()}", *packages]
    )


def _processor():
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
        return re.search(r"model name\s*:\s*(.*)", text)[1].strip()
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


def read(folder):
    """Every result in `folder`, by name.

    ValueError if one is incomplete, or names a picture that is not there.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        missing = [key for key in KEYS if key not in content]
        if missing:
            raise ValueError(f"{path.name} lacks {', '.join(missing)}")
        content.setdefault("pictures", [])
        for picture in content["pictures"]:
            _check_picture(path, picture)
        found[path.stem] = content
    return found


def _check_picture(path, picture):
    lacks = [key for key in ("file", "caption", "alt") if not picture.get(key)]
    if lacks:
        raise ValueError(f"a picture in {path.name} lacks {', '.join(lacks)}")
    if not path.with_name(picture["file"]).is_file():
        raise ValueError(
            f"{path.name} names the picture {picture['file']}, which is not "
            "beside it: run the experiment again"
        )


def with_error(value, error):
    """A number and its standard error: −86.34 ± 0.45."""
    if not error:
        digits = "" if error is None else " ± 0"
        return f"{value:.5g}{digits}".replace("-", "−")
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}".replace("-", "−")
