"""The model ``graph`` where the server has no onnxruntime backend: the same file, computed by the Python backend.

With that backend this file is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What Triton calls. The graph is opened by the first request: often nobody asks for bare numbers."""

    def initialize(self, args: dict[str, str]) -> None:
        """Remember where it lies."""
        self.path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session: Any = None

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Compute each request's tensors."""
        if self.session is None:
            self.session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        feed = {one.name(): one.as_numpy() for one in request.inputs()}
        names = list(request.requested_output_names())
        try:
            found = self.session.run(names, feed)
        except Exception as error:  # noqa: BLE001  (told to the one who sent such numbers)
            told = pb_utils.TritonError(f"invalid_request: {error}"[:500], pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=told)
        tensors = [pb_utils.Tensor(name, values) for name, values in zip(names, found, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)
