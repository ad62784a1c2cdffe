"""Demonstrations to learn from: generated, or the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError
from trl_mle.scripts.agent_demonstrations import NUMBERS, AgentArguments, load_episodes
from trl_mle.scripts.checks import check_time_limit
from trl_mle.scripts.experience_demonstrations import ExperienceArguments, is_experience, load_experience

if TYPE_CHECKING:
    from datasets import Dataset

    from trl_mle.tasks import Task


KEPT_COLUMNS = ("prompt", "completion", "tools")
"""Columns of demonstrations that training reads."""


@dataclass
class DemonstrationArguments(ExperienceArguments, AgentArguments):
    """Parameters of the demonstrations, and the size of a policy that starts from nothing. Help texts are in the fields."""

    demonstrations: str = field(
        default="generated",
        metadata={
            "help": "'generated', a .jsonl, .json or .parquet file, the id of a data set on the hub, or earlier programs: the "
            "`output_dir` of a run, an experience store or its export."
        },
    )
    demonstrations_split: str = field(default="train", metadata={"help": "Split of a data set on the hub."})
    tasks: list[str] = field(
        default_factory=list, metadata={"help": "Tasks that generated demonstrations are for, in equal shares."}
    )
    num_demonstrations: int = field(default=2000, metadata={"help": "How many demonstrations to generate."})
    bug_share: float = field(
        default=0.6, metadata={"help": "Share of generated programs with at least one mistake, from 0 to less than 1."}
    )
    improve_share: float = field(
        default=0.0,
        metadata={
            "help": "Share of generated demonstrations that improve an earlier solution, from 0 to 1. A policy that starts from "
            "nothing needs them if a run shows it earlier solutions."
        },
    )
    program_time_limit_s: float | None = field(
        default=None,
        metadata={"help": "Limit of a program that the prompts state, in seconds. Default: the task's own."},
    )
    vocab_size: int = field(default=3072, metadata={"help": "Tokens of a policy that starts from nothing, at most."})
    hidden_size: int = field(default=192, metadata={"help": "Width of a policy that starts from nothing."})
    num_layers: int = field(default=4, metadata={"help": "Layers of a policy that starts from nothing."})
    force: bool = field(default=False, metadata={"help": "Train even if `output_dir` holds the result already."})

    def __post_init__(self):
        ExperienceArguments.__post_init__(self)
        AgentArguments.__post_init__(self)
        if self.agent_turns and self.demonstrations != "generated":
            raise ConfigError(
                f"`agent_turns` is {self.agent_turns}, but `demonstrations` is {self.demonstrations!r}: only 'generated' ones "
                "have turns. Leave `agent_turns` out."
            )
        if self.demonstrations == "generated" and not self.tasks:
            raise ConfigError(
                "`tasks` is empty. Name at least one for generated demonstrations: `--tasks builtin:digits`, or start from a "
                "recipe: `--config quickstart/sft`."
            )
        if self.num_demonstrations < 1:
            raise ConfigError(f"`num_demonstrations` is {self.num_demonstrations}; it must be at least 1.")
        if not 0 <= self.bug_share < 1:
            raise ConfigError(f"`bug_share` is {self.bug_share}; it must be at least 0 and less than 1.")
        if not 0 <= self.improve_share <= 1:
            raise ConfigError(f"`improve_share` is {self.improve_share}; it must be from 0 to 1.")
        check_time_limit(self.program_time_limit_s)


def load_demonstrations(args: DemonstrationArguments, folder: Path = Path()) -> Dataset:
    """Rows with `prompt` and `completion`; with `tools`, too, if demonstrations have several turns.

    Args:
        args ([`DemonstrationArguments`]):
            Settings.
        folder (`Path`, *optional*):
            Where the outcomes of programs are kept that demonstrations of several turns ran. Defaults to the working directory.

    Raises:
        UserError: there is no such task, file or data set, or it has other columns.
        SandboxError: programs of demonstrations cannot be run.
    """
    from datasets import Dataset

    if is_experience(args.demonstrations):
        return Dataset.from_list(load_experience(args.demonstrations, args.tasks, args, args.program_time_limit_s))
    args.check_source(args.demonstrations)
    if args.demonstrations != "generated":
        return as_prompt_completion(load_rows(args.demonstrations, args.demonstrations_split))

    from trl_mle.scripts.build import with_time_limit
    from trl_mle.tasks import load_task

    tasks = with_time_limit({name: load_task(name) for name in args.tasks}, args.program_time_limit_s)
    episodes = round(args.num_demonstrations * args.agent_share) if args.agent_turns else 0
    rows = _answers(args, list(tasks.values()), args.num_demonstrations - episodes)
    if not episodes:
        return Dataset.from_list(rows)

    from datasets import Features, Json, List, Value

    message = {"role": Value("string"), "content": Value("string")}
    # Messages and calls differ in their keys. As structs of a table each would get the keys of all others.
    features = Features({"prompt": List(message), "completion": List(Json()), "tools": Value("string")})
    rows += load_episodes(tasks, episodes, args, folder)
    return Dataset.from_list([{"tools": None, **row} for row in rows], features=features)


def _answers(args: DemonstrationArguments, tasks: list[Task], n: int) -> list[dict[str, Any]]:
    """Rows of `n` demonstrations of one turn."""
    from trl_mle.demo import generate_demonstrations
    from trl_mle.prompts import build_prompt

    if not n:
        return []
    by_id = {task.id: task for task in tasks}
    rows = generate_demonstrations(tasks, n, seed=0, bug_share=args.bug_share, improve_share=args.improve_share)
    return [
        {
            "prompt": build_prompt(by_id[row["task"]], row["parent"]),
            "completion": [{"role": "assistant", "content": row["completion"]}],
        }
        for row in rows
    ]


def load_rows(source: str, split: str) -> Dataset:
    """Rows of a file, or of a data set on the hub."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    kinds = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
    if not source.strip():
        raise ConfigError("`demonstrations` is empty. Give 'generated', a file, or the id of a data set on the hub.")
    kind = kinds.get(Path(source).suffix.lower())
    if kind and not Path(source).is_file():
        raise ConfigError(f"`demonstrations` is {source!r}, but there is no such file.")
    try:
        return load_dataset(kind, data_files=source, split="train") if kind else load_dataset(source, split=split)
    except (DatasetGenerationError, DatasetNotFoundError, OSError, ValueError, StopIteration) as error:
        cause = "it is empty." if isinstance(error, StopIteration) else error.__cause__ or error
        raise ConfigError(
            f"`demonstrations` is {source!r}, which cannot be loaded: {cause} Give 'generated', a .jsonl, .json or "
            ".parquet file, or the id of a data set on the hub."
        ) from error


def as_prompt_completion(dataset: Dataset) -> Dataset:
    """`dataset` with the columns `prompt`, `completion` and, where there is one, `tools`.

    Of `messages`, the last one is the completion. If the policy called tools, the completion begins with its first message, so
    that all of its turns are learned.

    Raises:
        ConfigError: there is no row, or one that is neither text nor messages; the message names the row.
    """
    if {"prompt", "completion"} <= set(dataset.column_names):
        dataset = dataset.select_columns([name for name in KEPT_COLUMNS if name in dataset.column_names])
        _check(dataset, ("prompt", "completion"))
        return dataset
    if "messages" not in dataset.column_names:
        raise ConfigError(
            f"The demonstrations have the columns {dataset.column_names}; they need `messages`, or `prompt` and "
            "`completion`."
        )

    _check(dataset, ("messages",))

    def split(row):
        messages = row["messages"]
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise ConfigError("Each `messages` needs a prompt and, as its last message, the assistant's answer.")
        roles = [message["role"] for message in messages]
        start = roles.index("assistant") if "tool" in roles else len(messages) - 1
        return {"prompt": messages[:start], "completion": messages[start:]}

    others = [name for name in dataset.column_names if name not in KEPT_COLUMNS]
    return dataset.map(split, remove_columns=others, desc="Splitting messages")


def _check(dataset: Dataset, columns: tuple[str, ...]) -> None:
    if not len(dataset):
        raise ConfigError("The demonstrations have no rows.")
    for number, row in enumerate(dataset):
        for column in columns:
            value = row[column]
            is_text = isinstance(value, str) and column != "messages"
            if not is_text and not (isinstance(value, list) and all(map(_is_message, value))):
                raise ConfigError(
                    f"Row {number} of the demonstrations has {str(value)[:100]!r} as `{column}`. Give a list of messages with "
                    "`role` and `content`" + (", or a text." if column != "messages" else ".")
                )


def _is_message(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        return False
    return isinstance(value.get("content"), (str, list)) or bool(value.get("tool_calls"))


def texts_of(dataset: Dataset) -> Iterator[str]:
    """Every text of the demonstrations: the demo policy's tokenizer is trained on them. Observations come without their numbers.

    Raises:
        ConfigError: the arguments of a tool call are text, which the demo policy's chat template cannot render.
    """
    for row in dataset:
        for part in (row["prompt"], row["completion"]):
            if isinstance(part, str):
                yield part
                continue
            for message in part:
                text = message.get("content")  # a message with tool calls may have none
                if isinstance(text, str):
                    yield from NUMBERS.split(text) if message["role"] == "tool" else [text]
                for call in message.get("tool_calls") or ():
                    arguments = call["function"].get("arguments") or {}
                    if not isinstance(arguments, dict):
                        raise ConfigError(
                            f"A tool call of the demonstrations has the arguments {str(arguments)[:80]!r}, but the demo policy "
                            "writes each argument apart. Give an object with one value per argument, not JSON in a text."
                        )
                    # The chat template ends each argument with a line break.
                    yield from (f"{value.strip()}\n" for value in arguments.values() if isinstance(value, str))


def has_turns(dataset: Dataset) -> bool:
    """Whether a completion of the demonstrations holds observations, which are not to be learned."""
    return any(
        message["role"] == "tool"
        for row in dataset
        if not isinstance(row["completion"], str)
        for message in row["completion"]
    )
