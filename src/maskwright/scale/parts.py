"""A part of a run: its pictures' results are written, and then, when nothing is missing, it is marked as done."""

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from maskwright.errors import MissingExtraError
from maskwright.inference.predictor import Predictor
from maskwright.scale.attempts import watched
from maskwright.scale.manifest import Mark, Part, entries_of, mark_done
from maskwright.scale.outcomes import Outcome, Prepared, finish, infer, predict_one, prepare
from maskwright.scale.places import Place
from maskwright.scale.sources import Source, pictures_of

FOLDERS = ("parquet", "shards")
"""Below the results, the folders of files that are called by their part's number."""
FINISHING = "finish"
"""What the notes on the third step are called."""
_FILE = re.compile(r"parquet/part-\d{7,}\.parquet|shards/part-\d{7,}\.tar")


@dataclass(frozen=True)
class Order:
    """What is done with every part.

    Attributes:
        source: Where the pictures lie.
        out: Where results go.
        kinds: What is written of each, of `outcomes.KINDS`.
    """

    source: Source
    out: Place
    kinds: Sequence[str]


def do_part(order: Order, predictor: Predictor, part: Part) -> Mark:
    """Predict the pictures of a part and write their results, one picture at a time."""
    pictures = watched(order.out, part, pictures_of(order.source, entries_of(order.out, part)))
    return commit(order, part, (predict_one(predictor, picture, order.kinds) for picture in pictures))


def prepare_part(order: Order, predictor: Predictor, part: Part) -> list[Prepared]:
    """The first step for all pictures of a part."""
    pictures = watched(order.out, part, pictures_of(order.source, entries_of(order.out, part)))
    return [prepare(predictor, picture, order.kinds) for picture in pictures]


def infer_part(predictor: Predictor, pictures: Sequence[Prepared]) -> list[Any]:
    """The second step: logits at the size that the model sees, or None."""
    return [infer(predictor, prepared) for prepared in pictures]


def finish_part(
    order: Order, predictor: Predictor, part: Part, pictures: Sequence[Prepared], logits: Sequence[Any]
) -> Mark:
    """The third step, and the writing of it all. A mask is as large as its picture, and may end a process too."""
    known = watched(order.out, part, (prepared.picture for prepared in pictures), step=FINISHING)
    outcomes = (
        finish(predictor, prepared, some, order.kinds)
        if picture.problem is None
        else predict_one(predictor, picture, order.kinds)  # which says why it is given up
        for picture, prepared, some in zip(known, pictures, logits, strict=True)
    )
    return commit(order, part, outcomes)


def commit(order: Order, part: Part, outcomes: Iterable[Outcome]) -> Mark:
    """Write what the pictures of a part become, and mark it.

    Masks are written as they come, tables and shards when all are there. Everything is whole or not there at all, and
    has the same name and the same bytes when a part is done again.
    """
    rows: list[dict[str, Any]] = []
    members: list[tuple[str, bytes]] = []
    for outcome in outcomes:
        rows.append(outcome.row)
        target = outcome.picture.target
        if outcome.mask is not None and "mask" in order.kinds:
            order.out.write(f"{target}_mask.png", outcome.mask)
        if "shards" in order.kinds:
            members += [(f"{target}.mask.png", outcome.mask)] if outcome.mask is not None else []
            # What failed may have a name that no file can have.
            note = target if outcome.row["error"] is None else f"failed/{part.name}-{len(rows) - 1}"
            told = {key: value for key, value in outcome.row.items() if key != "rle"}
            members.append((f"{note}.json", f"{json.dumps(told)}\n".encode()))
    if "parquet" in order.kinds:
        order.out.write(f"parquet/part-{part.name}.parquet", encode_table(rows))
    if "shards" in order.kinds:
        order.out.write(f"shards/part-{part.name}.tar", encode_shard(members))
    failures = [{key: row[key] for key in ("path", "shard", "error")} for row in rows if row["error"] is not None]
    return mark_done(order.out, part, len(rows), failures)


def files_of_parts(out: Place) -> Iterator[str]:
    """The tables and shards that `commit` has written, by their names; other files may lie beside them."""
    return (name for folder in FOLDERS for name in out.below(folder) if _FILE.fullmatch(name))


def encode_table(rows: Sequence[dict[str, Any]]) -> bytes:
    """The content of a Parquet file of these rows."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "scale") from error
    region = arrow.struct([("class", arrow.string()), ("runs", arrow.string())])
    schema = arrow.schema(
        [
            ("path", arrow.string()),
            ("shard", arrow.string()),
            ("height", arrow.int32()),
            ("width", arrow.int32()),
            ("rle", arrow.list_(region)),
            ("score", arrow.float64()),
            ("error", arrow.string()),
        ]
    )
    file = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(list(rows), schema), file, compression="zstd")
    return file.getvalue()


def encode_shard(members: Iterable[tuple[str, bytes]]) -> bytes:
    """The content of a tar file of these members: nothing in it tells when or by whom it was written."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as shard:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    return file.getvalue()
