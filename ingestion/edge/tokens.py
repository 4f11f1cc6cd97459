"""OAuth 2.0 client credentials (RFC 6749, 4.4): issues JWT access tokens (RFC 9068) and verifies them.

authlib decides what a token request may get; what it needs from us is who the clients are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ingestion.edge.clients import Client, ClientRegistry
from ingestion.edge.scopes import SCOPES, allows
from ingestion.errors.catalog import HandoffError

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

ISSUER = "urn:handoff:edge"
LIFETIME_SECONDS = 3_600
METHODS = ("client_secret_basic", "client_secret_post")
# Verifying costs more than everything else that is asked of a caller; so many are remembered.
REMEMBERED = 4_096
# Clocks of one company differ by less.
LEEWAY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What POST /oauth/token answers: status, JSON body, headers."""

    status: int
    body: dict[str, Any]
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """What a token says: of which client, what it may do, until when (seconds since 1970)."""

    client: Client
    scopes: frozenset[str]
    expires_at: int


class Tokens:
    """Issues and verifies tokens for the clients of a registry."""

    def __init__(self, registry: ClientRegistry, clock: Callable[[], datetime]) -> None:
        """`clock` is what secrets and tokens are judged against."""
        self._registry = registry
        self._clock = clock
        self._remembered: dict[str, Verified] = {}
        self._generation = -1

    def issue(self, form: Mapping[str, str], headers: Mapping[str, str]) -> TokenAnswer:
        """Answer a token request: `form` as sent, `headers` by their usual spelling (Authorization)."""
        from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload, OAuth2Request

        class Request(OAuth2Request):  # type: ignore[misc]
            @property
            def form(self) -> dict[str, str]:
                return dict(form)

        # The library asks for https; whether this connection may be plain was decided by who listens.
        request = Request("POST", "https://edge/oauth/token", headers=dict(headers))
        request.payload = BasicOAuth2Payload(dict(form))
        answer: TokenAnswer = self._server.create_token_response(request)
        return answer

    def verify(self, token: str) -> Verified:
        """The client a token was issued to; UNAUTHENTICATED when it is not ours, over, or the client's
        right has ended since.

        Source: RFC 9068, section 4.
        """
        self._registry.refresh()
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._remembered.clear()
        found = self._remembered.get(token)
        if found is None:
            found = self._read(token)
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[token] = found
        if self._clock().timestamp() >= found.expires_at + LEEWAY_SECONDS:
            ended = datetime.fromtimestamp(found.expires_at, UTC).isoformat()
            raise HandoffError(
                "UNAUTHENTICATED",
                f"the access token of {found.client.client_id!r} ended at {ended}",
                remedy="Ask POST /oauth/token for a new one.",
            )
        return found

    def _read(self, token: str) -> Verified:
        from joserfc import jwt
        from joserfc.errors import JoseError

        keys = self._key_set()
        try:
            if keys is None:
                raise ValueError("there are no clients yet")
            decoded = jwt.decode(token, keys, algorithms=["HS256"])
            claims = decoded.claims
            if decoded.header.get("typ") != "at+jwt" or claims["iss"] != ISSUER:
                raise ValueError("it is no access token of this edge")
            if claims["aud"] != ISSUER:
                raise ValueError("it was issued for somebody else")
            client = self._registry.find(claims["client_id"])
            scopes = frozenset(claims["scope"].split())
            expires_at = int(claims["exp"])
        except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise HandoffError(
                "UNAUTHENTICATED", f"the bearer token cannot be taken: {error!s:.200}"
            ) from error
        if client is None or not client.is_enabled:
            raise HandoffError(
                "UNAUTHENTICATED", f"client {claims['client_id']!r:.80} may not call any more"
            )
        # What was taken from the client since counts at once.
        return Verified(client, scopes & _granted(client, scopes), expires_at)

    def _key_set(self) -> KeySet | None:
        from joserfc.jwk import KeySet, OctKey

        keys = self._registry.keys()
        if not keys:
            return None
        return KeySet(
            [OctKey.import_key(key.value, {"kid": key.key_id, "alg": "HS256"}) for key in keys]
        )

    @cached_property
    def _server(self) -> Any:
        """authlib's server; made at the first request, since importing it takes a quarter of a second."""
        from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, scope_to_list
        from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
        from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
        from joserfc.jwk import KeySet

        registry, clock, key_set = self._registry, self._clock, self._key_set

        class Asking(ClientMixin):  # type: ignore[misc]
            def __init__(self, client: Client) -> None:
                self._client = client

            def get_client_id(self) -> str:
                return self._client.client_id

            def check_client_secret(self, secret: str) -> bool:
                return self._client.is_enabled and self._client.has_secret(secret, clock())

            def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
                return bool(endpoint == "token" and method in METHODS)

            def check_grant_type(self, grant_type: str) -> bool:
                return bool(grant_type == ClientCredentialsGrant.GRANT_TYPE)

            def get_allowed_scope(self, scope: str | None) -> str | None:
                asked = scope_to_list(scope) or list(self._client.scopes)
                granted = _granted(self._client, asked)
                # None is invalid_scope: better than a token that is refused later.
                return " ".join(asked) if granted.issuperset(asked) else None

        class Grant(ClientCredentialsGrant):  # type: ignore[misc]
            TOKEN_ENDPOINT_AUTH_METHODS = METHODS

        class Generator(JWTBearerTokenGenerator):  # type: ignore[misc]
            def get_jwks(self) -> Any:
                keys = key_set()
                assert keys is not None
                # A set of one: then the header says by its id which key signed.
                return KeySet([keys.keys[0]])

            def get_audiences(self, client: Any, user: Any, scope: str) -> str:
                return ISSUER

        class Server(AuthorizationServer):  # type: ignore[misc]
            def query_client(self, client_id: str) -> Asking | None:
                client = registry.find(client_id)
                return None if client is None else Asking(client)

            def save_token(self, token: Any, request: Any) -> None:
                """Nothing is kept: a token says all there is to know."""

            def create_oauth2_request(self, request: Any) -> Any:
                return request

            def handle_response(self, status: int, body: Any, headers: Any) -> TokenAnswer:
                return TokenAnswer(status, body, tuple(headers))

            def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
                """Nobody listens."""

        server = Server(scopes_supported=None)
        server.register_grant(Grant)
        generator = Generator(
            issuer=ISSUER, alg="HS256", expires_generator=lambda *_: LIFETIME_SECONDS
        )
        server.register_token_generator("default", generator)
        return server


def metadata(base_url: str) -> dict[str, Any]:
    """Authorization server metadata (RFC 8414) of an edge whose address is `base_url`."""
    return {
        "issuer": ISSUER,
        "token_endpoint": f"{base_url}/oauth/token",
        "token_endpoint_auth_methods_supported": list(METHODS),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "scopes_supported": list(SCOPES),
    }


def _granted(client: Client, asked: Any) -> frozenset[str]:
    """Of the scopes `asked` for those the client has: itself, by its resource's `*`, or by `admin:*`."""
    return frozenset(scope for scope in asked if allows(client.scopes, scope))
