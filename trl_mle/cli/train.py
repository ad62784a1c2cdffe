"""`trl-mle grpo`, `async-grpo`, `sft` and `quickstart`: training from the installed package."""

from __future__ import annotations

from collections.abc import Callable

import typer

from trl_mle.scripts.launch import SCRIPTS, launch

HELP = {
    "grpo": "Train a policy with duration-aware GRPO.",
    "async-grpo": "Train with GRPO while rollouts go on, over a vLLM server (GPU).",
    "sft": "Warm-start a policy on demonstrations, or train the demo policy.",
}
USAGE = "--config FILE.yaml [--key value ...] [--accelerate_config NAME] [--num_processes N]"
# Everything after the command belongs to the script, `--help` included: it lists every key.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def add_commands(app: typer.Typer) -> None:
    """Add the training commands to `app`."""
    for script in SCRIPTS:
        app.command(script, context_settings=PASS_ON, help=f"{HELP[script]} {USAGE}")(_command(script))
    app.command("quickstart", context_settings=PASS_ON | {"help_option_names": ["--help", "-h"]})(quickstart)


def _command(script: str) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        raise typer.Exit(launch(script, context.args))

    return run


def quickstart(context: typer.Context) -> None:
    """Train the demo policy, then improve it by reinforcement learning: CPU, about 10 minutes, into ./runs.

    It is `trl-mle sft --config quickstart/sft`, then `trl-mle grpo --config quickstart/grpo`. `--agent` trains an agent of several
    turns, with `quickstart/sft-agent` and `quickstart/agent`. Flags such as `--max_steps 5` go to the second command.
    """
    from trl_mle.scripts.quickstart import quickstart as run_quickstart

    raise typer.Exit(run_quickstart(context.args))
