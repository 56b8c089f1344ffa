"""One forward pass, everything kept; what can be read off it; interventions."""

from llmkit.trace.errors import TraceError
from llmkit.trace.trace import EVERYTHING, Recorder, Trace, Value, trace_model

__all__ = ["EVERYTHING", "Recorder", "Trace", "TraceError", "Value", "trace_model"]
