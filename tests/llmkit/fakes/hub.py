"""A hub with one repository, as far as ``huggingface_hub`` asks for it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from tests.llmkit.fakes.serving import Serving

LFS = (".safetensors", ".parquet", ".bin")


@dataclass(kw_only=True)
class FakeHub(Serving):
    """One repository at one commit.

    Args:
        repository: its name, ``datasets/…`` for data. commit: what every revision resolves to.
        contents: its files; those that the hub keeps apart (weights, Parquet) are listed with their SHA-256.
    """

    repository: str = "a/b"
    commit: str = "1" * 40
    contents: dict[str, bytes] = field(default_factory=dict)

    def put(self, contents: dict[str, bytes], *, commit: str | None = None) -> None:
        """Let the repository hold this, perhaps as another commit."""
        self.commit = commit or self.commit
        self.contents = contents
        self.files = {f"/{self.repository}/resolve/{self.commit}/{name}": body for name, body in contents.items()}

    def listing(self, path: str) -> tuple[str, bytes] | None:
        kind = "" if self.repository.startswith("datasets/") else "models/"
        if not path.startswith(f"/api/{kind}{self.repository}/revision/"):
            return None
        siblings = [
            {"rfilename": name, "size": len(body), "blobId": hashlib.sha1(body).hexdigest()}
            | ({"lfs": self._lfs(body)} if name.endswith(LFS) else {})
            for name, body in self.contents.items()
        ]
        name = self.repository.removeprefix("datasets/")
        return "application/json", json.dumps({"id": name, "sha": self.commit, "siblings": siblings}).encode()

    @staticmethod
    def _lfs(body: bytes) -> dict[str, object]:
        return {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130}
