"""Text from a box: the next token chosen, again and again; and what a box thinks of a text that is given."""

from llmkit.generate.decode import Choose, Step, generate_batch, greedy, stream, stream_batch
from llmkit.generate.errors import GenerateError

__all__ = ["Choose", "GenerateError", "Step", "generate_batch", "greedy", "stream", "stream_batch"]
