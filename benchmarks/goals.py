"""What the rows of `quality_per_minute.py` say of its goals, and nothing else.

A row's cell has a size where the system is a peer, and none where it is ours. Only seed 0 is judged.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

OURS = "ours-quick"
ALL_FOLDS = (0, 1, 2)
OTHER_SETS = ("people", "nuclei", "cracks")

System = tuple[str, int | None]


@dataclass(frozen=True)
class Goal:
    """A goal and whether it is met; None where rows are missing."""

    name: str
    met: bool | None
    figures: str

    def __str__(self) -> str:
        """One line for a reader."""
        verdict = {True: "met", False: "NOT met", None: "not known yet"}[self.met]
        return f"{self.name}: {verdict} ({self.figures})"


def systems_in(rows: Iterable[dict[str, Any]]) -> list[System]:
    """The systems that have rows, each peer once for each size, in the order of the rows."""
    return list(dict.fromkeys((row["cell"]["system"], row["cell"]["size"]) for row in rows))


def dice_of(
    rows: Iterable[dict[str, Any]],
    system: System,
    *,
    set_name: str,
    folds: Sequence[int],
    minutes: float,
    seed: int = 0,
) -> float | None:
    """Mean over folds of the mean Dice per picture; None where a fold has no row."""
    wanted = {"system": system[0], "size": system[1], "set_name": set_name, "minutes": minutes, "seed": seed}
    by_fold = {
        row["cell"]["fold"]: row["dice"]["mean"]
        for row in rows
        if all(row["cell"][name] == value for name, value in wanted.items())
    }
    return mean(by_fold[fold] for fold in folds) if set(folds) <= set(by_fold) else None


def best_peer(
    rows: Sequence[dict[str, Any]], *, set_name: str, folds: Sequence[int], minutes: float
) -> tuple[str, int, float] | None:
    """Name, size and Dice of the best peer of those that were measured on all the folds."""
    found = []
    for name, size in systems_in(rows):
        dice = dice_of(rows, (name, size), set_name=set_name, folds=folds, minutes=minutes)
        if size is not None and dice is not None:
            found.append((name, size, dice))
    return max(found, key=lambda peer: peer[2], default=None)


def judge(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    """Each goal, from the rows alone."""
    ours = dice_of(rows, (OURS, None), set_name="carvana", folds=ALL_FOLDS, minutes=5.0)
    return [
        _third_of_the_error(rows),
        _at_least("Dice of 0.986 on Carvana in 5 minutes, mean over folds", 0.986, ours),
        _at_least(
            "Dice of 0.990 on Carvana in 20 minutes, first fold",
            0.990,
            dice_of(rows, (OURS, None), set_name="carvana", folds=(0,), minutes=20.0),
        ),
        *(_ahead(rows, set_name) for set_name in OTHER_SETS),
        _three_seeds(rows),
    ]


def _third_of_the_error(rows: Sequence[dict[str, Any]]) -> Goal:
    name = "A third of the best peer's error on Carvana in 5 minutes, mean over folds"
    ours = dice_of(rows, (OURS, None), set_name="carvana", folds=ALL_FOLDS, minutes=5.0)
    peer = best_peer(rows, set_name="carvana", folds=ALL_FOLDS, minutes=5.0)
    if ours is None or peer is None:
        return Goal(name, None, "rows are missing")
    figures = f"{1 - ours:.5f} against {1 - peer[2]:.5f} of {peer[0]} at {peer[1]}"
    partly = [
        str(size)
        for system, size in systems_in(rows)
        if system == peer[0]
        and dice_of(rows, (system, size), set_name="carvana", folds=(0,), minutes=5.0) is not None
        and dice_of(rows, (system, size), set_name="carvana", folds=ALL_FOLDS, minutes=5.0) is None
    ]
    figures += f"; at {' and '.join(partly)} on some folds only" if partly else ""
    return Goal(name, 3 * (1 - ours) <= 1 - peer[2], figures)


def _at_least(name: str, aim: float, dice: float | None) -> Goal:
    return Goal(name, None, "rows are missing") if dice is None else Goal(name, dice >= aim, f"{dice:.5f}")


def _ahead(rows: Sequence[dict[str, Any]], set_name: str) -> Goal:
    name = f"Ahead of every peer measured on {set_name} in 5 minutes, first fold"
    ours = dice_of(rows, (OURS, None), set_name=set_name, folds=(0,), minutes=5.0)
    peer = best_peer(rows, set_name=set_name, folds=(0,), minutes=5.0)
    if ours is None or peer is None:
        return Goal(name, None, "rows are missing")
    figures = f"{ours:.5f} against {peer[2]:.5f} of {peer[0]} at {peer[1]}{_lead(rows, set_name, peer[:2])}"
    return Goal(name, ours > peer[2], figures)


def _lead(rows: Sequence[dict[str, Any]], set_name: str, peer: System) -> str:
    """How far ours is ahead, with the standard error over pictures; nothing where their scores are not known."""
    ours, theirs = (_pictures_of(rows, system, set_name) for system in ((OURS, None), peer))
    differences = [ours[name] - theirs[name] for name in ours if name in theirs]
    if len(differences) < 2:
        return ""
    error = stdev(differences) / math.sqrt(len(differences))
    return f"; ahead by {mean(differences):.3f} ± {error:.3f}, over {len(differences)} pictures"


def _pictures_of(rows: Iterable[dict[str, Any]], system: System, set_name: str) -> dict[str, float]:
    """Dice of each picture of the first fold in five minutes."""
    wanted = {"system": system[0], "size": system[1], "set_name": set_name, "fold": 0, "minutes": 5.0, "seed": 0}
    found: dict[str, float | None] = next((row.get("pictures", {}) for row in rows if row["cell"] == wanted), {})
    return {name: dice for name, dice in found.items() if dice is not None}


def _three_seeds(rows: Sequence[dict[str, Any]]) -> Goal:
    """Whether the worst of ours is ahead of the best of the best peer, on Carvana's first fold."""
    name = "The worst of three seeds ahead of the best peer's best of three on Carvana in 5 minutes, first fold"
    peer = best_peer(rows, set_name="carvana", folds=ALL_FOLDS, minutes=5.0)
    systems: list[System] = [(OURS, None), *([] if peer is None else [peer[:2]])]
    seeds = [
        [dice_of(rows, system, set_name="carvana", folds=(0,), minutes=5.0, seed=seed) for seed in range(3)]
        for system in systems
    ]
    known = [[dice for dice in found if dice is not None] for found in seeds]
    if peer is None or any(len(found) < 3 for found in known):
        return Goal(name, None, "rows are missing")
    ours, theirs = ([f"{dice:.4f}" for dice in found] for found in known)
    figures = f"{', '.join(ours)} against {', '.join(theirs)} of {peer[0]} at {peer[1]}"
    return Goal(name, min(known[0]) > max(known[1]), figures)
