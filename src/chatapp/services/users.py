"""Users: look up, search, change and delete one's own profile."""

from __future__ import annotations

from datetime import datetime

from chatapp.auth.passwords import Passwords
from chatapp.auth.principal import Principal
from chatapp.errors import Forbidden, InvalidToken, Unavailable, UserNotFound
from chatapp.protocol.ids import UserId
from chatapp.protocol.views import Profile
from chatapp.services import audit
from chatapp.services.fields import Fields
from chatapp.services.leaving import Departure, Person, leave
from chatapp.services.publisher import Publisher
from chatapp.services.revoking import Revoking
from chatapp.services.sessions import Sessions
from chatapp.storage import chats as chat_statements
from chatapp.storage import members as member_statements
from chatapp.storage import users as statements
from chatapp.storage.engine import Database
from chatapp.storage.revocations import RevocationRow
from chatapp.storage.standby import Standby

_ATTEMPTS = 5


class _JoinedMeanwhile(Exception):
    pass


class Users:
    """Everything may raise ``Unavailable``."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        revoking: Revoking,
        sessions: Sessions,
        publisher: Publisher,
        standby: Standby | None = None,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._revoking = revoking
        self._sessions = sessions
        self._publisher = publisher
        self._standby = standby

    async def get(self, user_id: UserId) -> Profile:
        """One user. Raises ``UserNotFound``."""
        profile = await statements.get(self._database, user_id)
        if profile is None:
            raise UserNotFound
        return profile

    async def page(self, *, limit: int, offset: int, q: str = "") -> list[Profile]:
        """Users by name; with ``q`` those of whom a name begins with it. Raises ``ValidationFailed``."""
        fields = Fields()
        prefix = fields.search(q)
        fields.done()
        if self._standby is not None:
            page = await self._standby.users(limit=limit, offset=offset, prefix=prefix)
            if page is not None:
                return page
        return await statements.page(self._database, limit=limit, offset=offset, prefix=prefix)

    async def update(
        self, actor: Principal, user_id: UserId, *, display_name: str | None = None, password: str | None = None
    ) -> Profile:
        """Change one's own profile; a new password ends all tokens but the actor's.

        Raises ``Forbidden`` for another's, ``ValidationFailed``.
        """
        if user_id != actor.user_id:
            raise Forbidden("you can only update your own profile", code="not_yourself")
        fields = Fields()
        display_name = None if display_name is None else fields.display_name(display_name)
        password = None if password is None else fields.password(password)
        fields.done()
        if password is not None:
            return await self._new_password(actor, password, display_name)
        profile = await statements.rename(self._database, user_id, display_name)
        if profile is None:
            raise InvalidToken
        return profile

    async def touch_last_seen(self, actor: Principal) -> datetime:
        """Note that the actor is here now. Raises ``InvalidToken`` for a deleted user."""
        seen = await statements.touch_last_seen(self._database, actor.user_id)
        if seen is None:
            raise InvalidToken
        return seen

    async def delete(self, actor: Principal, user_id: UserId) -> None:
        """Delete one's own account: the name is free, memberships and tokens end, messages stay.

        Groups that the user created pass to the longest-standing admin, else member. Raises ``Forbidden``.
        """
        if user_id != actor.user_id:
            raise Forbidden("you can only delete your own profile", code="not_yourself")
        departure, revocation = await self._delete(actor)
        self._revoking.tell(revocation)
        departure.publish(self._publisher)

    async def _new_password(self, actor: Principal, password: str, display_name: str | None) -> Profile:
        hashed = await self._passwords.hash(password)
        async with self._database.begin() as connection:
            changed = await statements.new_password(connection, actor.user_id, hashed, display_name)
            if changed is None:
                raise InvalidToken
            profile, generation = changed
            row, _ = await self._sessions.end_below(connection, actor.user_id, generation, spared=actor)
            await audit.note(connection, actor, "user.password_set", audit.user(actor.user_id))
        self._revoking.tell(row)
        return profile

    async def _delete(self, actor: Principal) -> tuple[Departure, RevocationRow]:
        for _ in range(_ATTEMPTS):
            try:
                return await self._delete_unless_joined_meanwhile(actor)
            except _JoinedMeanwhile:
                continue
        raise Unavailable

    async def _delete_unless_joined_meanwhile(self, actor: Principal) -> tuple[Departure, RevocationRow]:
        """Chats are locked before the user, as everywhere; so whether they were all is only known afterwards."""
        async with self._database.begin() as connection:
            concerning = await chat_statements.concerning(connection, actor.user_id)
            locked = await chat_statements.lock(connection, concerning)
            generation = await statements.tombstone(connection, actor.user_id)
            if generation is None:
                raise InvalidToken
            chat_ids = [chat.id for chat in locked]
            if not set(chat_ids).issuperset(await member_statements.chats_of(connection, actor.user_id)):
                raise _JoinedMeanwhile
            departure = await leave(connection, locked, Person(actor.user_id, actor.username))
            await chat_statements.inherit(connection, chat_ids, actor.user_id)
            revocation, _ = await self._sessions.end_below(connection, actor.user_id, generation)
            await audit.note(connection, actor, "user.deleted", audit.user(actor.user_id))
        return departure, revocation
