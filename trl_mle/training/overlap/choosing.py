"""Which of the groups in flight the next batch is made of: a pure function of what all processes know."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trl_mle.training.overlap.in_flight import Group, GroupKey


@dataclass(frozen=True)
class Choice:
    """Groups to train on now, oldest first (empty until there are enough), and groups to give up."""

    train: tuple[GroupKey, ...]
    drop: tuple[GroupKey, ...]


def choose_groups(
    groups: Mapping[GroupKey, Group],
    need: Counter[tuple[int, ...]],
    step: int,
    max_staleness: int,
    steps_per_batch: int,
) -> Choice:
    """The groups that fill the next batch, or none if some of them still have to be waited for.

    A group is trained on when all its programs have finished: a baseline over the first ones would favour fast programs, and
    a program that training goes on without would cost its policy less than one that fails. Finished groups are taken, the
    oldest first. An unfinished one is waited for as soon as it could not be trained on within `max_staleness` otherwise. If
    `max_staleness` is at least `steps_per_batch` times the number of batches in flight, no group ever gets older. Only a
    resumed run whose settings have changed has groups that are too old; they are dropped.

    Args:
        groups (mapping from key to [`Group`]):
            All groups that are alive.
        need (`Counter`):
            Number of groups of each layout in a batch.
        step (`int`):
            Optimizer steps done now.
        max_staleness (`int`):
            Optimizer steps that a group may be old.
        steps_per_batch (`int`):
            Optimizer steps on a batch, at most.
    """

    def pick(alive: Mapping[GroupKey, Group], count: int) -> list[GroupKey]:
        # Steps that each group may still wait for.
        patience = {key: max_staleness - (step - group.generated_at) for key, group in alive.items()}
        return _chosen(alive, patience, count, steps_per_batch)

    return _wait_for(pick, groups, need, step, max_staleness)


def _wait_for(
    pick: Callable[[Mapping[GroupKey, Group], int], list[GroupKey]],
    groups: Mapping[GroupKey, Group],
    need: Counter[tuple[int, ...]],
    step: int,
    max_staleness: int,
) -> Choice:
    """The groups that `pick` takes for the next batch, or none until all have finished. Groups that are too old are dropped.

    Args:
        pick: (groups of one layout, the oldest first; number of groups in a batch) -> groups of the batch.
    """
    drop = tuple(key for key, group in sorted(groups.items()) if step - group.generated_at > max_staleness)
    train: list[GroupKey] = []
    for layout, count in need.items():
        alive = {key: group for key, group in sorted(groups.items()) if group.layout == layout and key not in drop}
        chosen = pick(alive, count)
        # A part of a batch is never trained on: the optimizer step would weigh its samples more than others.
        if len(chosen) < count or not all(alive[key].is_finished for key in chosen):
            return Choice((), drop)
        train.extend(chosen)
    return Choice(tuple(train), drop)


def _chosen(
    alive: Mapping[GroupKey, Group], patience: Mapping[GroupKey, int], count: int, steps_per_batch: int
) -> list[GroupKey]:
    """As many of the oldest groups as have to be taken now, and the oldest finished ones beside them.

    Args:
        alive: groups of one layout, the oldest first.
        patience: steps that each of them may still wait for.
        count: number of groups in a batch.
    """
    keys = list(alive)
    for urgent in range(count):
        finished = [key for key in keys[urgent:] if alive[key].is_finished]
        chosen = [*keys[:urgent], *finished[: count - urgent]]
        left = [key for key in keys if key not in chosen]
        # The batches after this one can take those that are left, the oldest first.
        if all((1 + place // count) * steps_per_batch <= patience[key] for place, key in enumerate(left)):
            return chosen
    return keys[:count]


def choose_groups_in_order(
    groups: Mapping[GroupKey, Group],
    need: Counter[tuple[int, ...]],
    step: int,
    max_staleness: int,
    steps_per_batch: int,
) -> Choice:
    """As [`choose_groups`], but the oldest groups are taken, finished or not, and are waited for.

    The choice does not depend on durations. No group gets older than one of another order: the oldest is always next.
    """
    return _wait_for(lambda alive, count: list(alive)[:count], groups, need, step, max_staleness)


def choose_groups_with_loss(
    groups: Mapping[GroupKey, Group],
    need: Counter[tuple[int, ...]],
    step: int,
    max_staleness: int,
    steps_per_batch: int,
) -> Choice:
    """As [`choose_groups`], but groups that become too old are not waited for.

    At its last chance (it is from an earlier step, and would be too old for the batch after this one) a group is trained on
    without the programs that still run, which are lost, provided that at least two have finished. Past `max_staleness` it is
    dropped.
    """
    drop, ready = [], defaultdict(list)
    for key, group in sorted(groups.items()):
        # A group of this very step does not age while it is waited for.
        last_chance = group.generated_at < step and step + steps_per_batch - group.generated_at > max_staleness
        # A single finished completion has nothing to be compared with: its advantage would be 0.
        if step - group.generated_at > max_staleness or (last_chance and len(group.finished) < 2):
            drop.append(key)
        elif group.is_finished or last_chance:
            ready[group.layout].append(key)
    if any(len(ready[layout]) < count for layout, count in need.items()):
        return Choice((), tuple(drop))
    return Choice(tuple(key for layout, count in need.items() for key in ready[layout][:count]), tuple(drop))
