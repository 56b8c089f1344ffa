"""A package index as a source: find one archive by its name, through the index that pip itself is set up for.

Source: the simple repository API, PEP 503 (HTML) and PEP 691 (JSON).
"""

import os
import re
import ssl
import subprocess
import sys
from functools import cache
from html import unescape
from urllib.parse import urljoin

import certifi
import httpx

from llmkit.shelf.catalogue import Source
from llmkit.shelf.download import TIMEOUT_S, Remote

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"


def new_client() -> httpx.Client:
    """An HTTP client that trusts what this machine and pip trust."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    if certificates := os.environ.get("PIP_CERT"):
        context.load_verify_locations(certificates)
    return httpx.Client(verify=context, timeout=TIMEOUT_S, follow_redirects=True)


def find_archive(source: Source, client: httpx.Client) -> Remote:
    """Where the index keeps a source's archive.

    Raises:
        httpx.HTTPError: when the index does not answer.
        LookupError: when it has no such file.
    """
    project = re.sub(r"[-_.]+", "-", source.name).lower()
    page = f"{_index().rstrip('/')}/{project}/"
    answer = client.get(page, headers={"Accept": _ACCEPT}).raise_for_status()
    if "json" in answer.headers.get("Content-Type", ""):
        links = {file["filename"]: file["url"] for file in answer.json()["files"]}
    else:
        found = re.findall(r"<a\b[^>]*?href=[\"']([^\"']+)[\"'][^>]*>([^<]+)</a>", answer.text, flags=re.IGNORECASE)
        links = {unescape(name).strip(): unescape(href) for href, name in found}
    if source.file not in links:
        raise LookupError(source.file)
    url = urljoin(str(answer.url), links[source.file])
    return Remote(url=url, name=source.file, size_bytes=source.download_bytes, sha256=source.sha256)


@cache
def _index() -> str:
    """The index that pip would ask: from the environment, from pip's configuration, else pip's own default."""
    if given := os.environ.get("PIP_INDEX_URL"):
        return given
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if configured:
        return configured
    code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    own = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
    if not own:
        raise LookupError("pip, which knows the package index")
    return own
