"""Triton in NVIDIA's own container: a Dockerfile, a compose file and the commands, for where the server of
``nvidia-pytriton`` does not run, or a GPU is there."""

from __future__ import annotations

import shlex

from llmkit.serve.deployment import TRITON_MODEL, Deployment
from llmkit.serve.nvidia.environment import PINS

IMAGE = "nvcr.io/nvidia/tritonserver:25.08-py3"
"""It has the onnxruntime backend, too, so ``graph`` runs there without Python."""

PORT, METRICS_PORT = 8000, 8002

_PACKAGES = " ".join(pin for pin in PINS if not pin.startswith("nvidia-pytriton"))
_SERVE = "tritonserver --model-repository=/models --allow-grpc=false"

_DOCKERFILE = f"""\
# A box on Triton. Beside this file lies models/, the model repository.
FROM {IMAGE}
ENV PIP_BREAK_SYSTEM_PACKAGES=1
RUN pip install --no-cache-dir --no-deps {_PACKAGES}
COPY models /models
USER triton-server
EXPOSE {PORT} {METRICS_PORT}
HEALTHCHECK --interval=10s --start-period=120s CMD ["curl", "-fs", "http://127.0.0.1:{PORT}/v2/health/ready"]
CMD {str(_SERVE.split()).replace("'", '"')}
"""

_COMPOSE = """\
# docker compose up --build
services:
  box:
    build: .
    ports:
      - "127.0.0.1:{port}:{inside}"  # Triton asks for no key: put a proxy that does before it, then open it
      - "127.0.0.1:{metrics}:{metrics}"
    shm_size: 256m  # what the server shares with its Python models
    restart: unless-stopped
"""


def dockerfile() -> str:
    """The Dockerfile: the repository and what its Python models import, in NVIDIA's image."""
    return _DOCKERFILE


def compose(port: int) -> str:
    """The compose file, for a port of the machine it runs on."""
    return _COMPOSE.format(port=port or PORT, inside=PORT, metrics=METRICS_PORT)


def docker_run(port: int) -> str:
    """The one command that starts NVIDIA's image on ``models/``, without building anything."""
    ports = f"-p 127.0.0.1:{port or PORT}:{PORT} -p 127.0.0.1:{METRICS_PORT}:{METRICS_PORT}"
    return (
        f"docker run --rm --shm-size=256m {ports} "
        f'-v "$PWD/models:/models:ro" -e PIP_BREAK_SYSTEM_PACKAGES=1 {IMAGE} '
        f'sh -c "pip install --no-deps {_PACKAGES} && {_SERVE}"'
    )


def write_command(box_id: str, form_id: str) -> str:
    """What writes the repository into the folder ``models``, in a shell at the guide's own folder."""
    return f"python -m llmkit serve {shlex.quote(box_id)} --engine triton --form {form_id} --repository models"


def serve_command(box_id: str, form_id: str) -> str:
    """What makes the server's environment, and what starts the same server, in a shell."""
    served = f"python -m llmkit serve {shlex.quote(box_id)} --engine triton --form {form_id} --port {PORT}"
    return f"python -m llmkit setup-triton\n{served}"


def curl(one: Deployment) -> str:
    """Three requests to a deployment, for a shell."""
    data = '{"name": "prompt", "shape": [1, 1], "datatype": "BYTES", "data": ["The movie was"]}'
    return (
        f"curl -i {one.address}/v2/health/ready\n"
        f"curl {one.address}/v2/models/{TRITON_MODEL}\n"
        f"curl {one.address}/v2/models/{TRITON_MODEL}/infer -d '{{\"inputs\": [{data}]}}'"
    )


def python(one: Deployment, output: str) -> str:
    """A program that asks a deployment through NVIDIA's own library.

    Args:
        output: the name of what is wanted, ``text`` or ``embedding``.
    """
    return (
        "import numpy as np\n"
        "import tritonclient.http as triton\n\n"
        f'client = triton.InferenceServerClient("{one.address.partition("://")[2]}")\n'
        'prompt = triton.InferInput("prompt", [1, 1], "BYTES")\n'
        'prompt.set_data_from_numpy(np.array([["The movie was".encode()]], dtype=object))\n'
        f'print(client.infer("{TRITON_MODEL}", [prompt]).as_numpy("{output}"))\n'
    )
