"""Times that were measured again after a run: RUN/times.json, a file of its own.

The rows keep what the run has measured. `load_rows` puts the later times in its place.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ddl_bench.files import write_atomically
from ddl_bench.results.versioned import Versioned, read_versioned, set_aside

FILE = "times.json"
FORMAT = 1
WHAT = "the times of a run"
Number = Annotated[float, Field(ge=0, le=1e18)]
Count = Annotated[int, Field(ge=0)]


class RowTimes(BaseModel):
    """What was measured again of one row; the names are those of `Measured`.

    Parameters
    ----------
    started
        When the row's own training started: the times are of that training and of no later one.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    started: str
    test_s_per_image: Number
    test_s_per_image_iqr: Number
    test_latency_s: Number
    test_latency_s_iqr: Number
    test_batch: Count
    n_test_runs: Count
    n_latency_runs: Count
    test_cpu_share: Number | None = None
    test_others: Number | None = None
    test_switches: Count | None = None
    load_average: Number | None = None
    clock_mhz: Number | None = None

    def values(self) -> dict[str, Any]:
        """Return the fields of `Measured`."""
        return self.model_dump(exclude={"started"})


class TrainTimes(BaseModel):
    """What was measured again of the training of a row; the names are those of `Measured`.

    Parameters
    ----------
    started
        When the row's own training started: the times are of that training and of no later one.
    n_visits
        How often some steps were trained.
    train_cpu_share
        CPU time / wall time of these.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    started: str = ""
    train_s_per_image_pass: Number
    train_s_per_image_pass_iqr: Number
    n_visits: Count
    train_cpu_share: Number
    train_others: Number | None = None


class Times(Versioned):
    """All that was measured again of a run, in one go.

    Parameters
    ----------
    measured
        When that was, in UTC.
    cpu
        Name of the processor.
    n_rounds
        In how many rounds, each over all models.
    rows
        Times by cell ID.
    left
        Why other rows were not measured again, by cell ID.
    training
        Times of training by cell ID.
    left_training
        Why the training of other rows was not timed again; empty where none was to be.
    """

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    measured: str
    cpu: str
    n_rounds: Count
    rows: dict[str, RowTimes]
    left: dict[str, str] = Field(default_factory=dict)
    training: dict[str, TrainTimes] = Field(default_factory=dict)
    left_training: dict[str, str] = Field(default_factory=dict)

    def described(self) -> str:
        """Say when and how: "alone and interleaved in 7 rounds, 2026-11-27, AMD EPYC"."""
        day = self.measured[:10]
        return f"alone and interleaved in {self.n_rounds} rounds, {day}, {self.cpu}"


def session_of(times: Times | None) -> tuple[str, str, int] | None:
    """Return what tells one session of timing from another; None where there was none."""
    return None if times is None else (times.measured, times.cpu, times.n_rounds)


def write_times(run: Path, times: Times) -> Path:
    """Write what was measured again of a run; returns the file. One that is damaged is kept."""
    path = run / FILE
    set_aside(path, Times, FORMAT, WHAT)
    write_atomically(path, times.model_dump_json(indent=1).encode())
    return path


def read_times(run: Path) -> Times | None:
    """Read what was measured again of a run; None where nothing was. Warns of a damaged file."""
    return read_versioned(run / FILE, Times, FORMAT, WHAT)
