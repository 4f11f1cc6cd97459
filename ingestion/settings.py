"""Every setting of Handoff, read from HANDOFF_* environment variables; paths under HANDOFF_HOME live here, logic does not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

# Systems that may be named by canonical records even though no connector folder polls them.
EVENT_ONLY_SYSTEMS = ("web", "handoff")


class Settings(BaseSettings):
    """Settings from the environment; nothing secret has a default, everything else has a safe one."""

    model_config = SettingsConfigDict(env_prefix="HANDOFF_", extra="ignore", frozen=True)

    home: Path = Field(Path(".handoff"), description="Folder that holds all state.")
    policies: Path | None = Field(
        None, description="Folder of policy YAML; default: models/policies."
    )
    systems: str = Field(
        "", description="Comma-separated names of further systems records may name."
    )

    edge_host: str = "127.0.0.1"
    edge_port: int = Field(8_321, ge=1, le=65_535)
    edge_public_url: str | None = Field(
        None, description="URL senders see, e.g. https://in.example.com; HubSpot signs it."
    )
    edge_tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate and its chain; read again when it changes."
    )
    edge_tls_key: Path | None = Field(None, description="PEM file of its private key.")
    edge_behind_proxy: bool = Field(
        False, description="A proxy ends TLS before the edge, which may then listen in plain HTTP."
    )
    edge_max_requests: int = Field(
        1_024, ge=1, description="Most requests under way; beyond them 503."
    )
    edge_max_bytes: int = Field(
        67_108_864, ge=1_024, description="Most bytes of bodies under way; beyond them 503."
    )
    api_keys: SecretStr | None = Field(
        None,
        description="Comma-separated bearer keys for /v1/events; none = loopback callers only.",
    )
    rate_limits: str = Field(
        "",
        description="Limits by route over the defaults, e.g. events=1000/second;token=10/minute.",
    )
    rate_limit_storage: str = Field(
        "memory://", description="Where they are counted; redis://host:6379/0 for several edges."
    )
    webhook_secrets_hubspot: SecretStr | None = None
    hubspot_undated_signatures: bool = Field(
        False, description="Take HubSpot's signatures v1 and v2 too, which sign no time."
    )
    webhook_secrets_web: SecretStr | None = None
    webhook_secrets_salesforce: SecretStr | None = None
    salesforce_organization_ids: str = Field(
        "", description="Comma-separated organizations whose outbound messages are taken."
    )
    webhook_secrets_marketo: SecretStr | None = None
    webhook_secrets_calendly: SecretStr | None = None
    webhook_secrets_calcom: SecretStr | None = None
    webhook_secrets_typeform: SecretStr | None = None
    webhook_origins: str = Field(
        "", description="Comma-separated origins that CloudEvents' handshake lets send."
    )
    max_body_bytes: int = Field(1_048_576, ge=1_024)
    max_batch_items: int = Field(
        1_000, ge=1, description="Most events of one request; each costs the edge time."
    )

    hubspot_url: str | None = None
    hubspot_token: SecretStr | None = None
    hubspot_api_version: str = "2026-03"
    marketo_url: str | None = None
    marketo_client_id: str | None = None
    marketo_client_secret: SecretStr | None = None
    marketo_lookback_days: int = Field(
        730, ge=1, description="How far back the first poll of Marketo reads."
    )
    marketo_rate_limit: int = Field(
        50, ge=1, le=100, description="Most calls to Marketo in 20 seconds; its own limit is 100."
    )
    marketo_daily_calls: int = Field(
        25_000,
        ge=1,
        description="Most calls of one process to Marketo in 24 hours; its own limit is 50,000.",
    )
    marketo_poll_seconds: float = Field(
        300.0, ge=0, description="How often at most `handoff work` polls Marketo."
    )
    salesforce_url: str | None = None
    salesforce_client_id: str | None = None
    salesforce_client_secret: SecretStr | None = None
    salesforce_api_version: str = "62.0"
    salesforce_bulk_rows: int = Field(
        20_000,
        ge=0,
        description="Rows of one query from which Bulk API 2.0 reads them; 0 = always the REST API.",
    )
    salesforce_usage_percent: float = Field(
        95.0,
        gt=0,
        le=100,
        description="Share of the org's API calls of 24 hours at which polls stop.",
    )
    calendar_url: str | None = None
    calendar_token: SecretStr | None = None
    calendar_ids: str = Field("", description="Comma-separated calendar ids; empty = every rep's.")
    calendly_url: str | None = None
    calendly_token: SecretStr | None = None
    calendly_recheck_days: float = Field(
        3.0, ge=0, le=90, description="Days after its beginning in which a no-show is looked for."
    )
    calcom_url: str | None = None
    calcom_token: SecretStr | None = None
    calcom_api_version: str = "2024-08-13"
    calcom_organization_id: str = Field(
        "", description="Organization whose bookings are read; empty = those the key's owner sees."
    )
    ad_spend_url: str | None = Field(
        None, description="Folder, file or https address of CSV exports of ad spend."
    )
    ad_spend_token: SecretStr | None = None
    ad_spend_columns: str = Field(
        "", description="Column names of ours where a file has others: cost=Media spend;date=When."
    )
    ad_spend_platform: str = Field("", description="Platform of files that do not name theirs.")
    ad_spend_currency: str = Field("USD", description="Currency of files that do not name theirs.")
    ad_spend_decimal: Literal["", ".", ","] = Field(
        "", description="Mark before decimals; empty = as each file shows."
    )
    ad_spend_date_format: str = Field(
        "", description="strptime format of days; empty = as each file shows."
    )

    enrichment_files: Path | None = Field(
        None, description="Folder of CSV files with firmographics by domain."
    )
    enrichment_url: str | None = Field(
        None, description="Address of a service that answers firmographics for ?domain=."
    )
    enrichment_token: SecretStr | None = None

    caldav_url: str | None = None
    caldav_username: str | None = None
    caldav_password: SecretStr | None = None
    caldav_calendars: str = Field(
        "", description="Comma-separated `rep@example.com=/path/`; empty = the account's own."
    )
    caldav_time_zone: str = Field(
        "UTC", description="Zone of whole days in calendars that name none of their own."
    )

    scheduling_database: SecretStr | None = Field(
        None,
        description="postgresql://… where several edges share bookings; empty = a file of HANDOFF_HOME.",
    )
    scheduling_busy_seconds: float = Field(
        15.0,
        ge=0,
        description="How long what a calendar said to be taken is believed when slots are shown.",
    )

    sandbox_port: int = Field(8_322, ge=1, le=65_535)
    sandbox_seed: int = 7
    ui_port: int = Field(3_000, ge=1, le=65_535)

    refresh_seconds: float = Field(
        60.0, ge=1, description="How often `handoff work` polls and renews what people read."
    )
    bulk_slice_seconds: float = Field(
        2.0,
        ge=0,
        description="What a slice of a bulk import may add to a batch of `handoff work`; 0 = all at once.",
    )

    duckdb_memory_limit: str = "4GB"
    duckdb_threads: int = Field(2, ge=1)

    @property
    def root(self) -> Path:
        """HANDOFF_HOME, absolute."""
        return self.home.expanduser().absolute()

    @property
    def log_dir(self) -> Path:
        """Folder of the event log and the archive: the only state that cannot be rebuilt."""
        return self.root / "log"

    @property
    def log_path(self) -> Path:
        """The event log."""
        return self.log_dir / "events.sqlite"

    @property
    def edge_dir(self) -> Path:
        """Clients of the events API and the keys that sign their tokens."""
        return self.root / "edge"

    @property
    def bookings_path(self) -> Path:
        """Holds and bookings, where no other database is named: state that cannot be rebuilt."""
        return self.root / "scheduling" / "bookings.sqlite"

    @property
    def archive_dir(self) -> Path:
        """Parquet segments of everything polled."""
        return self.log_dir / "archive"

    @property
    def warehouse_path(self) -> Path:
        """The warehouse; one process writes it, nobody else can open it meanwhile."""
        return self.root / "warehouse.duckdb"

    @property
    def serving_path(self) -> Path:
        """What analysts open; replaced as a whole after each run."""
        return self.root / "serving" / "handoff.duckdb"

    @property
    def artifacts_dir(self) -> Path:
        """Plans, dbt artefacts, results of expectations, pages."""
        return self.root / "artifacts"

    @property
    def plans_dir(self) -> Path:
        """Sealed plans."""
        return self.artifacts_dir / "plans"

    @property
    def dlt_dir(self) -> Path:
        """dlt's own folders; nothing in them outlives a load."""
        return self.root / "dlt"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance: runs and event history."""
        return self.root / "dagster"

    @property
    def extra_systems(self) -> tuple[str, ...]:
        """Further systems that records may name."""
        return tuple(name.strip() for name in self.systems.split(",") if name.strip())

    @property
    def deliveries_path(self) -> Path:
        """Counts of webhook deliveries, kept over a restart; nothing else depends on it."""
        return self.root / "edge" / "deliveries.json"

    @property
    def allowed_webhook_origins(self) -> frozenset[str]:
        """Origins that CloudEvents' handshake lets send, in lower case."""
        names = self.webhook_origins.lower().split(",")
        return frozenset(name.strip() for name in names if name.strip())

    @property
    def salesforce_organizations(self) -> tuple[str, ...]:
        """Ids of the Salesforce organizations whose outbound messages are taken."""
        ids = self.salesforce_organization_ids.split(",")
        return tuple(name.strip() for name in ids if name.strip())

    def secrets_of(self, field: str) -> list[str]:
        """The comma-separated secrets of one setting, several while keys are being rotated."""
        value: SecretStr | None = getattr(self, field)
        if value is None:
            return []
        return [part.strip() for part in value.get_secret_value().split(",") if part.strip()]

    def webhook_secrets(self, system: str) -> list[str]:
        """Active webhook secrets of `system`; empty means every delivery is refused."""
        field = f"webhook_secrets_{system}"
        return self.secrets_of(field) if field in type(self).model_fields else []
