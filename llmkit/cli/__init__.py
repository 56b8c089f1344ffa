"""``python -m llmkit``: the engine without the app. Torch is loaded by the commands that need it, when they run."""

from typing import Any

import typer
from typer.core import TyperGroup

from llmkit.cli.bench import bench_command
from llmkit.cli.doctor import doctor_command
from llmkit.cli.errors import as_data, code_of, sentence
from llmkit.cli.export import export_command
from llmkit.cli.get import get_command
from llmkit.cli.jobs import jobs_app
from llmkit.cli.output import print_json, survive_any_terminal, tell
from llmkit.cli.record import play_command, record_command
from llmkit.cli.room import room_command
from llmkit.cli.serve import serve_command
from llmkit.cli.setup_server import setup_triton_command
from llmkit.cli.shelf_list import list_command
from llmkit.cli.trace import trace_command
from llmkit.cli.verify import verify_command
from llmkit.tune.cli import pretrain_command

__all__ = ["app"]


class Commands(TyperGroup):
    """The commands, and what they have in common: an error with a code is said in one sentence, exit status 1."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remember whether JSON was asked for, since an error is then JSON, too."""
        ctx.meta["llmkit.json"] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            broken_pipe = isinstance(error, BrokenPipeError)
            if broken_pipe or (code_of(error) is None and not (isinstance(error, OSError) and error.filename)):
                raise
            if ctx.meta["llmkit.json"]:
                print_json({"error": as_data(error)})
            tell(sentence(error))
            raise typer.Exit(1) from None


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
app.command("get")(get_command)
app.command("list")(list_command)
app.command("verify")(verify_command)
app.command("trace")(trace_command)
app.command("pretrain")(pretrain_command)
app.command("doctor")(doctor_command)
app.command("serve")(serve_command)
app.command("setup-triton")(setup_triton_command)
app.command("bench")(bench_command)
app.command("record")(record_command)
app.command("play")(play_command)
app.command("room")(room_command)
app.command("export")(export_command)
app.add_typer(jobs_app, name="jobs")


@app.callback()
def main() -> None:
    """How a large language model works, part by part.

    LLMKIT_HOME says where boxes are kept; LLMKIT_OFFLINE=1 keeps the network out of it.
    """
    survive_any_terminal()
