"""What the tutorial tells people to paste works, as it stands there; and the commands for terminals that it uses."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.replicas import CHATAPP, ReplicaProcess, Replicas, bare_environment, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

DOCS = Path(__file__).parents[2] / "docs"
START = "make run"
PASTE_S = 40


@pytest.fixture(scope="module")
def replica(site: Replicas) -> ReplicaProcess:
    (one,) = site.start(1)
    return one


def blocks(language: str) -> Sequence[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / "tutorial.md").read_text(), re.MULTILINE | re.DOTALL)


def pasted(block: str) -> str:
    """With the paths of this installation, from wherever it is pasted."""
    script = block.replace(".venv/bin/python", shlex.quote(sys.executable)).replace(".venv/bin/chatapp", CHATAPP)
    return script.replace("docs/examples", shlex.quote(str(DOCS / "examples")))


class Terminal:
    """A shell in an empty directory."""

    def __init__(self, directory: Path, replica: ReplicaProcess, **environment: str) -> None:
        self.directory = directory
        self.environment = {**bare_environment(), "CHATAPP_URL": replica.url, **environment}

    def paste(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PASTE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def running(self, script: str, until: str) -> Iterator[None]:
        """Until Ctrl-C; it has printed ``until`` by then."""
        log = self.directory / "output"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"{script.rstrip()} "],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_until(lambda: until in log.read_text() or process.poll() is not None, log=log)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(PASTE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                pytest.fail(f"Ctrl-C did not end it: {log.read_text()}")


def test_the_tutorial_leads_to_a_bot_that_answers_also_what_it_missed(tmp_path: Path, replica: ReplicaProcess) -> None:
    start, person, bot, conversation, question, missed = blocks("sh")
    assert start.strip() == START
    assert blocks("python") == [(DOCS / "examples" / "bot.py").read_text()]
    export = person.splitlines()[0]
    second, third = (Terminal(tmp_path / name, replica) for name in ("second", "third"))
    for terminal in (second, third):
        terminal.directory.mkdir()

    assert ": hello, kitchen" in second.paste(pasted(person))
    with third.running(pasted(bot), "connected to"):
        heard = second.paste(f"{export}\n{pasted(conversation)}")
    assert "ann: How are you?" in heard
    assert "parrot: Hello! Ask me anything." in heard
    assert "parrot: How are you? You tell me!" in heard
    second.paste(f"{export}\n{pasted(question)}")
    with third.running(pasted(bot), "connected to"):
        heard = second.paste(f"{export}\n{pasted(missed)}")
    assert heard.count("parrot: Hello!") == 1
    assert heard.count("How are you? You tell me!") == 1
    assert heard.splitlines()[-1].endswith("parrot: Are you still there? You tell me!")


def test_what_others_write_cannot_touch_the_terminal(tmp_path: Path, replica: ReplicaProcess) -> None:
    terminal = Terminal(tmp_path, replica, CHATAPP_PASSWORD="correct horse")
    hostile = "red \x1b[31m\x1b]0;title\x07 back \u202eabc\u2066 \x9b2J fin"
    terminal.paste(f"printf '/new den\\n%s\\n' {shlex.quote(hostile)} | {CHATAPP} chat --register -u mallory")
    told = terminal.paste(f"{CHATAPP} tail den -u mallory --since 0 --count 1")
    assert told.rstrip().endswith("mallory: red  back abc  fin")
    (line,) = terminal.paste(f"{CHATAPP} tail den -u mallory --since 0 --count 1 --json").splitlines()
    assert line.isascii()
    event = json.loads(line)
    assert (event["type"], event["payload"]["content"]) == ("message", hostile)


def test_what_does_not_work_is_told_in_a_sentence(tmp_path: Path, replica: ReplicaProcess) -> None:
    environment = {**bare_environment(), "CHATAPP_PASSWORD": "wrong horse"}
    for words, sentence in (
        (["chat", "--url", replica.url, "-u", "nobody-at-all"], "invalid credentials"),
        (["tail", "7", "--url", "ftp://here", "-u", "ann"], "is no address like http://localhost:8080"),
        (["chat", "--url", "http://localhost:99999", "-u", "ann"], "is no address like http://localhost:8080"),
    ):
        done = subprocess.run(
            [CHATAPP, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr


def test_who_waits_for_a_service_that_is_not_there_is_told(tmp_path: Path) -> None:
    environment = {**bare_environment(), "CHATAPP_PASSWORD": "correct horse"}
    command = [CHATAPP, "chat", "--url", "http://127.0.0.1:1", "-u", "ann"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as waiting:
        try:
            assert waiting.stderr is not None
            assert waiting.stderr.readline() == "no answer from http://127.0.0.1:1 yet, going on to try\n"
        finally:
            waiting.kill()
