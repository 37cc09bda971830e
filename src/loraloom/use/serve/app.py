"""The interface: what is asked by which route."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from fastapi import Body, FastAPI, HTTPException, Request, Response
from fastapi import Path as PathParameter
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse
from numpy.typing import NDArray
from scipy.special import expit

from loraloom.errors import AdapterError, LoraloomError
from loraloom.study.provenance import own_version
from loraloom.use.adapter import Classifier
from loraloom.use.serve.batching import Batcher, UnreadableTextError
from loraloom.use.serve.demo import demo_page
from loraloom.use.serve.gate import BEGAN, Gate
from loraloom.use.serve.limits import Limits, Settings
from loraloom.use.serve.messages import (
    AdapterCard,
    AdapterList,
    AddRequest,
    Classified,
    ClassifyAnswer,
    ClassifyRequest,
    ExplainAnswer,
    ExplainRequest,
    Health,
    HubRequest,
    HubScore,
)
from loraloom.use.serve.metrics import Metrics
from loraloom.use.serve.occlusion import parts_of, weighed, without
from loraloom.use.serve.refusals import GoneError, UniqueKeysRoute, add_refusals, refusals
from loraloom.use.serve.registry import Registry, Served, listed

STUCK_SECONDS = 60
_T = TypeVar("_T")
_log = logging.getLogger("loraloom.serve")


def make_app(registry: Registry, settings: Settings) -> FastAPI:
    """The ASGI application that serves `registry`'s adapters."""
    batcher = Batcher(registry.backbones, Metrics(), settings.limits.waiting_texts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        await batcher.stop()

    app = FastAPI(
        title="loraloom",
        version=own_version(),
        summary="Text classification by LoRA adapters over one backbone.",
        lifespan=lifespan,
        docs_url=None,  # its page asks other servers for scripts
        redoc_url=None,
        redirect_slashes=False,  # to a place by the request's own scheme and path, which are not those before a proxy
    )
    app.router.route_class = UniqueKeysRoute
    app.state.batcher, app.state.draining = batcher, False
    app.add_middleware(Gate, settings=settings, batcher=batcher)
    if settings.access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.access.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    add_refusals(app)
    _add_health(app, registry, batcher)
    _add_classification(app, registry, settings.limits, _Asked(registry, batcher, settings))
    _add_adapters(app, registry, batcher, settings)
    return app


class _Asked:
    """What a request asks, computed within its limits."""

    def __init__(self, registry: Registry, batcher: Batcher, settings: Settings) -> None:
        self._registry, self._batcher, self._settings = registry, batcher, settings

    async def logits(self, request: Request, served: Served, texts: Sequence[str]) -> NDArray[np.float32]:
        """Logits (N, C) of texts, unless they are too many, too long, too late, or nobody waits for them any more."""
        limits = self._settings.limits
        if len(texts) > limits.texts:
            raise HTTPException(413, f"texts: {len(texts):,} are more than the {limits.texts:,} of a request")
        if (longest := max(map(len, texts))) > limits.characters:
            raise HTTPException(413, f"texts: one has {longest:,} characters; {limits.characters:,} are allowed")
        if self._settings.log_texts:
            _log.info("%s is asked for %r", served.name, list(texts))
        began = request.scope[BEGAN]  # its body may have come slowly
        found = await _unless_gone(request, self._batcher.logits(served, texts, limits.seconds, began))
        if served in self._registry.all():  # of one that was removed meanwhile no line is kept
            self._batcher.metrics.texts.labels(served.name).inc(len(texts))
        return found


def _add_classification(app: FastAPI, registry: Registry, limits: Limits, asked: _Asked) -> None:
    refused = refusals(400, 401, 404, 408, 413, 415, 421, 422, 500, 503, 504)

    @app.post("/v1/classify", responses=refused, tags=["classify"])
    async def classify(request: Request, body: ClassifyRequest) -> ClassifyAnswer:
        """Labels and probabilities of texts by one adapter."""
        served = registry.find(body.adapter)
        logits = await asked.logits(request, served, body.texts)
        labels, found = served.classifier.labels, served.classifier.probabilities_of(logits)
        return ClassifyAnswer(adapter=served.name, results=[_classified(labels, row) for row in found])

    @app.post("/v1/explain", responses=refused, tags=["classify"])
    async def explain(request: Request, body: ExplainRequest) -> ExplainAnswer:
        """Which words mattered: what the label's probability loses where each is left out (occlusion)."""
        served = registry.find(body.adapter)
        if len(body.text) > limits.characters:
            raise HTTPException(413, "text: has too many characters")
        parts = parts_of(body.text, limits.texts - 1)
        try:
            logits = await asked.logits(request, served, without(body.text, parts))
        except UnreadableTextError as error:  # where no token is left without a part, it has no weight
            if 0 in error.rows:
                raise
            parts = [part for row, part in enumerate(parts, start=1) if row not in error.rows]
            logits = await asked.logits(request, served, without(body.text, parts))
        found = served.classifier.probabilities_of(logits)
        whole = _classified(served.classifier.labels, found[0])
        return ExplainAnswer(**whole.model_dump(), adapter=served.name, words=weighed(parts, found))

    async def by_hub(request: Request, served: Served, body: HubRequest) -> list[list[HubScore]]:
        texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
        if not texts:
            return []
        logits = await asked.logits(request, served, texts)
        chosen = (None if body.parameters is None else body.parameters.function_to_apply) or "softmax"
        scores = _SCORES[chosen](served.classifier, logits)
        most = None if body.parameters is None else body.parameters.top_k
        labels = served.classifier.labels
        return [
            [HubScore(label=labels[index], score=float(row[index])) for index in np.argsort(-row, kind="stable")[:most]]
            for row in scores
        ]

    @app.post("/", responses=refused, tags=["hub"])
    async def hub_default(request: Request, body: HubRequest) -> list[list[HubScore]]:
        """The hub's text classification, where one adapter is served."""
        if len(names := [each.name for each in registry.all()]) > 1:
            raise AdapterError(f"several adapters are served; ask /models/NAME, NAME being one of {listed(names)}")
        return await by_hub(request, registry.find(None), body)

    @app.post("/models/{name}", responses=refused, tags=["hub"])
    async def hub(
        request: Request,
        name: Annotated[str, PathParameter(description="An adapter's name.", examples=["news"])],
        body: HubRequest,
    ) -> list[list[HubScore]]:
        """The hub's text classification by an adapter: `InferenceClient(model=".../models/NAME")` works."""
        return await by_hub(request, registry.find(name), body)


def _add_health(app: FastAPI, registry: Registry, batcher: Batcher) -> None:
    page, policy = demo_page()

    def status() -> str:
        if app.state.draining:
            return "draining"
        if not batcher.alive:
            return "starting"
        if not registry.all():
            return "empty"
        if batcher.device_lost:
            return "lost"
        since = batcher.busy_since
        return "stuck" if since is not None and time.monotonic() - since > STUCK_SECONDS else "ok"

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def demo() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": policy})

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", tags=["health"], responses=refusals(421))
    async def healthz() -> Health:
        """Whether the process answers."""
        return Health(status="ok")

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", tags=["health"], responses={503: {"model": Health}, **refusals(421)})
    async def readyz(response: Response) -> Health:
        """Whether it can classify: adapters are loaded, it does not drain, and no batch hangs."""
        found = status()
        response.status_code = 200 if found == "ok" else 503
        return Health.model_validate({"status": found})

    @app.get("/metrics", tags=["health"], response_class=Response, responses=refusals(401, 421))
    async def prometheus() -> Response:
        """Counts and times in Prometheus' text format."""
        batcher.metrics.adapters.set(len(registry.all()))
        return Response(batcher.metrics.as_text(), media_type="text/plain; version=0.0.4")


def _add_adapters(app: FastAPI, registry: Registry, batcher: Batcher, settings: Settings) -> None:
    access = settings.access

    def changeable() -> Path:
        if access.admin_token is None or access.adapters_dir is None:
            raise HTTPException(403, "adapters can't be changed: start with --adapters_dir and --admin_token_file")
        return access.adapters_dir

    @app.get("/v1/adapters", tags=["adapters"], responses=refusals(401, 421))
    async def adapters() -> AdapterList:
        """All adapters that are served."""
        return AdapterList(adapters=[_card(served) for served in registry.all()])

    changes = refusals(400, 401, 403, 404, 408, 409, 413, 415, 421, 422, 503)

    @app.post("/v1/adapters", status_code=201, tags=["adapters"], responses=changes)
    async def add(body: Annotated[AddRequest, Body()]) -> AdapterCard:
        """Serves one more adapter of a backbone that is in memory; needs the admin's token."""
        folder = below(changeable(), body.folder)
        return _card(await asyncio.to_thread(registry.add, body.name, folder, only_known=True))

    @app.delete("/v1/adapters/{name}", status_code=204, tags=["adapters"], responses=changes)
    async def remove(name: str) -> None:
        """Serves an adapter no more; needs the admin's token."""
        changeable()
        await asyncio.to_thread(registry.remove, name)
        batcher.metrics.forget(name)


def below(root: Path, folder: str) -> Path:
    """The folder of this name below `root`.

    Raises:
        LoraloomError: it would be elsewhere, or is not there.
    """
    given = Path(folder)
    if given.is_absolute() or ".." in given.parts or any(ord(sign) < 32 for sign in folder):
        raise LoraloomError("folder: must be the name of a folder below the server's adapters_dir")
    try:
        found, home = (root / given).resolve(), root.resolve()
        inside = found.is_relative_to(home) and found != home and found.is_dir()
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise LoraloomError("folder: there is no such folder below the server's adapters_dir")
    return found


async def _unless_gone(request: Request, answer: Awaitable[_T]) -> _T:
    """The answer, unless its client goes away before: what was to be computed is then dropped."""
    task, gone = asyncio.ensure_future(answer), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise GoneError
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _classified(labels: Sequence[str], probabilities: NDArray[np.float64]) -> Classified:
    best = int(probabilities.argmax())
    shares = dict(zip(labels, map(float, probabilities), strict=True))
    return Classified(label=labels[best], confidence=float(probabilities[best]), probabilities=shares)


_SCORES: dict[str, Callable[[Classifier, NDArray[np.float32]], NDArray[np.float64]]] = {
    "softmax": Classifier.probabilities_of,
    "sigmoid": lambda _, logits: np.asarray(expit(logits.astype(np.float64))),
    "none": lambda _, logits: logits.astype(np.float64),
}


def _card(served: Served) -> AdapterCard:
    record, shift = served.classifier.record, served.classifier.shift
    configuration, result = record.configuration, record.result
    test = None if result is None else result.test
    return AdapterCard(
        name=served.name,
        labels=list(record.labels),
        backbone=Path(configuration.backbone.model).name,
        revision=record.backbone_revision,
        dtype=record.dtype,
        trainable_parameters=record.counts.trainable,
        is_blend=record.is_blend,
        max_length=configuration.data.max_length,
        validation_accuracy=None if result is None else result.validation.accuracy,
        test_accuracy=None if test is None else test.accuracy,
        test_rows=None if test is None else test.examples,
        test_interval=None if test is None else test.interval,
        class_shares=None if shift is None else dict(zip(record.labels, shift.asked.tolist(), strict=True)),
    )
