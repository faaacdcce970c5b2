"""One webhook: where events are posted, which ones, and the secret that signs them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, model_validator

from relayer.message import Status
from relayer.public_hosts import is_address, is_public
from relayer.settings.values import Name, Section, admit_files, url_with


class WebhookSettings(Section):
    """A server that is told what happens; URL and secret may come from files."""

    name: Name
    url: Annotated[SecretStr, url_with("https", "http")]
    secret: SecretStr = Field(min_length=32, max_length=1024)
    """Both ends know it; a receiver tells by it that a post is ours."""
    routes: list[str] = Field(default=[], max_length=256)
    """Patterns on `<bridge>:<origin id>><destination id>`; without any, all routes."""
    statuses: list[Status] = Field(default=[], max_length=len(Status))
    """Without any, all statuses."""
    allow_http: bool = False
    allow_private: bool = False
    timeout_s: float = Field(default=10, gt=0, le=60)
    max_attempts: int = Field(default=15, ge=1, le=100)

    model_config = ConfigDict(json_schema_extra=lambda schema: _from_files(schema))

    @model_validator(mode="after")
    def _is_private_on_the_way(self) -> WebhookSettings:
        if not self.allow_http and not self.url.get_secret_value().startswith("https:"):
            raise ValueError("url is not https: use https, or set allow_http where nobody listens")
        return self

    @model_validator(mode="after")
    def _is_public_or_allowed(self) -> WebhookSettings:
        """Of an address; where a name leads is known only when it is posted to."""
        host = urlsplit(self.url.get_secret_value()).hostname or ""
        if not self.allow_private and is_address(host) and not is_public(host):
            raise ValueError(
                "url leads to an address that is not public, where nothing would be posted:"
                " set allow_private if it is meant"
            )
        return self


def _from_files(schema: dict[str, object]) -> None:
    """Either of the secrets may stand in a file."""
    admit_files(schema, "url", "secret")
    del schema["oneOf"]
    schema["required"] = ["name"]
