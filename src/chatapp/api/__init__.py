"""The outside over HTTP: the only place that knows Litestar. ``routes.build`` makes the application."""
