"""The generated pages of the reference describe everything that there is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.support.metrics_page import PREFIXES, documented_metrics, undocumented

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from generators import api, command_line, project_texts, rollout_columns, settings, task_yaml  # noqa: E402
from generators.markdown import fit_for_site, linked, plain_docstring, table  # noqa: E402


def test_every_setting_has_a_description():
    found = [setting for section in settings.sections() for setting in section.settings]
    assert len(found) > 120
    assert [setting.name for setting in found if len(setting.description) < 10] == []


def test_every_key_of_the_commands_is_on_the_page():
    from dataclasses import fields

    from trl import GRPOConfig

    from trl_mle.scripts.evaluate_arguments import EvaluateArguments
    from trl_mle.training import DurationAwareConfig

    shown = {setting.name for section in settings.sections() for setting in section.settings}
    of_project = {field.name for field in fields(EvaluateArguments)}
    of_project |= {field.name for field in fields(DurationAwareConfig)} - {field.name for field in fields(GRPOConfig)}
    assert of_project <= shown


def test_every_column_has_a_description():
    columns = rollout_columns.columns()
    assert len({column.name for column in columns}) == len(columns) > 40
    assert [column.name for column in columns if not column.description] == []


def test_every_argument_of_the_command_line_has_a_help_text():
    assert command_line.undescribed() == []
    assert command_line.page().count("\n## trl-mle ") > 15
    assert sys.executable not in command_line.page(), "a path of the machine that builds the site"


def test_every_key_of_task_yaml_is_in_the_table():
    from trl_mle.tasks.task_yaml import KEYS

    keys = {key for row in task_yaml.key_table().splitlines()[2:] for key in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert keys == set(KEYS)


def test_every_public_name_is_on_the_page_and_has_a_docstring():
    import trl_mle

    shown = re.findall(r"^::: trl_mle[\w.]*\.(\w+)$", api.page(), re.MULTILINE)
    assert sorted(shown) == sorted(trl_mle.__all__)
    assert [name for name in trl_mle.__all__ if not (getattr(trl_mle, name).__doc__ or "").strip()] == []


def test_metrics_are_described_once():
    names = documented_metrics()
    assert len(names) == len(set(names)) > 90


PLACE = re.compile(
    r'(?:metrics\[|log_metric\(|\[mode\]\[|\["train"\]\[|^\s*)f?"([a-z_]+/[\w{}./]+)"(?:\]|,|:)', re.MULTILINE
)
"""Where code logs a metric by a name that it spells out."""
NO_METRICS = ("programs/best_and_worst", "sample/model_version")
"""A table of programs, and a number that TRL takes for its metrics."""


def test_every_metric_that_the_code_spells_out_is_on_the_page():
    found = {}
    for path in sorted((ROOT / "trl_mle").rglob("*.py")):
        names = PLACE.findall(path.read_text(encoding="utf-8"))
        found |= {name: path.name for name in names if name.split("/")[0] in PREFIXES and name not in NO_METRICS}
    assert len(found) > 60
    documented = documented_metrics()
    for name, file in found.items():
        pattern = "".join(".+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]*\})", name))
        assert any(re.fullmatch(pattern, known) for known in documented), f"{name} of {file}"


def test_the_names_of_classes_are_on_the_page():
    """Metrics whose names come from lists: statuses, faults, reasons."""
    from trl_mle.instrumentation.fallbacks import FALLBACK_KINDS
    from trl_mle.sandboxes.pool.counts import Counts, Metrics

    names = [*Metrics(Counts()).take(), *(f"instrumentation/reason/{kind}" for kind in FALLBACK_KINDS)]
    assert undocumented(names) == set()


def test_an_unknown_metric_is_found():
    assert undocumented(["duration/mean", "duration/reward_q3", "eval_duration/max", "duration/meen"]) == {
        "duration/meen"
    }


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r": ([\w/]+\.md)$", text[text.index("\nnav:") :], re.MULTILINE)
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(listed)
    assert len(listed) == len(set(listed))


def test_links_out_of_the_docs_become_paths(tmp_path):
    docs = ROOT / "docs"
    text = "See [resume](resume.md#x), [the README](../README.md), [CHANGELOG.md](../CHANGELOG.md)."
    assert fit_for_site(text, docs, docs) == "See [resume](resume.md#x), the README (`README.md`), `CHANGELOG.md`."


def test_blocks_stay_as_they_are_except_for_their_needs():
    docs = ROOT / "docs"
    block = "```bash needs=a_GPU,data\nx [a](../b.md)\n```\n"
    assert fit_for_site(block, docs, docs) == '```bash title="needs a GPU, data"\nx [a](../b.md)\n```\n'
    assert fit_for_site("````python slow\n```\n````\n", docs, docs) == "````python\n```\n````\n"


def test_bars_in_code_and_pages_in_texts():
    docs = ROOT / "docs"
    assert fit_for_site(r"| `x` \| `int \| None` |", docs, docs) == r"| `x` \| `int | None` |"
    assert linked("Where (`docs/tasks/hub.md`).") == "Where ([tasks/hub](../tasks/hub.md))."


def test_cells_stay_in_their_table():
    assert table(["a"], [["x | y\nz"]]).splitlines()[-1] == "| x \\| y z |"


def test_docstrings_lose_their_types_and_references():
    text = "Of [`Task`] and [`x`](y).\n\nArgs:\n    name (`str`, *optional*):\n        Text."
    assert plain_docstring(text) == "Of `Task` and [`x`](y).\n\nArgs:\n    name:\n        Text."


def test_pages_of_the_root_have_no_link_to_the_docs_folder():
    for make in (project_texts.contributing, project_texts.agents, project_texts.changelog):
        assert "](docs/" not in make()


def test_brackets_of_generated_pages_are_links_or_code():
    """Markdown takes other ones for references, which the strict build refuses."""
    for make in (settings.page, command_line.page, rollout_columns.page, task_yaml.page):
        text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", make(), flags=re.MULTILINE | re.DOTALL)
        assert re.findall(r"\[[^\]\n]*[a-z][^\]\n]*\](?!\()", text) == []
