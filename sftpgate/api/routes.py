"""The API's application, which has the routes of all resources, and where it is mounted.

It is an application of its own inside the one of ``web``: its errors are documents, and its description is made of its routes.
There is no page that shows the description: what makes such pages is megabytes of somebody's scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.routing import BaseRoute, Mount

from sftpgate.web.ground import Ground

PREFIX = "/api/v1"


class Hello(BaseModel):
    """What the API says to anybody."""

    product: Literal["sftpgate"] = Field("sftpgate", description="what answers here")
    description: str = Field(f"{PREFIX}/openapi.json", description="where the description of this API is")


def make_api() -> FastAPI:
    """Return the API's application."""
    api = FastAPI(
        title="sftpgate",
        version=version("sftpgate"),
        summary="The SFTP server that owns the hand-over from an ERP to a learning platform's batch tools",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
    )

    @api.get("/", operation_id="hello", summary="Say what answers here")
    async def hello() -> Hello:
        return Hello()

    return api


def routes(_ground: Ground) -> Sequence[BaseRoute]:
    """Return the API, mounted."""
    return [Mount(PREFIX, make_api())]
