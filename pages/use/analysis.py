"""Step 4-3, Data analysis: pandas reckons, a box reads a column, words become a step that can be taken back."""

from components import analysis_ask, analysis_editor, analysis_reading, analysis_sections, analysis_table
from components.frame import sheet

with sheet("analysis") as page:
    kept = analysis_table.draw_source(page)
    if kept is not None:
        analysis_table.draw_table(page, kept)
        analysis_editor.draw_editor(page, kept)
        analysis_ask.draw_ask(page, kept)
    page.warn()
    analysis_sections.open_bench(page)
    if kept is not None:
        read = None
        with page.guard():
            read = analysis_reading.draw_reading(page, kept)
        if read is not None:
            analysis_sections.draw_found(page, kept, *read)
        analysis_sections.draw_checks(page, kept, read)
