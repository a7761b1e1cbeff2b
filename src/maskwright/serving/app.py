"""The HTTP API: a picture in, its mask out. `create_app` makes an ASGI application of a predictor.

Pictures come as request bodies and in no other way: there is no URL and no path that the server would open for a
client. All that is held is bounded by `ServeLimits`, and every refusal is a status, a code and one sentence.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from maskwright.config import ServeLimits
from maskwright.data.threads import limit_pixels
from maskwright.inference.bulk import PIXELS_UNDER_WAY
from maskwright.inference.engines import one_core_each
from maskwright.inference.predictor import Predictor
from maskwright.serving import descriptions as described
from maskwright.serving.bodies import file_of, read_form, read_upload
from maskwright.serving.collecting import Collection, Kept
from maskwright.serving.decoder import Room
from maskwright.serving.logs import write_line
from maskwright.serving.metrics import CONTENT_TYPE, Metrics
from maskwright.serving.orders import MEDIA_TYPES, Made, Order, Output, check_order, choose_output, make
from maskwright.serving.reception import Log, Reception
from maskwright.serving.refusals import Refusal
from maskwright.serving.workers import Places, Workers

# The web page, which is an ordinary client.
PAGE = Path(__file__).parent / "page"


@dataclass
class Service:
    """What the routes share.

    Attributes:
        predictor: The model.
        limits: What is taken at most.
        places: For pictures that are under way.
        metrics: Counts.
        room: Held by pixels while they are computed.
        collection: Where corrected masks are kept, if anywhere.
        workers: Those who compute, while the server runs.
    """

    predictor: Predictor
    limits: ServeLimits
    places: Places
    metrics: Metrics
    room: Room
    collection: Collection | None
    workers: Workers | None = None

    def at_work(self) -> Workers:
        """Those who compute.

        Raises:
            Refusal: There are none yet, or none any more.
        """
        if self.workers is None:
            raise Refusal(503, "stopping", "This server is starting or stopping; try again.", {"Retry-After": "1"})
        return self.workers


def create_app(
    predictor: Predictor,
    *,
    name: str = "model",
    limits: ServeLimits | None = None,
    api_key: str | None = None,
    collect: Path | None = None,
    threads: int | None = None,
    page: Path = PAGE,
    log: Log = write_line,
    started: Callable[[], None] = lambda: None,
) -> FastAPI:
    """An ASGI application that serves a model.

    Args:
        predictor: The model, loaded with ``many_at_once``.
        name: What the model is called.
        limits: What is taken at most.
        api_key: That clients have to send; without one, only clients on this machine are answered.
        collect: Folder to keep corrected masks in; without one, nothing is kept.
        threads: Pictures computed at a time; by default as many as there are cores.
        page: Folder of the web page; without one, there is the API alone.
        log: Is told of each request.
        started: Called when requests can be answered.

    Raises:
        InputError: The folder to collect into cannot be used.
    """
    limits = limits or ServeLimits()
    places = Places(limits.max_requests)
    service = Service(
        predictor,
        limits,
        places,
        Metrics(lambda: places.taken),
        limit_pixels(max(PIXELS_UNDER_WAY, limits.picture_pixels)),
        Collection(collect, predictor.card.labels) if collect else None,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with one_core_each():
            service.workers = workers = Workers(predictor.card.input, limits, number=threads)
            started()
            yield
            service.workers = None
            workers.close()

    app = FastAPI(
        title="Maskwright",
        version=version("maskwright"),
        description=described.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # they load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a path is right or refused
    )
    model = described.describe_model(predictor, name, limits, collects=collect is not None, asks_key=bool(api_key))
    _add_pictures(app, service, model)
    _add_watching(app, service)
    if (page / "index.html").is_file():
        # What is left over, where a mount at / would answer for other methods of the API's paths, too.
        app.router.default = StaticFiles(directory=page, html=True)
    _say_errors(app)
    app.add_middleware(Reception, api_key=api_key, metrics=service.metrics, log=log)
    return app


def _add_pictures(app: FastAPI, service: Service, model: described.Model) -> None:
    """The API itself."""
    labels = service.predictor.card.labels

    @app.post("/v1/predict", **described.PREDICT)
    async def predict(
        request: Request,
        output: Annotated[Output | None, Query(description=described.OUTPUT)] = None,
        threshold: Annotated[float | None, Query(gt=0, lt=1, description=described.THRESHOLD)] = None,
        soft_class: Annotated[int | None, Query(alias="class", ge=0, le=254, description=described.CLASS)] = None,
    ) -> Response:
        """What the model sees in a picture."""
        order = Order(choose_output(output, request.headers.get("accept", "")), threshold, soft_class)
        check_order(order, labels)
        with service.places.take() as place:
            upload = await read_upload(request, service.limits)
            named = replace(order, name=upload.name or order.name)
            made = await service.at_work().ask(
                place, lambda decoder: make(named, service.predictor, upload.content, decoder, service.room)
            )
        service.metrics.count_picture(order.output, made.seconds)
        return _answer(made, order, service.predictor)

    @app.get("/v1/model", **described.MODEL)
    async def describe() -> described.Model:
        """What the model tells apart, and what this server takes."""
        return model

    @app.post("/v1/collect", status_code=201, **described.COLLECT)
    async def keep(request: Request) -> Kept:
        """Keep a picture with its corrected mask, for training (only with --collect)."""
        collection = service.collection
        if collection is None:
            raise Refusal(404, "not_collecting", "This server keeps no pictures; start it with --collect FOLDER.")
        with service.places.take() as place:
            form = await read_form(request, service.limits)
            image, mask, given = file_of(form, "image"), file_of(form, "mask"), form.get("name")
            wanted = given if isinstance(given, str) else ""
            return await service.at_work().ask(
                place, lambda decoder: collection.keep(image, mask, wanted, decoder, service.room)
            )


def _add_watching(app: FastAPI, service: Service) -> None:
    """What other programs watch a server by."""

    @app.get("/healthz", **described.HEALTH)
    async def is_alive() -> described.Health:
        """Whether the process answers."""
        return described.Health(status="ok")

    @app.get("/readyz", **described.READY)
    async def is_ready() -> described.Health:
        """Whether pictures are taken."""
        service.at_work()
        return described.Health(status="ok")

    @app.get("/metrics", **described.METRICS)
    async def count() -> Response:
        """Counts for Prometheus."""
        return Response(service.metrics.page(), media_type=CONTENT_TYPE)


def _answer(made: Made, order: Order, predictor: Predictor) -> Response:
    headers = {"X-Maskwright-Seconds": f"{made.seconds:.3f}", "Vary": "Accept"}
    if predictor.card.labels.num_classes == 2:
        headers["X-Maskwright-Threshold"] = f"{order.threshold or predictor.card.threshold:g}"
    return Response(made.content, media_type=MEDIA_TYPES[order.output], headers=headers)


def _say_errors(app: FastAPI) -> None:
    """What the framework refuses becomes a refusal of ours, which the reception answers and notes like all others."""

    async def http_error(request: Request, error: Exception) -> NoReturn:
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for them
        codes = {404: "not_found", 405: "method_not_allowed"}
        sentences = {404: f"There is nothing at {request.url.path[:100]!a}; see /openapi.json for what there is."}
        sentences[405] = f"{request.method[:10]} is not for {request.url.path[:100]!a}; see /openapi.json."
        code, sentence = codes.get(error.status_code, "http_error"), sentences.get(error.status_code, error.detail)
        raise Refusal(error.status_code, code, sentence, error.headers) from error

    async def invalid(_: Request, error: Exception) -> NoReturn:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for them
        first = error.errors()[0]
        sentence = f"The parameter {first['loc'][-1]} cannot be used: {first['msg'][:1].lower()}{first['msg'][1:]}."
        raise Refusal(422, "invalid_parameter", sentence) from error

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
