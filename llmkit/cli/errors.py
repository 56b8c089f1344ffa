"""Errors with a code, said in one sentence: what happened, and what to do."""

import shlex
from collections.abc import Mapping

SENTENCES: Mapping[str, str] = {
    "bad_name": "No box can be called “{box}”. Write a hub name as hub:owner/name, a folder as folder:/path.",
    "box_unknown": "“{box}” is not in the catalogue. See the boxes there are: python -m llmkit list",
    "box_missing": "“{box}” is not on this machine. Get it: python -m llmkit get {argument}",
    "box_broken": "“{box}” is broken: {detail}. Get it again, or choose another box.",
    "box_changed": "The files of “{box}” changed while it was in use. Run the same command again.",
    "box_unsupported": "The parts here do not make “{box}”: {detail}. Choose a box of the GPT-2, BERT or LLaMA family.",
    "offline": "LLMKIT_OFFLINE switches the network off, so “{box}” cannot be fetched. Unset it and try again.",
    "no_source": "No source of “{box}” answered ({detail}). Check the network, then run the same command again.",
    "no_space": "The disk has no room for “{box}”: {detail}. Make room, then run the same command again.",
    "tampered": "A file of “{box}” is not what it should be: {detail}. Get it again: python -m llmkit get {argument}",
    "unsafe_file": "“{box}” holds something that could run code: {detail}. Only safetensors are taken.",
    "broken_source": "The source of “{box}” is not what the catalogue says: {detail}. Choose another box.",
    "cancelled": "“{box}” was cancelled. Run the same command to go on from where it stopped.",
    "text_empty": "This text gives no token. Write a text.",
    "text_short": "This text has {tokens} token; the next one is guessed from two on. Write a longer text.",
    "text_too_long": "This text has {tokens} tokens; {limit} fit. Shorten it.",
    "tokenizer_missing": "This box has no tokenizer: {detail}. Choose another box.",
    "tokenizer_broken": "The tokenizer of this box cannot be read: {detail}. Get the box again.",
    "tokenizer_unsupported": "This kind of tokenizer is not built here: {detail}. Choose another box.",
    "text_not_unicode": "The text holds a code that is no character: {detail}. Delete it and try again.",
    "chat_template_broken": "The chat template of this box cannot be read: {detail}. Choose another box.",
    "job_unknown": "There is no job “{job}”. See the jobs there are: python -m llmkit jobs",
    "job_active": "“{job}” is not over yet. Cancel it first: python -m llmkit jobs cancel {job}",
    "job_database": "The list of jobs {path} cannot be read or written ({detail}). Check the disk; if it is broken, "
    "move its folder away.",
    "job_database_newer": "The list of jobs {path} is of version {version}, newer than {known}. Update the guide, or "
    "move its folder away.",
    "job_failed": "The job ended in an error: {detail}. See its log: python -m llmkit jobs log ID",
    "job_memory": "Memory ran out ({detail}). Choose a smaller box, or give it less data, then retry.",
    "job_killed": "The system killed the job, most likely because memory ran out. Close other programs, then retry.",
    "job_crashed": "The job's process crashed ({detail}). Retry; if it crashes again, see its log.",
    "job_interrupted": "The job was interrupted: the app or the computer stopped. Retry to begin again.",
    "form_unknown": "There is no form “{form}”. Leave --forms out to see those that run here",
    "form_unsupported": "“{box}” cannot take the form “{form}”: {detail}. Choose another form, or another box.",
    "form_missing": "“{form}” does not run on this machine: {detail}.",
    "form_broken": "The files of the form “{form}” are broken: {detail}. Make it again.",
    "form_no_space": "The disk has no room for the form “{form}”: {detail}. Make room, then make it again.",
    "folder_taken": "{detail} is there and holds other files. Name a folder that is new or empty.",
    "graph_no_onnx": "“{file}” cannot be read: onnx is not installed. Install it: pip install -r requirements.txt",
    "graph_missing": "There is no file “{file}”. Check the path.",
    "graph_too_big": "“{file}” is too big to be looked at ({detail}). Export it with its weights beside it.",
    "graph_broken": "“{file}” is no whole ONNX graph: {detail}. Export it again.",
    "graph_foreign": "“{file}” wants operators that ONNX Runtime does not bring along: {detail}. Export without them.",
    "graph_data_missing": "The weights of “{file}” are missing: {detail} is not beside it, or cut off. Put it there.",
    "graph_unsafe": "“{file}” wants weights from outside its own folder: {detail}. It is not opened.",
    "port_in_use": "Another program uses port {port} of {host}. Choose another port, or 0 for any that is free.",
    "port_forbidden": "The system keeps port {port} for itself. Choose one from 1024 on.",
    "host_unknown": "This machine has no address {host} ({detail}). Use 127.0.0.1, or 0.0.0.0 for all.",
    "deployment_unknown": "There is no deployment “{deployment}”.",
    "deployment_active": "“{deployment}” is running. Stop it first.",
    "deployment_failed": "The server ended by itself: {detail}. See what it says above.",
    "deployment_silent": "The server did not answer within {detail}. Try again; see its log if it happens again.",
    "record_nothing": "None of these jobs is done, so there is nothing to record. Run one first.",
    "record_plan": "{path} is no plan of jobs ({detail}). Write [[job]] with kind and settings for each.",
    "record_broken": "{path} is no recording, or a broken one ({detail}). Record it again.",
    "record_newer": "This recording is of version {version}, newer than {known}. Update the guide.",
    "record_unsafe": "This recording holds a file that none should hold: {name}. Do not use it.",
    "record_large": "This recording is too large, or packed to do harm: at most {most} bytes.",
    "room_database": "The room's file {path} cannot be read or written ({detail}). Move it away, then open a new room.",
    "form_not_made": "“{box}” has no form “{form}” yet, which Triton wants. Make it in step 3-3.",
    "repository_unsupported": "No Triton model repository can be made of this: {detail}. Choose another form or box.",
    "repository_exists": "{detail} is there already. Choose another name, or move it away first.",
    "disk_full": "The disk is full: {detail}. Nothing half-written was left. Make room, then do it again.",
    "key_unsupported": "Triton takes a key on its command line alone, where everyone here can read it. Serve without "
    "--key-file and LLMKIT_SERVE_KEY.",
    "tritonserver_missing": "The Triton server is not set up ({detail}). Set it up: python -m llmkit setup-triton",
    "tritonserver_impossible": "The Triton server cannot be set up here: {detail}. Use NVIDIA's container: see "
    "step 3-5.",
    "tritonserver_offline": "LLMKIT_OFFLINE switches the network off. Unset it, then try again.",
    "tritonserver_unreachable": "The package index did not answer: {detail}. Check the network, then try again.",
    "tritonserver_failed": "The Triton server could not be set up: {detail}.",
    "key_unreadable": "There is no key in {detail}. Write one into it.",
}
"""Every code of llmkit's errors; ``{argument}`` is the box's id as a shell takes it."""

LONGEST = 200
"""Characters of a value that are shown: a name may come from outside, and be anything."""


def code_of(error: BaseException) -> str | None:
    """The code of one of llmkit's own errors; None for any other."""
    code = getattr(error, "code", None)
    return code if isinstance(error, Exception) and isinstance(code, str) else None


def sentence(error: Exception) -> str:
    """What to tell whoever typed the command.

    >>> from llmkit.shelf import ShelfError
    >>> sentence(ShelfError("box_missing", box="gpt2"))
    '“gpt2” is not on this machine. Get it: python -m llmkit get gpt2'
    """
    if isinstance(error, OSError) and code_of(error) is None:
        return f"{plain(error.filename or 'A file')}: {error.strerror or type(error).__name__}. Check the path."
    values = dict(getattr(error, "values", {}))
    if values.get("box", "").startswith("folder:") and code_of(error) == "box_missing":
        return f"There is no box in “{plain(values['box'].removeprefix('folder:'))}”. Give a folder with config.json."
    shown = {name: plain(value) for name, value in values.items()}
    shown["argument"] = shlex.quote(shown.get("box", ""))
    return SENTENCES[str(code_of(error))].format(**shown)


def as_data(error: Exception) -> dict[str, object]:
    """The error for a program: its code, its values, and the sentence."""
    return {
        "code": code_of(error) or "file",
        "message": sentence(error),
        "values": {name: plain(value) for name, value in getattr(error, "values", {}).items()},
    }


def plain(value: object) -> str:
    r"""A value that a terminal cannot mistake for a command to itself, and not too long.

    >>> plain("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
