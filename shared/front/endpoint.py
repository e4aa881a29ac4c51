"""Operation -> typed public endpoint: the API's and MCP's ``domain_verb``, with the bounds of the declaration.

    with gr.Blocks():
        endpoint(ADD, jobs)       # POST /gradio_api/call/medical_lesions_add, MCP tool medical_lesions_add

Files are given as uploads (``gradio_client.handle_file``), ``data:`` URLs or ``example:NAME``. While the job waits or
runs, the endpoint yields its state, so that a client that leaves cancels the job.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from shared.errors import Cancelled, UserError
from shared.front.jobs import JobRunner, Now
from shared.front.operation import Operation
from shared.front.option import Option
from shared.front.visitor import delivering, submit

_TYPES = {"int": int, "seed": int, "float": float, "bool": bool, "files": dict}


def endpoint(operation: Operation, jobs: JobRunner) -> None:
    """Add the public endpoint of an operation to the current Gradio Blocks.

    Gives two values: ``{"state", "sentence", "report", ...}`` and the list of result files.
    """
    import gradio as gr

    shown = [option for option in operation.settings.options() if not option.local]
    options = tuple(sorted(shown, key=lambda option: not option.required))  # required parameters first

    def call(*given: Any) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        values = {option.name: value for option, value in zip(options, given, strict=True) if value is not None}
        try:
            job = submit(operation, values, jobs, owner="api")
            for now in job.follow():
                if not now.finished:
                    yield _progress(now), []
            outcome = job.outcome()
        except UserError as error:
            raise gr.Error(str(error), title="Bad input", print_exception=False) from None
        except Cancelled:
            raise gr.Error("stopped", title="Stopped", print_exception=False) from None
        files = [
            {"path": str(file), "orig_name": file.name, "meta": {"_type": "gradio.FileData"}} for file in outcome.files
        ]
        with delivering(outcome):
            yield {"state": "done", "sentence": outcome.sentence, "report": dict(outcome.report)}, files

    _declare(call, operation, options)
    added = gr.api(call, api_name=operation.name, api_description=operation.help, concurrency_limit=None)
    context = gr.context.Context.root_block
    assert context is not None
    inputs: Any = context.fns[added["id"]].inputs
    for option, component in zip(options, inputs, strict=True):
        component._api_info = option.schema()
        component.label = option.label


def _declare(call: Any, operation: Operation, options: tuple[Option, ...]) -> None:
    """Give a function the signature that the options describe."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(
            option.name,
            kind,
            default=inspect.Parameter.empty if option.required else option.plain(option.default),
            annotation=_annotation(option),
        )
        for option in options
    ]
    returned: Any = tuple[dict, list]
    call.__name__ = call.__qualname__ = operation.name
    lines = [f"    {option.name}: {option.sentence()}" for option in options]
    call.__doc__ = "\n".join([operation.help, "", "Args:", *lines])  # descriptions of the MCP tool are read from here
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": returned}
    call.__signature__ = inspect.Signature(parameters, return_annotation=returned)


def _annotation(option: Option) -> Any:
    return list if option.many else _TYPES.get(option.kind, str)


def _progress(now: Now) -> dict[str, Any]:
    return {"state": now.state, "place": now.place, "done": now.done, "total": now.total, "left": now.left}
