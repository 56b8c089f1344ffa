"""Step 3-6, Test the socket: one request, wrong requests, a smoke test, and sixteen users at once."""

import streamlit as st

from components import server_pick
from components import socket_load as load
from components import socket_sections as sections
from components import socket_tests as tests
from components.frame import sheet
from components.theme import own_style

with sheet("socket") as page:
    st.html(own_style("socket"))
    pick, other = page.say("socket.pick"), page.say("socket.pick.other")
    target = server_pick.draw_pick(page, name="socket", label=pick, other=other)
    if target is not None:
        sections.draw_send(page, target)
    page.warn()
    if target is not None:
        tests.draw_wrong(page, target)
        tests.draw_smoke(page, target)
        load.draw_load(page, target)
        load.draw_check(page, target)
