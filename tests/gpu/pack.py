"""The parts of the pack, each in a process of its own with a time limit."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.gpu import rows
from tests.gpu.rows import PARTS, Row

if TYPE_CHECKING:
    from tests.gpu.setting import Setting

WEIGHTS = {"correctness": 25, "speed": 30, "fast": 20, "schedule": 30}  # of the time that is left
GRACE_S = 15.0  # between the polite and the hard signal
LOG_BYTES = 8 * 2**20  # of what the parts said, the end
RESERVE_S = 5.0  # for the summary


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="tests/gpu/run.sh", description="The suite on one GPU.")
    made.add_argument("out", type=Path, help="folder for rows, log and states")
    made.add_argument("--minutes", type=float, default=9.0, help="time for all parts")
    made.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    made.add_argument("--data", type=Path, help="folder of CIFAR-10 sheets; else images are made")
    made.add_argument("--resume", type=Path, help="OUT of an earlier run, to go on from")
    made.add_argument("--device", default="cuda", help="cuda, or cpu with tiny sizes")
    made.add_argument("--wheels", type=Path, help="folder of wheels brought along")
    made.add_argument("--commit", help="of the code, where it is no git checkout")
    return made


def main(words: list[str]) -> int:
    """0 where all jobs ran, 1 where some failed or had no time, 2 for wrong arguments."""
    begin = time.time()
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: stop.append(got))
    given = parser().parse_args(words)
    home = Path(os.environ.get("DDL_BENCH_GPU_FROM", "."))
    out = home / given.out
    parts = given.parts.split(",")
    data = home / given.data if given.data else None
    resume = home / given.resume if given.resume else None
    problem = mistake(given, out, parts, data, resume)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    if resume is not None and resume.resolve() != out.resolve():
        for path in resume.iterdir():
            shutil.copy(path, out / path.name)
    ends = begin + 60 * given.minutes - RESERVE_S
    commit = given.commit or rows.commit()
    clean = True
    for at, part in enumerate(parts):
        share = WEIGHTS[part] / sum(WEIGHTS[other] for other in parts[at:])
        limit = time.time() + share * (ends - time.time())
        if stop or limit <= time.time():
            break
        told = {"out": str(out.resolve()), "data": data and str(data.resolve()), "ends": limit}
        told |= {"device": given.device, "tiny": given.device == "cpu", "commit": commit}
        if not resume:
            forget(out, part)
        clean &= run_part(out, part, told, stop)
    text = summary(out, parts, time.time() - begin)
    print(text)
    log = out / "log.txt"
    said = log.read_bytes() if log.exists() else b""
    log.write_bytes(said[-LOG_BYTES:] + text.encode() + b"\n")
    if work := os.environ.get("DDL_BENCH_GPU_WORK"):
        shutil.rmtree(work, ignore_errors=True)
    return 0 if clean and not stop else 1


def forget(out: Path, part: str) -> None:
    """Remove what an earlier run left of a part that is to begin anew."""
    rows.rows_file(out, part).unlink(missing_ok=True)
    if part == "schedule":
        for path in out.glob("state-*"):
            path.unlink()


def mistake(
    given: argparse.Namespace, out: Path, parts: list[str], data: Path | None, resume: Path | None
) -> str:
    """What is wrong with the arguments, in a line; "" if nothing is."""
    import torch

    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        return f"--parts {','.join(unknown)}: no such part; there are {', '.join(PARTS)}"
    if given.minutes <= 0:
        return f"--minutes {given.minutes:g}: must be more than 0"
    if not (given.device == "cpu" or given.device.startswith("cuda")):
        return f"--device {given.device}: must be cuda or cpu"
    if given.device != "cpu" and not torch.cuda.is_available():
        return f"--device {given.device}: torch {torch.__version__} finds no GPU; try --device cpu"
    for option, folder in (("--data", data), ("--resume", resume)):
        if folder is not None and not folder.is_dir():
            return f"{option} {folder}: no such folder"
    if out.exists() and not out.is_dir():
        return f"{out}: a file; give a folder, which may be new"
    return ""


def run_part(out: Path, part: str, told: dict[str, Any], stop: list[int]) -> bool:
    """Run a part in a process of its own until it ends, or is asked and then made to."""
    log = (out / "log.txt").open("a")
    print(f"== {part}: at most {told['ends'] - time.time():.0f} s", flush=True)
    log.write(f"== {part}\n")
    log.flush()
    words = [sys.executable, "-m", "tests.gpu.pack", "--part", part, json.dumps(told)]
    process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    asked: float | None = None
    while process.poll() is None:
        time.sleep(0.1)
        late = time.time() > told["ends"] + 1
        if asked is None and (stop or late):
            asked = time.time()
            process.send_signal(signal.SIGTERM)
        if asked is not None and time.time() > asked + GRACE_S:
            log.write(f"{part}: killed after {GRACE_S:.0f} s of grace\n")
            break
    sweep(process)
    log.close()
    return process.returncode == 0


def sweep(process: "subprocess.Popen[bytes]") -> None:
    """End a part and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def child(part: str, told: str) -> int:
    """Do the jobs of a part until its time is over; 0 where all of them ran."""
    import torch

    from tests.gpu.setting import Setting

    values = json.loads(told)
    out = Path(values["out"])
    earlier = [row for row in rows.load(out) if row.part == part and row.status != "failed"]
    names = sorted(row.name for row in earlier)
    setting = Setting.parse(json.dumps(values | {"done": names, "stop": []}))
    setting.listen()
    torch.use_deterministic_algorithms(True, warn_only=True)
    if setting.tiny:
        torch.set_num_threads(1)
    complete = True
    for row in run_jobs(part, setting):
        if row is None:
            complete = False
            continue
        rows.append(out, row)
        complete &= row.status != "failed"
        print(f"{row.status} {row.name}: {row.reason or row.values}"[:400], flush=True)
    return 0 if complete else 1


def run_jobs(part: str, setting: "Setting") -> Iterator[Row | None]:
    """A row for each job; None for those that there was no time for."""
    import torch

    from ddl_bench.errors import Skip
    from tests.gpu.setting import NotFinished

    on_gpu = setting.device.startswith("cuda")
    where: dict[str, Any] = {
        "part": part,
        "device": setting.device,
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if on_gpu else None,
        "commit": setting.commit,
    }
    for name, job in import_module(f"tests.gpu.{part}").jobs(setting):
        if name in setting.done:
            continue
        if setting.is_over():
            print(f"no time for {name}", flush=True)
            yield None
            continue
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        begin = time.perf_counter()
        status, reason, values = "ok", "", {}
        try:
            values = job()
        except NotFinished as error:
            values = error.values_so_far
            name += rows.UNDER_WAY
        except Exception as error:
            status = "skipped" if isinstance(error, (Skip, ImportError)) else "failed"
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:1000]
            traceback.print_exc()
            if on_gpu:
                torch.cuda.empty_cache()
        resumed = values.pop("n_resumed", 0)
        how = {"status": status, "reason": reason, "resumed": resumed, "values": values}
        yield Row(name=name, started=started, wall_s=time.perf_counter() - begin, **where, **how)
        if name.endswith(rows.UNDER_WAY):
            yield None


def summary(out: Path, parts: list[str], seconds: float) -> str:
    """A line a part and what was reached, in words."""
    found = rows.load(out)
    lines = [f"== summary: {seconds:.0f} s"]
    for part in parts:
        mine = [row for row in found if row.part == part]
        counts = {
            status: sum(row.status == status for row in mine)
            for status in ("ok", "failed", "skipped")
        }
        told = ", ".join(f"{n} {status}" for status, n in counts.items() if n) or "no rows"
        lines.append(f"{part}: {told}")
        lines += [f"  {row.name}: {row.reason}"[:200] for row in mine if row.status == "failed"]
        if describe := getattr(import_module(f"tests.gpu.{part}"), "describe", None):
            lines += [f"  {line}" for line in describe([row for row in mine if row.values])]
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        code = child(*sys.argv[2:4])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # without waiting for contracts that are still being checked
    sys.exit(main(sys.argv[1:]))
