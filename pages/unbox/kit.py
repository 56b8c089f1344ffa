"""Step 0, Unbox: the boxes, this machine, the tools, today's plan."""

from components.frame import sheet

with sheet("unbox") as page:
    page.warn()
