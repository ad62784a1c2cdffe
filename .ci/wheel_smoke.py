"""What the installed package can do without its tests: every public name, the files it ships, a program in the sandbox."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import trl_mle
from trl_mle import LocalSandbox, list_tasks, load_task

if "site-packages" not in trl_mle.__file__:
    sys.exit(f"trl_mle comes from {trl_mle.__file__}, not from the wheel.")
for name in trl_mle.__all__:
    getattr(trl_mle, name)

PACKAGE = Path(trl_mle.__file__).parent
PATTERNS = (
    "py.typed",
    "prompts/templates/*",
    "instrumentation/llm/templates/*",
    "tasks/builtin/*/*.md",
    "tasks/builtin/*/task.yaml",
    "recipes/*/*.yaml",
    "reports/html/templates/js/*.js",
    "accelerate_configs/*.yaml",
)
missing = [pattern for pattern in PATTERNS if not any(PACKAGE.glob(pattern))]
if missing:
    sys.exit(f"The wheel lacks {', '.join(missing)}: see package-data in pyproject.toml.")


async def run_program() -> str:
    async with LocalSandbox() as sandbox:
        return (await sandbox.run("print(6 * 7)", load_task("builtin:diabetes"))).stdout


assert len(list_tasks()) >= 7
assert asyncio.run(run_program()) == "42\n"
print(f"trl_mle {trl_mle.__version__}: public names, files and the sandbox work")
