"""What can be evaluated: models, endpoints, functions, and the tasks' own programs."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trl_mle.errors import ConfigError
from trl_mle.language_models.sampling import Policy, PolicySource, Sample, open_policy, parse_source

OWN_PROGRAMS: tuple[Literal["baseline", "reference"], ...] = ("baseline", "reference")
"""Names that stand for the tasks' own programs."""
_ENDS_BYTES = 64 * 1024
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".json")


@dataclass(frozen=True)
class Candidate:
    """One line of the comparison."""

    name: str
    identity: str
    """What tells this policy from another of that name."""
    program: Literal["baseline", "reference"] | None = None
    """The task's own program that is run, if it is no policy."""
    open: Callable[[], Policy] | None = None
    """Opens the policy."""
    in_process: bool = False
    """Whether the model runs in this process, on this machine."""
    trained_on: tuple[str, ...] | None = None
    """Ids of the tasks that it was trained on; `None` if that is not known."""


def candidates_of(policy: Any) -> list[Candidate]:
    """Candidates from one of them, a sequence, or a mapping from name to one of them.

    A candidate is a [`Candidate`], a text or [`PolicySource`] (see [`parse_source`]), `"reference"` or `"baseline"`, an object
    with a method `sample` ([`Policy`]), or a function from chat messages to a completion, which may be asynchronous.

    Raises:
        ConfigError: none is given, a name occurs twice, or something else is given.
    """
    if isinstance(policy, Mapping):
        candidates = [_candidate(item, str(name)) for name, item in policy.items()]
    else:
        several = isinstance(policy, Sequence) and not isinstance(policy, str)
        candidates = [_candidate(item, None) for item in (policy if several else [policy])]
    names = [candidate.name for candidate in candidates]
    if not names:
        raise ConfigError("There is no policy to evaluate. Give at least one.")
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"Two policies are called {doubled!r}. Give one of them another name: `NAME=...`.")
    return candidates


def _candidate(item: Any, name: str | None) -> Candidate:
    if isinstance(item, Candidate):
        return item
    if isinstance(item, str) and item in OWN_PROGRAMS:
        return Candidate(name or item, f"the tasks' {item} programs", program=item)  # type: ignore[arg-type]
    if isinstance(item, (str, PolicySource)):
        return of_source(parse_source(item) if isinstance(item, str) else item, name)
    if hasattr(item, "sample"):
        model = str(getattr(item, "model", type(item).__name__))
        return Candidate(name or model, f"{type(item).__name__} {model}", open=lambda: _Borrowed(item))
    if callable(item):
        called = str(getattr(item, "__name__", type(item).__name__))
        return Candidate(name or called, f"the function {called}", open=lambda: _FunctionPolicy(item, called))
    raise ConfigError(
        f"{item!r} of type {type(item).__name__} is no policy: give a folder, a source, a function, or 'reference'."
    )


def of_source(source: PolicySource, name: str | None = None, trained_on: tuple[str, ...] | None = None) -> Candidate:
    """The candidate of a policy's source."""
    identity = (
        f"{source.model} at {source.endpoint}" if source.endpoint else f"{source.model} {_digest(Path(source.model))}"
    )
    return Candidate(
        name or source.name,
        identity.strip(),
        open=lambda: open_policy(source),
        in_process=source.kind != "endpoint",
        trained_on=trained_on,
    )


def _digest(folder: Path) -> str:
    """A digest of a model's folder: names, sizes and both ends of its files. Empty for a hub id."""
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in _WEIGHTS):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_ENDS_BYTES))
            file.seek(max(0, size - _ENDS_BYTES))
            digest.update(file.read(_ENDS_BYTES))
    return digest.hexdigest()[:16]


class _Borrowed:
    """A policy that belongs to the caller, who closes it."""

    def __init__(self, policy: Policy):
        self._policy = policy
        self.model = getattr(policy, "model", type(policy).__name__)
        self.samples_per_request = getattr(policy, "samples_per_request", 1)
        self.sample = policy.sample
        self.context_tokens: int | None = getattr(policy, "context_tokens", None)
        self.special_tokens: Sequence[str] = getattr(policy, "special_tokens", ())

    def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        count = getattr(self._policy, "count_tokens", None)
        return None if count is None else count(messages)

    async def aclose(self) -> None:
        return None


class _FunctionPolicy:
    """A policy that is a function from chat messages to a completion. The function knows nothing of seeds."""

    samples_per_request = 1

    def __init__(self, function: Callable[[list[dict[str, Any]]], Any], model: str):
        self.model = model
        self._function = function

    async def sample(
        self,
        messages: Sequence[Mapping[str, Any]],
        n: int,
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Sample]:
        if tools is not None:
            raise ConfigError(
                f"The function {self.model!r} writes text and calls no tools. Evaluate it without `mode` 'agent'."
            )
        samples = []
        for _ in range(n):
            started = time.monotonic()
            text = self._function([dict(message) for message in messages])
            text = await text if inspect.isawaitable(text) else text
            samples.append(Sample(str(text), None, False, time.monotonic() - started))
        return samples

    def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        return None

    async def aclose(self) -> None:
        return None
