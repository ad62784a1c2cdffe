"""The model card of a policy: TRL's frame, with an example that fits the policy."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import SimpleNamespace

from huggingface_hub import ModelCard

from tests.support.tasks import toy_task
from trl_mle.evaluation.summary import Best, RunSummary, Stretch
from trl_mle.reports import result_metadata
from trl_mle.scripts.model_card import base_model, policy_metadata, policy_sections
from trl_mle.training.model_card import add_metadata, add_sections

TRL_CARD = """---
licence: license
---

# Model Card for x

This model is a fine-tuned version of [None](https://huggingface.co/None).

## Quick start

```python
question = "If you had a time machine"
```

## Training procedure

This model was trained.

### Framework versions

- TRL: 1
"""


def sections(tmp_path, limit=None):
    return policy_sections(
        SimpleNamespace(program_time_limit_s=limit, agent_turns=0),
        SimpleNamespace(hub_model_id="me/policy", output_dir="runs/x", max_completion_length=256),
        SimpleNamespace(model_name_or_path="Qwen/base"),
        {"./toy": toy_task(tmp_path)},
    )


def test_the_example_is_a_program_with_the_tasks_prompt(tmp_path):
    text = sections(tmp_path)["Quick start"]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ast.parse(code)
    assert 'load_task("./toy")' in code
    assert 'model="me/policy"' in code
    assert "replace" not in code
    assert "> " in text, "the prompt"
    limited = sections(tmp_path / "limited", 10.0)["Quick start"]
    assert 'replace(load_task("./toy"), time_limit_s=10)' in limited
    ast.parse(re.findall(r"```python\n(.*?)```", limited, re.DOTALL)[0])


def test_sections_replace_those_of_trl_or_stand_before_the_versions(tmp_path):
    card = tmp_path / "README.md"
    card.write_text(TRL_CARD)
    added = sections(tmp_path / "task")
    for _ in range(2):  # a second time changes nothing
        add_sections(card, added)
        text = card.read_text()
        for placeholder in ("time machine", "None", "licence: license"):
            assert placeholder not in text
        headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
        assert headings == [
            "# Model Card for x",
            "## Quick start",
            "## Training procedure",
            "### Tasks",
            "### Base model and licence",
            "### Limits",
            "### Framework versions",
        ]
        assert "This model was trained." in text
        assert "This model is a fine-tuned language model." in text
        assert "This model is a policy for machine-learning-engineering tasks." in text
        assert "`Qwen/base`" in text


def test_a_card_without_tasks_says_nothing_of_them(tmp_path):
    card = tmp_path / "README.md"
    card.write_text(TRL_CARD)
    add_sections(card, {"Scores": "0.5"})
    assert "This model is a fine-tuned language model." in card.read_text()
    assert "machine-learning" not in card.read_text()


def test_the_header_has_results_and_what_settings_say(tmp_path):
    card = tmp_path / "README.md"
    card.write_text("---\ntags: [trl]\nlibrary_name: transformers\n---\n\n# Model Card for x\n\nText.\n")
    task = toy_task(tmp_path)
    stretch = Stretch(batches=1, rollouts=4, valid_share=0.25, reward=0.0, duration_s=1.0)
    best = Best("toy", public_score=0.5, private_score=0.75, duration_s=1.0, step=3, program="pass")
    summary = RunSummary(rollouts=4, faults=0, lost=0, first=stretch, last=stretch, best={"toy": best})
    metadata = policy_metadata(SimpleNamespace(model_name_or_path="Qwen/base")) | result_metadata(
        "x", summary, {"toy": task}
    )
    for _ in range(2):  # a second time changes nothing
        add_metadata(card, metadata)
        loaded = ModelCard.load(card)
        assert loaded.data.tags == ["trl", "machine-learning-engineering", "code"]
        assert (loaded.data.base_model, loaded.data.library_name) == ("Qwen/base", "transformers")
        results = {
            (result.metric_type, result.metric_value, result.dataset_type) for result in loaded.data.eval_results
        }
        assert results == {("rmse", 0.75, "toy"), ("valid_share", 0.25, "toy")}
        assert "# Model Card for x" in loaded.text
    none = Stretch(1, 0, None, None, None)
    assert result_metadata("x", RunSummary(0, 0, 0, none, none, {}), {}) == {}


def test_a_folder_of_this_machine_is_no_base_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/demo-policy").mkdir(parents=True)
    names = ("runs/demo-policy", "/home/me/model", "tiny", "./model", None)
    assert [base_model(name) for name in names] == [None] * len(names)
    assert base_model("Qwen/Qwen2.5-Coder-1.5B") == "Qwen/Qwen2.5-Coder-1.5B"
    training_args = SimpleNamespace(hub_model_id=None, output_dir="/home/me/run", max_completion_length=1)
    arguments = SimpleNamespace(program_time_limit_s=None, agent_turns=0), training_args
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    shown = policy_sections(
        *arguments, SimpleNamespace(model_name_or_path="/home/me/model"), {"/home/me/toy": toy_task(tmp_path)}
    )
    assert 'load_task("~/toy")' in shown["Quick start"]
    assert "/home/me" not in "".join(shown.values())
