"""`handoff clients`: who may use the events API, and with which scopes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from ingestion.edge.clients import Client, ClientRegistry
from ingestion.edge.scopes import SCOPES
from ingestion.settings import Settings
from orchestration.cli.output import AsJson, print_json

app = typer.Typer(
    name="clients",
    help="Clients of the events API: each asks POST /oauth/token with its name and secret, and may do what its scopes say.\n\n"
    "A running edge notices every change within the next request.\n\nScopes: "
    + "; ".join(f"{scope} = {text}" for scope, text in SCOPES.items())
    + ". A resource's every verb is `<resource>:*`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The client's name, its client_id.")]


@app.command()
def add(
    name: Name,
    scope: Annotated[
        list[str], typer.Option("--scope", help="What it may do; give it once for each scope.")
    ],
    rate_limit: Annotated[
        str,
        typer.Option(help="Limits of its own, such as `events=1000/second`; default: everybody's."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Add a client and print its secret, which cannot be read again."""
    from ingestion.edge.rate_limits import parse_limits

    registry = _registry()
    limits = parse_limits(rate_limit, "--rate-limit")
    secret = registry.add(name, scope, datetime.now(UTC), limits)
    _print_secret(name, secret, as_json)


@app.command("list")
def list_clients(as_json: AsJson = False) -> None:
    """Every client: its scopes, its limits, and whether it may call."""
    found = _registry().clients()
    if as_json:
        print_json([_shown(client) for client in found])
        return
    if not found:
        print(
            "No clients yet: only callers on this machine, or with a key of HANDOFF_API_KEYS, may use the events API."
        )
        print("Add one: handoff clients add website --scope events:write")
    for client in found:
        state = "" if client.is_enabled else "  (disabled)"
        print(f"{client.client_id}{state}\n    scopes   {' '.join(client.scopes)}")
        if client.rate_limits:
            print("    limits   " + ";".join(f"{k}={v}" for k, v in client.rate_limits.items()))
        for secret in client.secrets:
            until = f", counts until {secret.expires_at}" if secret.expires_at else ""
            print(f"    secret   of {secret.created_at}{until}")


@app.command()
def rotate(
    name: Name,
    overlap_days: Annotated[
        float, typer.Option(min=0, help="How long the present secret counts beside the new one.")
    ] = 7.0,
    as_json: AsJson = False,
) -> None:
    """Give a client a new secret and print it; the old one goes on counting for a while."""
    secret = _registry().rotate(name, datetime.now(UTC), timedelta(days=overlap_days))
    _print_secret(name, secret, as_json)


@app.command()
def disable(name: Name) -> None:
    """Let a client call no more; its tokens stop counting at once."""
    _registry().set_enabled(name, False)
    print(f"{name} may not call any more; `handoff clients enable {name}` undoes it")


@app.command()
def enable(name: Name) -> None:
    """Let a disabled client call again."""
    _registry().set_enabled(name, True)
    print(f"{name} may call again")


@app.command()
def remove(name: Name) -> None:
    """Forget a client for good; its tokens stop counting at once."""
    _registry().remove(name)
    print(f"{name} is forgotten")


@app.command("rotate-keys")
def rotate_keys() -> None:
    """Sign tokens with a new key; those signed before count until they end or the next change."""
    _registry().rotate_keys()
    print("tokens are signed with a new key")


def _registry() -> ClientRegistry:
    return ClientRegistry(Settings().edge_dir)


def _print_secret(name: str, secret: str, as_json: bool) -> None:
    if as_json:
        print_json({"client_id": name, "client_secret": secret})
        return
    print(f"client_id      {name}\nclient_secret  {secret}")
    print("\nThe secret is shown this once. A token:")
    print("  curl -u CLIENT_ID:CLIENT_SECRET -d grant_type=client_credentials EDGE/oauth/token")


def _shown(client: Client) -> dict[str, object]:
    return {
        "client_id": client.client_id,
        "scopes": list(client.scopes),
        "rate_limits": dict(client.rate_limits),
        "is_enabled": client.is_enabled,
        "created_at": client.created_at,
        "secrets": [
            {"created_at": secret.created_at, "expires_at": secret.expires_at}
            for secret in client.secrets
        ],
    }
