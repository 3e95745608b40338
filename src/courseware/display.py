"""Shows how the notebooks of a run are doing."""

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

STYLES = {
    "waiting": "dim",
    "running": "cyan",
    "done": "green",
    "failed": "bold red",
}


class Progress:
    """A live table on a terminal, a line per event anywhere else.

    Use as a context manager, and call it after each change.
    """

    def __init__(self, tasks, console=None):
        """Show `tasks` on standard output, or on `console`."""
        self.tasks = tasks
        self.console = console or Console(highlight=False)
        self.reported = {}
        self.live = Live(
            console=self.console,
            get_renderable=self._table,
            refresh_per_second=4,
        )

    def __enter__(self):
        """Begin to show."""
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *exception):
        """Leave the last state on the terminal."""
        if self.console.is_terminal:
            self.live.stop()

    def __call__(self):
        """Show what has changed."""
        if self.console.is_terminal:
            return
        for task in self.tasks:
            if self.reported.get(task.name, "waiting") != task.state:
                self.reported[task.name] = task.state
                self.console.print(self._line(task), soft_wrap=True)

    def _line(self, task):
        if task.state == "running":
            return Text(f"{task.name}: started")
        return Text(f"{task.name}: {task.state} in {task.seconds:.1f} s")

    def _table(self):
        table = Table.grid(padding=(0, 2))
        for task in self.tasks:
            state = task.state
            if state == "running" and task.cells:
                state = f"cell {task.cell} of {task.cells}"
            elapsed = task.elapsed
            time = "" if elapsed is None else f"{elapsed:.0f} s"
            style = STYLES[task.state]
            table.add_row(task.name, Text(state, style), Text(time, style))
        done = sum(task.state in ("done", "failed") for task in self.tasks)
        table.add_row(f"{done} of {len(self.tasks)} notebooks", "", "")
        return table
