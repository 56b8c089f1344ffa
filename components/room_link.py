"""The room's link: the address that other devices see, and its QR code."""

from __future__ import annotations

import io
import socket
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st

_GIVEN = "_room_address"
_LOCAL = ("localhost", "127.0.0.1", "::1")


def script(name: str) -> str:
    """Return a browser script of the room."""
    return Path(__file__).with_name("js").joinpath(f"{name}.js").read_text(encoding="utf-8")


def is_reachable() -> bool:
    """Whether the app answers other devices, as far as it knows."""
    return str(st.get_option("server.address") or "") not in _LOCAL


def address(code: str) -> str:
    """Return the link to the room: as the instructor has given it, else by this machine's address in its network."""
    return f"{st.session_state.get(_GIVEN) or _own_address()}/?room={code}"


def give(written: str) -> None:
    """Take the address that the instructor has written; empty is the machine's own again."""
    parts = urlsplit(written.strip() if "://" in written else f"http://{written.strip()}")
    good = parts.scheme in ("http", "https") and parts.hostname
    st.session_state[_GIVEN] = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}" if good else ""


def picture(link: str) -> str:
    """Return a link's QR code as SVG.

    >>> "<svg" in picture("http://192.0.2.1:8501/?room=K7QM")
    True
    """
    import segno

    out = io.BytesIO()
    segno.make_qr(link, error="m").save(out, kind="svg", xmldecl=False, svgns=True, omitsize=True, border=0)
    return out.getvalue().decode()


def _own_address() -> str:
    """Return where the app answers: as this window sees it, with the machine's name in its network for localhost."""
    seen = urlsplit(st.context.url or "http://localhost:8501")
    host = seen.hostname or "localhost"
    if host in _LOCAL and is_reachable():
        host = _network_address() or host
    port = f":{seen.port}" if seen.port else ""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"{seen.scheme}://{f'[{host}]' if ':' in host else host}{port}{f'/{base}' if base else ''}"


def _network_address() -> str | None:
    """Return this machine's address in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation: it only picks the network card
            found: str = probe.getsockname()[0]
        except OSError:
            return None
    return found
