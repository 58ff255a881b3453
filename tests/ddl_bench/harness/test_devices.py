"""Which precisions a run is allowed to compute in on this machine."""

import pytest

from ddl_bench import machine
from ddl_bench.errors import UserError
from ddl_bench.harness.devices import check_precision
from ddl_bench.plan.cell import Machine
from tests.conftest import make_cell

BFLOAT16 = Machine(threads=1, precision="bfloat16")


@pytest.mark.parametrize("flags", [{"avx2", "avx512_bf16"}, {"asimd", "bf16"}, set()])
def test_bfloat16_that_may_be_fast_is_allowed(
    flags: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "processor_flags", lambda: flags)
    check_precision([make_cell("a", machine=BFLOAT16)])


def test_bfloat16_that_would_take_days_is_refused_on_the_cpu_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "processor_flags", lambda: {"avx2"})
    on_gpu = make_cell("c", machine=Machine(threads=1, device="cuda", precision="bfloat16"))
    check_precision([on_gpu, make_cell("b")])
    with pytest.raises(UserError, match="number by number"):
        check_precision([on_gpu, make_cell("a", machine=BFLOAT16)])
