"""Who used the cores: the process, what it left behind, and everybody else.

The functions of the clock are taken at import, before any method is loaded.
"""

import math
import os
import threading
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from time import perf_counter, sleep
from typing import NamedTuple

import psutil

PAUSE_S = 0.05  # after the training, in which nothing of it may be at work
BUSY_SHARE = 0.3  # of the pause that a thread or a process must compute to be named
SHORTEST_S = 0.3  # CPU times of shorter spans say little
SHARE_TOLERANCE = 0.1  # of a core, by which CPU time may exceed wall time
IDLE_FIELDS = (3, 4)  # of a line of /proc/stat: idle, and waiting for a disk
GUEST_FIELDS = 8  # fields from here on are counted in others, see proc(5)


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended, in seconds."""
    used = 0.0
    for who in (RUSAGE_SELF, RUSAGE_CHILDREN):
        usage = getrusage(who)
        used += usage.ru_utime + usage.ru_stime
    return used


def busy_seconds(cores: set[int]) -> float | None:
    """Return how long some cores have computed for anybody, in seconds; None where unknown."""
    try:
        lines = Path("/proc/stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    ticks = 0
    for line in lines:
        name, *fields = line.split()
        number = name.removeprefix("cpu")
        if number.isdecimal() and name != number and int(number) in cores:
            for index, field in enumerate(fields[:GUEST_FIELDS]):
                if index not in IDLE_FIELDS:
                    ticks += int(field)
    return ticks / os.sysconf("SC_CLK_TCK")


def clock_mhz(cores: set[int]) -> float | None:
    """Read the clock frequency of some cores, their mean in MHz; None where it is not told."""
    frequencies = []
    for core in cores:
        path = Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq")  # kHz
        with suppress(OSError, ValueError):
            frequencies.append(float(path.read_text(encoding="ascii")) / 1000)
    if not frequencies:
        frequencies = frequencies_of_cpuinfo(cores)
    return sum(frequencies) / len(frequencies) if frequencies else None


def frequencies_of_cpuinfo(cores: set[int], path: Path = Path("/proc/cpuinfo")) -> list[float]:
    """Read the clock frequencies of some cores in MHz, where the kernel lists them there."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    frequencies = []
    core = -1
    for line in text.splitlines():
        name, _, value = line.partition(":")
        with suppress(ValueError):
            if name.strip() == "processor":
                core = int(value)
            elif name.strip() == "cpu MHz" and core in cores:
                frequencies.append(float(value))
    return frequencies


def n_cores_beyond(cores: set[int], cpu_s: float, wall_s: float) -> int:
    """Count the cores outside of `cores` that this process uses.

    That is where its threads and children may run now, or what its CPU time shows, whichever is
    more.
    """
    pids = [os.getpid()]
    pids += [child.pid for child in psutil.Process().children(recursive=True)]
    beyond: set[int] = set()
    for pid in pids:
        for task in list_tasks(pid):
            with suppress(OSError):  # a thread that has just ended
                beyond |= os.sched_getaffinity(int(task.name)) - cores
    if wall_s < SHORTEST_S:
        return len(beyond)
    n_computed = math.ceil(cpu_s / wall_s - SHARE_TOLERANCE)
    return max(len(beyond), n_computed - len(cores))


@dataclass(frozen=True, kw_only=True)
class Load:
    """What happened on the cores of this process during a span of time.

    Parameters
    ----------
    wall_s, cpu_s
        Wall time, and CPU time of this process and its children that ended.
    others
        Share of its cores that others used, 0 to 1; None where that is unknown.
    n_switches
        How often the kernel took a core away from this process.
    """

    wall_s: float
    cpu_s: float
    others: float | None
    n_switches: int


class LoadMeter:
    """Measures the load from its making until `read`."""

    def __init__(self) -> None:
        self._cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._busy_s = busy_seconds(self._cores)
        self._n_switches = getrusage(RUSAGE_SELF).ru_nivcsw
        self._cpu_s = cpu_seconds()
        self._began_s = perf_counter()

    def read(self) -> Load:
        """Return the load so far."""
        wall_s = perf_counter() - self._began_s
        cpu_s = cpu_seconds() - self._cpu_s
        n_switches = getrusage(RUSAGE_SELF).ru_nivcsw - self._n_switches
        return Load(wall_s=wall_s, cpu_s=cpu_s, others=self._others(), n_switches=n_switches)

    def _others(self) -> float | None:
        """Share of the cores that others used; the CPU time of running children is not theirs."""
        busy_s = busy_seconds(self._cores)
        if busy_s is None or self._busy_s is None or not self._cores:
            return None
        wall_s = perf_counter() - self._began_s
        children_s = sum(used.cpu_s for used in times_of_children().values())
        ours_s = cpu_seconds() - self._cpu_s + children_s
        share = (busy_s - self._busy_s - ours_s) / (len(self._cores) * max(wall_s, 1e-9))
        return min(1.0, max(0.0, share))


@dataclass(frozen=True, kw_only=True)
class Background:
    """Threads and children that were at work while nothing of a method should be.

    Parameters
    ----------
    cpu_s
        Their CPU time in a pause of `PAUSE_S`.
    names
        Who they are.
    """

    cpu_s: float = 0.0
    names: tuple[str, ...] = ()


class Used(NamedTuple):
    """CPU time of threads, and how long they waited for a core, in seconds."""

    cpu_s: float = 0.0
    waited_s: float = 0.0

    def plus(self, other: "Used") -> "Used":
        """Add the times of other threads."""
        return Used(self.cpu_s + other.cpu_s, self.waited_s + other.waited_s)


def background(ours: Container[int] = ()) -> Background:
    """Pause, and see which threads and children of this process are at work meanwhile.

    On a loaded machine they may wait for a core all the time, which is work as well.

    Parameters
    ----------
    ours
        Numbers of threads that are no method's.
    """
    before = times_of_workers(ours)
    sleep(PAUSE_S)
    cpu_s = 0.0
    names = []
    ended = names_of_ended()
    for name, used in times_of_workers(ours).items():
        if name in ended:
            continue
        earlier = before.get(name, Used())
        computed_s = used.cpu_s - earlier.cpu_s
        if computed_s + used.waited_s - earlier.waited_s > BUSY_SHARE * PAUSE_S:
            cpu_s += computed_s
            names.append(name)
    return Background(cpu_s=cpu_s, names=tuple(names))


def times_of_workers(ours: Container[int] = ()) -> dict[str, Used]:
    """Return the times of every thread but this one and `ours`, and of every child, by name."""
    titles = {thread.native_id: thread.name for thread in threading.enumerate()}
    own = threading.get_native_id()
    times = times_of_children()
    for task in list_tasks(os.getpid()):
        number = int(task.name)
        if number != own and number not in ours:
            title = titles.get(number, "of native code")
            times[f"thread {number} {title}"] = times_of_task(task)
    return times


def times_of_children() -> dict[str, Used]:
    """Return the times of every child that runs, with its own children, by their names."""
    times = {}
    for child in psutil.Process().children(recursive=True):
        tasks = list_tasks(child.pid)
        if tasks:
            total = Used()
            for task in tasks:
                total = total.plus(times_of_task(task))
            times[f"process {child.pid}"] = total
    return times


def names_of_ended() -> set[str]:
    """Return the names of the children that have ended and were not waited for."""
    names = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_ZOMBIE:
                names.add(f"process {child.pid}")
    return names


def list_tasks(pid: int) -> list[Path]:
    """List the folders of the threads of a process; none where it is gone."""
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def times_of_task(task: Path) -> Used:
    """Return the times of a thread; none where it is gone."""
    try:
        computed, waited, *_ = (task / "schedstat").read_text(encoding="utf-8").split()
        return Used(int(computed) / 1e9, int(waited) / 1e9)
    except (OSError, ValueError):
        return Used()
