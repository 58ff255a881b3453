"""The import rule of the four packages, and a limit that keeps rooms small."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"ddl_bench": set(), "baselines": {"ddl_bench"}, "detrame": {"ddl_bench"}, "reports": {"ddl_bench"}}
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(str(node.module).partition(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_and_sizes(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    text = path.read_text()
    tree = ast.parse(text)
    assert imported(tree) & PACKAGES.keys() <= PACKAGES[package] | {package}
    assert "spams" not in imported(tree) or path.name == "spams.py", "spams is GPL-3: only its own adapter imports it"
    assert text.count("\n") <= 250
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 50, f"{node.name} is longer than 50 lines"
