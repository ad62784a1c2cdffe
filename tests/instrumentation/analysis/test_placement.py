"""Each milestone, and where its mark goes."""

import re
import textwrap
import time

import pytest

from trl_mle.errors import UserError
from trl_mle.instrumentation import ASTInstrumenter, mark, verify_print_only
from trl_mle.types import Program

NONCE = "0123456789abcdef0123456789abcdef"
PRINT = re.compile(
    r"""(?:print|__import__\("builtins"\)\.print)\(["']\[\[trl_mle:[0-9a-f]{32}:(\w+)\]\]\\n["'], end=(?:""|''), """
    r'(?:file=__import__\("sys"\)\.__stdout__, )?flush=True\)'
)


def instrument(code: str):
    return ASTInstrumenter().instrument(Program("plan", code), NONCE)


def shown(code: str) -> str:
    """The instrumented program, each mark written as `<milestone>`."""
    result = instrument(code)
    assert verify_print_only(code, result.code, NONCE).ok
    return PRINT.sub(r"<\1>", result.code)


def dedent(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


def check(text: str, only: str | None = None) -> None:
    """`text` holds `<milestone>` at the expected places; without them it is the program. `only` looks at one mark."""
    expected = dedent(text)
    code = re.sub(r"(?m)^[ \t]*<\w+>\n|; <\w+>|\n<\w+>\Z", "", expected)
    found = shown(code)
    if only is not None:
        found = re.sub(rf"(?m)^[ \t]*<(?!{only}>)\w+>\n|; <(?!{only}>)\w+>", "", found)
    assert found == expected


def inserted(code: str) -> set[str]:
    return set(instrument(dedent(code)).inserted)


def test_marks_stand_right_after_the_statement_that_reaches_them():
    check('''
        """Docstring."""
        from __future__ import annotations
        import os
        import pandas as pd  # data
        from sklearn.linear_model import Ridge
        <imported_libraries>
        import sys
        train = pd.read_csv(
            "input/train.csv",
        )  # comment
        <loaded_data>
        test = pd.read_csv("input/test.csv")
        X = train.drop(columns="y")
        <built_features>
        model = Ridge()
        <defined_model>
        model.fit(X, train["y"])
        <trained_model>
        test["y"] = model.predict(test)
        test.to_csv("submission.csv")
        <wrote_predictions>
    ''')


def test_several_milestones_of_one_statement():
    check("""
        from sklearn.pipeline import make_pipeline
        <imported_libraries>
        p = make_pipeline(StandardScaler(), SVC()).fit(a, b).score(X_val, y_val)
        <built_features>
        <defined_model>
        <trained_model>
        <evaluated_model>
    """)


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("import numpy as np\nx = 1\nimport pandas as pd\n<imported_libraries>\nimport os\n", "last"),
        ("try:\n    import lightgbm\nexcept ImportError:\n    from sklearn import svm\n<imported_libraries>\n", "or"),
        ("import numpy\ntry:\n    import torch\nexcept ImportError:\n    x = 0\n<imported_libraries>\n", "and"),
        ("try:\n    import numpy\n    <imported_libraries>\n    f()\nexcept ValueError:\n    pass\n", "in a try"),
        ("def f():\n    import torch\n    <imported_libraries>\n    g()\nf()\n", "in a function"),
        ("import numpy\ntry:\n    import torch\n    <imported_libraries>\n    torch.f()\nexcept ImportError:\n    pass\n"
         "<imported_libraries>\n", "after one that may be missing"),
        ("import numpy\nif gpu:\n    import cudf\n    <imported_libraries>\n    f()\n<imported_libraries>\n", "after a choice"),
        ("import numpy\n<imported_libraries>\ndef f():\n    import torch\nf()\n", "top level first"),
    ],
)  # fmt: skip
def test_imports(code, place):
    check(code, only="imported_libraries")


@pytest.mark.parametrize(
    "code",
    [
        "import os, sys\n",
        "try:\n    import lightgbm\nexcept ImportError:\n    lightgbm = None\n",
        "from .pandas import x\n",
        "import pandas_like\n",
        "if False:\n    import numpy\n",
    ],
)
def test_imports_that_reach_nothing(code):
    assert inserted(code) == set()


@pytest.mark.parametrize(
    "code",
    [
        'd = pd.read_csv("input/train.csv")',
        'd = pd.read_parquet(PATH + "/train.parquet")',
        "d = np.loadtxt(f)",
        "d = np.genfromtxt('train.csv', delimiter=',')",
        'with open("input/train.csv") as f:\n    rows = f.readlines()',
        'with open("train.csv") as f:\n    for row in csv.reader(f):\n        rows.append(row)',
        'f = open("train.csv")\nrows = list(csv.reader(f))',
        'for row in csv.DictReader(open("train.csv")):\n    rows.append(row)',
        'frames = {n: pd.read_csv(f"input/{n}.csv") for n in ("train", "test")}',
        'text = Path("input/train.csv").read_text()',
        'TRAIN = DIR / "train.csv"\nd = pd.read_csv(TRAIN)',
        'def r(p):\n    return pd.read_csv(p)\nd = r("train.csv")',
        "d = pl.read_csv(args.train_path)",
    ],
)
def test_loading(code):
    assert "loaded_data" in inserted(code)


@pytest.mark.parametrize(
    "code",
    [
        's = pd.read_csv("input/sample_submission.csv")',
        't = pd.read_csv("input/test.csv")',
        't = pd.read_csv("submission.csv")',
        'with open("input/test.csv") as f:\n    rows = f.readlines()',
        'with open("input/train.csv") as f:\n    pass',
        "d = load_digits()",
        'read_csv = "train.csv"',
        "f = lambda: pd.read_csv('train.csv')",
    ],
)
def test_not_loading(code):
    assert "loaded_data" not in inserted(code)


def test_data_is_loaded_once_the_training_file_is():
    check("""
        test = pd.read_csv("test.csv")
        other = pd.read_csv("stores.csv")
        train = pd.read_csv("train.csv")
        <loaded_data>
    """)


@pytest.mark.parametrize(
    "code",
    [
        "Z = scaler.fit_transform(a)",
        "tfidf = TfidfVectorizer()\ntfidf.fit(texts)",
        "d = pd.get_dummies(d)",
        "X = d[cols]",
        "train_X = d[cols]",
        "X_train, y_train = d[cols], d['y']",
        "features = [c for c in d.columns if c != 'y']",
        "a, b = train_test_split(d)",
        'd = pd.read_csv("train.csv")\nd["ratio"] = d.a / d.b',
        'd = pd.read_csv("train.csv")\ny = d.pop("y")',
        "ds = lgb.Dataset(d)\nX: list = f(d)",
        "loader = DataLoader(ds)",
    ],
)
def test_features(code):
    assert "built_features" in inserted(code)


@pytest.mark.parametrize(
    "code",
    [
        "X = []",
        "X = None",
        "X = {}",
        "scaler = StandardScaler()",
        's = pd.read_csv("sample_submission.csv")\ns["y"] = p\ns.drop("x")',
        't = pd.read_csv("test.csv")\nt["y"] = model.predict(t)',
        "x = 3\nname = f(x)",
        "model.fit(a, b)",
    ],
)
def test_not_features(code):
    assert "built_features" not in inserted(code)


@pytest.mark.parametrize(
    "code",
    [
        "m = RandomForestClassifier()",
        "m = xgb.XGBRegressor(n_estimators=5)",
        "m = lgb.LGBMClassifier()",
        "m = CatBoostClassifier()",
        "m = Pipeline([('s', StandardScaler()), ('m', SVC())])",
        "m = GridSearchCV(SVC(), {})",
        "m = nn.Sequential(nn.Linear(2, 3))",
        "m = AutoModelForSequenceClassification.from_pretrained(name)",
        "class Net(nn.Module):\n    pass\nm = Net()",
        "class Own:\n    def fit(self, a):\n        pass\n    def predict(self, a):\n        pass\nm = Own()",
        "m = {'a': Ridge(), 'b': Lasso()}",
        "m = Ridge() if flag else Lasso()",
        "def make():\n    return LinearSVC()\nm = make()",
        "m = torchvision.models.resnet18()",
    ],
)
def test_models(code):
    assert "defined_model" in inserted(code)
    assert "trained_model" not in inserted(code)


@pytest.mark.parametrize(
    "code",
    [
        "m = RandomForestClassifier",
        "m = StandardScaler()",
        "m = Pipeline([('s', StandardScaler())])",
        "m = flag and Ridge()",
        "m = Ridge() if flag else None",
        "f = lambda: Ridge()",
        "class Net(nn.Module):\n    def __init__(self):\n        self.a = nn.Sequential()",
        "def make():\n    return Ridge()",
    ],
)
def test_not_models(code):
    assert "defined_model" not in inserted(code)


@pytest.mark.parametrize(
    "code",
    [
        "model.fit(X, y)",
        "b = lgb.train(params, d)",
        "b = xgb.train(params, d, 100)",
        "s = cross_val_score(model, X, y)",
        "m = SVC().fit(X, y)",
        "m = sm.OLS(y, X).fit()",
        "c = np.linalg.lstsq(A, b)",
        "labels = KMeans(3).fit_predict(X)",
        "for m in models:\n    m.fit(X, y)",
        "for e in range(n):\n    for x, y in loader:\n        loss.backward()\n        opt.step()",
        "ms = [Ridge(a).fit(X, y) for a in alphas]",
        "trainer = Trainer(model=model)\ntrainer.train()",
        "def objective(t):\n    model.fit(X, y)\n    return 1\nstudy.optimize(objective, n_trials=9)",
    ],
)
def test_training(code):
    assert {"trained_model", "defined_model"} <= inserted(code)


@pytest.mark.parametrize(
    "code",
    [
        "scaler.fit(X)",
        "StandardScaler().fit(X)",
        "tfidf = TfidfVectorizer()\ntfidf.fit(X, y)",
        "model.train()",
        "thing.fit(width)",
        "loss.backward()",
        "opt.step()",
        "model.fit",
        "f = lambda: model.fit(X, y)",
        "for m in []:\n    m.fit(X, y)",
        "while False:\n    model.fit(X, y)",
        "if False:\n    model.fit(X, y)",
        "g = (m.fit(X, y) for m in models)",
        "ok and model.fit(X, y)",
        "def never():\n    model.fit(X, y)",
        "for m in models:\n    try:\n        m.fit(X, y)\n    except Exception:\n        pass",
        "for i in range(10**6):\n    if rare(i):\n        model.fit(X, y)",
        "with suppress(ValueError):\n    pass\nraise SystemExit\nmodel.fit(X, y)",
    ],
)
def test_not_training(code):
    assert "trained_model" not in inserted(code)


@pytest.mark.parametrize(
    "code",
    [
        "a = accuracy_score(y_val, model.predict(X_val))",
        "a = metrics.roc_auc_score(y[va], p)",
        "a = log_loss(y, oof)",
        "s = cross_val_score(model, X, y)",
        "m = SVC().fit(a, b)\ns = m.score(X_test, y_test)",
        "g = GridSearchCV(m, {})\nb = g.best_score_",
        "acc = (pred == y_val).mean()",
        "rmse = np.sqrt(np.mean((y_valid - pred) ** 2))",
        "def rmse(t, p):\n    return np.sqrt(mean_squared_error(t, p))\nr = rmse(y_test, p)",
        "a, b, c, d = train_test_split(X, y)\ns = f1_score(d, model.predict(b))",
        "for i, (a, b) in enumerate(kf.split(X)):\n    r = mean_absolute_error(y[b], p)",
        "p = cross_val_predict(m, X, y)\ns = r2_score(y, p)",
        "model = Sequential()\nmodel.fit(X, y, validation_split=0.1)",
        "model = Sequential()\nmodel.evaluate(X_val, y_val)",
        "model.fit(X[:60], y[:60])\na = mean_squared_error(y[60:], model.predict(X[60:]))",
        "n = 60\na, b = y[:n], y.iloc[n:]\nr = r2_score(b, p)",
    ],
)
def test_evaluation(code):
    assert "evaluated_model" in inserted(code)


@pytest.mark.parametrize(
    "code",
    [
        "a = accuracy_score(y_train, model.predict(X_train))",
        "model.fit(X, y)\na = accuracy_score(y, model.predict(X))",
        "s = game.score(X_test, y_test)",
        "s = player.score()",
        "m = SVC().fit(X, y)\ns = m.score(X, y)",
        "best_score_ = 3\nprint(best_score_)",
        "acc = (pred == y_train).mean()",
        "m = values.mean()",
        "z = (y_val - 1).mean()",
        "from sklearn.metrics import accuracy_score\nscorer = make(accuracy_score)",
        "print('accuracy', 0.9)",
        "a = accuracy_score(y[:60], model.predict(X[:60]))",
        "model.fit(X, y)\na = accuracy_score(y, model.predict(X[:, 1:]))",
    ],
)
def test_not_evaluation(code):
    assert "evaluated_model" not in inserted(code)


@pytest.mark.parametrize(
    "code",
    [
        'sub.to_csv("submission.csv", index=False)',
        'sub.to_csv(path_or_buf="./submission.csv")',
        'OUT = "submission.csv"\nsub.to_csv(OUT)',
        'np.savetxt("submission.csv", p)',
        'sub.write_csv("submission.csv")',
        'Path("submission.csv").write_text(t)',
        'with open("submission.csv", "w") as f:\n    f.write(t)',
        'with open("submission.csv", mode="w") as f:\n    print(t, file=f)',
        'with Path("submission.csv").open("w") as f:\n    sub.to_csv(f)',
        'f = open("submission.csv", "w")\nf.write(t)\nf.close()',
        'os.replace("tmp.csv", "submission.csv")',
    ],
)
def test_writing(code):
    assert inserted(code) == {"wrote_predictions"}


@pytest.mark.parametrize(
    "code",
    [
        'd.to_csv("features.csv")',
        'd.to_csv("sample_submission.csv")',
        "text = d.to_csv()",
        'with open("submission.csv") as f:\n    f.read()',
        'with open("submission.csv", "w") as f:\n    pass',
        'f = open("submission.csv", "w")',
        'name = "submission.csv"',
    ],
)
def test_not_writing(code):
    assert "wrote_predictions" not in inserted(code)


def test_after_the_with_block_and_the_loop():
    check("""
        def main():
            with open("submission.csv", "w") as f:
                for row in rows:
                    f.write(row)
            <wrote_predictions>
            for fold in range(5):
                for m in models:
                    m.fit(X, y)
            <defined_model>
            <trained_model>
            return 3
        main()
    """)


def test_both_branches():
    check(
        """
        if fast:
            m = Ridge()
            <defined_model>
        elif slow:
            m = Lasso()
            <defined_model>
        else:
            m = None
        try:
            m.fit(X, y)
            <defined_model>
            <trained_model>
        except ValueError:
            m = None
        match m:
            case None:
                sub.to_csv("submission.csv")
                <wrote_predictions>
            case _:
                pass
    """.replace("m.fit", "model.fit")
    )


def test_a_condition_in_a_loop_is_marked_in_place_only_where_that_is_bounded():
    check("""
        for i in range(5):
            if good(i):
                model.fit(X, y)
                <defined_model>
                <trained_model>
    """)
    assert inserted("for i in range(n):\n    if good(i):\n        model.fit(X, y)\n") == set()


def test_a_function_that_runs_often_is_marked_in_its_caller():
    check("""
        def epoch(model):
            for x, y in loader:
                loss.backward()
                opt.step()
        for e in range(epochs):
            epoch(model)
        <defined_model>
        <trained_model>
    """)


def test_a_returning_statement_is_marked_in_its_caller():
    check("""
        def fit(X, y):
            return Ridge().fit(X, y)
        def main():
            m = fit(a, b)
            <defined_model>
            <trained_model>
        main()
    """)


def test_early_return_is_not_success():
    check("""
        def work():
            if bad():
                return None
            model.fit(X, y)
            <defined_model>
            <trained_model>
        work()
    """)
    assert (
        inserted("""
        def work():
            if bad():
                return None
            return model.fit(X, y)
        work()
    """)
        == set()
    )


@pytest.mark.parametrize(
    "call", ["raise SystemExit(main())", "ready() and main()", "assert ready(), main()", "ok = ready() or main()"]
)
def test_a_function_is_marked_wherever_its_call_stands(call):
    check(f"""
        def main():
            model.fit(X, y)
            <defined_model>
            <trained_model>
            check()
        {call}
    """)
    assert inserted("def main():\n    model.fit(X, y)\n") == set()


TIMED = """
    import functools
    def timed(label):
        def decorate(function):
            @functools.wraps(function)
            def run(*values):
                print(label, function.__name__)
                return function(*values)
            return run
        return decorate
"""


def test_a_function_with_a_decorator_of_the_program_is_marked_inside():
    check(f"""{TIMED}
    @timed("fit")
    def main():
        model.fit(X, y)
        <defined_model>
        <trained_model>
        check()
    main()
    """)


@pytest.mark.parametrize(
    "decorator",
    [
        "def fast(f):\n    return njit(f)",
        "def fast(f):\n    g = njit(f)\n    def run(): return g() or f()\n    return run",
        "def fast(f):\n    def run(): return [f() for _ in range(1000)]\n    return run",
    ],
)
def test_a_decorator_that_may_compile_or_repeat_a_function_leaves_no_mark_in_it(decorator):
    code = f"{decorator}\n@fast\ndef main():\n    model.fit(X, y)\n    check()\nmain()\n"
    assert "    print(" not in instrument(code).code


def test_methods_of_one_name_are_marked_in_each_class():
    check("""
        class Loader:
            def run(self):
                self.d = pd.read_csv("train.csv")
                <loaded_data>
        class Trainer:
            m = Ridge()
            def run(self):
                self.m.fit(X, y)
                <defined_model>
                <trained_model>
        <defined_model>
        Loader().run()
        Trainer().run()
    """)


def test_async_methods_and_decorators():
    check("""
        import asyncio
        class Run:
            @staticmethod
            def load():
                d = pd.read_csv("train.csv")
                <loaded_data>
                return d
            async def go(self):
                async with lock:
                    model.fit(self.load(), y)
                    <built_features>
                    <defined_model>
                    <trained_model>
        asyncio.run(Run().go())
    """)
    check("""
        @njit
        def descend(w):
            w -= lr * grad
            return w
        w = descend(w)
        <defined_model>
        <trained_model>
    """)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("model.fit(X, y)", "model.fit(X, y)\n<defined_model>\n<trained_model>"),
        ("a = 1; model.fit(X, y); b = 2\n", "a = 1; model.fit(X, y); <defined_model>; <trained_model>; b = 2\n"),
        ("if a: m = Ridge()\nelse: m = 2\n", "if a: m = Ridge(); <defined_model>\nelse: m = 2\n"),
        ("if a: m = Ridge()  # c\nb\n", "if a: m = Ridge(); <defined_model>  # c\nb\n"),
        ("m = Ridge();\n", "m = Ridge(); <defined_model>;\n"),
        ("if a: \\\n    m = Ridge()\n", "if a: \\\n    m = Ridge(); <defined_model>\n"),
        ("m = \\\n  Ridge()\nb = 1\n", "m = \\\n  Ridge()\n<defined_model>\nb = 1\n"),
        ("m = Ridge() \\\n\nb = 1\n", "m = Ridge(); <defined_model> \\\n\nb = 1\n"),
        ("if a:\n\tm = Ridge()\n\tb\n", "if a:\n\tm = Ridge()\n\t<defined_model>\n\tb\n"),
        ("é = 'ü'; m = Ridge(); b = 'ö'\n", "é = 'ü'; m = Ridge(); <defined_model>; b = 'ö'\n"),
        ("m = Ridge()\r\nb = 1\r\n", "m = Ridge()\r\n<defined_model>\r\nb = 1\r\n"),
        ("m = Ridge()\x0c\nb = 1\n", "m = Ridge()\x0c\n<defined_model>\nb = 1\n"),
        ("\x0cm = Ridge()\nb = 1\n", "\x0cm = Ridge()\n\x0c<defined_model>\nb = 1\n"),
        ("\ufeffm = Ridge()\nb = 1\n", "\ufeffm = Ridge()\n<defined_model>\nb = 1\n"),
        ("# coding: utf-8\nm = Ridge()\n", "# coding: utf-8\nm = Ridge()\n<defined_model>\n"),
        ('m = Ridge("""\n  a\n""")\nb\n', 'm = Ridge("""\n  a\n""")\n<defined_model>\nb\n'),
        ("for i in z: m.fit(X, y)\nb\n", "for i in z: m.fit(X, y)\n<defined_model>\n<trained_model>\nb\n"),
        ("for i in z: Ridge()\nb\n", "for i in z: Ridge()\n<defined_model>\nb\n"),
        ("x = '\u2028'; m = Ridge()\n", "x = '\u2028'; m = Ridge(); <defined_model>\n"),
        ("with a: m = Ridge(); b\n", "with a: m = Ridge(); <defined_model>; b\n"),
        ("class A: m = Ridge()\nb\n", "class A: m = Ridge()\n<defined_model>\nb\n"),
    ],
)
def test_text_is_kept(code, expected):
    assert shown(code) == expected


def test_a_place_that_text_lacks_is_reached_through_the_tree():
    code = "for i in z: Ridge(); \\\n\nb = 1\n"
    assert shown(code) == "for i in z:\n    Ridge()\n<defined_model>\nb = 1\n"


@pytest.mark.parametrize(
    "start",
    [
        "print = log\n",
        "from rich import print\n",
        "def print(*a): pass\n",
        "sys.stdout = Tee()\n",
        "from tools import *\n",
        "with redirect_stdout(f): pass\n",
        "globals()['print'] = log\n",
        "exec('print = log')\n",
        "try: f()\nexcept ValueError as print: pass\n",
        "def f():\n    global print\n",
    ],
)
def test_marks_do_not_depend_on_a_rebound_print(start):
    code = instrument(f"{start}m = Ridge()\n").code
    assert '__import__("builtins").print(' in code
    plain = f'{start}m = Ridge()\nprint("{mark(NONCE, "defined_model")}\\n", end="", flush=True)\n'
    assert "replaces" in str(verify_print_only(f"{start}m = Ridge()\n", plain, NONCE).reason)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("m = (", "does not parse"),
        ("m = Ridge()\n!pip install x\n", "does not parse"),
        ("m = Ridge()\nx = '\x00'\n", "does not parse"),
        ("m = Ridge()\nprint('[[trl_mle:x:trained_model]]')\n", "already contains marks"),
        ("m = Ridge()\nsys.settrace(spy)\n", "own code"),
        ("m = Ridge()\nimport inspect\ninspect.currentframe()\n", "own code"),
        ("m = Ridge()\nmain.__code__.co_consts\n", "own code"),
        ("m = Ridge()\nsys.stdout.close()\n", "closes standard output"),
        ("x = 1\n", "no statement reaches a milestone"),
        ("", "no statement reaches a milestone"),
        ("m = Ridge()\nx = " + "-" * 3000 + "1\n", "nested too deeply|does not parse"),
        ("m = Ridge()\nx = " + "+".join("1" * 3000) + "\n", "nested too deeply|does not parse"),
        ("m = Ridge()\nx = " + "a" + ".b()" * 3000 + "\n", "nested too deeply|does not parse"),
    ],
)
def test_programs_that_run_as_they_are(code, reason):
    result = instrument(code)
    assert result.code == code
    assert result.inserted == ()
    assert re.search(reason, result.fallback_reason)


@pytest.mark.parametrize(
    "path, is_data",
    [
        ("os.path.join(os.path.dirname(os.path.abspath(__file__)), 'train.csv')", True),
        ("Path(__file__).parent / 'train.csv'", True),
        ("Path(__file__).resolve().parents[1] / name", True),
        ("here", True),
        ("'/dev/shm/train.csv'", True),
        ("__file__", False),
        ("Path(__file__).resolve()", False),
        ("'/proc/self/environ'", False),
    ],
)
def test_files_beside_the_program_are_data_and_the_program_itself_is_none(path, is_data):
    code = f"here = Path(__file__).parent.joinpath('train.csv')\ntable = pd.read_csv({path})\n"
    assert inserted(code) == ({"loaded_data"} if is_data else set())


def test_the_programs_own_file_may_be_read_for_it_holds_no_marks():
    assert "defined_model" in inserted("m = Ridge()\nx = open(__file__).read()\n")
    assert "defined_model" in inserted("m = Ridge()\nimport inspect\nx = inspect.getsource(f)\n")
    assert inserted("import os\nHERE = os.path.dirname(os.path.abspath(__file__))\nm = Ridge()\n") == {"defined_model"}
    assert inserted("HERE = Path(__file__).resolve().parent\nm = Ridge()\n") == {"defined_model"}


@pytest.mark.parametrize("decorator, is_marked", [("@jitclass(spec)", False), ("@dataclass", True), ("", True)])
def test_methods_of_a_class_that_a_decorator_may_compile_get_no_mark(decorator, is_marked):
    code = f"{decorator}\nclass A:\n    def run(self):\n        m = Ridge()\n        return 1\nA().run()\n"
    result = ASTInstrumenter().instrument(Program("", code), NONCE)
    assert ("        print(" in result.code) is is_marked


def test_a_wrong_nonce_is_the_callers_error():
    with pytest.raises(UserError):
        ASTInstrumenter().instrument(Program("", "x = 1\n"), "n")


def test_huge_constants_and_many_statements():
    assert inserted("m = Ridge()\nx = 0x" + "f" * 20000 + "\n") == {"defined_model"}
    slices = "text = '" + "x" * 90_000 + "'\n" + "for a in text[1:0]: pass\n" * 700 + "m = Ridge()\n"
    began = time.process_time()
    assert inserted(slices) == {"defined_model"}
    assert time.process_time() - began < 2
    code = "".join(f"x{i} = model.fit(x{i - 1}, y)\n" for i in range(1, 3000))
    assert inserted(code) == {"defined_model", "trained_model"}


@pytest.mark.parametrize(
    "start",
    [
        "import builtins\nbuiltins.print = log\n",
        "import builtins as b\ndel b.print\n",
        "__builtins__.print = log\n",
        "from unittest.mock import patch\nwith patch('builtins.print'): pass\n",
        "import unittest.mock\n",
        "sys.stdout.write = log\n",
        "setattr(sys.stdout, 'write', log)\n",
        "sys.__stdout__ = None\n",
        "from sys import stdout\nstdout.close()\n",
        "out = sys.stdout\nout.close()\n",
        "with sys.stdout as f: pass\n",
        "sys.stdout.buffer.close()\n",
        "import os\nos.dup2(3, 1)\n",
        "import os\nos.close(1)\n",
        "import os\nos.close(sys.stdout.fileno())\n",
        "f = open(1, 'w')\n",
        "f = os.fdopen(1, 'w')\n",
    ],
)
def test_a_program_that_could_break_its_marks_has_none(start):
    result = instrument(f"import sys\n{start}m = Ridge()\n")
    assert result.inserted == ()
    assert result.fallback_kind == "hazard"


@pytest.mark.parametrize("start", ["f = open('a')\nf.close()\n", "import os\nos.close(fd)\n"])
def test_files_of_the_program_are_no_hazard(start):
    assert instrument(f"{start}m = Ridge()\n").inserted
