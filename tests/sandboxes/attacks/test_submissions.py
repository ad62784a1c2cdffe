"""Attacks by the submission: on the grader's time and memory, on its arithmetic, on what it takes for a file."""

from __future__ import annotations

import os
import time
import tracemalloc

import pytest

from tests.support.hang import HANG_S
from trl_mle import Task
from trl_mle.tasks import load_task

ROWS = "import csv\nrows = list(csv.DictReader(open('input/test.csv')))\nids = [r['id'] for r in rows]\n"
GOOD = f"{ROWS}good = ['id,y'] + [f'{{i}},0.5' for i in ids]\n"
WRITE = "open('submission.csv', 'w').write('\\n'.join(good) + '\\n')"
BYTES = "open('submission.csv', 'wb').write(%s)"

TRICKS = {
    # No file.
    "nothing": "pass",
    "symlink": "import os; open('real.csv', 'w').write('\\n'.join(good)); os.symlink('real.csv', 'submission.csv')",
    "symlink_to_the_sample": "import os; os.symlink('input/sample_submission.csv', 'submission.csv')",
    "hard_link": "import os; open('a', 'w').write('\\n'.join(good)); os.link('a', 'submission.csv')",
    "fifo": "import os; os.mkfifo('submission.csv')",
    "socket": "import socket; socket.socket(socket.AF_UNIX).bind('submission.csv')",
    "folder": "import os; os.makedirs('submission.csv/submission.csv')",
    "device": "import os; os.symlink('/dev/zero', 'submission.csv')",
    "elsewhere": "import os; os.mkdir('out'); open('out/submission.csv', 'w').write('\\n'.join(good))",
    "other_case": "open('Submission.CSV', 'w').write('\\n'.join(good))",
    # Too much.
    "huge": BYTES % "b'1,2\\n' * (17 * 2**20)",
    "sparse": "open('submission.csv', 'wb').truncate(65 * 2**20)",
    "sparse_within_the_limit": "open('submission.csv', 'wb').truncate(20 * 2**20)",
    "commas": BYTES % "b',' * 60_000_000",
    "lines": BYTES % "b'\\n' * 20_000_000",
    "long_line": BYTES % "b'id,y\\n0,' + b'1' * 20_000_000",
    "quoted_field": BYTES % "b'id,y\\n0,\"' + b'x' * 20_000_000 + b'\"\\n'",
    "quotes": BYTES % "b'\"' * 20_000_000",
    "open_quote": BYTES % "b'id,y\\n0,\"' + b'1,2\\n' * 1_000_000",
    "columns": BYTES % "b'id,y,' + b','.join(b'%d' % n for n in range(2_000_000)) + b'\\n'",
    "small_but_wide": BYTES % "b'id,y' + b',' * 50_000 + b'\\n' + b',' * 30_000",
    "many_rows": BYTES % "b'id,y\\n' + b'0,1\\n' * 5_000_000",
    "long_number": "good[1] = ids[0] + ',' + '9' * 20_000; " + WRITE,
    "long_id": "good[1] = '9' * 20_000 + ',1'; " + WRITE,
    # No text.
    "gzip": "import gzip; " + BYTES % "gzip.compress('\\n'.join(good).encode())",
    "gzip_bomb": "import gzip; " + BYTES % "gzip.compress(bytes(10**8))",
    "zip": "import zipfile; zipfile.ZipFile('submission.csv', 'w').writestr('submission.csv', '\\n'.join(good))",
    "pickle": "import pickle; " + BYTES % "pickle.dumps(good)",
    "parquet_head": BYTES % "b'PAR1' + bytes(1000) + b'PAR1'",
    "utf_16": "open('submission.csv', 'w', encoding='utf-16').write('\\n'.join(good))",
    "utf_32": "open('submission.csv', 'w', encoding='utf-32').write('\\n'.join(good))",
    "latin_1": "good[1] += '\\xe9'; open('submission.csv', 'w', encoding='latin-1').write('\\n'.join(good))",
    "nul": "good[1] += '\\0'; " + WRITE,
    "random": "import os; " + BYTES % "os.urandom(100_000)",
    "empty": BYTES % "b''",
    "mark_alone": BYTES % "b'\\xef\\xbb\\xbf'",
    "surrogates": BYTES % "'\\n'.join(good).encode() + b'\\xed\\xa0\\x80'",
    "json": "import json; json.dump(good, open('submission.csv', 'w'))",
    "markup": BYTES % "b'<!DOCTYPE x [<!ENTITY a \"aaaa\">]><x>&a;</x>'",
    # No numbers.
    **{
        f"value_{name}": f"good[1] = ids[0] + ',' + {value!r}; " + WRITE
        for name, value in {
            "nan": "nan",
            "minus_nan": "-NaN",
            "inf": "inf",
            "minus_infinity": "-Infinity",
            "overflow": "1e999",
            "empty": "",
            "text": "high",
            "underscores": "1_0",
            "hexadecimal": "0x10",
            "complex": "1j",
            "none": "None",
            "na": "NA",
            "formula": "=1+1",
            "command": "=cmd|' /C calc'!A0",
            "list": "[1]",
            "boolean": "True",
            "comma": '"0,5"',
        }.items()
    },
    # Values that are numbers but give no finite score.
    "overflowing_score": "good[1:] = [i + ',1e308' for i in ids]; " + WRITE,
    # Wrong rows and columns.
    "header_alone": "good[1:] = []; " + WRITE,
    "no_header": "good[:1] = []; " + WRITE,
    "missing_row": "good.pop(); " + WRITE,
    "half_of_the_rows": "good[20:] = []; " + WRITE,
    "extra_row": "good.append('999999,1'); " + WRITE,
    "duplicate_row": "good.append(good[-1]); " + WRITE,
    "duplicate_id": "good[2] = good[1]; " + WRITE,
    "duplicate_id_in_other_spelling": "good[2] = ' ' + good[1]; " + WRITE,
    "unknown_id": "good[1] = '-1,0.5'; " + WRITE,
    "ids_as_other_numbers": "good[1] = ids[0] + '.5,0.5'; " + WRITE,
    "one_id_in_two_spellings": "good[2] = ids[0] + '.0,0.5'; " + WRITE,
    "empty_id": "good[1] = ',0.5'; " + WRITE,
    "extra_column": "good[0] += ',z'; good[1:] = [g + ',1' for g in good[1:]]; " + WRITE,
    "index_column": "good[0] = ',' + good[0]; good[1:] = ['0,' + g for g in good[1:]]; " + WRITE,
    "column_twice": "good[0] += ',y'; good[1:] = [g + ',1' for g in good[1:]]; " + WRITE,
    "split_column": "good[0] += ',split'; good[1:] = [g + ',private' for g in good[1:]]; " + WRITE,
    "other_case_of_a_column": "good[0] = 'ID,Y'; " + WRITE,
    "missing_column": "good[0] = 'id'; good[1:] = ids; " + WRITE,
    "semicolons": "good = [g.replace(',', ';') for g in good]; " + WRITE,
    "tabs": "good = [g.replace(',', '\\t') for g in good]; " + WRITE,
    "ragged": "good[3] += ',1'; " + WRITE,
    "comment": "good.insert(1, '# note'); " + WRITE,
    "two_tables": "good += good; " + WRITE,
}


@pytest.fixture(scope="module")
def honest(score):
    """The same program with nothing changed has a valid submission."""
    outcome = score(f"{GOOD}{WRITE}")
    assert outcome.kind == "valid"
    return outcome


@pytest.mark.parametrize("trick", TRICKS)
def test_trick_is_a_failure_in_bounded_time(score, honest, toy: Task, trick, tmp_path):
    """Never an exception, never no reward, and always worth less than the worst valid submission."""
    outcome = score(f"{GOOD}{TRICKS[trick]}")
    assert outcome.fault is None
    assert outcome.kind == "failure"
    assert -10 <= outcome.reward <= -9.3
    assert outcome.reward < -1 <= honest.reward
    submission = outcome.execution.submission
    if submission is None:
        return
    (path := tmp_path / "submission.csv").write_bytes(submission)
    for given in (submission, path):
        for split in ("public", "private", "all") if len(submission) < 2**20 else ("public",):
            tracemalloc.start()
            began = time.monotonic()
            try:
                grade = toy.grade(given, split)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert time.monotonic() - began < HANG_S
            assert peak < 64 * 1024**2 + 4 * len(submission)
            assert (grade.valid, grade.score) == (False, None)
            assert 0 < len(grade.reason) < 1000


PLACES = ("folder", "fifo", "symlink", "device", "missing", "no_folder", "unreadable")


@pytest.mark.parametrize("place", PLACES)
def test_grading_a_path_does_not_follow_or_wait(toy: Task, tmp_path, place):
    path = tmp_path / "submission.csv"
    real = tmp_path / "real.csv"
    real.write_text((toy.public_dir / "sample_submission.csv").read_text())
    assert toy.grade(real).valid
    if place == "folder":
        path.mkdir()
    elif place == "fifo":
        os.mkfifo(path)
    elif place == "symlink":
        path.symlink_to(real)
    elif place == "device":
        path.symlink_to("/dev/zero")
    elif place == "no_folder":
        path = real / "submission.csv"
    elif place == "unreadable":
        if os.geteuid() == 0:
            pytest.skip("root reads every file")
        path.write_text("id,y\n")
        path.chmod(0)
    began = time.monotonic()
    grade = toy.grade(path)
    assert time.monotonic() - began < HANG_S
    assert not grade.valid
    assert grade.reason


def test_answers_are_not_a_submission(score, toy: Task):
    """A program that names the answers gets no better than one that does not."""
    outcome = score(f"import shutil\nshutil.copy({str(toy.folder / 'private/answers.csv')!r}, 'submission.csv')")
    assert outcome.kind == "failure"
    assert outcome.execution.submission is None


def test_task_is_what_it_was(toy: Task):
    """After all of these the same task grades as a fresh one does."""
    sample = toy.public_dir / "sample_submission.csv"
    assert toy.grade(sample) == load_task(str(toy.folder)).grade(sample)
