"""Check one method: `python -m ddl_bench.contract.worker TARGET LIKE INDEX LIMIT_S PIPE PARENT`.

The messages are JSON objects: the `rule` that is tried next, a `finding`, how many methods there
are (`n_methods`), an `error` of the user, and `finished`.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ddl_bench.api import Method
from ddl_bench.contract import Finding
from ddl_bench.contract.examine import examine
from ddl_bench.contract.parts import examine_parts, parts_of
from ddl_bench.contract.toys import Shape, shapes_like
from ddl_bench.errors import UserError
from ddl_bench.harness.worker import end_with_parent
from ddl_bench.registry import load_method, methods_in


class Sender:
    """Sends messages to the process that asked."""

    def __init__(self, pipe: int) -> None:
        self._connection = Connection(pipe, readable=False)
        self._process = os.getpid()

    def send(self, **message: Any) -> None:
        """Send a message; a copy of this process, which a method has forked, ends instead."""
        if os.getpid() != self._process:
            os._exit(0)
        self._connection.send_bytes(json.dumps(message).encode())


def main(target: str, like: str, index: int, limit_s: float, pipe: int) -> None:
    """Check the `index`-th method that a target stands for, and end the process."""
    sender = Sender(pipe)
    sender.send(rule=f"{target} can be imported")
    try:
        shapes = shapes_like(like or None)
        classes = classes_of(target)
        sender.send(n_methods=len(classes))
        for finding in findings_of(target, classes, index, shapes, limit_s, sender):
            sender.send(finding=dataclasses.asdict(finding))
        sender.send(finished=True)
    except (UserError, ImportError) as error:
        sender.send(error=str(error))
    sys.stdout.flush()
    os._exit(0)  # a call that hangs is left behind in its thread


def findings_of(
    target: str,
    classes: Sequence[type[Method]],
    index: int,
    shapes: Sequence[Shape],
    limit_s: float,
    sender: Sender,
) -> Iterator[Finding]:
    """Yield the findings on one method, before the first also those on what else a file offers."""
    if index == 0 and target.endswith(".py"):
        yield from examine_parts(Path(target))
    if classes:
        yield from examine(
            classes[index], shapes, limit_s, announce=lambda rule: sender.send(rule=rule)
        )


def classes_of(target: str) -> list[type[Method]]:
    """Return the classes that the name of a method, or a plugin file, stands for."""
    if not target.endswith(".py"):
        return [load_method(target)]
    classes = list(methods_in(Path(target)).values())
    if not classes and not parts_of(Path(target)):
        raise UserError(
            f"{target}: no method in it, nor DATASETS, METRICS or REPORTS: expected a frozen"
            " dataclass with `name` and `start(task, budget)`, or what from_module, from_function"
            " or from_estimator returns"
        )
    return classes


if __name__ == "__main__":
    _, wanted, images, number, seconds, handle, parent = sys.argv
    end_with_parent(int(parent))
    main(wanted, images, int(number), float(seconds), int(handle))
