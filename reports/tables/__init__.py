"""The tables of a report as text: Markdown, CSV, LaTeX and BibTeX."""
