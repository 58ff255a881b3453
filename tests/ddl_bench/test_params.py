"""Options of a method: a wrong one is one clear line that names it."""

import re
from pathlib import Path

import pytest

from ddl_bench.errors import UserError
from ddl_bench.params import make_method
from ddl_bench.registry import load_method


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"n_steps": True}, "option 'n_steps': expected a number, not true or false"),
        ({"recipe": {"lr": True}}, "option 'recipe.lr': expected a number, not true or false"),
        ({"recipe.lr": 0.1, "recipe": {"lr": 0.2}}, "option 'recipe.lr' is given twice"),
        ({"recipe": "fast", "recipe.base": "paper"}, "option 'recipe.base' is given twice"),
        ({"recipe.mometum": 0.5}, "no option 'recipe.mometum': did you mean 'recipe.momentum'?"),
    ],
)
def test_a_wrong_option_is_one_clear_line(params: dict[str, object], words: str) -> None:
    cls = load_method("lista")
    with pytest.raises(UserError, match=re.escape(words)):
        make_method(cls, params)


def test_a_bool_may_stand_where_one_is_expected() -> None:
    cls = load_method("plainnet")
    method = make_method(cls, {"recipe": {"nesterov": False}})
    assert "nesterov=False" in repr(method)


def test_an_annotation_that_cannot_be_resolved_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "future.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n"
        "@dataclass(frozen=True)\nclass Mine:\n    rate: Missing = 1\n    name = 'mine'\n\n"
        "    def start(self, task, budget):\n        pass\n"
    )
    cls = load_method("mine", [path])
    with pytest.raises(UserError, match="mine: the type of an option cannot be resolved"):
        make_method(cls, {})
