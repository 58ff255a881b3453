"""Try all rules of the contract on one class, in this process."""

import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import torch

from ddl_bench.api import Method, Skip
from ddl_bench.contract import Finding, still_running
from ddl_bench.contract.rules import (
    FORM,
    NEEDED,
    RULES,
    SHORT,
    TO_THE_END,
    Broken,
    NotTried,
    trains,
)
from ddl_bench.contract.toys import Shape

Announce: TypeAlias = Callable[[str], object]
RAISED = "raised "  # begins the detail of a rule that an exception ended


def examine(
    cls: type[Method],
    shapes: Sequence[Shape],
    limit_s: float,
    announce: Announce = lambda rule: None,
) -> Iterator[Finding]:
    """Try all rules on a class, yield each finding as it is made, and end its child processes.

    Parameters
    ----------
    cls
        The method.
    shapes
        Shapes of the images to train on.
    limit_s
        Seconds after which a rule that is still being tried counts as broken.
    announce
        Called with each rule before it is tried.
    """
    before = set(psutil.Process().children(recursive=True))
    folder = Path.cwd()
    try:
        yield from _findings(cls, shapes, Examiner(limit_s, announce))
    finally:
        os.chdir(folder)
        for child in set(psutil.Process().children(recursive=True)) - before:
            child.kill()


def _findings(
    cls: type[Method], shapes: Sequence[Shape], examiner: "Examiner"
) -> Iterator[Finding]:
    for words, form_rule in FORM.items():
        finding = examiner.judge(f"{cls.name} {words}", form_rule, cls)
        yield finding
        if finding.status == "broken" and form_rule in NEEDED:
            return
    tried: dict[Shape, Finding] = {}
    budget = TO_THE_END
    for shape in shapes:
        size = "x".join(map(str, shape))
        sentence = f"{cls.name} trains on {size} images and scores them"
        tried[shape] = examiner.judge(sentence, trains, cls, shape, budget)
        yield tried[shape]
        if tried[shape].status != "skipped":
            budget = SHORT
    if all(finding.status == "skipped" for finding in tried.values()):
        examiner.obstacle = f"the method skips these images: {tried[shapes[-1]].detail}"
        advice = "give images that it is made for: ddl-bench check --like DATASET"
        yield Finding(f"{cls.name} trains on some of these images", "broken", advice)
    shape = _best(tried)
    for words, rule in RULES.items():
        yield examiner.judge(f"{cls.name} {words}", rule, cls, shape)


def _best(tried: dict[Shape, Finding]) -> Shape:
    """The first shape that the method trains on, or else the first that it does not skip."""
    for status in ("held", "broken", "skipped"):
        for shape, finding in tried.items():
            if finding.status == status:
                return shape
    raise AssertionError("there is a shape to try")


class Examiner:
    """Tries rules one after the other, each for so many seconds.

    A rule that takes longer is left behind in its thread, and no other is tried beside it.
    """

    def __init__(self, limit_s: float, announce: Announce) -> None:
        self.limit_s = limit_s
        self.announce = announce
        self.obstacle = ""  # why no further rule can be tried
        self._raised: dict[str, str] = {}  # by what the method raised, the rule that met it first

    def judge(self, sentence: str, rule: Callable[..., None], *arguments: Any) -> Finding:
        """Try a rule and return the finding."""
        if self.obstacle:
            return Finding(sentence, "skipped", self.obstacle)
        self.announce(sentence)
        outcome: list[Finding] = []
        n_threads = torch.get_num_threads()

        def attempt() -> None:
            torch.set_num_threads(n_threads)  # which is a setting of each thread
            outcome.append(_try(sentence, rule, *arguments))

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(self.limit_s)
        if outcome:
            return self._once(outcome[0])
        self.obstacle = "a call of the method is still running"
        return Finding(sentence, "broken", still_running(self.limit_s))

    def _once(self, finding: Finding) -> Finding:
        """Return a finding; one that ended by the same error as an earlier one was not tried."""
        if finding.status != "broken" or not finding.detail.startswith(RAISED):
            return finding
        first = self._raised.setdefault(finding.detail, finding.rule)
        if first == finding.rule:
            return finding
        return Finding(finding.rule, "skipped", "ended by the same error")


def _try(sentence: str, rule: Callable[..., None], *arguments: Any) -> Finding:
    try:
        rule(*arguments)
    except (NotTried, Skip) as error:
        return Finding(sentence, "skipped", str(error))
    except Broken as error:
        return Finding(sentence, "broken", str(error))
    except BaseException as error:  # of a thread, so none is meant for this process
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}, line {last.lineno}"
        problem = f"{RAISED}{type(error).__name__}: {error} ({place})"
        return Finding(sentence, "broken", problem)
    return Finding(sentence, "held")
