"""What a request is told that cannot be answered: every error of a server in the shape of OpenAI's."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from llmkit.generate.errors import GenerateError
from llmkit.generate.sampling import SamplingError
from llmkit.serve.errors import RefusedError
from llmkit.tokens import TokenizerError

_CODES = {404: "unknown_url", 405: "method_not_allowed", 408: "body_too_slow", 413: "body_too_large"}


def answer_refusals(app: FastAPI) -> None:
    """Answer every error of an application's requests in OpenAI's shape."""

    async def refused(_request: Request, error: Exception) -> Response:
        return refusal(as_refused(error))

    app.add_exception_handler(Exception, refused)
    for kind in (RefusedError, HTTPException, RequestValidationError, GenerateError, SamplingError, TokenizerError):
        app.add_exception_handler(kind, refused)


def refusal(refused: RefusedError) -> JSONResponse:
    """The answer to a request that is refused."""
    return JSONResponse(refused.body(), status_code=refused.status, headers=refused.headers)


def as_refused(error: Exception) -> RefusedError:
    """What a request is told that has met this error; of a mistake of ours no more than that it was one."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return RefusedError(400, "invalid_json", f"This is no JSON: {first.get('ctx', {}).get('error', '')}.")
        where = ".".join(str(part) for part in first["loc"][1:])[:100]
        return RefusedError(
            400, "invalid_request", f"{where or 'body'}: {str(first['msg'])[:300]}", param=where or None
        )
    if isinstance(error, HTTPException):
        code = _CODES.get(error.status_code, "invalid_request")
        return RefusedError(error.status_code, code, str(error.detail), headers=error.headers)
    if isinstance(error, GenerateError):
        if error.code in ("generation_busy", "box_unloaded"):
            return RefusedError(503, error.code, str(error), kind="server_error", headers={"Retry-After": "2"})
        return RefusedError(400, error.code, str(error))
    if isinstance(error, SamplingError):
        told = "{setting} is {asked}; it goes from {low} to {high}.".format(**error.values)
        return RefusedError(400, error.code, told, param=str(error.values["setting"]))
    if isinstance(error, TokenizerError):
        return RefusedError(400, error.code, str(error))
    told = "Something went wrong in here; the server's log says what."
    return RefusedError(500, "internal_error", told, kind="server_error")
