"""`trellis`: the application, its nouns, and what happens to errors nobody expected."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from typing import Annotated, Any

import typer

from trellis_cli.command import common_options, group, remember
from trellis_cli.commands import app as application
from trellis_cli.commands import (
    call,
    config,
    describe,
    events,
    fleet,
    get,
    host,
    inspect_file,
    label,
    link,
    logs,
    scale,
    secrets,
    sim,
    spy,
    start,
    stop,
    trace,
    up,
    update,
    version,
    wait,
)
from trellis_cli.exits import ExitCode
from trellis_cli.output import Format
from trellis_cli.terminal import Terminal
from trellis_cli.watching import WatchGroup
from trellis_lattice.errors import RequestInvalid, TrellisError

__all__ = ["build", "main"]

_ABOUT = (
    "A distributed actor mesh for WebAssembly components.\n\n"
    "Start a lattice with `trellis up`, deploy an application with `trellis app deploy wadm.yaml`, look around with "
    "`trellis get`. Exit codes and the environment are described in docs/cli.md."
)
_BY_HAND: tuple[tuple[str, str, Any], ...] = (
    ("start", "Start a component or a provider, without a manifest.", start),
    ("stop", "Stop a component, a provider or a host.", stop),
    ("scale", "Say how many invocations of a component a host may run.", scale),
    ("update", "Replace the image of a component.", update),
    ("link", "Say what answers the calls of a component or provider.", link),
    ("config", "Named configuration of components, providers and links.", config),
    ("secrets", "References to secrets that a backend keeps.", secrets),
)
"""Verbs with nouns, and nouns with verbs: what is done without a manifest."""
_ALIASES = {"link": ("links",), "config": ("configs",), "secrets": ("secret",)}


def build() -> typer.Typer:
    """The whole command tree."""
    root = typer.Typer(
        name="trellis",
        help=_ABOUT,
        no_args_is_help=True,
        rich_markup_mode="rich",
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(_root_callback())
    up.register(root)
    host_group = group("Run one host of a lattice.")
    host.register(host_group)
    root.add_typer(host_group, name="host", rich_help_panel="Run")
    get_group = group("Show what there is: hosts, components, providers, links, apps, config, events.", WatchGroup)
    get.register(get_group)
    root.add_typer(get_group, name="get", rich_help_panel="Look")
    describe_group = group("Show everything known of one thing, on one page.")
    describe.register(describe_group)
    root.add_typer(describe_group, name="describe", rich_help_panel="Look")
    app_group = group("Applications: check, look ahead, deploy, ask why, go back.", WatchGroup)
    application.register(app_group)
    root.add_typer(app_group, name="app", rich_help_panel="Applications")
    root.add_typer(app_group, name="apps", hidden=True)
    for name, help, noun in _BY_HAND:
        by_hand = group(help)
        noun.register(by_hand)
        root.add_typer(by_hand, name=name, rich_help_panel="By hand")
        for alias in _ALIASES.get(name, ()):
            root.add_typer(by_hand, name=alias, hidden=True)
