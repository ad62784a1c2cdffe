"""Hooks of MkDocs: pages that are generated at build time, and texts written for GitHub made fit for the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from generators import api, command_line, project_texts, rollout_columns, settings, task_yaml
from generators.markdown import ROOT, fit_for_site
from mkdocs.structure.files import File, Files

GENERATED = {
    "reference/settings.md": settings.page,
    "reference/cli.md": command_line.page,
    "reference/rollouts.md": rollout_columns.page,
    "reference/task_yaml.md": task_yaml.page,
    "reference/api.md": api.page,
    "project/contributing.md": project_texts.contributing,
    "project/agents.md": project_texts.agents,
    "project/changelog.md": project_texts.changelog,
}
"""Page -> function that makes its Markdown. A file of the same name in `docs/` is what readers of the repository find there."""


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    for path, make_page in GENERATED.items():
        if placeholder := files.get_file_from_path(path):
            files.remove(placeholder)
        files.append(File.generated(config, path, content=make_page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links out of `docs/` become paths, and needs of code blocks become their titles."""
    folder = Path(config["docs_dir"], page.file.src_uri).parent
    return fit_for_site(markdown, folder, ROOT / "docs")
