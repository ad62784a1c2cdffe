"""Libraries with threads and processes of their own work in a forked, confined interpreter, and none of them hangs."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import replace

import pytest

from tests.support.hang import HANG_S
from trl_mle.config import SandboxConfig
from trl_mle.sandboxes import LocalSandbox
from trl_mle.types import Execution, Limits, TaskSpec

pytestmark = pytest.mark.asyncio(loop_scope="module")

WALL_S = 100.0
both = pytest.mark.parametrize("threads", [1, 2])


async def run(sandbox: LocalSandbox, code: str, task: TaskSpec, threads: int, *packages: str) -> Execution:
    """Run `code` with `packages` beside the task's own; it must end well by itself."""
    task = replace(task, packages=(*task.packages, *packages))
    execution = await sandbox.run(code, task, Limits(wall_s=WALL_S, threads=threads))
    assert execution.status == "ok", (execution.status, execution.stdout, execution.stderr)
    return execution


def distribution_of(module: str) -> str:
    """The distribution that has `module`; skips the test where none is installed."""
    found = importlib.metadata.packages_distributions().get(module)
    if not found:
        pytest.skip(f"{module} is not installed")
    return found[0]


_DATA = """
import json
import numpy as np, pandas as pd
train, test = pd.read_csv("input/train.csv"), pd.read_csv("input/test.csv")
x, y = train[["a", "b"]].to_numpy(dtype="float32"), train["y"].to_numpy()
"""

TORCH = (
    _DATA
    + """
import torch
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), 0.02)
data = TensorDataset(torch.from_numpy(x) / 10, torch.from_numpy(y).float()[:, None])
losses = []
for epoch in range(40):
    for batch, target in DataLoader(data, 20, shuffle=True):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(batch), target)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    losses.append(loss.item())
large = torch.rand(700, 700, dtype=torch.float64)
exact = bool(torch.allclose(large @ torch.linalg.inv(large), torch.eye(700, dtype=torch.float64), atol=1e-6))
torch.save(model.state_dict(), "model.pt"); model.load_state_dict(torch.load("model.pt"))
accuracy = ((model(data.tensors[0]) > 0) == data.tensors[1].bool()).float().mean().item()
print(json.dumps([torch.get_num_threads(), losses[0], losses[-1], accuracy, exact]))
"""
)


def check_torch(execution: Execution, threads: int) -> None:
    found, first, last, accuracy, exact = json.loads(execution.stdout)
    assert found == threads
    assert last < first / 1.5 and accuracy > 0.9 and exact


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
async def test_torch_trains(warm, task, threads):
    check_torch(await run(warm, TORCH, task, threads, "torch"), threads)


@pytest.mark.slow
async def test_torch_trains_where_it_is_preloaded(task):
    async with LocalSandbox(SandboxConfig(workers=1, preload=("numpy", "pandas", "sklearn", "torch"))) as sandbox:
        for threads in (1, 2, 1):
            check_torch(await run(sandbox, TORCH, task, threads, "torch"), threads)


@pytest.mark.slow
async def test_torch_loads_data_in_other_processes(warm, task):
    code = """
import torch
from torch.utils.data import DataLoader, TensorDataset
if __name__ == "__main__":
    data = TensorDataset(torch.arange(4000.0).reshape(1000, 4))
    for context in ("fork", "spawn"):
        loader = DataLoader(data, 50, num_workers=2, multiprocessing_context=context)
        print(context, sum(batch.sum().item() for (batch,) in loader))
"""
    execution = await run(warm, code, task, 1, "torch")
    assert execution.stdout == "fork 7998000.0\nspawn 7998000.0\n"


@both
async def test_lightgbm_trains(warm, task, threads):
    library = distribution_of("lightgbm")
    code = f"""{_DATA}
import lightgbm
model = lightgbm.LGBMClassifier(n_estimators=30, min_child_samples=2, n_jobs={threads}, random_state=0, verbose=-1)
big = np.tile(x, (200, 1)), np.tile(y, 200)
print(model.fit(x, y).score(x, y), lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(*big).score(*big))
"""
    assert all(float(score) > 0.9 for score in (await run(warm, code, task, threads, library)).stdout.split())


@both
async def test_xgboost_trains(warm, task, threads):
    library = distribution_of("xgboost")
    code = f"""{_DATA}
import xgboost
model = xgboost.XGBClassifier(n_estimators=30, n_jobs={threads}, random_state=0)
big = np.tile(x, (200, 1)), np.tile(y, 200)
print(model.fit(x, y).score(x, y), xgboost.XGBClassifier(n_estimators=5).fit(*big).score(*big))
"""
    assert all(float(score) > 0.9 for score in (await run(warm, code, task, threads, library)).stdout.split())


@both
@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
async def test_joblib_runs_in_parallel(warm, task, threads, backend):
    code = f"""
import os, threading
import numpy as np
from joblib import Parallel, delayed

def work(seed):
    x = np.random.default_rng(seed).normal(size=(120, 120))
    return os.getpid(), threading.get_ident(), int(round(np.linalg.slogdet(x)[1]))

expected = [work(seed)[2] for seed in range(12)]
done = Parallel(n_jobs=2, backend={backend!r})(delayed(work)(seed) for seed in range(12))
assert [value for _, _, value in done] == expected
print(len({{pid for pid, _, _ in done}} - {{os.getpid()}}))
"""
    execution = await run(warm, code, task, threads)
    assert int(execution.stdout) in ((0,) if backend == "threading" else (1, 2))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
async def test_multiprocessing_starts_processes(warm, task, method):
    code = f"""
import concurrent.futures, multiprocessing, os
import numpy as np

def work(number):
    return os.getpid(), float(np.ones((60, 60)).dot(np.full((60, 60), number)).sum())

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with context.Pool(2) as pool:
        done = pool.map(work, range(6))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        done += pool.map(work, range(6))
    queue, lock = context.Queue(), context.Lock()
    with lock: queue.put("from the queue")
    print(sorted({{value for _, value in done}}), os.getpid() in {{pid for pid, _ in done}}, queue.get(timeout=20))
"""
    execution = await run(warm, code, task, 1)
    assert execution.stdout == f"{[216000.0 * number for number in range(6)]} False from the queue\n"


async def test_shared_memory_is_there(warm, task):
    code = """
import multiprocessing
from multiprocessing import shared_memory
import numpy as np

def fill(name):
    block = shared_memory.SharedMemory(name)
    np.ndarray(1000, dtype="int64", buffer=block.buf)[:] = 7
    block.close()

block = shared_memory.SharedMemory(create=True, size=8000)
process = multiprocessing.Process(target=fill, args=(block.name,))
process.start(); process.join()
print(np.ndarray(1000, dtype="int64", buffer=block.buf).sum(), process.exitcode)
block.close(); block.unlink()
"""
    assert (await run(warm, code, task, 1)).stdout == "7000 0\n"


SKLEARN = """
import json
import numpy as np, sklearn
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_info
rng = np.random.default_rng(0)
x = rng.normal(size=(3000, 8)); y = (x[:, 0] + x[:, 1] ** 2 > 0.5).astype(int)
scores = []
for n_jobs in (None, 2):
    scores.append([
        RandomForestClassifier(20, random_state=0, n_jobs=n_jobs).fit(x, y).score(x, y),
        ExtraTreesClassifier(20, random_state=0, n_jobs=n_jobs).fit(x, y).predict_proba(x).sum(axis=0).round(6).tolist(),
        KNeighborsClassifier(n_jobs=n_jobs).fit(x, y).score(x, y),
        HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(x, y).score(x, y),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1, 10]}, n_jobs=n_jobs, cv=3).fit(x, y).best_score_,
        cross_val_score(HistGradientBoostingClassifier(max_iter=10, random_state=0), x, y, n_jobs=n_jobs, cv=2).tolist(),
    ])
threads = sorted({pool["num_threads"] for pool in threadpool_info()})
print(json.dumps([scores[0] == scores[1], scores[0][0], scores[0][3], threads]))
"""


async def test_sklearn_with_two_jobs(warm, task):
    code = f"""{_DATA}
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
forests = [RandomForestClassifier(8, random_state=0, n_jobs=n_jobs).fit(x, y).predict_proba(x) for n_jobs in (None, 2)]
search = GridSearchCV(RandomForestClassifier(4, random_state=0), {{"max_depth": [2, 6]}}, n_jobs=2, cv=2).fit(x, y)
print((forests[0] == forests[1]).all(), search.best_score_ > 0.7, search.predict(x).shape)
"""
    assert (await run(warm, code, task, 1)).stdout == "True True (60,)\n"


@pytest.mark.slow
@both
async def test_sklearn_models_with_two_jobs(warm, task, threads):
    same, forest, boosted, found = json.loads((await run(warm, SKLEARN, task, threads)).stdout)
    assert same and forest > 0.98 and boosted > 0.95 and found == [threads]


@both
async def test_pyarrow_reads_and_writes(warm, task, threads):
    pytest.importorskip("pyarrow")
    code = """
import numpy as np, pandas as pd, pyarrow, pyarrow.compute, pyarrow.parquet
frame = pd.DataFrame({"a": np.arange(200_000), "b": np.arange(200_000) % 7, "c": "text"})
frame.to_parquet("frame.parquet"); frame.to_csv("frame.csv", index=False)
back, arrow = pd.read_parquet("frame.parquet"), pd.read_csv("frame.csv", engine="pyarrow", dtype_backend="pyarrow")
table = pyarrow.parquet.read_table("frame.parquet").group_by("b").aggregate([("a", "sum")])
print(back.equals(frame), int(arrow["a"].sum()), pyarrow.compute.sum(table["a_sum"]).as_py(), pyarrow.cpu_count())
"""
    execution = await run(warm, code, task, threads)
    assert execution.stdout == f"True {199_999 * 100_000} {199_999 * 100_000} {threads}\n"


@pytest.mark.slow
@both
async def test_transformers_trains_a_tiny_model(warm, task, threads):
    importlib.metadata.version("transformers")
    code = """
import torch
from transformers import BertConfig, BertForSequenceClassification
torch.manual_seed(0)
config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
model = BertForSequenceClassification(config)
optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
x = torch.randint(1, 50, (64, 8)); y = (x[:, 0] > 25).long()
losses = []
for _ in range(40):
    loss = model(input_ids=x, labels=y).loss
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    losses.append(loss.item())
print(torch.get_num_threads(), losses[-1] < losses[0] / 2)
"""
    assert (await run(warm, code, task, threads, "torch", "transformers")).stdout == f"{threads} True\n"


async def test_programs_after_heavy_ones_are_as_before(warm, task):
    execution = await run(warm, "import sys; print('torch' in sys.modules)", task, 1, "torch")
    assert execution.stdout == "False\n"
    assert execution.wall_s < HANG_S
