"""All settings together."""

from __future__ import annotations

from msgspec import Struct

from chatapp.config.postgres import PostgresSettings
from chatapp.config.redis import RedisSettings
from chatapp.config.sections import (
    AuthSettings,
    DeliverySettings,
    GeneralSettings,
    LimitsSettings,
    LoggerSettings,
    PresenceSettings,
    RateLimitSettings,
)
from chatapp.config.tracing import TracingSettings


class Settings(Struct, frozen=True, kw_only=True):
    """What ``load`` makes. Holds only values that were checked, can be pickled, and shows no secret in its ``repr``."""

    general: GeneralSettings = GeneralSettings()
    postgres_db: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    logger: LoggerSettings = LoggerSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitsSettings = LimitsSettings()
    delivery: DeliverySettings = DeliverySettings()
    presence: PresenceSettings = PresenceSettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    tracing: TracingSettings = TracingSettings()

    notices: tuple[str, ...] = ()
    """Sentences for the operator about what was accepted but should be looked at. Not a setting."""

    @property
    def has_own_services(self) -> bool:
        """Neither a database nor a Redis is configured: the service runs its own two."""
        return not self.postgres_db.is_configured and not self.redis.is_configured
