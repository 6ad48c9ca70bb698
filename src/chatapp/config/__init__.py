"""Settings: typed, loaded from ``config.yaml`` and the environment, every problem told at once."""

from chatapp.config.loading import load
from chatapp.config.postgres import PostgresSettings
from chatapp.config.problems import ConfigError, Problem
from chatapp.config.redis import RedisSettings
from chatapp.config.sections import (
    AuthSettings,
    DeliverySettings,
    GeneralSettings,
    LimitsSettings,
    LoggerSettings,
    RateLimitSettings,
)
from chatapp.config.settings import Settings
from chatapp.config.tracing import TracingSettings
from chatapp.config.values import Rate, Secret

__all__ = [
    "AuthSettings",
    "ConfigError",
    "DeliverySettings",
    "GeneralSettings",
    "LimitsSettings",
    "LoggerSettings",
    "PostgresSettings",
    "Problem",
    "Rate",
    "RateLimitSettings",
    "RedisSettings",
    "Secret",
    "Settings",
    "TracingSettings",
    "load",
]
