"""Step 3-6, Test the socket: one request, wrong requests, a smoke test, and sixteen users at once."""

from components import socket_load as load
from components import socket_sections as sections
from components import socket_tests as tests
from components.frame import sheet

with sheet("socket") as page:
    target = sections.draw_pick(page)
    if target is not None:
        sections.draw_send(page, target)
    page.warn()
    if target is not None:
        tests.draw_wrong(page, target)
        tests.draw_smoke(page, target)
        load.draw_load(page, target)
        load.draw_check(page, target)
