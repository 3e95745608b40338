"""The command line: ``python -m courseware --help``."""

import signal
import sys
from typing import Annotated, Literal

import typer

from courseware import library

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run, check and publish the notebooks of the course.",
)

Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Notebooks at a time (default: by cores)."),
]
Week = Annotated[
    int | None, typer.Option(min=0, help="Only this week's notebooks.")
]
Profile = Annotated[
    Literal["full"] | None,
    typer.Option(help="MNIST and the published settings; takes hours."),
]
CellLimit = Annotated[
    float | None, typer.Option(help="Seconds that one cell may take.")
]


@app.command()
def run(
    week: Week = None,
    profile: Profile = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Instead of each one's own.")
    ] = None,
    jobs: Jobs = None,
    cell_limit: CellLimit = None,
):
    """Execute the notebooks afresh and make the course pages from them."""
    from courseware import commands

    limits = commands.limits(profile, cell_limit)
    root = library.ROOT
    if not library.find(root, week):
        raise typer.BadParameter(f"there is no notebook of week {week}")
    with commands.alone(root):
        tasks = commands.run(
            root,
            week=week,
            profile=profile,
            seed=seed,
            jobs=jobs,
            limits=limits,
        )
        published = commands.publish(root, root / "_build" / "notebooks")
    failed = any(task.state != "done" for task in tasks)
    raise typer.Exit(failed or not published)


@app.command()
def seeds(
    seeds: Annotated[
        str, typer.Option(help="Like 1..10, or 1,4..6.")
    ] = "1..10",
    week: Week = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a running scheduler of Dask."),
    ] = None,
    jobs: Jobs = None,
    cell_limit: CellLimit = None,
    keep: Annotated[
        bool, typer.Option(help="Keep what is found, for the pages.")
    ] = False,
):
    """Execute every notebook with every seed, and count failed claims."""
    from courseware import commands
    from courseware import seeds as module

    root = library.ROOT
    if not library.find(root, week):
        raise typer.BadParameter(f"there is no notebook of week {week}")
    try:
        numbers = module.parse(seeds)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with commands.alone(root):
        passed = module.run(
            root,
            numbers,
            week=week,
            scheduler=scheduler,
            jobs=jobs,
            limits=commands.limits(None, cell_limit),
            keep=keep,
        )
    raise typer.Exit(not passed)


@app.command()
def notebooks(
    everything: Annotated[
        bool, typer.Option("--all", help="Execute unchanged ones as well.")
    ] = False,
    jobs: Jobs = None,
    cell_limit: CellLimit = None,
):
    """Bring each .ipynb up to date with its .py, in place."""
    from courseware import commands

    root = library.ROOT
    with commands.alone(root):
        tasks = commands.notebooks(
            root,
            everything=everything,
            jobs=jobs,
            limits=commands.limits(None, cell_limit),
        )
    raise typer.Exit(any(task.state != "done" for task in tasks))


@app.command()
def publish():
    """Make the course pages from the stored outputs, executing nothing."""
    from courseware import commands

    root = library.ROOT
    with commands.alone(root):
        published = commands.publish(root, root / "notebooks")
    raise typer.Exit(not published)


@app.command()
def check():
    """Check the rules that notebooks and pins keep."""
    from courseware import hygiene, testing

    raise typer.Exit(not testing.report(hygiene.check(library.ROOT)))


@app.command()
def test(jobs: Jobs = None):
    """Check style, rules, code and every number in the notebooks."""
    from courseware import testing

    raise typer.Exit(testing.test(library.ROOT, jobs))


@app.command()
def lab(
    port: Annotated[int, typer.Option(help="Where to listen.")] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
):
    """Open the start page in JupyterLab."""
    from courseware import lab

    raise typer.Exit(lab.serve(library.ROOT, port, browser))


@app.command()
def freeze():
    """Print constraints.txt for this environment."""
    from courseware import pins

    print(pins.freeze(library.ROOT), end="")


def _interrupt(number, frame):
    """Stop as if by Ctrl-C, so that kernels are ended."""
    raise KeyboardInterrupt


def main():
    """Run a command; an interruption ends with status 130."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Under nohup it is ignored, and shall be.
        if number and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
