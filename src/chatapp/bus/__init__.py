"""The bell: carries payloads between replicas, at most once. What it loses is read from PostgreSQL, which keeps."""
