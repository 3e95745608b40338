"""Do the claims hold for other seeds? Every notebook, with every seed.

The executions are independent of each other, so Dask distributes them: over
the cores of this machine, or over whatever workers a running scheduler has.
A worker that dies costs what it was doing; that begins again on another one.
A claim that fails does not stop its notebook, but is counted, unless its cell
has the tag "shows-failed-claim".

With `keep`, what was found goes to pages/seeds.json as well, which the pages
show. It belongs to the code and data of that day: a lecture that has changed
since counts as not executed. So a run that was interrupted goes on where it
was, and one after a change repeats what the change may have touched.
"""

import json
import logging
import os
import re
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import nbformat
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from advml.checks import GO_ON
from courseware import commands, execution, library, publish

CONSOLE = Console(highlight=False, soft_wrap=True)
KEPT = Path("pages", "seeds.json")
OTHER_SOURCES = (
    "the worker's copy of the code or data is another one than that of "
    "'courseware seeds', or changed meanwhile"
)


def parse(text):
    """Seeds of "1..10", "3" or "1,4..6", in order and without repetition."""
    seeds = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:\.\.(\d+))?\s*", part)
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise ValueError(
                f"seeds must be like 1..10 or 1,4..6, not {text!r}"
            )
        first = int(found[1])
        seeds += range(first, int(found[2] or first) + 1)
    return list(dict.fromkeys(seeds))


def run(
    root,
    seeds,
    *,
    limits,
    week=None,
    scheduler=None,
    jobs=None,
    keep=False,
):
    """Execute the notebooks of a week, or all, and show how claims fared.

    Returns whether every claim held for every seed. The results are written
    to _build/seeds.json as they come, and with `keep` to pages/seeds.json;
    executions that passed there, from the present sources, are not repeated.
    """
    runs = _runs(root, seeds, week)
    if keep:
        done = _passed(root / KEPT)
        runs = [x for x in runs if (x.name, x.seed, x.sources) not in done]
    with _client(scheduler, jobs) as client:
        results = []
        futures = _submit(client, runs, limits)
        with _progress(len(futures)) as advance:
            for result in _completed(futures):
                results.append(result)
                _write(root / "_build" / "seeds.json", seeds, results)
                if keep:
                    remember(root / KEPT, result)
                advance(result)
    return show(results)


def _write(path, seeds, results):
    results.sort(key=lambda result: (result["name"], result["seed"]))
    content = {"seeds": seeds, "results": results}
    library.replace(path, json.dumps(content, indent=1))


def read(path):
    """What is kept in pages/seeds.json: a list with one entry for each run.

    An entry has `notebook`, `seed`, `sources` (`library.fingerprint` of what
    the notebook depended on), `claims` (how many), `failed` (which), `error`.
    """
    return json.loads(path.read_text("utf-8")) if path.exists() else []


def _passed(path):
    return {
        (entry["notebook"], entry["seed"], entry["sources"])
        for entry in read(path)
        if not entry["failed"] and not entry["error"]
    }


def remember(path, result):
    """Put one result into pages/seeds.json, in place of an older one."""
    entry = {
        "notebook": result["name"],
        "seed": result["seed"],
        "sources": result["sources"],
        "claims": len(result["claims"]),
        "failed": [c["claim"] for c in result["claims"] if "failed" in c],
        "error": result["error"],
    }
    key = itemgetter("notebook", "seed")
    entries = {key(x): x for x in read(path)} | {key(entry): entry}
    lines = [
        json.dumps(entries[name], ensure_ascii=False)
        for name in sorted(entries)
    ]
    library.replace(path, "[\n" + ",\n".join(lines) + "\n]\n")


@contextmanager
def _client(scheduler, jobs):
    """Connect to a scheduler, or start workers on this machine."""
    from distributed import Client, LocalCluster

    if scheduler is not None:
        with Client(scheduler, timeout="10s") as client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=jobs or execution.default_jobs(),
            threads_per_worker=1,
            memory_limit=0,  # it would not count the kernels
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@dataclass(frozen=True)
class Run:
    """One notebook with one seed."""

    name: str
    seed: int
    sources: str
    text: str
    expected: float  # seconds


def _runs(root, seeds, week):
    """All that is to be executed. ValueError if there is no notebook."""
    runs = []
    for notebook in library.find(root, week):
        if not notebook.source.exists():
            continue
        cells = library.read_source(notebook)
        sources = _sources(cells)
        expected = min(commands._expected(notebook, root), 1e6)
        runs += [
            Run(notebook.name, seed, sources, nbformat.writes(cells), expected)
            for seed in seeds
        ]
    if not runs:
        raise ValueError(f"there is no notebook for week {week}")
    return runs


def _submit(client, runs, limits):
    """Futures of all executions, the longest notebooks first."""
    return {
        client.submit(
            execute_once,
            run.name,
            run.text,
            run.seed,
            run.sources,
            limits,
            pure=False,
            priority=run.expected,
        ): run
        for run in runs
    }


def execute_once(name, text, seed, sources, limits):
    """Execute one notebook with one seed; what a worker of Dask does.

    Returns name, seed, seconds, claims as `verify` left them, and error:
    what stopped the notebook, or nothing. A worker on another machine has a
    copy of the course of its own: what other code or data than `sources`
    gave, or such as changed meanwhile, is an error and no result.
    """
    os.environ[GO_ON] = "1"
    cells = nbformat.reads(text, as_version=4)
    result = {"name": name, "seed": seed, "seconds": 0.0, "claims": []}
    if _sources(cells) != sources:
        return result | {"error": f"{name}: {OTHER_SOURCES}"}
    with tempfile.TemporaryDirectory() as folder:
        task = execution.Task(
            name=name,
            notebook=cells,
            output=Path(folder) / "executed.ipynb",
            parameters={"seed": seed},
        )
        execution.execute(
            [task],
            library.ROOT,
            jobs=1,
            limits=limits,
            threads=1,
            # _build belongs to the commands that run on this machine.
            temporary=Path(folder),
        )
        result["seconds"] = round(task.seconds, 1)
        if _sources(cells) != sources:
            return result | {"error": f"{name}: {OTHER_SOURCES}"}
        if task.state != "done":
            return result | {"error": task.failure}
        claims = claims_made(library.read_executed(task.output))
    return result | {"error": "", "claims": claims}


def _sources(cells):
    """One digest of what the outputs depend on, of the course that runs."""
    return library.fingerprint(library.digests(cells, library.ROOT))


def claims_made(notebook):
    """Claims that are meant to hold, of an executed notebook, in order."""
    cells = [
        cell
        for cell in library.code_cells(notebook)
        if "shows-failed-claim" not in library.tags(cell)
    ]
    return publish.claims(nbformat.v4.new_notebook(cells=cells))


def _completed(futures):
    """Results as they come; that of a lost execution says what happened."""
    from distributed import as_completed

    for future in as_completed(futures):
        run = futures[future]
        result = {
            "name": run.name,
            "seed": run.seed,
            "sources": run.sources,
            "seconds": None,
            "claims": [],
        }
        if future.status == "finished":
            yield result | future.result()
        else:
            yield result | {"error": f"{run.name}: {future.exception()}"}


@contextmanager
def _progress(total):
    """A bar on a terminal, and a line per execution anywhere else."""
    columns = *Progress.get_default_columns()[:2], MofNCompleteColumn()
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=CONSOLE,
        disable=not CONSOLE.is_terminal,
    ) as bar:
        task = bar.add_task("executions", total=total)

        def advance(result):
            bar.advance(task)
            failed = sum("failed" in claim for claim in result["claims"])
            state = f"{failed} of {len(result['claims'])} claims failed"
            state = result["error"] or state
            if failed or result["error"] or not CONSOLE.is_terminal:
                line = f"{result['name']}, seed {result['seed']}: {state}"
                CONSOLE.print(line, markup=False)

        yield advance


def failures(results):
    """Count failed seeds: {(notebook, claim): [(seed, what failed), …]}.

    A claim that is made twice in a notebook, as in a loop, counts as two.
    """
    found = {}
    for result in results:
        seen = Counter()
        for claim in result["claims"]:
            text = claim["claim"]
            seen[text] += 1
            if seen[text] > 1:
                text = f"{text} ({seen[text]})"
            place = found.setdefault((result["name"], text), [])
            if "failed" in claim:
                place.append((result["seed"], claim["failed"]))
    return found


def show(results):
    """Print notebook × claim with the number of failed seeds.

    Only claims that failed have a row. Returns whether there are none, and
    every notebook came to its end.
    """
    found, errors = failures(results), [r for r in results if r["error"]]
    runs = Counter(result["name"] for result in results)
    bad = {key: failed for key, failed in found.items() if failed}
    if bad:
        table = Table("notebook", "claim", "failed", "seeds")
        for (name, claim), failed in bad.items():
            seeds = ", ".join(str(seed) for seed, _ in failed)
            count = f"{len(failed)} of {runs[name]}"
            table.add_row(name, escape(claim), count, seeds)
        CONSOLE.print(table)
        for (name, _), failed in bad.items():
            for seed, what in failed:
                CONSOLE.print(f"{name}, seed {seed}: {what}", markup=False)
    for result in errors:
        line = f"stopped with seed {result['seed']}: {result['error']}"
        CONSOLE.print(line, style="red", markup=False)
    CONSOLE.print(
        f"{len(found)} claims in {len(runs)} notebooks, "
        f"{len(results)} executions: {len(bad)} claims failed for some seed, "
        f"{len(errors)} executions did not end"
    )
    return not bad and not errors
