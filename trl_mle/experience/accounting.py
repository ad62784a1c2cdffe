"""Accounting: one experience enters the tables of a store, and those that follow from the experiences that count.

`rebuild` makes the tables anew with the same steps. So after a rewind they are those of a store to which nothing was added since.
"""

from __future__ import annotations

import sqlite3

from trl_mle.comparison import is_better
from trl_mle.errors import ConfigError
from trl_mle.experience.records import Fact
from trl_mle.experience.schema import DERIVED_TABLES

PARENT_MEMORY = 0.95
"""What a child of a parent counts in its recent children, compared with the next one."""
TASK_MEMORY = 0.99
"""The same for the children of all parents of a task."""

_COUNT_CHILD = """
    children = children + 1, children_better = children_better + :better,
    recent_children = :memory * recent_children + 1, recent_better = :memory * recent_better + :better
"""


def insert(db: sqlite3.Connection, fact: Fact, content: str) -> int:
    """Write one experience within a transaction, and return its id.

    Raises:
        ConfigError: its parent is not in the store, or of another task.
    """
    if fact.parent_id is not None:
        parent = db.execute("SELECT depth, task_id FROM experiences WHERE id = ?", (fact.parent_id,)).fetchone()
        if parent is None:
            raise ConfigError(f"`parent` is {fact.parent_id}, but the store has no such experience.")
        if parent[1] != fact.task_id:
            raise ConfigError(
                f"`parent` {fact.parent_id} is a program of the task {parent[1]!r}, and its child one of {fact.task_id!r}."
            )
        fact = fact._replace(depth=parent[0] + 1)
    cursor = db.execute("INSERT INTO rows (content) VALUES (?)", (content,))
    id_ = cursor.lastrowid
    assert id_ is not None
    marks = ", ".join("?" * len(fact))
    db.execute(f"INSERT INTO experiences (id, {', '.join(fact._fields)}) VALUES (?, {marks})", (id_, *fact))
    account(db, id_, fact)
    return id_


def account(db: sqlite3.Connection, id_: int, fact: Fact) -> None:
    """Enter one experience, which counts, into the derived tables."""
    db.execute(
        "INSERT INTO tasks (task_id, experiences, valid, depth) VALUES (?, 1, ?, ?) ON CONFLICT (task_id) DO UPDATE SET"
        " experiences = experiences + 1, valid = valid + excluded.valid, depth = max(depth, excluded.depth)",
        (fact.task_id, fact.kind == "valid", fact.depth),
    )
    if fact.parent_id is not None:
        _count_child(db, id_, fact)
    if fact.reward is not None and fact.fingerprint is not None:
        _add_candidate(db, id_, fact)


def _count_child(db: sqlite3.Connection, id_: int, fact: Fact) -> None:
    parent = "SELECT reward, fingerprint FROM experiences WHERE id = ? AND NOT superseded"
    parent_score, fingerprint = db.execute(parent, (fact.parent_id,)).fetchone() or (None, None)
    better = is_better(fact.kind, fact.reward, parent_score)
    if better is None:
        return
    values = {"better": better, "id": id_, "fingerprint": fingerprint, "task": fact.task_id}
    # A parent may be a copy of the candidate.
    db.execute(
        f"UPDATE candidates SET {_COUNT_CHILD}, progress = CASE WHEN :better THEN :id ELSE progress END"
        " WHERE task_id = :task AND fingerprint = :fingerprint",
        {**values, "memory": PARENT_MEMORY},
    )
    db.execute(f"UPDATE tasks SET {_COUNT_CHILD} WHERE task_id = :task", {**values, "memory": TASK_MEMORY})


def _add_candidate(db: sqlite3.Connection, id_: int, fact: Fact) -> None:
    """Make the experience a candidate, unless its program is one already: copies do not crowd the others out."""
    known = db.execute(
        "SELECT 1 FROM candidates WHERE task_id = ? AND fingerprint = ?", (fact.task_id, fact.fingerprint)
    ).fetchone()
    if known:
        return
    db.execute("UPDATE tasks SET candidates = candidates + 1 WHERE task_id = ?", (fact.task_id,))
    db.execute(
        "INSERT INTO families VALUES (:task_id, :family, 1, :reward) ON CONFLICT (task_id, family) DO UPDATE SET"
        " members = members + 1, best_reward = max(best_reward, excluded.best_reward)",
        fact._asdict(),
    )
    db.execute(
        "INSERT INTO candidates (id, task_id, number, reward, fingerprint, family, features, family_number)"
        " SELECT :id, :task_id, candidates, :reward, :fingerprint, :family, :features, members"
        " FROM tasks JOIN families USING (task_id) WHERE task_id = :task_id AND family = :family",
        {**fact._asdict(), "id": id_},
    )


def rebuild(db: sqlite3.Connection) -> None:
    """Make the derived tables anew from the experiences that are not superseded."""
    for table in DERIVED_TABLES:
        db.execute(f"DELETE FROM {table}")
    columns = ", ".join(Fact._fields)
    for id_, *values in db.execute(f"SELECT id, {columns} FROM experiences WHERE NOT superseded ORDER BY id"):
        account(db, id_, Fact(*values))
