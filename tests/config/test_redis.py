from __future__ import annotations

import pytest

from chatapp.config import RedisSettings, Secret
from tests.config.support import from_environ, problems_of

DATABASE = "postgres://u:p@db/chat"


def test_parts_make_a_url_that_keeps_every_letter_of_the_password() -> None:
    settings = RedisSettings(host="cache", port=1, password=Secret("a/b:c@d?"), tls=True)
    assert settings.connection_url() == "rediss://:a%2Fb%3Ac%40d%3F@cache:1/0"
    assert RedisSettings(host="::1").connection_url() == "redis://[::1]:6379/0"


def test_a_url_is_used_as_it_is() -> None:
    settings = RedisSettings(url=Secret("redis://me:x@cache:1/3"), host="other")
    assert settings.connection_url() == "redis://me:x@cache:1/3"


def test_nodes_are_hosts_with_ports() -> None:
    settings = from_environ(
        DATABASE_URL=DATABASE, CHATAPP_REDIS__MODE="sentinel", CHATAPP_REDIS__NODES="a:26379, [::1]:26380"
    ).redis
    assert settings.addresses() == (("a", 26379), ("::1", 26380))
    assert RedisSettings(host="a").addresses() == (("a", 6379),)


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        ({"CHATAPP_REDIS__MODE": "sentinel", "CHATAPP_REDIS__HOST": "a"}, "redis.nodes"),
        ({"CHATAPP_REDIS__NODES": "a:1"}, "redis.mode"),
        ({"CHATAPP_REDIS__MODE": "cluster", "CHATAPP_REDIS__NODES": "a"}, "redis.nodes"),
        ({"REDIS_URL": "cache:6379"}, "redis.url"),
        ({"REDIS_URL": "redis://"}, "redis.url"),
        ({"REDIS_URL": "unix://"}, "redis.url"),
    ],
)
def test_what_does_not_lead_to_a_redis_is_refused(environ: dict[str, str], key: str) -> None:
    assert problems_of(DATABASE_URL=DATABASE, **environ).keys() == {key}


def test_without_a_redis_there_is_no_url() -> None:
    with pytest.raises(ValueError, match="no Redis"):
        RedisSettings().connection_url()
