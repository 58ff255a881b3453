"""A hash of what a method does: its own source and that of everything of ours it imports.

Comments, docstrings, layout and what a class says `about` itself do not count: a better sentence throws no result away.
"""

import ast
import hashlib
import importlib.util
import sys
from functools import cache
from pathlib import Path


def source_hash(cls: type) -> str:
    """Hex digest over the modules that `cls` reaches within its own top-level package and ddl_bench."""
    roots = {"ddl_bench", cls.__module__.partition(".")[0]}
    seen: dict[str, str] = {}
    waiting = [cls.__module__]
    while waiting:
        name = waiting.pop()
        if name in seen or name.partition(".")[0] not in roots:
            continue
        path = _file(name)
        if path is None:
            continue
        seen[name], imports = _read(path)
        waiting.extend(imports)
    text = "\n".join(f"{name} {digest}" for name, digest in sorted(seen.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _file(name: str) -> Path | None:
    module = sys.modules.get(name)
    if module is not None and getattr(module, "__file__", None):
        return Path(str(module.__file__))
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # `from package import function` also suggests package.function
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(path.read_text())
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.ClassDef):
            node.body = [part for part in node.body if not _is_about(part)]
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            first.value.value = ""
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(imports)


def _is_about(part: ast.stmt) -> bool:
    targets = (
        part.targets
        if isinstance(part, ast.Assign)
        else [part.target]
        if isinstance(part, ast.AnnAssign)
        else []
    )
    return any(isinstance(target, ast.Name) and target.id == "about" for target in targets)
