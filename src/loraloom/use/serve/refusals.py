"""What errors are answered with: a status, and a sentence that never repeats what a client wrote.

Requests that the gate does not let through, it answers itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as StarletteHTTPException

from loraloom.data.rows import DoubledKeyError, unique
from loraloom.errors import LoraloomError
from loraloom.recipe.problems import message_of
from loraloom.use.serve.batching import NotComputedError, OverloadedError, TimedOutError
from loraloom.use.serve.gate import HEADERS
from loraloom.use.serve.messages import ONE, SEVERAL, Refusal
from loraloom.use.serve.registry import TakenNameError, UnknownAdapterError

_WHY = {
    400: "It is not HTTP.",
    401: "A key is needed, and is missing or wrong.",
    403: "The server was started without the options that let adapters be changed.",
    404: "There is no such adapter.",
    408: "The body did not come in time.",
    409: "The name is taken.",
    413: "The body, a text, or the number of texts is over the limit.",
    415: "The body is compressed.",
    421: "The server does not answer to the name in the Host header.",
    422: "The request does not have the form described here.",
    500: "The adapter can't compute the text.",
    503: "Too many texts or bodies are waiting, or the server is ending; Retry-After says when to come again.",
    504: "The answer took longer than a request may.",
}
_BY_THE_ROUTER = {
    404: "there is no such route; GET /openapi.json describes those that there are",
    405: "this route takes no such method; GET /openapi.json describes those that it takes",
}
"""In the place of Starlette's own `Not Found` and `Method Not Allowed`."""

_RULES = {
    "missing": "is missing",
    "extra_forbidden": "is no field of this request",
    "too_short": "is empty",
    "list_type": "is not a list",
    "string_type": "is not text",
    "int_type": "is not a whole number",
    "dict_type": "is not a JSON object",
    "model_attributes_type": "is not a JSON object",
}
"""What is wrong, by pydantic's name for it."""


class GoneError(Exception):
    """The client has gone away."""


class UniqueKeysRoute(APIRoute):
    """A route that refuses bodies which name a key twice: one of two texts would be answered, without a word."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls for each request."""
        handle = super().get_route_handler()

        async def handle_unique(request: Request) -> Response:
            return await handle(_UniqueKeys(request.scope, request.receive))

        return handle_unique


class _UniqueKeys(Request):
    async def json(self) -> Any:
        return json.loads(await self.body(), object_pairs_hook=unique)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the interface's description says of these statuses."""
    return {status: {"model": Refusal, "description": _WHY[status]} for status in statuses}


def add_refusals(app: FastAPI) -> None:
    """Has `app` answer all that it raises in one form."""

    def refusal(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
        said = sentence.encode("utf-8", "backslashreplace").decode()  # a name on a disk may be no text
        return JSONResponse({"error": said}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        if isinstance(error.body, bytes):  # FastAPI leaves a body as it came that is not declared as JSON
            return refusal(422, "body: is not declared as JSON; send it with content-type: application/json")
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return refusal(422, f"the body can't be read: it is no JSON from character {first['loc'][-1]:,} on")
        place = ".".join(str(part) for part in first["loc"] if part not in (ONE, SEVERAL))[:100]
        return refusal(422, f"{place.encode('utf-8', 'replace').decode()}: {_rule_of(first)[:200]}")

    @app.exception_handler(StarletteHTTPException)
    async def refused(_: Request, error: StarletteHTTPException) -> JSONResponse:
        if error.status_code == 400:  # FastAPI's of a body that it can't read, of which it says no more
            return refusal(422, f"the body can't be read: {_why_unread(error.__cause__)}")
        sentence = _BY_THE_ROUTER.get(error.status_code, str(error.detail))
        return refusal(error.status_code, sentence, dict(error.headers or {}))

    @app.exception_handler(LoraloomError)
    async def ours(_: Request, error: LoraloomError) -> JSONResponse:
        match error:
            case UnknownAdapterError():
                return refusal(404, str(error))
            case TakenNameError():
                return refusal(409, str(error))
            case OverloadedError():
                return refusal(503, str(error), {"retry-after": str(error.seconds)})
            case TimedOutError():
                return refusal(504, str(error))
            case NotComputedError():
                return refusal(500, str(error))
        return refusal(422, str(error))

    @app.exception_handler(GoneError)
    async def gone(_: Request, __: GoneError) -> Response:
        return Response(status_code=499)

    @app.exception_handler(Exception)
    async def fault(_: Request, error: Exception) -> JSONResponse:
        answer = refusal(500, f"a fault of the server's: {type(error).__name__}")
        answer.raw_headers += HEADERS  # this answer does not pass the gate
        return answer


def _rule_of(detail: Any) -> str:
    """The rule that was broken, in the words of JSON and not of Python's types."""
    match detail["type"]:
        case "greater_than_equal":
            return f"must be {detail['ctx']['ge']} or more"
        case "literal_error":
            return f"must be {detail['ctx']['expected']}"
        case known:
            return _RULES.get(known) or message_of(detail)


def _why_unread(error: BaseException | None) -> str:
    """What JSON's reader came upon that is no fault of JSON's grammar."""
    match error:
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case DoubledKeyError():
            return "it names a key twice"
        case RecursionError():
            return "its JSON is nested too deeply"
        case ValueError():
            return f"an integer in it has more than {sys.get_int_max_str_digits():,} digits"
    return "it is no JSON"
