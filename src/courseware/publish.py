"""Render executed notebooks as the course pages.

The pages are built from a fresh folder that holds ``pages/`` and the
notebooks, and only a build without a warning replaces the pages that are
there. What is collected from the notebooks (course map, claims ledger,
timings) is written into that folder as Markdown and included by the pages.
"""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import nbformat

from advml.checks import METADATA_KEY
from courseware import library, results

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "pages"
STORED = ROOT / "notebooks"


class PublishError(RuntimeError):
    """The pages cannot be built as they stand."""


@dataclass(frozen=True)
class Lecture:
    """One lecture of the plan, with its notebook if there is one."""

    number: str
    title: str
    summary: str
    page: str | None = None
    seconds: float | None = None
    fresh: bool = False
    claims: tuple = ()
    sources: str = ""

    @property
    def heading(self):
        """Number and title; the start page goes without a number."""
        return f"{self.number} {self.title}".removeprefix("0 ")


def publish(executed=STORED, output=ROOT / "_build" / "html", stored=STORED):
    """Build the course pages and return the path of the home page.

    `executed` is a folder with executed notebooks. A notebook that it lacks
    is taken from `stored`, so that one week can be run and all be read.
    Raises PublishError, which lists every warning, and then leaves the pages
    as they were.
    """
    output = Path(output)
    temporary = output.parent / "temporary"
    temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=temporary) as work:
        source, built = Path(work) / "source", Path(work) / "html"
        assemble(Path(executed), source, Path(stored))
        _sphinx(source, built)
        _replace(output, built, Path(work) / "old")
    return output / "index.html"


def assemble(executed, source, stored=STORED):
    """Put pages, notebooks and what is collected from them into `source`."""
    shutil.copytree(
        PAGES, source, ignore=shutil.ignore_patterns("__pycache__")
    )
    found = dict.fromkeys(_notebooks(executed), executed != stored)
    for path in _notebooks(stored):
        found.setdefault(path, False)
    for path in found:
        folder = executed if (executed / path).exists() else stored
        (source / path).parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / path, source / path)
    weeks = tomllib.loads((PAGES / "course.toml").read_text("utf-8"))["weeks"]
    start = Lecture("0", "Start here", "A map of the course", None)
    plan = [("", [_read(source, start, found)])]
    for n, week in enumerate(weeks, start=1):
        lectures = [
            _read(source, Lecture(f"{n}.{i}", *words), found)
            for i, words in enumerate(week["lectures"], start=1)
        ]
        plan.append((f"Week {n}: {week['title']}", lectures))
    _refuse_unplanned(found, plan)
    generated = source / "generated"
    generated.mkdir()
    summaries = ["", *(week["summary"] for week in weeks)]
    for name, text in {
        "course_map": course_map(plan, summaries),
        "contents": contents(plan),
        "claim_count": claim_count(plan),
        "claims": claims_ledger(plan),
        "seeds": other_seeds(plan, PAGES / "seeds.json"),
        "timings": timings(plan),
        "results": full_scale(results.read(PAGES / "results")),
        "benchmarks": benchmarks(PAGES / "benchmarks.json"),
    }.items():
        (generated / f"{name}.md").write_text(text + "\n", "utf-8")


def _notebooks(folder):
    """Relative paths of the notebooks of the course in `folder`."""
    return sorted(
        path.relative_to(folder)
        for pattern in ("[0-9]*.ipynb", "week*/[0-9]*.ipynb")
        for path in folder.glob(pattern)
    )


def _read(source, lecture, found):
    """The lecture with what its notebook says, if there is one."""
    week, _, position = lecture.number.rpartition(".")
    pattern = f"week{week}_[^/]*/0*{position}_" if week else "0*0_"
    paths = [p for p in found if re.match(pattern, p.as_posix())]
    if not paths:
        return lecture
    if len(paths) > 1:
        names = ", ".join(p.as_posix() for p in paths)
        raise PublishError(f"two notebooks for {lecture.number}: {names}")
    notebook = nbformat.read(source / paths[0], as_version=4)
    for claim in claims(notebook):
        if "failed" in claim:  # counted only, see `courseware seeds`
            raise PublishError(f"{paths[0]}: {claim['failed']}")
    recorded = notebook.metadata.get("advml", {})
    return Lecture(
        lecture.number,
        _heading(notebook) or lecture.title,
        lecture.summary,
        paths[0].with_suffix("").as_posix(),
        recorded.get("seconds"),
        found[paths[0]],
        tuple(claims(notebook)),
        library.fingerprint(recorded.get("sources", {})),
    )


def _heading(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            return cell.source.splitlines()[0][2:].strip()
    return None


def _refuse_unplanned(found, plan):
    planned = {lecture.page for _, lectures in plan for lecture in lectures}
    for path in found:
        if path.with_suffix("").as_posix() not in planned:
            raise PublishError(
                f"{path} is not in the plan: add it to pages/course.toml"
            )


def claims(notebook):
    """Every claim that `verify` left in the outputs, in order."""
    return [
        output.metadata[METADATA_KEY]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if METADATA_KEY in output.get("metadata", {})
    ]


def course_map(plan, summaries):
    """The cards of the home page, in Markdown."""
    lines = [
        "::::{grid} 1 1 2 2",
        ":gutter: 3",
        ":class-container: course-map",
    ]
    for (title, lectures), summary in zip(plan, summaries, strict=True):
        if not title:
            continue
        written = [x for x in lectures if x.page]
        planned = [x for x in lectures if not x.page]
        lines += ["", f":::{{grid-item-card}} {title}", summary, ""]
        lines += [_map_line(x) for x in written]
        if planned:
            lines += ["", "[In preparation]{.planned}", ""]
            lines += [_map_line(x) for x in planned]
        lines.append(":::")
    return "\n".join([*lines, "::::"])


def _map_line(lecture):
    title = lecture.heading
    if lecture.page:
        title = f"[{title}](/{lecture.page}.ipynb)"
    return f"- {title}  \n  [{lecture.summary}]{{.summary}}"


def contents(plan):
    """The navigation: one table of contents for each week."""
    parts = []
    for title, lectures in plan:
        pages = [
            f"{lecture.heading} <{lecture.page}>"
            for lecture in lectures
            if lecture.page
        ]
        if pages:
            options = [":hidden:", f":caption: {title}" if title else ""]
            parts.append(_directive("toctree", options, pages))
    return "\n\n".join(parts)


def _directive(name, options, lines):
    options = [option for option in options if option]
    return "\n".join([f"```{{{name}}}", *options, "", *lines, "```"])


def claim_count(plan):
    """How much of the course is written and checked, in a sentence."""
    lectures = [x for _, group in plan for x in group]
    written = sum(x.page is not None for x in lectures)
    total = sum(len(x.claims) for x in lectures)
    missing = "" if written == len(lectures) else f" ({written} are written)"
    return (
        f"The {len(lectures)} lectures, the start page included{missing}, "
        f"make **{total} claims with numbers that are checked** each time "
        "they are executed."
    )


def claims_ledger(plan):
    """One table of claims for each lecture, in Markdown with raw HTML."""
    lectures = [x for _, group in plan for x in group if x.claims]
    if not lectures:
        return "No lecture with a verified claim has been executed yet."
    total = sum(len(lecture.claims) for lecture in lectures)
    what = "claim" if total == 1 else "claims"
    parts = [f"**{total} verified {what}.**"]
    head = "".join(
        f"<th>{name}</th>"
        for name in ("", "Claim", "Found", "", "Expected", "Source")
    )
    for lecture in lectures:
        rows = "\n".join(
            _claim_row(lecture.page, i, claim)
            for i, claim in enumerate(lecture.claims, start=1)
        )
        parts.append(f"## {lecture.heading}")
        parts.append(
            "```{raw} html\n<div class='ledger'><table><thead>"
            f"<tr>{head}</tr></thead><tbody>\n{rows}\n"
            "</tbody></table></div>\n```"
        )
    return "\n\n".join(parts)


def _claim_row(page, number, claim):
    expected = claim["expected"]
    if isinstance(expected, list):
        text = " … ".join(_number(x) for x in expected)
    else:
        text = _number(expected)
    if claim["tolerance"]:
        text += f" ± {claim['tolerance']:.1g}"
    words = html.escape(claim["claim"])
    if claim["compared"] > 1:
        words += f" (worst of {claim['compared']})"
    relation = {"in": "within"}.get(claim["relation"], claim["relation"])
    cells = [
        f"<a href='{page}.html#claim-{number}' title='Go to it'>{number}</a>",
        words,
        _number(claim["measured"]),
        relation,
        text,
        html.escape(claim["source"]),
    ]
    row = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr id='{page.replace('/', '-')}-claim-{number}'>{row}</tr>"


def _number(value):
    """Six significant digits; whole numbers as such."""
    whole = float(value).is_integer() and abs(value) < 1e7
    return str(int(value)) if whole else f"{value:.6g}"


def other_seeds(plan, path):
    """How the claims fared with other seeds, in Markdown.

    What was found before a lecture changed says nothing of it, and is left
    out.
    """
    kept = json.loads(path.read_text("utf-8")) if path.exists() else []
    rows, total = [], 0
    for lecture in (x for _, group in plan for x in group if x.page):
        found = [
            entry
            for entry in kept
            if entry["notebook"] == lecture.page
            and entry["sources"] == lecture.sources
        ]
        bad = {claim for entry in found for claim in entry["failed"]}
        bad |= {entry["error"] for entry in found} - {""}
        total += sum(entry["claims"] for entry in found)
        seeds = _ranges(sorted(entry["seed"] for entry in found))
        nothing = "none" if found else "–"
        rows.append(
            f"| [{lecture.heading}](/{lecture.page}.ipynb) | {seeds or '–'} "
            f"| {_plain('; '.join(sorted(bad))) or nothing} |"
        )
    head = ["| Lecture | Seeds | Failed |", "| :--- | :--- | :--- |"]
    return "\n".join([f"Checks made in all: {total}.", "", *head, *rows])


def _plain(text):
    """Text for the cell of a table in Markdown that shows as it stands."""
    return re.sub(r"([\\`*_{}\[\]<>|$&~])", r"\\\1", " ".join(text.split()))


def _ranges(numbers):
    """1, 2, 3, 7 as "1–3, 7"."""
    groups = []
    for n in numbers:
        if groups and groups[-1][1] == n - 1:
            groups[-1][1] = n
        else:
            groups.append([n, n])
    return ", ".join(f"{a}–{b}" if b > a else f"{a}" for a, b in groups)


def timings(plan):
    """The table of execution times, in Markdown."""
    lectures = [x for _, group in plan for x in group if x.page]
    if not lectures:
        return "No lecture has been executed yet."
    rows = ["| Lecture | Seconds | Outputs |", "| :--- | ---: | :--- |"]
    for x in lectures:
        seconds = "–" if x.seconds is None else f"{x.seconds:.1f}"
        state = "made here" if x.fresh else "stored"
        title = f"[{x.heading}](/{x.page}.ipynb)"
        rows.append(f"| {title} | {seconds} | {state} |")
    total = sum(x.seconds or 0 for x in lectures)
    rows.append(f"| **Sum** | **{total:.1f}** | |")
    return "\n".join(rows)


def full_scale(found):
    """A section for each result of an experiment, in Markdown."""
    if not found:
        return "No experiment has been run yet."
    parts = []
    for result in found.values():
        parts += [f"## {result['title']}", result["text"]]
        parts.append(_findings(result["findings"]))
        parts += [_picture(picture) for picture in result["pictures"]]
        settings = "; ".join(f"{k} {v}" for k, v in result["settings"].items())
        times = " s, ".join(f"{k} {v}" for k, v in result["seconds"].items())
        parts.append(
            f"`{result['command']}` ({settings}), on {result['hardware']}: "
            f"{times} s."
        )
    return "\n\n".join(parts)


def _findings(findings):
    """The table of what was found, beside what was published."""
    rows = [
        "| | Found | Expected | Source |",
        "| :--- | ---: | ---: | :--- |",
    ]
    for finding in findings:
        text = results.with_error(finding["found"], finding["error"])
        rows.append(
            f"| {finding['quantity']} | {text} | {finding['published']} "
            f"| {finding['source']} |"
        )
    return "\n".join(rows)


def _picture(picture):
    """A figure, from the folder of the results: `assemble` copies it whole.

    Quoted, the alternative text may hold what YAML would take for its own.
    """
    alt = json.dumps(" ".join(picture["alt"].split()), ensure_ascii=False)
    lines = [f"```{{figure}} /results/{picture['file']}", f":alt: {alt}"]
    return "\n".join([*lines, "", picture["caption"], "```"])


def benchmarks(path):
    """The tables that `make bench` has kept, in Markdown."""
    if not path.exists():
        return "No benchmark has been kept yet."
    kept = json.loads(path.read_text("utf-8"))
    parts = [f"Measured on {kept['hardware']}: {kept['conditions']}."]
    for title, rows in kept["tables"]:
        lines = ["| | Measured | Target |", "| :--- | ---: | ---: |"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        parts += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(parts)


def _sphinx(source, built):
    work = source.parent
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W"]
    command += ["--keep-going", "-d", work / "doctrees", source, built]
    # The log that Sphinx leaves when it crashes goes with the work folder.
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(work)},
    )
    messages = _readable(done.stderr, source)
    if done.returncode or messages:
        raise PublishError(messages or done.stdout)


def _readable(messages, source):
    """Messages with the place as an author knows it: notebook and cell."""
    messages, crash, report = messages.partition("Versions\n=====")
    if crash:
        last_words = re.findall(r"^ +(\S+Error: .*)", report, re.MULTILINE)
        messages += "".join(last_words[-1:])
    messages = re.sub(
        r"(\S+\.ipynb):(\d+):",
        lambda m: f"{m[1]}, cell {int(m[2]) // 10000}:",
        messages,
    )
    return messages.replace(f"{source}/", "").strip()


def _replace(output, built, old):
    """Put new pages in the place of the old ones, which stay if it fails."""
    try:
        if output.exists():
            output.rename(old)
        built.rename(output)
    except BaseException:
        if old.exists() and not output.exists():
            old.rename(output)
        raise
