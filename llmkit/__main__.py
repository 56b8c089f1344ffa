"""``python -m llmkit``: the engine without the app."""

from llmkit.cli import app

if __name__ == "__main__":
    app(prog_name="python -m llmkit")
