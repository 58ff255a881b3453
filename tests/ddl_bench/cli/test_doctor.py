"""What `ddl-bench doctor` finds, and what it says of it."""

import json
from pathlib import Path

import pytest

from ddl_bench.cli import doctor
from ddl_bench.harness import cores
from tests.conftest import ddl_bench


def test_each_finding_has_a_value_and_a_sentence() -> None:
    findings = json.loads(ddl_bench(["doctor", "--json"]))
    names = {finding["name"] for finding in findings}
    for name in ("cores", "memory", "BLAS", "numba threads", "bfloat16", "CUDA", "extra spams"):
        assert name in names
    for finding in findings:
        assert finding["value"]
        assert finding["status"] in doctor.MARKS
        assert finding["meaning"].endswith(".")
    text = ddl_bench(["doctor"])
    assert all(name in text for name in names)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that cannot be made, as a file stands in its place."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "folder"


def test_a_run_that_cannot_work_is_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> int:
        raise PermissionError

    assert doctor.locks_found([0]).status == "good"
    monkeypatch.setattr(cores, "open_shared", refuse)
    monkeypatch.setattr(cores, "MADE_WITHIN_S", 0.0)
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.locks_found([0])])
    text = ddl_bench(["doctor"], code=1)
    assert "bad" in text
    assert "No cell starts: " in text


def test_cores_that_cannot_be_locked_are_a_note(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(closed))
    found = doctor.locks_found([0])
    assert (found.status, "may share a core" in found.meaning) == ("note", True)


def test_memory_is_shared_by_the_cells() -> None:
    assert doctor.memory_found(64 * 10**9, 64 * 10**9, 4).status == "good"
    scarce = doctor.memory_found(8 * 10**9, 64 * 10**9, 4)
    assert scarce.status == "note"
    assert "2.0 GB each" in scarce.meaning


def test_load() -> None:
    assert doctor.load_found(0.1, 4).status == "good"
    assert doctor.load_found(3.0, 4).status == "note"


@pytest.mark.parametrize(
    ("flags", "vectors", "bfloat16", "status"),
    [
        ({"avx2", "avx512f", "amx_bf16"}, "AVX-512", "own instructions", "good"),
        ({"avx512f", "avx512bw", "avx512vl", "avx512dq"}, "AVX-512", "AVX-512", "note"),
        ({"avx2"}, "AVX2", "number by number", "note"),
        ({"asimd", "bf16"}, "neither AVX2 nor AVX-512", "own instructions", "good"),
        (set(), "neither AVX2 nor AVX-512", "unknown", "note"),
    ],
)
def test_processors(flags: set[str], vectors: str, bfloat16: str, status: str) -> None:
    found = doctor.processor_found(flags)
    assert [finding.value for finding in found] == [vectors, bfloat16]
    assert found[1].status == status


def test_gpus() -> None:
    assert doctor.cuda_found(["A", "B"], "12.8").value == "A, B; CUDA 12.8"
    assert doctor.cuda_found([], "12.8").value == "no device; torch is built for CUDA 12.8"
    assert doctor.cuda_found([], None).status == "note"


def test_extras() -> None:
    assert doctor.missing_of("tensorboard") in ([], ["tensorboard"])
    assert doctor.missing_of("no-such-extra") == []
    found = doctor.extra_found("spams", ["spams-bin"])
    assert found.value == "without spams-bin"
    assert "pip install 'ddl-bench[spams]'" in found.meaning


def test_folders(tmp_path: Path, closed: Path) -> None:
    assert doctor.folder_found("folder of results", tmp_path / "new").status == "good"
    found = doctor.folder_found("folder of results", closed)
    assert found.meaning == "It cannot be written: runs need --out."
