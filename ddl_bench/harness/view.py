"""What watches a run, such as a terminal: it learns of each cell that begins, ends or waits."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from ddl_bench.harness.supervise import Job
from ddl_bench.plan.cell import Cell
from ddl_bench.results.rows import Row


class View(Protocol):
    """Something that watches a run: the terminal, or nothing."""

    def planned(self, total: int, finished: Sequence[Row]) -> None:
        """Learn how many cells there are, and the rows of those that are finished already."""

    def waiting(self, cells: Sequence[Cell]) -> None:
        """Learn which cells are to be run."""

    def finished(self, row: Row) -> None:
        """Learn that a cell has ended."""

    def retried(self, row: Row) -> None:
        """Learn that a cell has broken down and is tried again after the others."""

    def tick(self, jobs: Sequence[Job]) -> None:
        """Look at the running cells; called many times a second."""

    def lacks_cores(self, users: Sequence[int]) -> None:
        """Learn, once in a run, that a cell waits for cores that these other processes use."""

    def held(self, holders: Mapping[str, str]) -> None:
        """Learn which cells have no row because other runners hold them: who, by cell ID."""

    def left(self, cells: Sequence[Cell]) -> None:
        """Learn which cells have no row because the time of the runner is over."""


class Silent:
    """A view that shows nothing."""

    def planned(self, total: int, finished: Sequence[Row]) -> None:
        """Show nothing."""

    def waiting(self, cells: Sequence[Cell]) -> None:
        """Show nothing."""

    def finished(self, row: Row) -> None:
        """Show nothing."""

    def retried(self, row: Row) -> None:
        """Show nothing."""

    def tick(self, jobs: Sequence[Job]) -> None:
        """Show nothing."""

    def lacks_cores(self, users: Sequence[int]) -> None:
        """Show nothing."""

    def held(self, holders: Mapping[str, str]) -> None:
        """Show nothing."""

    def left(self, cells: Sequence[Cell]) -> None:
        """Show nothing."""
