"""The structure of the package in numbers: files and lines per folder, import depth, comments, the longest file.

    python benchmarks/structure.py                 # of this checkout
    python benchmarks/structure.py OTHER_CHECKOUT  # of another one, for a comparison

The import depth of a folder is the number of files on its longest chain of imports: 1 where no file imports another one of
the same folder. Comments are lines that hold a comment, trailing ones included. They are counted per 100 lines of code,
which are the lines that are neither empty nor part of a docstring.
"""

from __future__ import annotations

import argparse
import ast
import io
import statistics
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = "trl_mle"
DEPTHS = {
    "the sandbox's runner": ("sandboxes/local/runner", "sandboxes/_local"),
    "instrumentation": ("instrumentation",),
    "training": ("training",),
}
"""Name -> folder; the second one is where an earlier version had it."""
OVERLAP, PROCESSES = "training/overlap", "sandboxes/local/runner/processes"
HARD: dict[str, tuple[tuple[str, ...], ...]] = {
    "overlap": (
        tuple(
            f"{OVERLAP}/{name}.py"
            for name in ("execution", "in_flight", "row_runner", "checkpoint", "log_probabilities", "timing")
        ),
        ("training/overlap.py",),
    ),
    "placement": (("instrumentation/analysis/placement.py",), ("instrumentation/flow.py",)),
    "milestone_rules": (
        ("instrumentation/analysis/milestone_rules.py", "instrumentation/analysis/statement_rules.py"),
        ("instrumentation/events.py",),
    ),
    "values": (("instrumentation/analysis/values.py",), ("instrumentation/kinds.py",)),
    "pool": (
        tuple(f"sandboxes/pool/{name}.py" for name in ("pool", "dispatcher", "health")),
        ("sandboxes/pool.py",),
    ),
    "supervisor": (
        tuple(f"{PROCESSES}/{name}.py" for name in ("supervisor", "supervised_program")),
        ("sandboxes/_local/supervise.py",),
    ),
    "trainer": (("training/trainer.py",),),
}
"""The seven algorithms that are hardest to read -> the files of each. The later tuples are those of earlier versions."""


def module_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_typing_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imported(path: Path, root: Path, modules: Iterable[str]) -> set[str]:
    """Modules of this package that `path` imports, inside of functions as well; those for type checkers are left out."""
    module = module_of(path, root)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    names: set[str] = set()
    while nodes:
        node = nodes.pop()
        nodes.extend(child for child in ast.iter_child_nodes(node) if not is_typing_block(child))  # type: ignore[arg-type]
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            names.update(f"{base}.{alias.name}" for alias in node.names)
            names.add(base)
    return {name for name in names if name in modules} - {module}


def depth(files: list[Path], root: Path) -> int:
    """Files on the longest chain of imports among `files`; packages' own `__init__` files are left out."""
    paths = {module_of(path, root): path for path in files if path.name != "__init__.py"}
    edges = {module: imported(path, root, paths) for module, path in paths.items()}

    @cache
    def longest(module: str, _path: frozenset[str] = frozenset()) -> int:
        following = (longest(other, _path | {module}) for other in edges[module] if other not in _path)
        return 1 + max(following, default=0)

    return max(map(longest, paths), default=0)


def comments_and_code(path: Path) -> tuple[int, int]:
    """Lines with a comment, and lines of code, of a file."""
    text = path.read_text(encoding="utf-8")
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    comments = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    documented = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = {number for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    return len(comments), len(lines - documented)


def per_100(paths: Iterable[Path]) -> float:
    counts = [comments_and_code(path) for path in paths]
    return 100 * sum(comments for comments, _ in counts) / max(1, sum(code for _, code in counts))


def hard_files(package: Path, versions: Iterable[tuple[str, ...]]) -> list[Path]:
    """The files of the first version that this checkout has. It has all of them, or it is of another version."""
    paths = [[package / name for name in version] for version in versions]
    return next((files for files in paths if all(path.is_file() for path in files)), [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?", default=Path(__file__).parent.parent)
    root = parser.parse_args().checkout.resolve()
    files = sorted((root / PACKAGE).rglob("*.py"))
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}

    print("| folder | files | lines | median | longest |\n|---|---|---|---|---|")
    folders = sorted({path.relative_to(root / PACKAGE).parts[0] for path in files if path.parent != root / PACKAGE})
    for folder in [*folders, "."]:
        inside = [
            path
            for path in files
            if (
                path.parent == root / PACKAGE if folder == "." else path.relative_to(root / PACKAGE).parts[0] == folder
            )
        ]
        lines = [sizes[path] for path in inside if sizes[path]]
        longest = max(inside, key=sizes.__getitem__)
        print(
            f"| {folder} | {len(inside)} | {sum(lines)} | {statistics.median(lines):.0f} "
            f"| {longest.relative_to(root / PACKAGE)} {sizes[longest]} |"
        )
    print(f"\nall: {len(files)} files, {sum(sizes.values())} lines, longest {max(sizes.values())}")
    print(f"comments per 100 lines of code: {per_100(files):.1f}\n")

    for name, places in DEPTHS.items():
        folder = next(root / PACKAGE / place for place in places if (root / PACKAGE / place).is_dir())
        inside = [path for path in files if folder in path.parents]
        flat = sum(path.parent == folder for path in inside)
        print(f"import depth of {name}: {depth(inside, root)} ({len(inside)} files, {flat} of them flat)")
    print("\n| hard algorithm | files | lines | comments per 100 lines of code |\n|---|---|---|---|")
    for name, versions in HARD.items():
        paths = hard_files(root / PACKAGE, versions)
        if paths:
            print(f"| {name} | {len(paths)} | {sum(sizes[path] for path in paths)} | {per_100(paths):.1f} |")


if __name__ == "__main__":
    main()
