"""The tables of an experience store, in SQL, and what the header of its file says.

Two tables are facts: `experiences` (small columns) and `rows` (the whole outcome, as JSON). The others follow from them, so that a
parent is found without a look at every row. `accounting` fills them, and fills them again after a rewind.
"""

from __future__ import annotations

APPLICATION_ID = 0x54524C4D
"""`PRAGMA application_id` of a store: the letters TRLM. It tells a store from the SQLite files of other software."""

STORE_VERSION = 1
"""`PRAGMA user_version`. It rises when a table changes its meaning."""

FACTS = """
CREATE TABLE experiences (
    id INTEGER PRIMARY KEY,             -- in the order of insertion; never given twice
    task_id TEXT NOT NULL,
    kind TEXT NOT NULL,                 -- OutcomeKind
    prompt_kind TEXT NOT NULL,          -- PromptKind
    parent_id INTEGER,
    step INTEGER,                       -- optimizer steps before the program was written
    depth INTEGER NOT NULL,             -- 0 from scratch, else one more than the parent's
    reward REAL,                        -- of the score that is rewarded; valid outcomes only
    fingerprint BLOB,                   -- of the program without comments and spaces
    family TEXT,                        -- kinds of models that the program builds; valid outcomes only
    features TEXT,                      -- how it prepares its features; valid outcomes only
    superseded INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX failures ON experiences (task_id, id) WHERE kind = 'failure' AND fingerprint IS NOT NULL AND NOT superseded;

CREATE TABLE rows (id INTEGER PRIMARY KEY, content TEXT NOT NULL);  -- JSON of outcomes.to_row

-- The history of rewinds: ids above `start` were added after the store had gone back to `base`.
CREATE TABLE segments (start INTEGER PRIMARY KEY, base INTEGER NOT NULL);
"""

DERIVED = """
-- The programs that may be parents: the first valid outcome of each program that counts.
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL,
    number INTEGER NOT NULL,            -- within the task: 1, 2, 3 ... without gaps
    reward REAL NOT NULL,
    fingerprint BLOB NOT NULL,
    family TEXT NOT NULL,
    features TEXT NOT NULL,
    family_number INTEGER NOT NULL,     -- within the family of the task: 1, 2, 3 ... without gaps
    children INTEGER NOT NULL DEFAULT 0,
    children_better INTEGER NOT NULL DEFAULT 0,
    recent_children REAL NOT NULL DEFAULT 0,  -- the same two, each child counting less than the next one
    recent_better REAL NOT NULL DEFAULT 0,
    progress INTEGER                    -- id of the newest child that is better
);
CREATE UNIQUE INDEX by_number ON candidates (task_id, number);
CREATE UNIQUE INDEX by_fingerprint ON candidates (task_id, fingerprint);
CREATE INDEX by_reward ON candidates (task_id, reward, number);
CREATE UNIQUE INDEX by_family_number ON candidates (task_id, family, family_number);
CREATE INDEX by_family_reward ON candidates (task_id, family, reward, number);
CREATE INDEX by_progress ON candidates (task_id, progress) WHERE progress IS NOT NULL;

CREATE TABLE families (
    task_id TEXT NOT NULL, family TEXT NOT NULL, members INTEGER NOT NULL, best_reward REAL NOT NULL,
    PRIMARY KEY (task_id, family)
) WITHOUT ROWID;
CREATE INDEX families_by_reward ON families (task_id, best_reward, family);

CREATE TABLE tasks (
    task_id TEXT PRIMARY KEY,
    experiences INTEGER NOT NULL DEFAULT 0,
    valid INTEGER NOT NULL DEFAULT 0,
    candidates INTEGER NOT NULL DEFAULT 0,
    depth INTEGER NOT NULL DEFAULT 0,   -- of the longest lineage
    children INTEGER NOT NULL DEFAULT 0,
    children_better INTEGER NOT NULL DEFAULT 0,
    recent_children REAL NOT NULL DEFAULT 0,
    recent_better REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""

DERIVED_TABLES = ("candidates", "families", "tasks")

CREATE = f"""
BEGIN IMMEDIATE;
{FACTS}
{DERIVED}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {STORE_VERSION};
COMMIT;
"""

CHECKED_TABLES = ("experiences", "segments", *DERIVED_TABLES)
"""Tables that are read in full when a store is opened. Damage to `rows`, which is far larger, is found on reading it."""
