"""SandMLE tasks with their evaluators in real sandboxes."""

import pickle
import socket
import stat
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from tests.support.sandmle_task import EVALUATOR, make_task
from trl_mle.errors import GradingError, TaskError
from trl_mle.grading.script import close_evaluators
from trl_mle.prompts import build_prompt
from trl_mle.tasks import load_task


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sandmle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRL_MLE_CACHE", str(folder / "cache"))
        yield folder
    close_evaluators()


@pytest.fixture(scope="module")
def source(cache):
    return make_task(cache)


@pytest.fixture(scope="module")
def task(source):
    return load_task(f"sandmle:{source}")


@pytest.fixture(scope="module")
def answers(source):
    return pd.read_csv(source / "prepared/public/answer.csv")


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def test_a_task_is_graded_by_its_evaluator_on_each_part(task, answers):
    """Nearly everything at once: this is the one test of the default suite that starts evaluators."""
    off = answers.assign(price=answers["price"] + 3.0)
    for split in ("public", "private", "all"):
        grade = task.grade(csv(off.sample(frac=1, random_state=0)), split)
        assert grade.valid and grade.score == pytest.approx(3.0)
        assert (grade.medal, grade.above_median) == ("silver", True)
    ids = pd.read_csv(task.private_dir / "parts.csv")
    half = answers.merge(ids, on="id")
    half.loc[half["split"] == "public", "price"] += 50.0
    assert task.grade(csv(half[["id", "price"]]), "private").score == pytest.approx(0.0)
    assert task.grade(csv(half[["id", "price"]]), "public").score == pytest.approx(50.0)
    refused = task.grade(csv(answers.assign(price=-1.0)))
    assert not refused.valid and "a negative price" in str(refused.reason)
    assert "inf, not a finite" in str(task.grade(csv(answers.assign(price=1e300))).reason)
    assert (task.direction, task.transform.worst, task.transform.best) == ("minimize", 22.0, 2.0)  # the median is 12
    assert not {"answer.csv", "evaluator.py"} & {path.name for path in task.public_dir.rglob("*")}
    assert stat.S_IMODE(task.private_dir.stat().st_mode) == 0o700
    prompt = " ".join(message["content"] for message in build_prompt(task))
    assert "answer.csv" not in prompt and "evaluator.py" not in prompt


@pytest.mark.slow
def test_threads_and_a_pickled_task_grade_alike(task, answers):
    copy = pickle.loads(pickle.dumps(task))
    shifts = [0.5 * at for at in range(1, 9)]
    with ThreadPoolExecutor(4) as threads:
        grades = list(
            threads.map(lambda shift: copy.grade(csv(answers.assign(price=answers["price"] + shift))), shifts)
        )
    assert [grade.score for grade in grades] == pytest.approx(shifts)


def variant(cache, name: str, old: str, new: str):
    assert old in EVALUATOR
    return make_task(cache, name, EVALUATOR.replace(old, new))


HOSTILE = {
    "the network": "import socket; socket.create_connection(('127.0.0.1', PORT), 5)",
    "files of the host": "open('/etc/passwd').read()",
    "its own answers, to write": "(HERE / 'answer.csv').write_text('x')",
    "too long": "import time; time.sleep(60)",
    "too much memory": "held = [bytearray(1 << 24) for _ in range(1000)]",
    "a mistake": "submission.nothing()",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", HOSTILE)
def test_an_evaluator_that_fails_on_a_well_formed_submission_is_no_fault_of_the_policy(cache, answers, what):
    """It works for the sample, whose prices are 30, and reaches for something only for another submission."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        _fails(cache, answers, what, HOSTILE[what].replace("PORT", str(server.getsockname()[1])))


def _fails(cache, answers, what, hostile):
    statement = f'if (submission["price"] != 30).all():\n        {hostile}\n    '
    folder = variant(cache, what.replace(" ", "-").replace(",", ""), "both = answer", f"{statement}both = answer")
    task = load_task(f"sandmle:{folder}")
    options = {**task.grader_options, "time_limit_s": 5.0, "memory_bytes": 512 * 1024**2}
    object.__setattr__(task, "grader_options", options)
    with pytest.raises(GradingError):
        task.grade(csv(answers))


@pytest.mark.slow
def test_an_evaluator_that_stopped_working_is_found_out_by_the_sample(cache, answers):
    folder = variant(cache, "stopped", 'answer = pd.read_csv(HERE / "answer.csv")', "answer = load()")
    evaluator = folder / "prepared/public/evaluator.py"
    load = 'def load():\n    if (HERE / "broken.csv").exists():\n        raise ValueError("broken")\n'
    evaluator.write_text(
        evaluator.read_text().replace("def main", f'{load}    return pd.read_csv(HERE / "answer.csv")\n\n\ndef main')
    )
    task = load_task(f"sandmle:{folder}")
    task.public_dir.chmod(0o755)
    (task.public_dir / "broken.csv").write_text("x\n1\n")
    with pytest.raises(GradingError, match="gives the sample submission no score"):
        task.grade(csv(answers))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("import pandas as pd", "import no_such_package", "cannot be used.*no_such_package"),
        ('print(json.dumps({"score"', 'print("done"); (({"score"', "printed no JSON"),
        ('"score": score', '"score": 1.5', "as good as gold"),
        ('"is_lower_better": True, ', "", None),
        ('"is_lower_better": True, "gold_threshold": 2.0, ', "", "does not say whether a lower score"),
    ],
)
def test_an_evaluator_that_cannot_be_used_is_refused(cache, tmp_path, old, new, message):
    folder = variant(tmp_path, "refused", old, new)
    if message is None:  # the direction follows from the thresholds
        assert load_task(f"sandmle:{folder}").direction == "minimize"
        return
    before = set((cache / "cache").iterdir()) if (cache / "cache").exists() else set()
    with pytest.raises(TaskError, match=message):
        load_task(f"sandmle:{folder}")
    assert set((cache / "cache").iterdir()) == before


@pytest.mark.slow
def test_an_evaluator_that_needs_all_rows_has_one_part(cache, answers, caplog):
    statement = 'if len(submission) != 40:\n        raise ValueError("40 rows")\n    both = answer'
    task = load_task(f"sandmle:{variant(cache, 'one-part', 'both = answer', statement)}")
    assert "cannot be cut into a public and a private part" in caplog.text
    assert {task.grade(csv(answers), split).score for split in ("public", "private", "all")} == {0.0}


@pytest.mark.slow
def test_an_evaluator_that_counts_other_rows_as_wrong_has_one_part(cache, answers, caplog):
    """It takes the rows from `test.csv`, and 0 for those that the submission lacks."""
    statement = (
        'answer = pd.read_csv(HERE / "test.csv")[["id"]].merge(answer, how="left").fillna(0)\n'
        '    submission = answer[["id"]].merge(submission, how="left").fillna(500)\n    both = answer'
    )
    folder = variant(cache, "all-rows", "both = answer", statement)
    text = (folder / "prepared/public/evaluator.py").read_text()
    start = text.index("    if set(submission")
    (folder / "prepared/public/evaluator.py").write_text(text[:start] + text[text.index("    if (submission") :])
    task = load_task(f"sandmle:{folder}")
    assert "cannot be cut into a public and a private part" in caplog.text
    assert {task.grade(csv(answers), split).score for split in ("public", "private", "all")} == {0.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "cell"),
    [
        ('[ast.literal_eval(cell) for cell in submission["kind"]]', "[0.1 0.2]"),
        ('[json.loads(cell) for cell in submission["kind"]]', "[" * 20_000),
        ('[ast.literal_eval(cell) for cell in submission["kind"]]', "-" * 20_000 + "1"),
        ('[max(ast.literal_eval(cell)) for cell in submission["kind"]]', "[1, 'a']"),
    ],
)
def test_a_policy_cannot_make_its_failure_a_fault_by_texts_that_no_parser_reads(cache, statement, cell):
    text = EVALUATOR.replace("both = answer", f"{statement}\n    both = answer").replace(
        "import json", "import ast, json"
    )
    folder = make_task(cache, f"boxes-{len(cell)}", text)
    sample = folder / "prepared/public/sample_submission.csv"
    lines = sample.read_text().split()
    sample.write_text("\n".join(f'{line},"{"[1, 2]" if at else "kind"}"' for at, line in enumerate(lines)))
    task = load_task(f"sandmle:{folder}")
    good = pd.read_csv(task.sample_path)
    assert task.grade(csv(good)).valid
    refused = task.grade(csv(good.assign(kind=[cell, *good["kind"][1:]])))
    assert not refused.valid and refused.reason


@pytest.mark.slow
@pytest.mark.parametrize(("what", "status"), [("time.sleep(60)", "timeout"), ("bytearray(1 << 32)", "error")])
def test_a_policy_cannot_make_its_failure_a_fault_by_texts_that_cost_an_evaluator_too_much(cache, what, status):
    text = EVALUATOR.replace("import json", "import json, time")
    text = text.replace("both = answer", f'if "slow" in set(submission["kind"]):\n        {what}\n    both = answer')
    folder = make_task(cache, f"costly-{status}", text)
    sample = folder / "prepared/public/sample_submission.csv"
    lines = sample.read_text().split()
    sample.write_text("\n".join(f"{line},{'a' if at else 'kind'}" for at, line in enumerate(lines)))
    task = load_task(f"sandmle:{folder}")
    object.__setattr__(task, "grader_options", {**task.grader_options, "time_limit_s": 6.0, "memory_bytes": 1 << 29})
    good = pd.read_csv(task.sample_path)
    assert task.grade(csv(good)).valid
    refused = task.grade(csv(good.assign(kind=["slow", *good["kind"][1:]])))
    assert not refused.valid and "'kind'" in str(refused.reason) and f"status {status!r}" in str(refused.reason)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ('np.bincount(submission["price"].astype(int))', "the number 1000000000000 in column 'price'"),
        ('print("Error: prices"); return', "printed no JSON object but 'Error: prices'"),
        ("print(json.dumps({'error': 'prices'})); return", "no `score`: prices"),
    ],
)
def test_a_policy_cannot_make_its_failure_a_fault_by_huge_numbers_or_printed_errors(cache, statement, reason):
    text = EVALUATOR.replace("import json", "import json, numpy as np")
    text = text.replace(
        "both = answer", f'if (submission["price"] > 1e9).any():\n        {statement}\n    both = answer'
    )
    task = load_task(f"sandmle:{make_task(cache, f'huge-{len(statement)}', text)}")
    refused = task.grade(csv(pd.read_csv(task.sample_path).assign(price=10**12)))
    assert not refused.valid and reason in str(refused.reason)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "cell", "given", "reason"),
    [
        ('submission["kind"].str.lower()', "a", 1, "has no text, where the sample submission has texts"),
        ('[[0, 1, 2, 3][grade] for grade in submission["kind"]]', 1, 2.5, "has the number 2.5, where the sample"),
    ],
)
def test_a_policy_cannot_make_its_failure_a_fault_by_other_values(cache, statement, cell, given, reason):
    text = EVALUATOR.replace("both = answer", f"{statement}\n    both = answer")
    folder = make_task(cache, f"kinds-{cell}", text)
    sample = folder / "prepared/public/sample_submission.csv"
    sample.write_text(
        "\n".join(f"{line},{cell if at else 'kind'}" for at, line in enumerate(sample.read_text().split()))
    )
    task = load_task(f"sandmle:{folder}")
    good = pd.read_csv(task.sample_path)
    assert task.grade(csv(good)).valid
    refused = task.grade(csv(good.assign(kind=given)))
    assert not refused.valid and reason in str(refused.reason) and "the evaluator failed with" in str(refused.reason)
    if cell == 1:
        assert task.grade(csv(good.assign(kind=1.0))).valid
