"""Real programs, run as they are and instrumented: same behaviour, and marks for what was truly reached."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from trl_mle.instrumentation import ASTInstrumenter, new_nonce, parse_milestones, strip_marks, verify_print_only
from trl_mle.types import MILESTONES, Program

DATA = Path(__file__).parents[1] / "data"
LETTERS = dict(zip("ILFDTEW", MILESTONES, strict=True))
LABELS = yaml.safe_load((DATA / "programs" / "labels.yaml").read_text())
NONCE = new_nonce()


def expected(name: str) -> tuple[str, ...]:
    """Milestones whose marks must be seen: all that were reached, less the known misses in parentheses."""
    return tuple(LETTERS[letter] for letter in re.sub(r"\(.*?\)|-", "", LABELS[name]))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(name, instrumented or not) -> folder in which the program has run, and the instrumented programs."""
    from sklearn.datasets import load_wine

    root = tmp_path_factory.mktemp("corpus")
    frame = load_wine(as_frame=True).frame.sample(frac=1, random_state=0).reset_index(drop=True)
    frame.insert(0, "id", range(len(frame)))
    (root / "input").mkdir()
    frame[:130].to_csv(root / "input" / "train.csv", index=False)
    frame[130:].drop(columns="target").to_csv(root / "input" / "test.csv", index=False)
    frame[130:][["id", "target"]].assign(target=0).to_csv(root / "input" / "sample_submission.csv", index=False)
    folders, instrumented = {}, {}
    for name in LABELS:
        code = (DATA / "programs" / f"{name}.py").read_text()
        instrumented[name] = ASTInstrumenter().instrument(Program("", code), NONCE)
        for marked, text in ((False, code), (True, instrumented[name].code)):
            folder = folders[name, marked] = root / f"{name}-{'marked' if marked else 'plain'}"
            folder.mkdir()
            (folder / "input").symlink_to(root / "input")
            (folder / "main.py").write_text(text)
    subprocess.run(
        [sys.executable, str(DATA / "run_programs.py"), *map(str, folders.values())],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "0"},
    )
    return folders, instrumented


def test_every_program_has_a_label():
    assert set(LABELS) == {path.stem for path in (DATA / "programs").glob("*.py")}


@pytest.mark.parametrize("name", LABELS)
def test_instrumented_program_behaves_as_the_original(runs, name):
    plain, marked = runs[0][name, False], runs[0][name, True]
    assert (plain / "exit_code").read_text() == (marked / "exit_code").read_text()
    assert strip_marks((marked / "stdout").read_text(), NONCE) == (plain / "stdout").read_text()
    submissions = [folder / "submission.csv" for folder in (plain, marked)]
    assert submissions[0].exists() == submissions[1].exists()
    if submissions[0].exists():
        assert submissions[0].read_bytes() == submissions[1].read_bytes()
    assert verify_print_only((plain / "main.py").read_text(), (marked / "main.py").read_text(), NONCE).ok


@pytest.mark.parametrize("name", LABELS)
def test_marks_name_what_was_reached(runs, name):
    stdout = (runs[0][name, True] / "stdout").read_text()
    assert parse_milestones(stdout, NONCE) == expected(name)
    assert set(expected(name)) <= set(runs[1][name].inserted)
    assert stdout.count("[[trl_mle:") <= 40
    assert (runs[1][name].fallback_reason is None) == (name != "25_syntax_error")


def test_corpus_covers_every_milestone_reached_and_missed(runs):
    reached = Counter(milestone for name in LABELS for milestone in expected(name))
    for milestone in MILESTONES:
        assert 3 <= reached[milestone] < len(LABELS)
