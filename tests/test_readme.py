"""The README's Python example runs as it is printed, with a policy small enough for this machine."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.metrics_page import logged, undocumented
from tests.support.tiny import tiny_model, tiny_tokenizer
from trl_mle.demo.tiny_policy import CHAT_TEMPLATE
from trl_mle.outcomes import Column, read_rollouts

README = Path(__file__).parents[1] / "README.md"
SMALL = {
    "max_steps": 2,
    "max_completion_length": 8,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
}


def example() -> str:
    """The first Python block of README.md that names `MLEReward`."""
    blocks = re.findall(r"```python[^\n]*\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    return next(block for block in blocks if "MLEReward" in block)


def test_the_example_is_short_and_shows_the_five_names():
    lines = example().strip().splitlines()
    assert len(lines) <= 12
    for name in ("load_task", "prompts_dataset", "MLEReward", "DurationAwareConfig", "DurationAwareTrainer"):
        assert any(name in line for line in lines[1:]), name


def test_the_example_runs_as_printed(tmp_path, monkeypatch):
    import trl_mle.training

    policy = tmp_path / "policy"
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(policy)
    tiny_model().save_pretrained(policy)
    config = trl_mle.training.DurationAwareConfig
    monkeypatch.setattr(
        trl_mle.training, "DurationAwareConfig", lambda *args, **settings: config(*args, **{**settings, **SMALL})
    )
    monkeypatch.chdir(tmp_path)
    code, count = re.subn(r'model="[^"]+"', f'model="{policy}"', example())
    assert count == 1
    names: dict = {}
    exec(compile(code, str(README), "exec"), names)
    assert names["trainer"].state.global_step == 2
    rollouts = read_rollouts(tmp_path / "runs/digits")
    assert set(rollouts[Column.TASK_ID]) == {"builtin:digits"}
    assert set(rollouts[Column.KIND]) == {"failure"}  # the tiny policy writes no programs
    assert len(rollouts) >= 16
    assert undocumented(logged(names["trainer"])) == set()
