"""Messages arrive as they were sent; a frame that is not of the protocol is a clear error."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, fields
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.sandboxes.local.runner import frames
from trl_mle.sandboxes.local.runner.processes.pipes import Reports, report
from trl_mle.sandboxes.local.runner.protocol import (
    AllEnded,
    GuestReady,
    GuestReply,
    GuestRequest,
    GuestSettings,
    InitReady,
    Layers,
    Message,
    ProgramEnded,
    ProgramFault,
    ProgramLimits,
    ProgramRequest,
    ProgramResult,
    ProgramStart,
    ProgramStarted,
    SetupFailed,
    Status,
    Stop,
    TaskFiles,
    WorkerReady,
    WorkerSettings,
    WorkerUnusable,
)
from trl_mle.sandboxes.local.worker_process import to_execution
from trl_mle.types import Execution, ExecutionStatus, Limits

LIMITS = ProgramLimits(**asdict(Limits(wall_s=5)))
FILES = TaskFiles(("numpy",), ("/home", "/root"), "/public")
KEPT = {"model.bin": b"\x00\xff", "blob": b"", "ordner/größe.txt": b"3"}
REQUEST = ProgramRequest("print('\ud800')", "source \U0001f600", "/public", LIMITS, KEPT)
RESULT = ProgramResult("ok", 0, 1.0, 0.5, 100, b"out\xff", b"", 0, 3, b"id,y\n", None, KEPT, 2)
FAULT = ProgramFault("no space", may_have_started=False, lasting=False)
MESSAGES = [
    WorkerSettings("/folder", 12, ("numpy", "pandas"), (), True),
    WorkerReady(Layers(landlock=6, namespaces=True)),
    WorkerUnusable("ImportError: x"),
    Stop(),
    FILES,
    LIMITS,
    REQUEST,
    ProgramStart(REQUEST, "/program"),
    RESULT,
    FAULT,
    InitReady(),
    ProgramStarted(12.5, 0.01),
    ProgramEnded(13.5, None, 1.0, 5),
    AllEnded(0.0),
    SetupFailed("no mounts"),
    GuestSettings((), ("namespaces",), 180.0, 3600.0),
    GuestReady("3.11.7", 0.05, 2, 512 * 1024**2, FAULT),
    GuestRequest("secret", 80.0, FILES, REQUEST),
    GuestReply("secret", RESULT),
]


def test_every_message_is_tried_here():
    assert {type(message) for message in MESSAGES} == set(Message.__subclasses__())


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message):
    frame = frames.pack(message)
    assert frames.unpack(frame) == message
    sender, receiver = socket.socketpair()
    with sender, receiver:
        frames.send(sender, message)
        frames.send(sender, Stop())
        assert frames.receive(receiver) == message
        assert frames.receive(receiver) == Stop(), "nothing of the next message was read"
        sender.close()
        assert frames.receive(receiver) is None


def plain(message) -> dict:
    return json.loads(frames.to_json(message))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"began": True}, r"`ProgramFault` lacks the fields \[\] and has the unknown fields \['began'\]"),
        ({"may_have_started": ...}, r"lacks the fields \['may_have_started'\]"),
        ({"lasting": 0}, "field `lasting` is of type `int`"),
        ({"reason": None}, "field `reason` is of type `NoneType`"),
        ({"type": "Fault"}, "unknown message 'Fault'"),
        ({"type": ["ProgramFault"]}, "unknown message"),
    ],
)
def test_another_message_is_a_clear_error(change, error):
    changed = {name: value for name, value in {**plain(FAULT), **change}.items() if value is not ...}
    with pytest.raises(frames.FrameError, match=error):
        frames.from_json(json.dumps(changed))


@pytest.mark.parametrize(
    "files", [[], "text", None, {"name": "text"}, {"name": {"blob": 2}}, {"name": {"name": {"blob": 0}}}]
)
def test_files_that_are_no_blobs_are_a_clear_error(files):
    changed = {**plain(ProgramResult("ok", 0, 1.0, 0.5, 1, b"", b"", 0, 0, None, None)), "files": files}
    with pytest.raises(frames.FrameError):
        frames.decode(json.dumps({"message": changed, "blobs": [0, 0]}).encode(), b"")


@pytest.mark.parametrize("blob", [{"blob": 5}, {"blob": -1}, {"blob": "0"}, {"blob": 1.5}, "text", None])
def test_a_blob_that_is_not_there_is_a_clear_error(blob):
    changed = {**plain(ProgramResult("ok", 0, 1.0, 0.5, 1, b"", b"", 0, 0, None, None)), "stdout": blob}
    with pytest.raises(frames.FrameError):
        frames.decode(json.dumps({"message": changed, "blobs": [0, 0]}).encode(), b"")


@given(st.data())
def test_a_frame_that_is_not_whole_is_an_error(data):
    frame = frames.pack(GuestReply("secret", RESULT))
    cut = data.draw(st.integers(0, len(frame) - 1))
    for content in (frame[:cut], frame + b"x", data.draw(st.binary(max_size=60))):
        with pytest.raises(frames.FrameError):
            frames.unpack(content)


def test_a_message_of_another_kind_is_named():
    with pytest.raises(frames.FrameError, match="is `Stop`; expected ProgramResult or ProgramFault"):
        frames.expect(Stop(), ProgramResult, ProgramFault)


def test_the_fields_are_those_of_the_package():
    assert [field.name for field in fields(ProgramLimits)] == [field.name for field in fields(Limits)]
    assert get_args(Status) == get_args(ExecutionStatus)
    filled_later = {"milestones", "metrics"}
    assert {field.name for field in fields(ProgramResult)} | filled_later == {
        field.name for field in fields(Execution)
    }
    execution = to_execution(RESULT)
    assert (execution.stdout, execution.submission, execution.stderr_cut_bytes) == ("out\ufffd", b"id,y\n", 3)
    assert (execution.files, execution.files_cut) == (KEPT, 2)


@pytest.mark.parametrize("reason", ["short", "\\" * 10_000, "\U0001f600" * 5000, "\x00" * 5000])
def test_a_report_of_any_length_is_one_atomic_line(reason):
    reads, writes = os.pipe()
    report(writes, SetupFailed(reason))
    report(writes, InitReady())
    os.close(writes)
    data = os.read(reads, 1 << 16)
    assert [len(line) < 4096 for line in data.split(b"\n")] == [True] * 3
    second_reads, writes = os.pipe()
    os.write(writes, data)
    os.close(writes)
    reports = Reports(second_reads)
    assert reports.read()
    assert reports.fault is not None and reports.fault.startswith(
        reason.encode("ascii", "backslashreplace")[:5].decode()
    )
    assert reports.init_ready and not reports.read() and reports.closed
    os.close(reads)
    os.close(second_reads)
