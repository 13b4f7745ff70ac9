"""The size of the code: lines, files, rooms, arrows between rooms, longest functions (the table in docs/design.md)."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from statistics import median

PACKAGE = "singleshot"


def room(module: str) -> str:
    """The folder of a module: `singleshot.train.loop` lies in `train`; a module at the top is a room of its own."""
    return ".".join(module.split(".")[1:-1]) or module.rsplit(".", maxsplit=1)[-1]


def imports(tree: ast.Module) -> set[str]:
    """Modules of the package that a file imports, late imports included."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return modules


def main() -> None:
    """Print the figures for the checkout given, or for this one."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]) / "src"
    files = {".".join(file.relative_to(root).with_suffix("").parts): file for file in root.rglob("*.py")}
    trees = {module: ast.parse(file.read_text(encoding="utf-8")) for module, file in files.items()}
    lines = {module: len(file.read_text(encoding="utf-8").splitlines()) for module, file in files.items()}
    written = {module: count for module, count in lines.items() if not module.endswith("__init__")}
    arrows = {(room(module), room(other)) for module in trees for other in imports(trees[module]) if other in trees}
    functions = sorted(
        (node.end_lineno - node.lineno + 1, f"{module}.{node.name}")
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    )
    print(f"lines {sum(lines.values()):,}")
    print(f"files {len(written)}, median {median(written.values()):.0f} lines, longest {max(written.values())}")
    print(f"rooms {len({room(module) for module in written})}")
    print(f"arrows between rooms {len({(first, second) for first, second in arrows if first != second})}")
    print(f"functions of more than 40 lines {sum(length > 40 for length, _ in functions)}")
    print(f"longest function {functions[-1][0]} lines, {functions[-1][1]}")


if __name__ == "__main__":
    main()
