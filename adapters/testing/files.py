"""Files reach the bridge whole, and people get what the bridge sends."""

from __future__ import annotations

from adapters.contract import Attachment, FileOut, FileRefused, MessageOut
from adapters.testing.expect import must, restarted
from adapters.testing.harness import ConformanceError, Harness
from adapters.testing.host import RecordingHost

DATA = bytes(range(256)) * 3000


async def attachment_is_fetched(harness: Harness) -> None:
    """An attachment is handed over with its message, and its bytes can be had, more than once and
    after a restart."""
    host = RecordingHost()
    adapter = await harness.start(host)
    name = "Bericht ü 1.bin"
    must(await harness.attach("see this", name, DATA, key="attach-1"), "it is acknowledged")
    must(len(host.messages) == 1, "a message with a file is one message")
    said = host.messages[0]
    must(said.text == "see this", f"its words are handed over, not {said.text!r}")
    must([a.name for a in said.attachments] == [name], f"and the file: {said.attachments}")
    wanted = said.attachments[0]
    must(wanted.size in (0, len(DATA)), f"its size is {len(DATA)} or unknown, not {wanted.size}")
    for _ in range(2):
        got = b"".join([chunk async for chunk in adapter.fetch(wanted)])
        must(got == DATA, f"its bytes are those that were sent, not {len(got)} others")
    adapter = await restarted(harness, host)
    got = b"".join([chunk async for chunk in adapter.fetch(wanted)])
    must(got == DATA, "after a restart, too")


async def file_without_words(harness: Harness) -> None:
    """A file without words is a message."""
    host = RecordingHost()
    await harness.start(host)
    must(await harness.attach("", "a.bin", b"x", key="wordless-1"), "it is acknowledged")
    must([m.text.strip() for m in host.messages] == [""], "it is handed over without words")
    must(len(host.messages[0].attachments) == 1, "with its file")


async def unknown_attachment(harness: Harness) -> None:
    """A file that is not there raises `FileRefused`, with words for its sender."""
    host = RecordingHost()
    adapter = await harness.start(host)
    await harness.attach("x", "a.bin", b"x", key="unknown-1")
    known = host.messages[0].attachments[0]
    for ref in ("", "../../etc/passwd", f"{known.ref}x", f"../{known.ref}"):
        try:
            got = [part async for part in adapter.fetch(Attachment(ref, "a.bin", "", 1))]
        except FileRefused as error:
            must(str(error), "the error says what is wrong")
        except Exception as error:
            raise ConformanceError(f"FileRefused, not {type(error).__name__}: {error}") from error
        else:
            raise ConformanceError(f"{ref!r} gives no file, not {len(got)} parts")


async def file_is_shown(harness: Harness) -> None:
    """A file that goes out is shown with its post, once a key."""
    adapter = await harness.start(RecordingHost())
    post = MessageOut("Here it is", files=(FileOut("report.csv", "text/csv", b"a,b"),))
    await adapter.send(harness.place, post, "file-1")
    await adapter.send(harness.place, post, "file-1")
    shown = [seen for seen in await harness.read("ann") if seen.files]
    must(len(shown) == 1, f"one post with a file is shown, not {len(shown)}")
    must("report.csv" in shown[0].files[0], f"by its name, not {shown[0].files}")
