"""`task_digest`: whether two evaluations of a task score alike."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from trl_mle.tasks import Task

NOT_SCORED = ("folder", "reference", "baseline", "title", "description")


def task_digest(task: Task) -> str:
    """A digest of a task's settings and answers. What only the prompt holds has no part in it."""
    digest = hashlib.sha256()
    described = {name: value for name, value in asdict(task).items() if name not in NOT_SCORED}
    digest.update(json.dumps(described, sort_keys=True, default=str).encode())
    for path in sorted(path for path in task.private_dir.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(task.private_dir)}\0{path.stat().st_size}".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
