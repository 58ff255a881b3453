"""What a job or a container leaves of the machine."""

import os
from pathlib import Path

import pytest
import torch

from ddl_bench import files, machine
from ddl_bench.errors import UserError
from ddl_bench.harness import cores
from ddl_bench.harness.slots import n_slots
from ddl_bench.plan.cell import Machine
from tests.conftest import make_cell

GB = 2**30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of control groups, in which this process is in `job/step`."""
    own = tmp_path / "own"
    own.write_text("4:memory:/old/job\n0::/job/step\n")
    folder = tmp_path / "cgroup"
    (folder / "job" / "step").mkdir(parents=True)
    (folder / "memory" / "old" / "job").mkdir(parents=True)
    monkeypatch.setattr(machine, "OWN_CGROUPS", own)
    monkeypatch.setattr(machine, "CGROUPS", folder)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    return folder


def test_without_limits_all_of_the_machine_is_there(groups: Path) -> None:
    assert machine.n_cores({}) == 16
    assert machine.memory_limit({}) is None


def test_the_least_limit_counts(groups: Path) -> None:
    (groups / "job" / "cpu.max").write_text("350000 100000\n")
    (groups / "job" / "step" / "cpu.max").write_text("max 100000\n")
    (groups / "job" / "memory.max").write_text(f"{8 * GB}\n")
    (groups / "job" / "step" / "memory.max").write_text("max\n")
    assert machine.n_cores({}) == 4
    assert machine.memory_limit({}) == 8 * GB
    (groups / "memory" / "old" / "job" / "memory.limit_in_bytes").write_text(f"{2 * GB}\n")
    (groups / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert machine.memory_limit({}) == 2 * GB


def test_a_quota_of_the_first_version_counts(groups: Path) -> None:
    (groups.parent / "own").write_text("5:cpu,cpuacct:/job\n")
    job = groups / "cpu,cpuacct" / "job"
    job.mkdir(parents=True)
    (job / "cpu.cfs_period_us").write_text("100000\n")
    (job / "cpu.cfs_quota_us").write_text("250000\n")
    assert machine.n_cores({}) == 3
    (job / "cpu.cfs_quota_us").write_text("-1\n")
    assert machine.n_cores({}) == 16


def test_a_slurm_task_has_its_own_cores_and_memory(groups: Path) -> None:
    values = {"SLURM_CPUS_PER_TASK": "2", "SLURM_MEM_PER_NODE": "4096"}
    assert machine.n_cores(values | {"SLURM_JOB_ID": "7"}) == 2
    assert machine.memory_limit(values | {"SLURM_JOB_ID": "7"}) == 4 * GB
    assert machine.n_cores(values) == 16  # left over in the environment of a shell
    assert machine.memory_limit(values) is None
    assert machine.memory_limit({"SLURM_MEM_PER_NODE": "0", "SLURM_JOB_ID": "7"}) is None


def test_files_are_read_within_the_memory_of_the_container(groups: Path) -> None:
    (groups / "job" / "memory.max").write_text("2000\n")
    assert files.memory_limit() == 1000


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `nvidia-smi` of three GPUs."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho GPU-a\necho GPU-b\necho GPU-c\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    machine.gpus.cache_clear()


@pytest.mark.usefixtures("smi")
@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["GPU-a", "GPU-b", "GPU-c"]),
        ("2,0", ["GPU-c", "GPU-a"]),
        ("GPU-b", ["GPU-b"]),
        ("7", ["7"]),
        ("", []),
    ],
)
def test_gpus_have_names_that_mean_the_same_in_every_job(
    visible: str | None, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.gpus() == names
    machine.gpus.cache_clear()


@pytest.mark.usefixtures("smi")
def test_each_cell_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    second_alone = cores.take([0], 1, "cuda:1")
    first = cores.take([1], 1, "cuda")
    assert second_alone is not None
    assert first is not None
    assert (first.gpu, second_alone.gpu) == ("GPU-a", "GPU-b")
    assert cores.take([2], 1, "cuda") is None
    second_alone.release()
    again = cores.take([2], 1, "cuda")
    assert again is not None
    assert again.gpu == "GPU-b"
    first.release()
    again.release()
    machine.gpus.cache_clear()


@pytest.mark.usefixtures("smi")
@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cpu", "--jobs 9: expected 1 to 8: so many cells of 2 threads fit on 16 cores"),
        ("cuda", "--jobs 9: expected 1 to 3: so many cells can each have a GPU alone"),
        ("cuda:1", "--jobs 9: expected 1 to 1: so many cells can each have a GPU alone"),
    ],
)
def test_too_many_jobs_say_what_there_are_too_few_of(
    device: str, message: str, groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cells = [make_cell("a", machine=Machine(threads=2, device=device))]
    with pytest.raises(UserError, match=message):
        n_slots(cells, 9)
    machine.gpus.cache_clear()


def test_a_dry_run_for_gpus_elsewhere_has_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine.gpus.cache_clear()
    assert n_slots([make_cell("a", machine=Machine(threads=1, device="cuda"))], None) == 1
    machine.gpus.cache_clear()


def test_flags_of_the_processor_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine.processor_flags() == set()
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t\t: fpu avx2\nbugs : x\n")
    assert machine.processor_flags() == {"fpu", "avx2"}


def test_torch_agrees_on_who_computes_in_bfloat16() -> None:
    known = machine.bfloat16_of(machine.processor_flags())
    if known == "unknown":
        pytest.skip("the system does not say what its processor can do")
    assert (known != "number by number") == torch.ops.mkldnn._is_mkldnn_bf16_supported()
