"""A Kaggle folder: attempts are scored on held-out rows, and the best program runs on the real test file."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.support.sandbox_doubles import SandboxDouble, execution
from tests.support.solving import COPY, ScriptedPolicy, kaggle_folder, text_of
from trl_mle import LocalSandbox, ProgramScorer
from trl_mle.config import SandboxConfig
from trl_mle.errors import ConfigError, TaskError
from trl_mle.instrumentation.no_instrumenter import NoInstrumenter
from trl_mle.solve import SearchSettings, open_problem, solve
from trl_mle.solve.attempts import AttemptLog
from trl_mle.solve.problem import HELD_OUT, REAL

OPTIONS = {"target": ("price",), "metric": "rmse", "drop": (), "keep": (), "split": None}


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    return kaggle_folder(tmp_path_factory.mktemp("kaggle"))


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_real_files_have_the_form_of_the_task(houses, out):
    problem = open_problem(str(houses), out, OPTIONS)
    task, real = problem.task, problem.real
    assert real is not None and task.folder == out / HELD_OUT / "houses" and real.spec.folder == out / REAL
    train, held_out = pd.read_csv(real.spec.train_path), pd.read_csv(task.train_path)
    test, sample = pd.read_csv(real.spec.test_path), pd.read_csv(real.spec.sample_path)
    assert list(train.columns) == list(held_out.columns) and list(train.dtypes) == list(held_out.dtypes)
    assert [name for name in train.columns if name != "price"] == list(test.columns)
    source = pd.read_csv(houses / "test.csv", sep=";", decimal=",")
    assert list(test["Id"]) == list(sample["Id"]) == list(source["Id"])
    assert list(test["area"]) == list(source["area"])
    assert test["sold"].str.fullmatch(r"2021-\d\d-\d\d").all()
    known = pd.read_csv(houses / "train.csv", sep=";", decimal=",")
    assert len(train) == len(known) and sorted(train["price"]) == sorted(known["price"])
    assert train["Id"].is_unique and not set(train["Id"].astype(str)) & set(test["Id"].astype(str))
    # The order says nothing that the order of the user's file said.
    assert list(train["price"]) != list(known["price"])
    again = open_problem(str(houses), out, OPTIONS)
    assert again.task == task


def test_the_form_of_a_submission_is_checked(houses, out):
    real = open_problem(str(houses), out, OPTIONS).real
    assert real is not None and real.rows == 30
    sample = real.spec.sample_path.read_bytes()
    assert real.wrong_form(sample) is None
    assert real.wrong_form(None) == "no submission.csv was written for the real test file"
    lines = sample.splitlines(keepends=True)
    assert "rows are missing" in str(real.wrong_form(b"".join(lines[:-1])))
    assert "not a finite number" in str(real.wrong_form(sample.replace(lines[1], lines[1].split(b",")[0] + b",nan\n")))
    assert real.wrong_form(b"\xff\0") is not None


def test_fewer_test_rows_than_classes(tmp_path, out):
    home = tmp_path / "three"
    home.mkdir()
    rows = pd.DataFrame({"x": range(90), "z": [0, 1] * 45, "kind": ["a", "b", "c"] * 30})
    rows.to_csv(home / "train.csv", index=False)
    pd.DataFrame({"x": [1], "z": [0]}).to_csv(home / "test.csv", index=False)
    real = open_problem(str(home), out, {"target": ("kind",), "metric": "accuracy"}).real
    assert real is not None and real.wrong_form(b"id,kind\n0,a\n") is None
    assert "needs 1 rows and the columns id, kind" in str(real.wrong_form(b"id,other\n0,a\n"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda home: (home / "test.csv").unlink(), "no test.csv, so there is nothing to predict"),
        (lambda home: (home / "train.csv").unlink(), "give the path of a CSV file, or a folder that has train.csv"),
        (
            lambda home: (
                pd.read_csv(home / "test.csv", sep=";")
                .drop(columns="rooms")
                .to_csv(home / "test.csv", index=False, sep=";")
            ),
            "",
        ),
        (
            lambda home: (home / "test.csv").write_text("Id;area;rooms;sold;same\nh1;1;2;3;x\nh1;1;2;3;x\n"),
            "more than once",
        ),
    ],
)
def test_folders_that_cannot_work(tmp_path, out, change, message):
    home = kaggle_folder(tmp_path)
    change(home)
    if message:
        with pytest.raises(TaskError, match=message):
            open_problem(str(home), out, OPTIONS)
    else:  # a column that the test file lacks is left out of the task, too
        problem = open_problem(str(home), out, OPTIONS)
        assert "rooms" not in pd.read_csv(problem.task.train_path).columns


class TwoFolders(SandboxDouble):
    """Programs whose first word is `bad` write a submission for the held-out rows alone."""

    workers = 2

    def __init__(self):
        self.real_runs = 0

    async def run(self, code, task, limits=None, *, source=None, group=None):
        sample = pd.read_csv(task.sample_path)
        is_real = task.folder.name == REAL
        self.real_runs += is_real
        sample["price"] += float(code.split()[-1])
        if is_real and code.startswith("bad"):
            sample = sample[:-1]
        return execution(submission=sample.to_csv(index=False).encode())


async def test_a_program_that_fails_on_the_real_file_is_not_the_best(houses, out):
    problem = open_problem(str(houses), out, OPTIONS)
    policy = ScriptedPolicy(*map(text_of, ("good = 50000", "bad = 10", "good = 40000")))
    sandbox = TwoFolders()
    found = await solve(
        problem, policy, out, 60.0, ProgramScorer(sandbox, NoInstrumenter()), SearchSettings(attempts=3)
    )
    assert found.best is not None and (out / "solution.py").read_text().strip() == "good = 40000"
    assert len(pd.read_csv(out / "submission.csv")) == 30 and sandbox.real_runs == 3
    assert [reason for reason, _ in found.failures] == [
        "on the real test file: 1 of 30 rows are missing, for example id " + last_id(problem)
    ]
    page = (out / "page.html").read_text()
    assert "30 rows of the real test file" in page


async def test_a_program_that_the_real_file_has_refused_does_not_run_there_again(houses, out):
    problem, sandbox = open_problem(str(houses), out, OPTIONS), TwoFolders()
    scorer = ProgramScorer(sandbox, NoInstrumenter())
    found = await solve(
        problem,
        ScriptedPolicy(text_of("bad = 10")),
        out,
        60.0,
        scorer,
        SearchSettings(attempts=6, samples_per_prompt=1),
    )
    assert found.best is None and found.valid == 6 and sandbox.real_runs == 1
    assert [count for _, count in found.failures] == [6]


def last_id(problem) -> str:
    return repr(str(pd.read_csv(problem.real.spec.sample_path)["Id"].iloc[-1]))


@pytest.mark.slow
async def test_in_the_sandbox(houses, out):
    problem = open_problem(str(houses), out, OPTIONS)
    scorer = ProgramScorer(LocalSandbox(SandboxConfig(workers=1)))
    found = await solve(problem, ScriptedPolicy(text_of(COPY), "x"), out, 120.0, scorer, SearchSettings(attempts=4))
    assert found.valid == 2 and found.best is not None and found.best.outcome.private is not None
    written = pd.read_csv(out / "submission.csv")
    source = pd.read_csv(houses / "test.csv", sep=";", decimal=",")
    assert list(written["Id"]) == list(source["Id"])
    expected = 900 * source["area"] + 8000 * source["rooms"]
    assert (written["price"] - expected).abs().max() < 5000


def rows_of(task) -> list[tuple]:
    """Area and price of each labelled row: those of the train table and of the answers."""
    train = pd.read_csv(task.train_path)
    test = pd.read_csv(task.test_path).merge(pd.read_csv(task.private_dir / "answers.csv"), on="Id")
    return sorted(map(tuple, pd.concat([train, test])[["area", "price"]].to_numpy()))


def test_further_splits_leave_the_private_rows_out(houses, out):
    problem = open_problem(str(houses), out, OPTIONS, splits=3)
    answers = pd.read_csv(problem.task.private_dir / "answers.csv")
    private = set(answers[answers["split"] == "private"]["price"])
    first, second = problem.splits
    assert rows_of(first) == rows_of(second) and len(rows_of(first)) == 120 - len(private)
    assert not private & {price for _, price in rows_of(first)}
    trains = [pd.read_csv(split.train_path) for split in problem.splits]
    assert list(trains[0]["price"]) != list(trains[1]["price"])
    assert list(trains[0].dtypes) == list(pd.read_csv(problem.task.train_path).dtypes)
    assert first.submission_columns == problem.task.submission_columns
    assert first.grade(first.sample_path, "all").valid
    assert open_problem(str(houses), out, OPTIONS, splits=3).splits == problem.splits
    with pytest.raises(ConfigError, match="one division by time"):
        open_problem(str(houses), out / "time", OPTIONS | {"split": "time:sold"}, splits=2)
    with pytest.raises(ConfigError, match="is a task, whose test rows are given"):
        open_problem(str(problem.task.folder), out, splits=2)


class Lucky(TwoFolders):
    """A program predicts the target plus a number on the task, and plus another one on the further splits."""

    async def run(self, code, task, limits=None, *, source=None, group=None):
        here, elsewhere = map(float, code.split()[-2:])
        sample = pd.read_csv(task.sample_path)
        if task.folder.name != REAL:
            truth = pd.read_csv(task.folder / "private" / "answers.csv")
            sample["price"] = truth["price"] + (here if task.folder.name == "houses" else elsewhere)
        return execution(submission=sample.to_csv(index=False).encode())


async def sessions(houses, out, splits, *programs):
    """The solution after one session for each number of `splits`, in which one more of the programs is tried."""
    policy = ScriptedPolicy(*map(text_of, programs))
    for attempts, count in enumerate(splits, 1):
        problem = open_problem(str(houses), out, OPTIONS, splits=count)
        scorer = ProgramScorer(Lucky(), NoInstrumenter())
        found = await solve(problem, policy, out, 60.0, scorer, SearchSettings(attempts=attempts))
    return found


async def test_a_best_attempt_of_one_division_is_compared_by_its_mean(houses, out):
    found = await sessions(houses, out, (1, 3), "lucky = 2, 100 30000", "good = 3, 50 8000")
    assert found.best is not None and (out / "solution.py").read_text().startswith("good")


async def test_a_program_that_is_invalid_on_a_division_is_looked_at_once(houses, out):
    found = await sessions(houses, out, (2, 2), "broken = 1, 10 nan", "fine = 2, 20 20")
    assert found.best is not None and (out / "solution.py").read_text().startswith("fine")
    log = AttemptLog(out)
    assert log.facts(1).refused == "not valid on every division of the rows"
    log.close()


def test_tables_may_be_mended_until_a_search_has_begun(tmp_path, out):
    """A call that fails may have held rows out of the old table already."""
    home = kaggle_folder(tmp_path)
    test = (home / "test.csv").read_text()
    (home / "test.csv").write_text("Id;area;rooms;sold;same\nh1;1;2;3;x\nh1;1;2;3;x\n")
    with pytest.raises(TaskError, match="more than once"):
        open_problem(str(home), out, OPTIONS)
    (home / "test.csv").write_text(test)
    train = home / "train.csv"
    rows = train.read_text().splitlines(keepends=True)
    train.write_text("".join(rows[:-20]))
    task = open_problem(str(home), out, OPTIONS).task
    assert len(pd.read_csv(task.train_path)) + len(pd.read_csv(task.test_path)) == len(rows) - 1 - 20
    AttemptLog(out).close()
    train.write_text("".join(rows[:-30]))
    with pytest.raises(ConfigError, match="have changed since"):
        open_problem(str(home), out, OPTIONS)


async def test_a_lucky_attempt_of_one_division_does_not_come_back(houses, out):
    """Each accepted attempt is compared by its mean before the files are looked at."""
    texts = ("lucky = 1, 150 40000", "luckier = 2, 100 30000", "good = 3, 50 8000", "worse = 4, 9000 9000")
    found = await sessions(houses, out, (1, 1, 3, 3), *texts)
    assert found.best.id == 3 and (out / "solution.py").read_text().startswith("good")


async def test_the_mean_over_the_splits_decides(houses, out):
    texts = ("honest = 1, 9000 9000", "lucky = 2, 100 30000", "good = 3, 8000 8000")
    found = await sessions(houses, out, (3, 3, 3), *texts)
    assert found.best is not None and (out / "solution.py").read_text().startswith("good")
    assert found.best.id == 3 and found.best.facts.mean is not None
    assert "mean over 3 divisions" in (out / "page.html").read_text()
