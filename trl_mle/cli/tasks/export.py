"""`trl-mle tasks export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def export(
    tasks: Annotated[list[str], typer.Argument(help="Task names or task folders.")],
    out: Annotated[Path, typer.Option(help="Folder of the new folders, one per task.")],
    format: Annotated[str, typer.Option(help="harbor.")] = "harbor",
    agent_timeout_s: Annotated[float, typer.Option(help="Wall-clock limit of the agent, in seconds.")] = 1800.0,
    network: Annotated[str, typer.Option(help="Network of the agent's box: no-network or public.")] = "no-network",
    reward_split: Annotated[
        str, typer.Option(help="Part of the answers whose score is the reward: public or all.")
    ] = "public",
    failure_reward: Annotated[float, typer.Option(help="Reward of an invalid submission.")] = -10.0,
) -> None:
    """Write tasks in the format of Harbor. The answers are in the verifier's box alone."""
    from trl_mle.config import RewardConfig
    from trl_mle.errors import TaskError
    from trl_mle.exports.harbor import export_harbor
    from trl_mle.tasks import load_task

    if format != "harbor":
        raise TaskError(f"format is {format!r} (`--format`); write harbor.")
    config = RewardConfig(failure_reward=failure_reward, reward_split=reward_split)  # type: ignore[arg-type]
    console = Console()
    for name in tasks:
        folder = export_harbor(load_task(name), out, agent_timeout_s=agent_timeout_s, network=network, config=config)
        console.print(str(folder), markup=False, highlight=False, soft_wrap=True)
