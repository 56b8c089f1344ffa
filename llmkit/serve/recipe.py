"""A box in its place on another machine: a Dockerfile, a compose file; and the same as commands and as a program."""

from __future__ import annotations

import shlex
from pathlib import Path

from llmkit.serve.deployment import Deployment

ROOT = Path(__file__).parents[2]

NEEDED = (
    "fastapi filelock httpx huggingface-hub jinja2 numpy platformdirs prometheus-client psutil regex rich safetensors "
    "torch typer uvicorn"
).split()
"""Packages that a server of a ``torch-float32`` box loads; other forms get all that the guide needs."""

CONTAINER_PORT = 8000

_DOCKERFILE = """\
# A box as a service. Beside this file lie: llmkit/ and requirements-serve.txt (both of the guide), and box/ (the box).
FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 LLMKIT_HOME=/data LLMKIT_OFFLINE=1
WORKDIR /srv
COPY requirements-serve.txt .
RUN pip install --no-cache-dir -r requirements-serve.txt \\
 && useradd --create-home server \\
 && mkdir /data \\
 && chown server /data
COPY llmkit llmkit
COPY box /box
USER server
EXPOSE {port}
HEALTHCHECK --interval=10s --start-period=120s CMD \\
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/ready', timeout=5)"]
CMD ["python", "-m", "llmkit", "serve", "folder:/box", "--form", "{form}", "--host", "0.0.0.0", "--port", "{port}"]
"""

_COMPOSE = """\
# docker compose up --build
services:
  box:
    build: .
    ports:
      - "127.0.0.1:{port}:{container_port}"  # take 127.0.0.1 away, and everyone on the network can ask
    environment:
      LLMKIT_SERVE_KEY: ${{LLMKIT_SERVE_KEY:?set a key first}}
    volumes:
      - data:/data
    restart: unless-stopped
volumes:
  data:
"""


def dockerfile(form_id: str) -> str:
    """The Dockerfile of a server for a box in one of its forms."""
    return _DOCKERFILE.format(port=CONTAINER_PORT, form=form_id)


def compose(port: int) -> str:
    """The compose file, for a port of the machine it runs on."""
    return _COMPOSE.format(port=port or CONTAINER_PORT, container_port=CONTAINER_PORT)


def requirements(form_id: str) -> str:
    """The packages for it, with the versions that were tried together here."""
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if form_id != "torch-float32":
        return "\n".join(pinned) + "\n"
    return "\n".join(line for line in pinned if line.partition("==")[0].partition("[")[0] in NEEDED) + "\n"


def steps(folder: Path) -> str:
    """The commands that gather the files and start the container, in a shell at the guide's own folder."""
    return "\n".join(
        (
            "mkdir deploy",
            f"cp -r llmkit deploy/ && cp -r {shlex.quote(str(folder))} deploy/box",
            "# put the three files from above into deploy/",
            "cd deploy",
            "export LLMKIT_SERVE_KEY=$(python -c 'import secrets; print(secrets.token_urlsafe(24))')",
            "docker compose up --build",
        )
    )


def command(box_id: str, form_id: str) -> str:
    """What starts the same server in a shell; the key, if any, stands in a variable."""
    return f"python -m llmkit serve {shlex.quote(box_id)} --form {form_id} --port {CONTAINER_PORT}"


def curl(one: Deployment) -> str:
    """Three requests to a deployment, for a shell; its key stands in the variable ``KEY``."""
    key = ' -H "Authorization: Bearer $KEY"' if one.has_key else ""
    asked = '{"prompt": "The movie was", "max_tokens": 24, "temperature": 0}'
    return (
        f"curl {one.address}/ready\n"
        f"curl {one.address}/metrics\n"
        f"curl {one.address}/v1/completions{key} -H 'Content-Type: application/json' -d '{asked}'"
    )


def python(one: Deployment) -> str:
    """A program that asks a deployment through OpenAI's own library."""
    key = 'os.environ["KEY"]' if one.has_key else '"none"'
    first = "import os\n\n" if one.has_key else ""
    return (
        f"{first}from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{one.address}/v1", api_key={key})\n'
        f'for chunk in client.completions.create(model={one.box!r}, prompt="The movie was", stream=True):\n'
        '    print(chunk.choices[0].text, end="", flush=True)\n'
    )
