"""Prints how large the rooms of the house are, and which layer imports which. A script, and no test:

python tests/house.py [folder of a checkout]
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

MODULE, CLASS, FUNCTION, PARAMETERS = 250, 250, 40, 5
"""Lines, and parameters of a constructor, above which something is named here."""


def main(root: Path) -> None:
    package = root / "batchling"
    trees = {path.relative_to(package): ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))}
    lines = {path: (package / path).read_text().count("\n") for path in trees}
    print(f"{sum(lines.values()):,} lines in {len(lines)} modules")
    large = Counter({str(path): count for path, count in lines.items() if count > MODULE})
    show(f"modules above {MODULE} lines", large)
    show(f"classes above {CLASS} lines", sizes(trees, ast.ClassDef, CLASS))
    functions = sizes(trees, ast.FunctionDef, FUNCTION) + sizes(trees, ast.AsyncFunctionDef, FUNCTION)
    show(f"functions above {FUNCTION} lines", functions)
    show(f"constructors with more than {PARAMETERS} parameters", constructors(trees))
    print("imports between layers:")
    for (source, aim), count in sorted(layers(trees).items()):
        print(f"  {source:12} -> {aim:12} {count:4}")


def show(title: str, found: Counter[str]) -> None:
    names = ", ".join(f"{name} {count}" for name, count in found.most_common())
    print(f"{title}: {len(found)}{f' ({names})' if names else ''}")


def sizes(trees: dict[Path, ast.Module], kind: type[ast.stmt], most: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, kind) and (count := (node.end_lineno or 0) - node.lineno + 1) > most:
                found[f"{path}:{node.name}"] = count  # type: ignore[attr-defined]
    return found


def constructors(trees: dict[Path, ast.Module]) -> Counter[str]:
    found: Counter[str] = Counter()
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                count = len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs) - 1
                if count > PARAMETERS:
                    found[str(path)] = count
    return found


def layers(trees: dict[Path, ast.Module]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for path, tree in trees.items():
        own = path.parts[0].removesuffix(".py")
        for name in imported(tree):
            if name != own:
                found[own, name] += 1
    return found


def imported(tree: ast.Module) -> Iterator[str]:
    """The layers of our own that a module imports."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "batchling":
            names = [f"batchling.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        yield from (name.split(".")[1] for name in names if name.startswith("batchling."))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent)
