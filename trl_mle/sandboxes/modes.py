"""The modes in which a local sandbox may find itself, and what does not hold in each.

`GAPS` is the one table of what is not covered. `trl-mle doctor` prints the gaps of a machine, docs/sandbox.md has the table of
`modes_table`, and an attack that cannot be held back is skipped in the tests only with a gap as the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from trl_mle.sandboxes.isolation import Layer, from_worker
from trl_mle.sandboxes.local.runner.protocol import Layers

IN_MEMORY = "files in memory"
"""Stands beside the names of layers: what a program writes is kept in memory."""


@dataclass(frozen=True)
class Gap:
    """Something that a program can do where a layer is missing."""

    name: str
    text: str
    closed_by: tuple[str, ...]
    """Names of layers, or `IN_MEMORY`. All of them together close the gap."""


GAPS = (
    Gap(
        "file_attributes",
        "changes of modes, times and owners of files report success and have no effect, not even on the program's own files, so a "
        "program that it writes must be run by its interpreter; without the layer `seccomp` those of all files that your user "
        "owns can be changed, and before Linux 6.2 the files can be emptied",
        ("private_root",),
    ),
    Gap(
        "host_names",
        "a program can ask whether a path exists",
        ("private_root",),
    ),
    Gap("semaphores", "multiprocessing has neither semaphores nor managers", ("private_root",)),
    Gap("host_tables", "files of /proc about the machine's network can be read", ("namespaces",)),
    Gap("number_of_processes", "only the limits monitor bounds the number of processes", ("namespaces",)),
    Gap(
        "younger_processes",
        "processes with a higher number than the program's can be killed and stopped, among them other programs; if one of the "
        "sandbox's own processes ends or stops, the program that ran there is `killed`",
        ("signals",),
    ),
    Gap(
        "slow_removal",
        "files lie on disk, where many take seconds to remove after the answer; the space is in use until then",
        ("private_root", IN_MEMORY),
    ),
    Gap(
        "files_without_names",
        "files that have lost their name and are only mapped, or on their way through a socket, take space on disk that no limit "
        "counts until the program ends",
        ("private_root", IN_MEMORY),
    ),
)
_BY_NAME = {gap.name: gap for gap in GAPS}


@dataclass(frozen=True)
class Mode:
    """One mode in which the attacks of `tests/sandboxes/attacks` are run."""

    name: str
    where: str
    """Where it is met."""
    layers: Layers
    """Layers that are found there."""
    without: tuple[str, ...] = ()
    """Layers to treat as missing, so that any machine shows the mode."""
    on_disk: bool = False

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What does not hold in this mode."""
        return gaps_of(from_worker(self.layers), in_memory=not self.on_disk)

    @property
    def refused(self) -> bool:
        """Whether a sandbox with the default settings does not open."""
        return any(layer.required and not layer.active for layer in from_worker(self.layers))

    def lacks(self, gap: str) -> str | None:
        """The text of the gap of this name if the mode has it."""
        found = _BY_NAME[gap]
        return found.text if found in self.gaps else None


_ALL = Layers(landlock=6, namespaces=True, private_root=True, private_proc=True, seccomp=True, privileges=True)
MODES = (
    Mode("layers", "Linux 6.12 or newer with user namespaces", _ALL),
    Mode("on_disk", "the same, with `sandbox_scratch_dir`", _ALL, on_disk=True),
    Mode(
        "fall_back",
        "no user namespaces (Docker's default), Linux 6.12 or newer",
        Layers(landlock=6, seccomp=True, privileges=True),
        without=("namespaces",),
    ),
    Mode(
        "no_signals",
        "no user namespaces, Linux 5.13 to 6.11",
        Layers(landlock=5, seccomp=True, privileges=True),
        without=("namespaces", "signals"),
    ),
    Mode("no_hiding", "neither user namespaces nor Landlock", Layers(), without=("namespaces", "landlock")),
)


def gaps_of(layers: Collection[Layer], in_memory: bool = True) -> tuple[Gap, ...]:
    """What does not hold with these layers."""
    there = {layer.name for layer in layers if layer.active} | ({IN_MEMORY} if in_memory else set())
    return tuple(gap for gap in GAPS if not there.issuperset(gap.closed_by))


def modes_table(modes: Iterable[Mode] = MODES) -> str:
    """The modes and their gaps, as a table in Markdown."""
    lines = ["| mode of the tests | where it is met | what does not hold |", "|---|---|---|"]
    for mode in modes:
        gaps = "; ".join(gap.name for gap in mode.gaps) or "see *Not covered*"
        lines.append(f"| `{mode.name}` | {mode.where} | {'the sandbox refuses to open' if mode.refused else gaps} |")
    return "\n".join([*lines, "", *(f"- `{gap.name}`: {gap.text}." for gap in GAPS), ""])
