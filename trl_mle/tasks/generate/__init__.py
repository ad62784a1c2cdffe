"""Verified tasks from tables that packages ship, or from a folder of CSV files.

The way of a table: `sources` -> `duplicates` (copies, families) -> `columns` -> `targets` -> `leaks` -> `partition` ->
`programs` -> `verify`. `build` makes the tasks of one table, `workers` runs tables in processes, `generate` is the whole.
"""

from trl_mle.tasks.generate.generate import Progress, default_processes, generate_tasks
from trl_mle.tasks.generate.listing import counts
from trl_mle.tasks.generate.settings import GenerateSettings

__all__ = ["GenerateSettings", "Progress", "counts", "default_processes", "generate_tasks"]
