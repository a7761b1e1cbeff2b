"""Parts on the cores and GPUs of this machine or of a cluster, by Ray Data.

Without a GPU, an actor on each core takes a part from its files to its results, a picture at a time. With GPUs, tasks
on the cores decode, an actor on each GPU computes, and tasks on the cores finish; what goes between them has the size
that the model sees. Ray Data holds back who is ahead, so memory does not grow with the number of pictures, retries what
a lost machine was working on, and starts actors anew. What is done twice for that has the same names and bytes.

Each picture is computed on one core, as `predict` does with many: Ray tells OpenMP how many threads to take by a
variable that anyone may set, so this does not rely on it.
"""

import logging
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import PredictSettings
from maskwright.errors import InputError, MissingExtraError
from maskwright.inference.claims import NOTES
from maskwright.inference.engines import one_core_each
from maskwright.inference.predictor import Predictor, load_as_set
from maskwright.scale.manifest import Mark, Part
from maskwright.scale.parts import Order, do_part, finish_part, infer_part, prepare_part
from maskwright.scale.places import Place
from maskwright.scale.rounds import Failure, Run

# Parts that an actor has or waits for: a second one is there when the first is done, and no more are lost with it.
_PARTS_OF_AN_ACTOR = 2
# Below the results: the model.
STORED = f"{NOTES}/model"


@dataclass(frozen=True)
class Model:
    """A model that lies beside the results, where any machine can load it.

    Attributes:
        out: Where results go.
        names: Its files below `STORED`, the one to load first; of OpenVINO there are two.
        settings: How masks are made.
        device: Where to compute: cpu, cuda or auto.
    """

    out: Place
    names: Sequence[str]
    settings: PredictSettings
    device: str = "cpu"

    def load(self) -> Predictor:
        """A predictor that computes each picture on one core."""
        with tempfile.TemporaryDirectory() as folder:
            for name in self.names:
                (Path(folder) / name).write_bytes(self.out.read(f"{STORED}/{name}"))
            file = Path(folder) / self.names[0]
            try:
                return load_as_set(file, self.settings, device=self.device, many_at_once=True, cores=1)
            except InputError as error:
                raise InputError(str(error).replace(folder, self.out.path(STORED))) from error


def store_model(out: Place, path: Path, settings: PredictSettings, device: str) -> Model:
    """Put a model beside the results."""
    files = [path, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])]
    for file in files:
        out.write(f"{STORED}/{file.name}", file.read_bytes())
    return Model(out, [file.name for file in files], settings, device)


def require_ray() -> None:
    """Raise a MissingExtraError where Ray is not installed; it is not started, nor imported, which takes seconds."""
    if "ray" not in sys.modules and find_spec("ray") is None:
        raise MissingExtraError("ray", "scale")


@contextmanager
def connected(address: str | None) -> Iterator[Mapping[str, float]]:
    """Ray for as long as it lasts; on this machine alone where there is no address, here or in RAY_ADDRESS.

    Yields:
        What there is: CPU, GPU and so on.

    Raises:
        InputError: There is no cluster at the address, or it has gone.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its remarks are about its own working
    import ray

    if ray.is_initialized():  # by the program that calls this
        yield ray.cluster_resources()
        return
    address = address or os.environ.get("RAY_ADDRESS")
    handler = signal.getsignal(signal.SIGTERM)
    alone: dict[str, Any] = {} if address else {"include_dashboard": False}
    if not address:
        # By itself Ray lets its workers yield to all else, and a machine that does something besides hardly predicts.
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **alone)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"Ray cannot be reached at {address or 'this machine'}: {error}") from error
    try:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # which Ray takes
        yield ray.cluster_resources()
    except ray.exceptions.RayError as error:
        raise InputError(f"Ray has come to an end ({error}); the same command goes on where it was.") from error
    finally:
        ray.shutdown()


def ray_run(order: Order, model: Model, predictor: Predictor, *, cores: int, gpus: int = 0) -> Run:
    """What does parts on so many cores and GPUs; Ray is there already.

    Args:
        order: What is done with each.
        model: What is to be computed, on its device.
        predictor: The same, loaded.
        cores: Of all machines.
        gpus: Likewise; without any, cores compute too.
    """
    import ray

    # What needs no engine goes along as it is.
    idle = Predictor(predictor.card, Elsewhere(), cleanup=predictor.cleanup)

    def run(parts: Sequence[Part]) -> Iterator[Mark | Failure]:
        _configure()
        dataset = ray.data.from_items([asdict(part) for part in parts], override_num_blocks=len(parts))
        made = {"order": order, "model": model}
        if gpus:
            dataset = dataset.map(partial(_prepare, order, idle), num_cpus=1)
            dataset = dataset.map(Inferring, fn_constructor_kwargs=made, num_gpus=1, compute=_pool(gpus, parts))
            dataset = dataset.map(partial(_finish, order, idle), num_cpus=1)
        else:
            dataset = dataset.map(Predicting, fn_constructor_kwargs=made, num_cpus=1, compute=_pool(cores, parts))
        for row in dataset.iter_rows():
            if row["reason"]:
                yield Failure(row["number"], row["reason"])
            else:
                yield Mark(row["number"], row["pictures"], row["failed"])

    return run


class Elsewhere:
    """An engine for whoever asks nothing of it."""

    name = "computed elsewhere"

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Nothing asks."""
        raise NotImplementedError


class Predicting:
    """An actor on a core: a part from its files to its results.

    Args:
        order: What is done with each.
        model: What is to be computed.
    """

    def __init__(self, order: Order, model: Model) -> None:
        self._order = order
        self._model = model
        self._predictor: Predictor | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do a part."""
        return _told(row, lambda: do_part(self._order, self.predictor(), Part(**row)))

    def predictor(self) -> Predictor:
        """The model, loaded when it is first asked for: what goes wrong then is said of a part."""
        if self._predictor is None:
            self._predictor = self._model.load()
        return self._predictor


class Inferring(Predicting):
    """An actor on a GPU: what is prepared to logits."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Compute a part."""
        return _carried(row, lambda: infer_part(self.predictor(), _unpack(row["prepared"])), "logits")


def _prepare(order: Order, predictor: Predictor, row: dict[str, Any]) -> dict[str, Any]:
    return _carried({"part": row}, lambda: prepare_part(order, predictor, Part(**row)), "prepared")


def _finish(order: Order, predictor: Predictor, row: dict[str, Any]) -> dict[str, Any]:
    part = Part(**row["part"])
    if row["reason"]:
        return {"number": part.number, "pictures": 0, "failed": 0, "reason": row["reason"]}
    pictures, logits = _unpack(row["prepared"]), _unpack(row["logits"])
    return _told(row["part"], lambda: finish_part(order, predictor, part, pictures, logits))


def _carried(row: dict[str, Any], work: Callable[[], object], name: str) -> dict[str, Any]:
    """A row with what a step makes of it, or with the reason why there is nothing."""
    if row.get("reason"):
        return {**row, name: b""}
    try:
        with one_core_each():
            return {**row, name: pickle.dumps(work(), protocol=pickle.HIGHEST_PROTOCOL), "reason": ""}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is said of this part and ends no other
        return {**row, name: b"", "reason": _in_words(error)}


def _told(row: dict[str, Any], work: Callable[[], Mark]) -> dict[str, Any]:
    """What a part has come to."""
    try:
        with one_core_each():
            return {**asdict(work()), "reason": ""}
    except Exception as error:  # noqa: BLE001 - likewise
        return {"number": row["number"], "pictures": 0, "failed": 0, "reason": _in_words(error)}


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _unpack(content: bytes) -> Any:  # noqa: ANN401 - what another step has packed
    return pickle.loads(content)  # noqa: S301 - by ourselves


def _pool(most: int, parts: Sequence[Part]) -> Any:  # noqa: ANN401 - Ray's
    """As many actors as there is room and work for; fewer where a machine is lost, whose parts the others then do."""
    import ray

    size = min(most, len(parts))
    return ray.data.ActorPoolStrategy(
        min_size=1, max_size=size, initial_size=size, max_tasks_in_flight_per_actor=_PARTS_OF_AN_ACTOR
    )


def _configure() -> None:
    """Ray Data without bars of its own; what it loses comes back in another round (`rounds`)."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
