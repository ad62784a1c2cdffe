"""Which files of a SandMLE task programs may see."""

import pytest

from tests.support.sandmle_task import make_task
from trl_mle.errors import TaskError
from trl_mle.tasks import list_tasks, load_task
from trl_mle.tasks.hub.layout import TASK_ID
from trl_mle.tasks.sandmle.layout import TELLING, find_folder, read_layout, task_id


@pytest.fixture
def public(tmp_path):
    return make_task(tmp_path, rows=6) / "prepared" / "public"


def test_evaluator_and_answers_are_private_and_the_rest_is_public(public):
    (public / "images").mkdir()
    (public / "images" / "h001.png").write_bytes(b"x")
    layout = read_layout(find_folder(public.parent.parent))
    assert layout.private == ("answer.csv", "evaluator.py")
    assert layout.public == (*("description.md", "images/h001.png", "sample_submission.csv", "test.csv", "train.csv"),)
    assert (layout.answers, layout.id_column) == ("answer.csv", "id")
    assert find_folder(public) == public.resolve()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("truth_table.dat", "named by the evaluator"),  # by the string in its code
        ("labels/hidden/part.bin", "by the name of a folder"),
        ("test_labels.json", "[1]"),
        ("y_test.npy", "x"),
        ("solution.csv", "a,b\n1,2\n"),
        ("helper.py", "ANSWERS = [1]"),
        ("__pycache__/evaluator.cpython-311.pyc", "x"),
        ("notebook.ipynb", "{}"),
        ("extra.csv", "id,price\nh060,3\nh061,4\n"),  # a copy of some of the answers under an innocent name
        ("extra.tsv", "id\tprice\nh060\t3\n"),
    ],
)
def test_what_could_hold_answers_is_private(public, name, content):
    if name.startswith("truth"):
        text = (public / "evaluator.py").read_text().replace("answer.csv", "./truth_table.dat")
        (public / "evaluator.py").write_text(text)
    (public / name).parent.mkdir(parents=True, exist_ok=True)
    (public / name).write_text(content)
    layout = read_layout(public)
    assert name in layout.private and name not in layout.public


def test_what_a_helper_of_the_evaluator_names_is_private(public):
    evaluator = public / "evaluator.py"
    evaluator.write_text(evaluator.read_text().replace('pd.read_csv(HERE / "answer.csv")', "data_io.read()"))
    (public / "answer.csv").unlink()
    (public / "data_io.py").write_text("# coding: latin-1\n# \xe9\nNAME = './labels.json'\n", encoding="latin-1")
    (public / "draft.py").write_text("def\n")
    with pytest.raises(TaskError, match=r"no file with answers.*Put the answers into a file that evaluator\.py names"):
        read_layout(public)
    (public / "labels.json").write_text("[1]")
    layout = read_layout(public)
    assert layout.private == ("data_io.py", "draft.py", "evaluator.py", "labels.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [("def\n", "is no Python program"), ("-" * 99999 + "1", "is nested too deeply")],
    ids=["syntax", "depth"],
)
def test_an_evaluator_that_cannot_be_read_is_named(public, text, message):
    (public / "evaluator.py").write_text(text)
    with pytest.raises(TaskError, match=rf"evaluator\.py .*{message}"):
        read_layout(public)


@pytest.mark.parametrize(
    "name", ["train_labels", "prices", "golden_retriever", "attestation", "contest_info", "testing_y"]
)
def test_innocent_names_stay_public(name):
    assert not TELLING.search(name)


def test_a_test_table_with_targets_is_refused(public):
    lines = (public / "test.csv").read_text().splitlines()
    (public / "test.csv").write_text("\n".join([lines[0] + ",price", *(line + ",3" for line in lines[1:])]))
    with pytest.raises(TaskError, match=r"test.csv holds the targets of rows to predict"):
        read_layout(public)


def test_a_train_table_with_rows_to_predict_is_refused(public):
    train = public / "train.csv"
    known = train.read_text()
    # The same ids with other features are other rows.
    train.write_text(known + "".join(f"h{60 + at:03d},1.5,7\n" for at in range(6)))
    read_layout(public)
    row, answer = ((public / name).read_text().split()[1] for name in ("test.csv", "answer.csv"))
    train.write_text(f"{known}{row},{answer.split(',')[1]}\n")
    with pytest.raises(TaskError, match=r"train.csv holds rows of test.csv with their targets"):
        read_layout(public)


def test_a_sample_submission_that_is_the_answers_is_refused(public):
    (public / "sample_submission.csv").write_text((public / "answer.csv").read_text())
    with pytest.raises(TaskError, match=r"sample_submission.csv holds the answers themselves"):
        read_layout(public)


@pytest.mark.parametrize("name", ["é" * 80, "[bold]x", "..x", "a b\n"])
def test_any_name_of_a_folder_is_listed_and_gives_an_id(tmp_path, monkeypatch, name):
    make_task(tmp_path / "all", name, rows=6)
    monkeypatch.setenv("SANDMLE_DIR", str(tmp_path / "all"))
    assert f"sandmle:{name}" in list_tasks()
    assert TASK_ID.fullmatch(task_id(name))


def test_a_link_is_refused_and_so_is_a_task_without_answers(public, tmp_path):
    (public / "answer.csv").unlink()
    with pytest.raises(TaskError, match="has no file with answers"):
        read_layout(public)
    (tmp_path / "secret").write_text("s")
    (public / "data.csv").symlink_to(tmp_path / "secret")
    with pytest.raises(TaskError, match=r"data.csv is a link"):
        read_layout(public)


@pytest.mark.parametrize("name", ["sample_submission.csv", "description.md", "evaluator.py"])
def test_a_missing_file_is_named(public, name):
    (public / name).unlink()
    with pytest.raises(TaskError, match=name.replace(".", r"\.")):
        load_task(f"sandmle:{public}")


def test_tasks_of_a_folder_are_listed_by_their_names(tmp_path, monkeypatch):
    make_task(tmp_path / "all", "one")
    assert not [name for name in list_tasks() if name.startswith("sandmle:")]
    monkeypatch.setenv("SANDMLE_DIR", str(tmp_path / "all"))
    assert list_tasks()["sandmle:one"] == "one (SandMLE)"
    with pytest.raises(TaskError, match="there is no folder 'two'"):
        load_task("sandmle:two")
    with pytest.raises(TaskError, match="there is no folder ''"):
        load_task("sandmle:")
