"""Files that people sent: whole, from Slack's own hosts, and the token goes nowhere else."""

import pytest
from aiohttp import web

from adapters.contract import Attachment, FileRefused, TryLater
from adapters.testing import RecordingHost
from tests.adapters.slack_double import BOT_TOKEN
from tests.adapters.slack_harness import slack
from tests.adapters.slack_payloads import ANN


@pytest.fixture
async def town():
    async with slack() as harness:
        harness.adapter = await harness.start(RecordingHost())
        harness.file = harness.slack.methods.file("a.bin", b"bytes", user=ANN)
        harness.wanted = Attachment(harness.file["id"], "a.bin", "", 5)
        yield harness


async def fetched(town) -> bytes:
    return b"".join([chunk async for chunk in town.adapter.fetch(town.wanted)])


async def test_with_the_token_from_slack(town):
    """The bytes come from Slack's file host, asked with the bot's token."""
    assert await fetched(town) == b"bytes"
    assert [token for _, token in town.slack.asked_files] == [f"Bearer {BOT_TOKEN}"]


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1/files/x",
        "https://files.slack.com.example.org/x",
        "https://example.org/files.slack.com",
        "http://files.slack.com/x",
        "https://user@files.slack.com/x",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://[::1",
        "",
    ],
)
async def test_other_hosts_get_nothing(town, url):
    """A file whose address is not on Slack's own hosts is refused without a call."""
    town.file |= {"url_private": url, "url_private_download": url}
    with pytest.raises(FileRefused):
        await fetched(town)
    assert town.slack.asked_files == []


async def test_no_redirect_leads_elsewhere(town):
    """A redirect to another host ends it; the token is not sent on."""
    town.slack.file_answer = web.Response(status=302, headers={"Location": "http://localhost:1/x"})
    with pytest.raises(FileRefused, match="own file hosts"):
        await fetched(town)
    assert len(town.slack.asked_files) == 1


async def test_external_files_are_refused(town):
    """A file that lies with somebody else is none of Slack's, whatever its address."""
    town.file |= {"is_external": True}
    with pytest.raises(FileRefused, match="outside Slack"):
        await fetched(town)
    assert town.slack.asked_files == []


async def test_a_page_instead_of_the_file(town):
    """Without the scope Slack gives a page to sign in: that is no file."""
    page = web.Response(text="<html>sign in</html>", content_type="text/html")
    town.slack.file_answer = page
    with pytest.raises(FileRefused, match="files:read"):
        await fetched(town)


@pytest.mark.parametrize(("status", "error"), [(404, FileRefused), (403, FileRefused),
                                               (500, TryLater), (429, TryLater)])  # fmt: skip
async def test_what_slack_answers(town, status, error):
    """A file that is gone is refused; one that cannot be had now is tried again."""
    town.slack.file_answer = web.Response(status=status)
    with pytest.raises(error):
        await fetched(town)


async def test_what_breaks_off_is_not_the_file(town):
    """A download that ends too early raises and gives no shorter file."""
    town.slack.cutting_files = True
    with pytest.raises(TryLater):
        await fetched(town)


@pytest.mark.parametrize("code", ["missing_scope", "file_deleted", "access_denied"])
async def test_refusals_have_words(town, code):
    """Why a file cannot be had is said to its sender."""
    town.slack.errors["files.info"] = [code]
    with pytest.raises(FileRefused) as caught:
        await fetched(town)
    assert str(caught.value)
