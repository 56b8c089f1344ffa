"""Step 2-2, Model boxes and data: choose a box, lay out a pile of data, check it, mend it, split it, keep it."""

from components import material_boxes, material_check, material_pile, material_split
from components.frame import sheet

with sheet("material") as page:
    material_boxes.draw_boxes(page)
    pile = material_pile.draw_pile(page)
    if pile is not None:
        material_check.ask_twice(page, pile)
        page.warn()
        if material_check.draw_check(page, pile):
            material_split.draw_split(page, pile)
    else:
        page.warn()
    material_split.draw_kept(page)
