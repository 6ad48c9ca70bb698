"""All routes at one glance, and the application that serves them."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide

from chatapp.api.auth import AuthController
from chatapp.api.authentication import Authentication
from chatapp.api.chats import ChatsController
from chatapp.api.documentation import openapi_config
from chatapp.api.errors import exception_handlers
from chatapp.api.headers import add_headers
from chatapp.api.health import HealthController, metrics
from chatapp.api.members import MembersController
from chatapp.api.messages import MessagesController
from chatapp.api.pacing import Pacing
from chatapp.api.parts import Parts
from chatapp.api.reading import FORM_FIELDS
from chatapp.api.request_id import HEADER
from chatapp.api.sessions import SessionsController
from chatapp.api.users import UsersController

BASE = "/api/v1"


def build(parts: Parts) -> Litestar:
    """Make the application. Nothing is started before its lifespan."""
    api = Router(
        BASE,
        route_handlers=[
            HealthController,  # /health, /health/live, /health/ready
            AuthController,  # /auth/register, /login, /logout, /refresh, /ws-ticket, /me
            SessionsController,  # /auth/sessions, /auth/sessions/{session_id}
            UsersController,  # /users, /users/{user_id}, /users/last-seen
            ChatsController,  # /chats, /chats/{chat_id}
            MembersController,  # /chats/{chat_id}/members, …/{member_id}
            MessagesController,  # /messages, /messages/{message_id}, /messages/chat/{chat_id}
        ],
        middleware=[Authentication(parts.tokens, parts.revoking, parts.sessions), Pacing(parts.rate_limits)],
    )
    return Litestar(
        route_handlers=[api, HealthController, metrics, *parts.handlers],
        dependencies={name: _provide(part) for name, part in _parts_by_name(parts).items()},
        exception_handlers=exception_handlers(),
        before_send=[add_headers],
        cors_config=_cors(parts),
        request_max_body_size=parts.body_bytes,
        multipart_form_part_limit=FORM_FIELDS,
        openapi_config=openapi_config() if parts.openapi else None,
        lifespan=list(parts.lifespan),
        logging_config=None,
        state=State({"body_timeout_s": parts.body_timeout_s}),
    )


def _parts_by_name(parts: Parts) -> dict[str, object]:
    """What a handler may ask for, by the name of its argument."""
    return {
        "accounts": parts.accounts,
        "users": parts.users,
        "chats": parts.chats,
        "members": parts.members,
        "messages": parts.messages,
        "sessions": parts.sessions,
        "socket_tickets": parts.socket_tickets,
        "rate_limits": parts.rate_limits,
        "parts": parts,
    }


def _provide(part: object) -> Provide:
    def provide() -> Any:
        return part

    return Provide(provide, sync_to_thread=False)


def _cors(parts: Parts) -> CORSConfig:
    return CORSConfig(
        allow_origins=list(parts.allowed_origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", HEADER],
        expose_headers=[HEADER, "Retry-After"],
        allow_credentials=False,
    )
