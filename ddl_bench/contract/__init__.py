"""The contract of a method: rules that are tried on small generated tasks, and their findings.

`rules` are the rules, `toys` the tasks, `examine` tries all rules on one class, and `check` does
so for a user: a named method or a plugin in a process of its own, which is `worker`.
"""

import dataclasses
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["held", "broken", "skipped"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One rule of the contract, and how the method stands to it.

    Parameters
    ----------
    rule
        The rule, a sentence with the method's name as its subject.
    status
        "held", "broken", or "skipped" where it was not tried.
    detail
        What is broken and what to do, or why it was skipped.
    """

    rule: str
    status: Status
    detail: str = ""


def still_running(limit_s: float) -> str:
    """Return what a finding says of a call that did not return within its time."""
    return f"still running after {limit_s:g} s: advance() should return, and be False at the end"
