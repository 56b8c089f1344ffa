"""What the moving pictures were sent, and a slider of theirs moved as the browser would tell it."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from components import moving


def sent(app: AppTest, key: str) -> dict[str, Any]:
    """Return the numbers that the picture called `key` draws."""
    protos = [element.proto for element in app.get("bidi_component")]
    return json.loads(next(proto.json for proto in protos if proto.id.endswith(f"-{key}")))


def floats(packed: str) -> NDArray[np.float32]:
    """Return an array as the browser reads it."""
    return np.frombuffer(base64.b64decode(packed), dtype="<f4")


def settle(app: AppTest, **places: int) -> AppTest:
    """Draw the page again as if the learner had settled there: `settle(app, tokens_step=3)`."""
    app.session_state[moving._PLACES] = places
    return app.run()
