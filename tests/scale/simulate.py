"""Many runners on one folder, simulated: the real queue of a runner, with files that are counted.

Runners take, finish and leave cells as `ddl_bench.harness.queue.Queue` decides. Only the files and
the workers are made up: a look at a row, a claim and a list are counted instead of done.
"""

import heapq
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ddl_bench.harness import queue as runners

CELL_S = 60.0  # mean seconds of a cell
ARRIVAL_S = 1.0  # between the starts of two runners


@dataclass(frozen=True, kw_only=True)
class Load:
    """What runners did to a folder, divided by the number of cells.

    Parameters
    ----------
    looks
        At the row of a cell.
    claims
        That were tried.
    lists
        Of all rows.
    lists_of_claims
        Of all claims, besides two for each claim.
    n_doubled
        Cells that ran twice; not divided.
    """

    n_cells: int
    n_runners: int
    in_order: bool
    looks: float
    claims: float
    lists: float
    lists_of_claims: float
    n_doubled: int


class World:
    """The files of a folder, as far as runners look at them."""

    def __init__(self) -> None:
        self.rows: dict[str, object] = {}
        self.held: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.n_doubled = 0

    def read_row(self, path: Path) -> object | None:
        """Look at the row of a cell."""
        self.counts["looks"] += 1
        return self.rows.get(path.stem)

    def claim(self, _: Path, cell_id: str) -> Any:
        """Claim a cell unless it is held."""
        self.counts["claims"] += 1
        if cell_id in self.held:
            return None
        self.held.add(cell_id)
        return SimpleNamespace(release=lambda: self.held.discard(cell_id))

    def ids_with_row(self, _: Path) -> set[str]:
        """List the rows."""
        self.counts["lists"] += 1
        return set(self.rows)

    def names_in(self, _: Path) -> list[str]:
        """List the claims."""
        self.counts["lists of claims"] += 1
        return [f"{cell_id}.claim.1" for cell_id in self.held]

    def finish(self, job: Any) -> None:
        """Write the row of a cell and release it."""
        cell_id = job.cell.id
        self.n_doubled += cell_id in self.rows
        self.rows[cell_id] = object()
        job.claim.release()


@contextmanager
def made_up(world: World) -> Iterator[None]:
    """Let queues see a made-up folder."""

    def job(_: object, cell: object, claim: object, *__: object, **___: object) -> Any:
        return SimpleNamespace(cell=cell, claim=claim)

    def take(*_: object) -> Any:
        return SimpleNamespace(release=lambda: None)

    with (
        mock.patch.object(runners, "read_row", world.read_row),
        mock.patch.object(runners, "claim", world.claim),
        mock.patch.object(runners, "ids_with_row", world.ids_with_row),
        mock.patch.object(runners, "names_in", world.names_in),
        mock.patch.object(runners, "Job", job),
        mock.patch.object(runners, "free_cores", return_value=[0]),
        mock.patch("ddl_bench.harness.cores.take", take),
    ):
        yield


def simulate(n_cells: int, n_runners: int, *, in_order: bool = False, seed: int = 0) -> Load:
    """Let runners finish all cells.

    Parameters
    ----------
    n_cells, n_runners
        How many.
    in_order
        Whether runners try cells in the order of the plan, and nothing else.
    seed
        Of the times of cells and the choices of runners.
    """
    chance = random.Random(seed)
    world = World()
    machine = SimpleNamespace(device="cpu")
    cells: list[Any] = []
    for number in range(n_cells):
        cell = SimpleNamespace(
            id=f"{number:012x}", method="m", threads=1, machine=machine, expected_s=1.0,
            limits=SimpleNamespace(time_s=1.0),
        )  # fmt: skip
        cells.append(cell)
    launcher: Any = None
    with made_up(world):
        queues = [runners.Queue(Path("run"), cells, {}, launcher) for _ in range(n_runners)]
        for number, queue in enumerate(queues):
            queue._random = random.Random(number)
            if in_order:
                queue._leave_out_held = lambda: None  # type: ignore[method-assign]
                queue._leave_out_finished = lambda: None  # type: ignore[method-assign]
        world.counts.clear()
        events: list[tuple[float, int]] = [(ARRIVAL_S * n, n) for n in range(n_runners)]
        jobs: dict[int, Any] = {}
        while events:
            now_s, number = heapq.heappop(events)
            if number in jobs:
                world.finish(jobs.pop(number))
            queue = queues[number]
            job = None
            while job is None and (queue.waiting or queue.look_again()):
                job = queue.start_next([], float("inf"))
            if job is not None:
                jobs[number] = job
                heapq.heappush(events, (now_s + chance.expovariate(1 / CELL_S), number))
    assert len(world.rows) == n_cells
    return Load(
        n_cells=n_cells,
        n_runners=n_runners,
        in_order=in_order,
        looks=world.counts["looks"] / n_cells,
        claims=world.counts["claims"] / n_cells,
        lists=world.counts["lists"] / n_cells,
        lists_of_claims=world.counts["lists of claims"] / n_cells,
        n_doubled=world.n_doubled,
    )
