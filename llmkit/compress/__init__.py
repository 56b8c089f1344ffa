"""A box made smaller or faster: its forms, how each is made and run, and the one bench that measures them all alike."""

from llmkit.compress.errors import FormError
from llmkit.compress.form import FORMS, Form, form
from llmkit.compress.runner import Reading, Runner

__all__ = ["FORMS", "Form", "FormError", "Reading", "Runner", "form"]
