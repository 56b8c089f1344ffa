"""What is seen: the manual sheet, the workbench, figures, badges, pictograms."""
