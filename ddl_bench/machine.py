"""What this machine has for the process: a job or a container may use less than all of it."""

import math
import os
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
CPU_OF_GROUP = "cpu.max"  # two numbers: microseconds of CPU time in so many of wall time
CPU_OF_OLD_GROUP = ("cpu.cfs_quota_us", "cpu.cfs_period_us")  # of the first version; -1: no limit
MEMORY_OF_GROUP = ("memory.max", "memory.limit_in_bytes")  # of the second and the first version
ASK_WITHIN_S = 10.0  # the answer of nvidia-smi
CPU_INFO = Path("/proc/cpuinfo")
UNLIMITED_BYTES = 2**60  # the first version writes a number like this for "no limit"

Bfloat16 = Literal["own instructions", "AVX-512", "number by number", "unknown"]


def n_cores(environment: Mapping[str, str] = os.environ) -> int:
    """Count the cores that this process may compute on at the same time.

    That is the least of the cores that it may run on, the quota of its control groups, and the
    cores of its Slurm task.
    """
    counts = [len(os.sched_getaffinity(0))]
    for group in own_groups():
        quota, period = quota_of(group)
        if quota.isdecimal() and period.isdecimal():
            counts.append(math.ceil(int(quota) / int(period)))
    counts += numbers(environment, "SLURM_CPUS_PER_TASK")
    return max(1, min(counts))


def quota_of(group: Path) -> tuple[str, str]:
    """Read the CPU time, and the wall time that it is for, of a control group of either version."""
    quota, _, period = read(group / CPU_OF_GROUP).partition(" ")
    if quota:
        return quota, period
    old_quota, old_period = (read(group / name) for name in CPU_OF_OLD_GROUP)
    return old_quota, old_period


def memory_limit(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return how many bytes its control groups, or its Slurm job, allow; None for all there are."""
    limits = []
    for group in own_groups():
        for name in MEMORY_OF_GROUP:
            text = read(group / name)
            if text.isdecimal() and int(text) < UNLIMITED_BYTES:
                limits.append(int(text))
    limits += [2**20 * megabytes for megabytes in numbers(environment, "SLURM_MEM_PER_NODE")]
    return min((limit for limit in limits if limit), default=None)  # Slurm's 0 is all there are


@lru_cache
def gpus() -> list[str]:
    """Name the GPUs that this process may use, in CUDA's order: by UUID if `nvidia-smi` tells it.

    A number would mean another GPU in another job of the same machine.
    """
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(  # noqa: S603  a list of words, without a shell
            command, capture_output=True, text=True, timeout=ASK_WITHIN_S, check=False
        )
        known = done.stdout.split() if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        known = []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return known or ["0"]
    names = [name.strip() for name in visible.split(",") if name.strip()]
    by_number = dict(enumerate(known))
    return [by_number.get(int(name), name) if name.isdecimal() else name for name in names]


def processor_flags() -> set[str]:
    """Read what the processor can do; empty where the system does not say."""
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.M)
    return set(match[1].split()) if match else set()


def bfloat16_of(flags: Collection[str]) -> Bfloat16:
    """Say by what means torch computes in bfloat16 on a processor with these flags.

    Number by number, a product of matrices of 256 rows took 60 times as long as in float32, and a
    convolution 7 times.
    """
    if not flags:
        return "unknown"
    if {"amx_bf16", "avx512_bf16", "bf16"} & set(flags):
        return "own instructions"
    return "AVX-512" if {"avx512bw", "avx512vl", "avx512dq"} <= set(flags) else "number by number"


def own_groups() -> Iterator[Path]:
    """Yield the folders of the control groups of this process, and those that these are in."""
    for line in read(OWN_CGROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        root = CGROUPS / controllers if controllers else CGROUPS
        group = root / path.strip("/")
        while group != root:
            yield group
            group = group.parent
        yield root


def numbers(environment: Mapping[str, str], name: str) -> list[int]:
    """Return the number in an environment variable of Slurm; none outside of a job."""
    value = environment.get(name, "")
    return [int(value)] if "SLURM_JOB_ID" in environment and value.isdecimal() else []


def read(path: Path) -> str:
    """Read a small file of the kernel; empty where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
