"""Settings of a script from a YAML file and flags, with TRL's parser."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError
from trl_mle.scripts.checkpoints import resume_from
from trl_mle.scripts.checks import check_kind_of_policy, check_model_path, check_output_dir, check_task_ids
from trl_mle.scripts.config_file import field_types, read_config
from trl_mle.scripts.user_errors import user_errors

if TYPE_CHECKING:
    from trl import TrlParser

    from trl_mle.tasks import Task

RECIPES = Path(__file__).parents[1] / "recipes"
"""Folder of the packaged YAML files."""


def recipe_path(name: str) -> str:
    """Path of a YAML file: `name` itself if it exists, otherwise the packaged recipe of that name.

    `quickstart/grpo`, `quickstart/grpo.yaml` and `recipes/quickstart/grpo.yaml` all name `trl_mle/recipes/quickstart/grpo.yaml`.
    """
    if Path(name).is_file():
        return name
    packaged = RECIPES / f"{name.removeprefix('recipes/').removesuffix('.yaml')}.yaml"
    return str(packaged) if packaged.is_file() else name


def recipe_names(script: str) -> list[str]:
    """Names of the packaged recipes of a script, such as `quickstart/grpo`."""
    patterns = [f"*/{script.replace('-', '_')}*.yaml", *(["*/agent*.yaml"] if script == "grpo" else [])]
    paths = (path.relative_to(RECIPES) for pattern in patterns for path in RECIPES.glob(pattern))
    return sorted(str(path.with_suffix("")) for path in paths)


def make_parser(script: str, classes: tuple[type, ...]) -> TrlParser:
    """The parser of `trl-mle SCRIPT`; every field of `classes` is a key of the YAML file and a flag."""
    from trl import TrlParser

    return TrlParser(
        list(classes),  # type: ignore[arg-type]  # dataclasses have no common base
        prog=f"trl-mle {script}",
        usage=f"trl-mle {script} --config FILE.yaml [--key value ...]    (--help lists every key)",
        allow_abbrev=False,  # `--learning_rat 1` is a slip, not a learning rate of 1
        epilog=f"--config also takes the name of a packaged recipe: {', '.join(recipe_names(script))}. Flags win over the file.",
    )


def parse_arguments(script: str, classes: tuple[type, ...], arguments: Sequence[str] | None) -> tuple[Any, ...]:
    """One object per class. A wrong key or value is a `ConfigError` or `ValueError` that names it."""
    parser = make_parser(script, classes)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    flags = {name.removeprefix("--"): action for name, action in parser._option_string_actions.items()}
    path = _take_config(arguments, script)
    if path is not None:
        actions = {action.dest: action for action in flags.values()}
        hints = {name: hint for name, hint in field_types(*classes).items() if name in actions}
        content = read_config(path, hints, actions)
        # Before the parser builds the dataclasses: one of them may refuse a value first, and the parser's own message names
        # no key.
        for key in content:
            if key not in hints:
                raise ConfigError(f"`{key}` is not a key of `trl-mle {script}`.{_nearest(key, hints)}")
        parser.set_defaults_with_config(**content)
    for argument in arguments:
        flag = argument.partition("=")[0].removeprefix("--")
        if argument.startswith("--") and flag not in flags:
            raise ConfigError(f"`--{flag}` is not a flag of `trl-mle {script}`.{_nearest(flag, flags, '--')}")
    return parser.parse_args_into_dataclasses(args=arguments)


def _take_config(arguments: list[str], script: str) -> str | None:
    """Remove `--config FILE` (or `--config=FILE`) from `arguments`, and return the path of that file."""
    places = [place for place, argument in enumerate(arguments) if argument.partition("=")[0] == "--config"]
    if not places:
        return None
    names = ", ".join(recipe_names(script))
    advice = f"Give `--config` the path of a YAML file, or the name of a packaged recipe: {names}."
    if len(places) > 1:
        raise ConfigError(f"`--config` stands {len(places)} times. Give one file; flags can change its values.")
    _, equals, name = arguments.pop(places[0]).partition("=")
    if not equals:
        name = arguments.pop(places[0]) if places[0] < len(arguments) else ""
    if not name or name.startswith("--"):
        raise ConfigError(f"`--config` has no value. {advice}")
    path = recipe_path(name)
    if not Path(path).exists():
        raise ConfigError(f"{path}: No such file or directory. {advice}")
    return path


def _nearest(name: str, known: Collection[str], prefix: str = "") -> str:
    """A hint to the known name that is most like `name`, with a space before it."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f" Did you mean `{prefix}{near[0]}`?" if near else " `--help` lists all of them."


def parse_rl_settings(
    script: str,
    arguments: Sequence[str] | None,
    training_class: type,
    model_class: type,
    *checks: Callable[[Any], None],
) -> tuple[Any, Any, Any, dict[str, Task]]:
    """Settings of a reinforcement-learning script, and the tasks that they name.

    Args:
        script (`str`):
            Name of the command: `"grpo"` or `"async-grpo"`.
        arguments (sequence of `str`, *optional*):
            Flags. Defaults to those of this process.
        training_class, model_class (`type`):
            Dataclasses of the training's and the model's settings.
        *checks:
            Called with the training's settings before tasks are prepared.

    Returns:
        `MLEArguments`, training settings, model settings, and name -> task.
    """
    from trl_mle.scripts.arguments import MLEArguments
    from trl_mle.scripts.run_dir import holds_run
    from trl_mle.tasks import load_task

    with user_errors(parsing=True):
        classes = (MLEArguments, training_class, model_class)
        mle_args, training_args, model_args = parse_arguments(script, classes, arguments)
        if not model_args.model_name_or_path:
            raise ConfigError("`model_name_or_path` is not set. Give a hub id or the path of a model.")
        checkpoint = resume_from(training_args, warn=True)
        check_output_dir(training_args.output_dir, moved=True)
        check_model_path(model_args.model_name_or_path, None if checkpoint else training_args.output_dir)
        # A folder that holds a run is moved aside, unless that run is resumed.
        if checkpoint is not None or not holds_run(Path(training_args.output_dir)):
            check_kind_of_policy(training_args.output_dir, model_args.use_peft, checkpoint)
        for check in checks:
            check(training_args)
    # The main process fills the cache of prepared tasks before the others read it.
    with training_args.main_process_first(local=False, desc="preparing the tasks"):
        tasks = {name: load_task(name) for name in mle_args.tasks}
    check_task_ids(tasks)
    return mle_args, training_args, model_args, tasks
