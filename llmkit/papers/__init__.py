"""New papers: asked of arXiv, kept with their date for when there is no network."""

from llmkit.papers.arxiv import Paper
from llmkit.papers.errors import PapersError
from llmkit.papers.kept import Listed, last_list, newest, refresh

__all__ = ["Listed", "Paper", "PapersError", "last_list", "newest", "refresh"]
