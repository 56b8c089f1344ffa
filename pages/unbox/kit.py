"""Step 0, Unbox: the boxes, this machine, the tools, today's plan."""

from components import unbox_get, unbox_kit, unbox_machine, unbox_tools
from components.frame import sheet

with sheet("unbox") as page:
    unbox_kit.kit_list(page)
    unbox_machine.machine(page)
    unbox_get.get_boxes(page)
    unbox_tools.tools(page)
    unbox_tools.plan(page)
    page.warn()
