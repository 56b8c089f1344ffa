"""``python -m llmkit``: the engine without the app."""

import typer

from llmkit.tune.cli import pretrain_command

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command("pretrain")(pretrain_command)


@app.callback()
def main() -> None:
    """How a large language model works, part by part."""


if __name__ == "__main__":
    app()
