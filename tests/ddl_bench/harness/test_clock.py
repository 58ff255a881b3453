"""The clock of what a method does outside of its training: it works, it does not compile."""

import time
from typing import Any

import numba

from ddl_bench.harness.clock import WorkClock


def test_compiling_is_no_work() -> None:
    root: Any = numba.njit(lambda x: x**0.5)
    begin = time.perf_counter()
    clock = WorkClock("cpu")
    clock.start()
    root(2.0)
    passed_s = time.perf_counter() - begin
    before_stop_s = clock.seconds
    clock.stop()
    assert passed_s > 0.02, "numba has compiled"
    assert before_stop_s < passed_s / 2
    assert clock.seconds < passed_s / 2


def test_work_beside_compiling_counts() -> None:
    double: Any = numba.njit(lambda x: 2 * x)
    clock = WorkClock("cpu")
    clock.start()
    double(1.0)
    time.sleep(0.3)
    with clock.paused():
        time.sleep(0.3)
    double(2.0)
    clock.stop()
    assert 0.3 <= clock.seconds < 0.6
