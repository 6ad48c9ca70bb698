"""Passwords: what argon2 says, and who has to wait for it."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import HashingError, VerifyMismatchError

from chatapp.auth import passwords as module
from chatapp.auth.passwords import Passwords
from chatapp.errors import Malformed, Overloaded, Unavailable

THREADS = 2
QUEUE = 3


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cores", lambda: THREADS)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    cheap = Passwords(time_cost=1, memory_kib=8, parallelism=1, queue=QUEUE)
    yield cheap
    cheap.close()


class Gate:
    """Computations stop at it until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def hash(self, _hasher: PasswordHasher, secret: bytes) -> str:
        assert self._open.wait(30)
        return secret.decode()

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(PasswordHasher, "hash", lambda hasher, secret: gate.hash(hasher, secret))
    yield gate
    gate.open()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def fill(passwords: Passwords, callers: int = THREADS + QUEUE) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(passwords.hash(f"caller {i}")) for i in range(callers)]
    await until(lambda: passwords.running + passwords.waiting == callers)
    return tasks


# -- hashes -------------------------------------------------------------------------------------------------------


async def test_a_password_verifies_against_its_hash_and_no_other_does(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse")
    assert await passwords.verify(stored, "correct horse")
    for other in ("correct horse ", "Correct horse", "", "correct"):
        assert not await passwords.verify(stored, other)


async def test_the_hash_is_argon2id_with_the_costs_given_and_a_fresh_salt(passwords: Passwords) -> None:
    one, other = await passwords.hash("secret"), await passwords.hash("secret")
    assert one.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert one != other


@pytest.mark.parametrize("password", ["pässwörd", "\U0001f600" * 6, "with\x00nul", " \t\n", "x" * 1024])
async def test_a_password_is_taken_as_it_is(passwords: Passwords, password: str) -> None:
    assert await passwords.verify(await passwords.hash(password), password)


async def test_a_password_is_not_normalised_nor_cut_at_a_nul(passwords: Passwords) -> None:
    assert not await passwords.verify(await passwords.hash("caf\u00e9"), "cafe\u0301")
    assert not await passwords.verify(await passwords.hash("with\x00nul"), "with\x00other")


async def test_text_without_utf8_is_malformed(passwords: Passwords) -> None:
    with pytest.raises(Malformed):
        await passwords.hash("\ud800")
    with pytest.raises(Malformed):
        await passwords.verify(None, "\ud800")


async def test_an_unknown_user_costs_the_same_work_as_a_known_one(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await passwords.hash("secret")
    worked: list[object] = []
    verify = PasswordHasher.verify

    def recording(hasher: PasswordHasher, stored: str, secret: bytes) -> bool:
        worked.append(extract_parameters(stored))
        with pytest.raises(VerifyMismatchError):  # which means that it was computed to the end
            verify(hasher, stored, secret)
        return verify(hasher, stored, secret)

    monkeypatch.setattr(PasswordHasher, "verify", recording)
    assert not await passwords.verify(stored, "wrong")
    assert not await passwords.verify(None, "wrong")
    assert worked[0] == worked[1]


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "plain-text-password",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$argon2id$",
        "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ",
        "$argon2id$v=19$m=8,t=1,p=1$%%%$%%%",
        "$argon2id$v=19$m=8,t=0,p=0$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
        "$argon2id$v=19$m=99999999999999,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
        "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$é",
        "$argon2id\x00",
    ],
)
async def test_a_hash_that_cannot_be_read_matches_nothing_and_is_logged_without_content(
    passwords: Passwords, caplog: pytest.LogCaptureFixture, stored: str
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert not await passwords.verify(stored, "my-secret")
    assert caplog.messages == ["a stored password hash cannot be read"]
    assert all(record.exc_info is None for record in caplog.records)
    assert passwords.needs_rehash(stored)


async def test_a_hash_of_other_costs_verifies_and_asks_to_be_made_again(passwords: Passwords) -> None:
    stored = await passwords.hash("secret")
    assert not passwords.needs_rehash(stored)
    dearer = Passwords(time_cost=2, memory_kib=16, parallelism=1)
    try:
        assert dearer.needs_rehash(stored)
        assert await dearer.verify(stored, "secret")
    finally:
        dearer.close()


async def test_no_memory_for_a_hash_is_unavailable(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_hasher: PasswordHasher, _secret: bytes) -> str:
        raise HashingError("Memory allocation error")

    monkeypatch.setattr(PasswordHasher, "hash", failing)
    with pytest.raises(Unavailable):
        await passwords.hash("secret")
    assert (passwords.running, passwords.waiting) == (0, 0)


async def test_no_thread_to_begin_with_is_unavailable_and_takes_no_turn(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_pool: ThreadPoolExecutor, *_work: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(ThreadPoolExecutor, "submit", failing)
        for _ in range(THREADS + QUEUE + 1):
            with pytest.raises(Unavailable):
                await passwords.hash("secret")
    assert (passwords.running, passwords.waiting) == (0, 0)
    assert await passwords.hash("secret")


# -- the queue ----------------------------------------------------------------------------------------------------


async def test_as_many_run_as_there_are_threads_and_the_others_wait(passwords: Passwords, gate: Gate) -> None:
    tasks = await fill(passwords)
    assert (passwords.running, passwords.waiting) == (THREADS, QUEUE)
    gate.open()
    assert await asyncio.gather(*tasks) == [f"caller {i}" for i in range(THREADS + QUEUE)]
    assert (passwords.running, passwords.waiting) == (0, 0)


async def test_past_the_queue_a_call_is_refused_at_once(passwords: Passwords, gate: Gate) -> None:
    tasks = await fill(passwords)
    with pytest.raises(Overloaded):
        await passwords.hash("one too many")
    with pytest.raises(Overloaded):
        await passwords.verify(None, "one too many")
    assert (passwords.running, passwords.waiting) == (THREADS, QUEUE)
    gate.open()
    await asyncio.gather(*tasks)
    assert await passwords.hash("now there is room") == "now there is room"


async def test_without_a_queue_only_free_threads_take_work(gate: Gate) -> None:
    passwords = Passwords(time_cost=1, memory_kib=8, parallelism=1, queue=0)
    tasks = await fill(passwords, THREADS)
    with pytest.raises(Overloaded):
        await passwords.hash("one too many")
    gate.open()
    await asyncio.gather(*tasks)
    passwords.close()


async def test_who_has_waited_too_long_is_refused_and_frees_the_place(gate: Gate) -> None:
    passwords = Passwords(time_cost=1, memory_kib=8, parallelism=1, queue=QUEUE, patience_s=0.05)
    running = await fill(passwords, THREADS)
    with pytest.raises(Overloaded):
        await passwords.hash("nobody gets to it")
    assert (passwords.running, passwords.waiting, passwords.stats.refused) == (THREADS, 0, 1)
    gate.open()
    await asyncio.gather(*running)
    assert await passwords.hash("now there is room") == "now there is room"
    passwords.close()


async def test_a_caller_that_gives_up_while_waiting_frees_its_place(passwords: Passwords, gate: Gate) -> None:
    tasks = await fill(passwords)
    tasks[-1].cancel()
    await until(tasks[-1].done)
    assert (passwords.running, passwords.waiting) == (THREADS, QUEUE - 1)
    tasks[-1] = asyncio.create_task(passwords.hash("in its place"))
    await until(lambda: passwords.waiting == QUEUE)
    gate.open()
    assert (await asyncio.gather(*tasks))[-1] == "in its place"


async def test_a_computation_whose_caller_is_gone_still_takes_its_thread(passwords: Passwords, gate: Gate) -> None:
    tasks = await fill(passwords)
    tasks[0].cancel()
    await until(tasks[0].done)
    assert (passwords.running, passwords.waiting) == (THREADS, QUEUE)
    gate.open()
    await asyncio.gather(*tasks[1:])
    await until(lambda: passwords.running == 0)


async def test_any_mixture_of_cancellations_leaves_the_accounts_straight(passwords: Passwords) -> None:
    chance = random.Random(20260601)
    for _ in range(30):
        tasks = [asyncio.create_task(passwords.hash("secret")) for _ in range(chance.randint(1, 8))]
        for _ in range(chance.randint(0, 20)):
            chance.choice(tasks).cancel()
            await asyncio.sleep(0)
            assert 0 <= passwords.running <= THREADS
            assert 0 <= passwords.waiting <= QUEUE
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: passwords.running == 0)
        assert passwords.waiting == 0
    stored = await passwords.hash("secret")
    assert await asyncio.gather(*(passwords.verify(stored, "secret") for _ in range(THREADS + QUEUE)))


async def test_closing_refuses_those_who_wait_and_lets_the_running_end(passwords: Passwords, gate: Gate) -> None:
    tasks = await fill(passwords)
    passwords.close()
    with pytest.raises(Unavailable):
        await passwords.hash("too late")
    gate.open()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[:THREADS] == ["caller 0", "caller 1"]
    assert all(isinstance(result, Unavailable) for result in results[THREADS:])
    assert (passwords.running, passwords.waiting) == (0, 0)


def test_there_is_always_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert module._cores() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(os, "process_cpu_count", lambda: None, raising=False)
    assert module._cores() == 1
