"""A package index: PEP 503's HTML or PEP 691's JSON, and the archives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape

from tests.llmkit.fakes.serving import Serving


@dataclass(kw_only=True)
class FakeIndex(Serving):
    """An index with any number of projects.

    Args:
        as_json: which of the two forms its pages have. page: what every page says instead.
    """

    as_json: bool = True
    page: bytes = b""

    def put(self, project: str, file: str, body: bytes) -> None:
        """Publish an archive. ``project`` is normalised as PEP 503 has it."""
        self.files[f"/files/{project}/{file}"] = body

    def listing(self, path: str) -> tuple[str, bytes] | None:
        kind = "application/vnd.pypi.simple.v1+json" if self.as_json else "text/html"
        if self.page:
            return kind, self.page
        project = path.removeprefix("/simple/").strip("/")
        there = [name for name in self.files if name.startswith(f"/files/{project}/")]
        if not path.startswith("/simple/") or not there:
            return None
        links = {name.rpartition("/")[2]: f"../..{name}" for name in there}
        if self.as_json:
            files = [{"filename": name, "url": url} for name, url in links.items()]
            return kind, json.dumps({"files": files}).encode()
        anchors = (f'<a class="x" href="{escape(url)}#sha256=0">{escape(name)}</a><br>' for name, url in links.items())
        return kind, f"<html><body>{''.join(anchors)}</body></html>".encode()
