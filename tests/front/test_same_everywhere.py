"""Command line, page, API, MCP and sidecar list the same options with the same defaults and bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import pytest

from shared.front.command import command, load
from shared.front.controls import Controls
from shared.front.endpoint import endpoint
from shared.front.jobs import JobRunner
from shared.front.operation import Operation
from shared.front.option import Option
from shared.front.provenance import portable
from shared.front.settings import REQUIRED, Settings
from suite.apps import built_apps
from tests.front.sample_app import OPERATIONS

EVERY = [*OPERATIONS, *(operation for app in built_apps() if not app.missing for operation in load(app.operations))]
each_operation = pytest.mark.parametrize("operation", EVERY, ids=lambda operation: operation.name)


def shown(operation: Operation) -> list[Option]:
    return [option for option in operation.settings.options() if not option.local]


def smallest(operation: Operation) -> Settings:
    """Settings in which only what is required has been given."""
    given: dict[str, Any] = {}
    for option in operation.settings.options():
        if option.required:
            file = f"example:{option.examples[0]}" if option.examples else f"a{(option.suffixes or ('',))[0]}"
            numbers = option.low if option.low is not None else 1
            by_kind = {"file": file, "files": {"": file}, "folder": "out", "str": "a", "bool": True}
            one = option.choices[0] if option.choices else by_kind.get(option.kind, numbers)
            given[option.name] = [one] if option.many else one
    return operation.settings.build(given)


@pytest.fixture(scope="module")
def pages() -> dict[str, Any]:
    """One Gradio page an operation, with its controls and its public endpoint."""
    import gradio as gr

    async def build() -> dict[str, Any]:
        found = {}
        for operation in EVERY:
            with gr.Blocks() as blocks:
                controls = Controls(operation.settings)
                endpoint(operation, JobRunner())
            blocks.config = blocks.get_config_file()
            found[operation.name] = (blocks, controls)
        return found

    return asyncio.run(build())  # outside of an event loop Gradio makes loops that it never closes


@each_operation
def test_the_command_line_lists_every_option_with_default_and_range(operation: Operation) -> None:
    entry = command(operation)
    listed = {parameter.name: parameter for parameter in entry.params if isinstance(parameter, click.Option)}
    assert set(listed) == {option.name for option in operation.settings.options()} | {"settings_file"}
    for option in operation.settings.options():
        text = str(listed[option.name].help)
        assert listed[option.name].opts[0] == option.flag and option.help in text and option.allowed in text
        assert listed[option.name].multiple == (option.many or option.kind == "files")
        if isinstance(option.default, (int, float)) and not isinstance(option.default, bool):
            assert f"default {option.default}" in text


@each_operation
def test_the_page_has_a_labelled_control_for_every_option_with_the_same_bounds(
    operation: Operation, pages: dict[str, Any]
) -> None:
    controls = pages[operation.name][1]
    assert [control.option for control in controls.controls] == sorted(shown(operation), key=lambda o: o.advanced)
    for control in controls.controls:
        option, component = control.option, control.components[0]
        assert component.label == option.label
        if option.kind in ("int", "float", "seed") and not option.many and option.default not in (None, REQUIRED):
            assert (component.minimum, component.maximum) == (option.low, option.high)
            assert component.value == option.default
        if option.kind == "choice":
            assert [value for _, value in component.choices] == list(option.choices)
        if option.kind not in ("file", "files"):
            assert option.help in component.info
            assert (option.allowed in component.info) is not bool(option.choices and option.allowed)  # said once


@each_operation
def test_untouched_controls_are_the_declared_defaults(operation: Operation, pages: dict[str, Any]) -> None:
    controls = pages[operation.name][1]
    values = controls.values([component.value for component in controls.components])
    for option in shown(operation):
        if not option.required:
            assert option.check(values[option.name]) == option.default, option.name


@each_operation
def test_the_api_lists_every_option_with_the_same_schema(operation: Operation, pages: dict[str, Any]) -> None:
    named = pages[operation.name][0].get_api_info()["named_endpoints"]
    assert list(named) == [f"/{operation.name}"], "only the typed endpoint is public"
    listed = {parameter["parameter_name"]: parameter for parameter in named[f"/{operation.name}"]["parameters"]}
    assert set(listed) == {option.name for option in shown(operation)}
    for option in shown(operation):
        assert listed[option.name]["type"] == option.schema()
        assert listed[option.name]["parameter_has_default"] == (not option.required)
        if not option.required:
            assert listed[option.name]["parameter_default"] == option.plain(option.default)


@each_operation
def test_the_mcp_tool_lists_every_option_with_bounds_default_and_help(
    operation: Operation, pages: dict[str, Any]
) -> None:
    from gradio.mcp import GradioMCPServer
    from gradio.utils import get_function_description

    server = GradioMCPServer(pages[operation.name][0])
    assert list(server.tool_to_endpoint) == [operation.name]
    function = server.get_block_fn_from_endpoint_name(f"/{operation.name}")
    assert function is not None and function.fn is not None
    schema, _ = server.get_input_schema(operation.name, get_function_description(function.fn)[1])
    assert schema.get("required", []) == [option.name for option in shown(operation) if option.required]
    for option in shown(operation):
        listed = schema["properties"][option.name]
        assert {key: listed[key] for key in option.schema()} == option.schema()


@each_operation
def test_the_sidecar_lists_every_option_but_the_folder(operation: Operation) -> None:
    settings = smallest(operation)
    listed = portable(settings)
    assert set(listed) == {option.name for option in shown(operation)} | {"version"}
    for option in shown(operation):
        if not option.required:
            assert listed[option.name] == option.plain(option.default)


@each_operation
def test_the_schema_says_what_the_check_does(operation: Operation) -> None:
    for option in operation.settings.options():
        schema = option.schema()["items"] if option.many else option.schema()
        assert (schema.get("minimum"), schema.get("maximum")) == (option.low, option.high)
        assert tuple(schema.get("enum", ())) == option.choices
        for bound, beyond in ((option.low, -1), (option.high, 1)):
            if bound is not None:
                option.check([bound] if option.many else bound)
                with pytest.raises(ValueError, match="out of range"):
                    option.check([bound + beyond] if option.many else bound + beyond)
