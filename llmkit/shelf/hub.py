"""The Hugging Face hub as a source: list a repository's safe files at one revision.

``HF_ENDPOINT`` and ``HF_TOKEN`` are honoured, as everywhere in ``huggingface_hub``.
"""

from llmkit.shelf.catalogue import Source
from llmkit.shelf.download import Remote
from llmkit.shelf.errors import ShelfError

_WANTED = (".safetensors", ".json", ".txt", ".jinja", ".parquet", ".model")
_DATASET = "datasets/"


def list_files(source: Source, box: str) -> tuple[Remote, ...]:
    """The files of a repository that a box needs: weights as safetensors, and text. Nothing that can run code.

    Raises:
        ShelfError: ``unsafe_file`` when the repository holds weights in pickled form only.
        huggingface_hub.errors.HfHubHTTPError, ConnectionError: when the hub does not give the list.
    """
    import httpx2  # what huggingface_hub speaks through
    from huggingface_hub import HfApi, hf_hub_url

    is_data = source.name.startswith(_DATASET)
    repo, kind = source.name.removeprefix(_DATASET), "dataset" if is_data else "model"
    api = HfApi()
    ask = api.dataset_info if is_data else api.model_info
    try:
        info = ask(repo, revision=source.version, files_metadata=True, timeout=30)
    except httpx2.TransportError as error:
        raise ConnectionError(str(error)) from error
    files = [file for file in info.siblings or () if file.rfilename.endswith(_WANTED)]
    if not is_data:
        files = [file for file in files if "/" not in file.rfilename]
        if not any(file.rfilename.endswith(".safetensors") for file in files):
            raise ShelfError("unsafe_file", box=box, detail=f"{repo} has no safetensors weights")
    return tuple(
        Remote(
            url=hf_hub_url(repo, file.rfilename, repo_type=kind, revision=info.sha or source.version),
            name=file.rfilename.replace("/", "--"),
            size_bytes=file.size or 0,
            sha256=file.lfs.sha256 if file.lfs else "",
        )
        for file in files
    )


def headers() -> dict[str, str]:
    """What the hub wants to see with a request: the learner's token, if there is one."""
    from huggingface_hub import get_token

    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}
