"""Count what makes lines hard to read: `python -m tests.style_counts [PATH ...]`."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.test_architecture import LAYERS

LONGEST = 100  # characters of a line
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def findings(tree: ast.Module) -> Iterator[str]:
    """Yield the kind of each place in a module that is counted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            if isinstance(node.targets[0], ast.Tuple):
                yield "tuple-packed assignments"
        elif isinstance(node, ast.IfExp):
            yield "conditional expressions"
        elif isinstance(node, COMPREHENSIONS):
            inner = [part for part in ast.walk(node) if isinstance(part, COMPREHENSIONS)]
            if len(inner) > 1:
                yield "nested comprehensions"
    yield from without_docstring(tree.body)


def without_docstring(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield once for each public function, class and method that has no docstring."""
    for node in body:
        if not isinstance(node, DEFINITIONS) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield "public, without docstring"
        if isinstance(node, ast.ClassDef):
            yield from without_docstring(node.body)


def count(paths: Sequence[Path]) -> tuple[Counter[str], int]:
    """Count the findings in some files, and their lines."""
    found = Counter[str]()
    n_lines = 0
    for path in paths:
        text = path.read_text()
        lines = text.splitlines()
        n_lines += len(lines)
        found["long lines"] += sum(len(line) > LONGEST for line in lines)
        found.update(findings(ast.parse(text)))
    return found, n_lines


def main(arguments: Sequence[str]) -> None:
    """Print the counts of files and folders, by default of the packages."""
    roots = [Path(argument) for argument in arguments or LAYERS]
    paths = [path for root in roots for path in (root.rglob("*.py") if root.is_dir() else [root])]
    found, n_lines = count(paths)
    print(f"{n_lines:,} lines in {len(paths)} files")
    for kind, number in sorted(found.items()):
        print(f"{number:6} {kind}: {1000 * number / n_lines:.2f} in 1,000 lines")


if __name__ == "__main__":
    main(sys.argv[1:])
