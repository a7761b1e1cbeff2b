"""`maskwright predict --runner ray`: pictures by the million to masks, tables or shards, on one machine or many."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from maskwright import terminal
from maskwright.config import PredictSettings, ScaleSettings
from maskwright.data.reading import fingerprint_of
from maskwright.errors import InputError
from maskwright.scale.manifest import FAILURES, Mark, Plan, begin, gather_failures
from maskwright.scale.outcomes import KINDS
from maskwright.scale.parts import FOLDERS, Order, files_of_parts
from maskwright.scale.places import Place, open_place
from maskwright.scale.rounds import Failure, Run, do_all
from maskwright.scale.sources import Entry, Source, list_source, refuse_collisions

# Failures that are named one by one at the end; all of them are in a file.
_NAMED = 10


@dataclass(frozen=True)
class Tally:
    """What a run has come to.

    Attributes:
        pictures: That were predicted or tried, earlier runs included.
        failed: That could not be predicted.
        undone: Parts that are still to be done.
    """

    pictures: int
    failed: int
    undone: int


def predict_at_scale(
    model: str | Path,
    source: str,
    *,
    out: str = "predictions",
    save: str = "mask",
    overwrite: bool = False,
    device: str = "auto",
    settings: PredictSettings | None = None,
    scale: ScaleSettings | None = None,
) -> Tally:
    """Predict pictures by the million with Ray; a run that was stopped goes on where it was.

    Args:
        model: The model file.
        source: A folder, a file or a pattern, here or in a store (``s3://...``), of pictures, tar shards or Parquet
            tables.
        out: Where the results go, likewise.
        save: What to write, a comma list of mask, parquet and shards.
        overwrite: Begin anew, whatever is there.
        device: auto, cpu or cuda; auto takes GPUs where the cluster has some.
        settings: How masks are made.
        scale: The cluster, and how many pictures are done together.

    Returns:
        What was done. A picture that cannot be read becomes a row of what failed.

    Raises:
        InputError: Something given cannot be used, or there are results that something else made.
        MissingExtraError: Ray is not installed.
    """
    from maskwright.inference.predictor import load_as_set
    from maskwright.scale.ray_runner import connected, ray_run, require_ray, store_model

    require_ray()
    settings, scale = settings or PredictSettings(), scale or ScaleSettings(runner="ray")
    kinds = _read_kinds(save)
    if settings.large or settings.background is not None:
        raise InputError("--runner ray makes masks of pictures that can be held; leave --large and --background out.")
    predictor = load_as_set(model, settings, device="cpu", many_at_once=True)
    target = open_place(out)
    found, entries = _list(source, target, kinds)
    makers = makers_of(model, settings, kinds)
    plan = begin(target, found, entries, makers, pictures=scale.part, renew=overwrite, old=files_of_parts(target))
    marks: dict[int, Mark] = {}
    failures: list[Failure] = []
    if plan.pending:
        with connected(scale.address) as resources:
            gpus = int(resources.get("GPU", 0)) if device != "cpu" else 0
            if not gpus and device not in ("auto", "cpu"):
                raise InputError(f"--device {device}: Ray knows no GPU; try --device cpu.")
            portable = store_model(target, Path(model), settings, device if gpus else "cpu")
            order, cores = Order(found, target, kinds), int(resources.get("CPU", 1))
            marks, failures = _watch(ray_run(order, portable, predictor, cores=cores, gpus=gpus), plan)
    return _tell(target, plan, {**plan.marks, **marks}, failures)


def makers_of(model: str | Path, settings: PredictSettings, kinds: Sequence[str]) -> dict[str, object]:
    """What makes results what they are, beside the pictures: for the manifest, by the names of options."""
    same = replace(settings, engine=None)  # it only refuses files
    return {"model": fingerprint_of(Path(model)), **asdict(same), "save": ",".join(kinds)}


def _read_kinds(save: str) -> list[str]:
    kinds = list(dict.fromkeys(kind.strip() for kind in save.split(",")))
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"With --runner ray, --save knows {', '.join(KINDS)}, not {kind!r}.")
    return kinds


def _list(address: str, out: Place, kinds: Sequence[str]) -> tuple[Source, list[Entry]]:
    source, entries = list_source(address)
    if type(source.place.files) is type(out.files):
        if out.root.rstrip("/") == source.place.root.rstrip("/"):
            raise InputError(f"The results would lie among the pictures of {address}; choose another --out.")
        start = source.place.path("")
        if any(start.startswith(out.path(f"{folder}/")) for folder in FOLDERS):
            raise InputError(f"{address} lies where results of {out.address} go; choose another --out.")
        # Results of an earlier run that lie below the pictures are no pictures.
        below = f"{out.root.removeprefix(start)}/" if out.root.startswith(start) else None
        entries = [entry for entry in entries if below is None or not entry.name.startswith(below)]
    if source.kind == "pictures" and {*kinds} != {"parquet"}:
        refuse_collisions(entries)
    return source, entries


def _watch(run: Run, plan: Plan) -> tuple[dict[int, Mark], list[Failure]]:
    """Have the rest of a run done, and show how far it is.

    It is measured in bytes: shards do not say how many pictures they hold.
    """
    pending = {part.number: part for part in plan.pending}
    total = sum(part.size for part in pending.values()) or 1
    marks: dict[int, Mark] = {}
    failures: list[Failure] = []
    done = pictures = 0
    began = time.monotonic()
    with terminal.progressing("Predicting") as update:
        for outcome in do_all(run, list(pending.values())):
            if isinstance(outcome, Failure):
                failures.append(outcome)
                continue
            marks[outcome.number] = outcome
            done += pending[outcome.number].size
            pictures += outcome.pictures
            rate = pictures / (time.monotonic() - began)
            update(min(1.0, done / total), f"{pictures} pictures, {rate:.1f}/s, part {len(marks)} of {len(pending)}")
    return marks, failures


def _tell(out: Place, plan: Plan, marks: Mapping[int, Mark], undone: Sequence[Failure]) -> Tally:
    failures = gather_failures(out, [marks[number] for number in sorted(marks)])
    for failure in failures[:_NAMED]:
        terminal.warn(f"Not predicted: {failure['error']}")
    if len(failures) > _NAMED:
        terminal.warn(f"... and {len(failures) - _NAMED} more, all of them in {out.path(FAILURES)}.")
    for part in undone[:_NAMED]:
        terminal.warn(f"Part {part.number} is not done: {part.reason}")
    if undone:
        terminal.warn(f"Parts that are not done: {len(undone)}; the same command tries them again.")
    pictures = sum(mark.pictures for mark in marks.values())
    before = sum(mark.pictures for mark in plan.marks.values())
    already = f" ({before} of them by earlier runs; --overwrite begins anew)" if before else ""
    terminal.say(f"{pictures - len(failures)} of {pictures} pictures predicted{already}; results in {out.address}")
    return Tally(pictures, len(failures), len(undone))
