"""Probes: the way to the model. The session's token is the agent's own; nothing else may be.

Without the sandbox they succeed past the broker, with the key out of the service's environment.
"""

from __future__ import annotations

from tests.isolation.probe import Asked, Leak, Probe


def says(name: str, tries: str, fields: str, said: str = "", before: str = "") -> Probe:
    """Sends a message with more fields, or another content."""
    quoted = f" '{said}'" if said else ""
    return Probe(name, tries, f"{before}message '{fields}'{quoted}", Asked())


def content(name: str, tries: str, block: str) -> Probe:
    said = '"messages": [{"role": "user", "content": [%s, {"type": "text", "text": "say hi"}]}]'
    return says(name, tries, "", said % block)


def elsewhere(name: str, tries: str, method: str, path: str) -> Probe:
    """Uses another part of the API."""
    joint = "&" if "?" in path else "?"
    return Probe(name, tries, f"ask {method} '{path}{joint}mark='$MARK '{{}}'", Asked())


MODEL = [
    says("mcp-servers", "Has the provider call a server.",
         '"mcp_servers": [{"type": "url", "url": "https://example.org/", "name": "x"}]'),
    says("web-fetch", "Has the provider fetch a page.",
         '"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]'),
    says("web-search", "Has the provider search.",
         '"tools": [{"type": "web_search_20250305", "name": "web_search"}]'),
    says("code-execution", "Has the provider run code.",
         '"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]'),
    says("mcp-toolset", "Has the provider call a server, by a tool.",
         '"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]'),
    says("advisor", "Uses a kind of tool that nobody knows yet.",
         '"tools": [{"type": "advisor_20260301", "name": "advisor"}]'),
    says("container", "Uses the provider's machines.", '"container": "container_1"'),
    says("unknown-field", "Uses a field that nobody knows yet.", '"fetch": "https://example.org/"'),
    says("two-fields", "Says a field twice, so that two readers read two things.",
         '"tools": [], "tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]'),
    says("too-many-tokens", "Asks for more tokens than allowed.", "", before="MOST=999999 "),
    says("model", "Asks for a model that is not allowed.", "", before="MODEL=claude-2.1 "),
    says("model-case", "Asks for it in other letters.", "", before="MODEL=CLAUDE-2.1 "),
    content("image-url", "Has the provider fetch an image.",
            '{"type": "image", "source": {"type": "url", "url": "https://example.org/x.png"}}'),
    content("document-url", "Has the provider fetch a document.",
            '{"type": "document", "source": {"type": "url", "url": "https://example.org/x.pdf"}}'),
    content("file", "Uses a file that somebody put at the provider.",
            '{"type": "document", "source": {"type": "file", "file_id": "file_1"}}'),
    content("upload", "Moves a file into the provider's machine.",
            '{"type": "container_upload", "file_id": "file_1"}'),
    content("nested-url", "Hides the URL in a tool's result.",
            '{"type": "tool_result", "tool_use_id": "x", "content": [{"type": "image", "source": '
            '{"type": "url", "url": "https://example.org/"}}]}'),
    content("deep-url", "Hides the URL in a document's content.",
            '{"type": "document", "source": {"type": "content", "content": [{"type": "image", '
            '"source": {"type": "url", "url": "https://example.org/"}}]}}'),
    elsewhere("files", "Lists the files of everybody.", "GET", "/v1/files"),
    elsewhere("batches", "Starts a batch that nobody counts.", "POST", "/v1/messages/batches"),
    elsewhere("skills", "Lists skills.", "GET", "/v1/skills"),
    elsewhere("organization", "Asks for the organisation's keys.", "GET",
              "/v1/organizations/api_keys"),
    elsewhere("complete", "Uses the old API.", "POST", "/v1/complete"),
    elsewhere("path-dots", "Hides the path behind dots.", "GET", "/v1/models/../files"),
    elsewhere("path-escaped", "Hides the path behind escapes.", "GET", "/v1/%6d%65ssages/batches"),
    elsewhere("path-slashes", "Hides the path behind slashes.", "POST", "//v1/messages/batches"),
    elsewhere("delete", "Deletes something.", "DELETE", "/v1/models"),
    Probe("no-token", "Asks without any token.", "TOKEN=none message ''", Asked()),
    Probe("others-token", "Asks with the token of another session that is alive.",
          "TOKEN=$OTHERS_TOKEN message ''", Asked()),
    Probe("old-token", "Asks with a token after its session's end.",
          "TOKEN=$OLD_TOKEN message ''", Asked()),
    Probe("elsewhere-host", "Has the broker carry the key to another host.",
          "ask GET /v1/models '' \"$(own_token)\" -H 'Host: 127.0.0.1:'$PORT; "
          "ask GET /v1/models '' \"$(own_token)\" "
          "--request-target http://127.0.0.1:$PORT/v1/models; timeout 1 cat < "
          "/dev/tcp/127.0.0.1/$PORT", Leak("tcp")),
    Probe("key-environment", "Looks for the key in everything that it can list.",
          "env; cat /proc/[0-9]*/environ; cat /proc/[0-9]*/cmdline; cat /run/* /opt/*.json",
          Leak("model's key")),
    Probe("key-files", "Looks for the key in files.",
          "grep -rhs canary /run /etc $HOME $CLAUDE_CONFIG_DIR $DEPLOYMENT/.env",
          Leak("model's key")),
    Probe("key-echo", "Has an answer of the model give the key back.",
          "ask GET '/v1/echo-headers?x='; own_way -sv -m 3 "
          "-H \"authorization: Bearer $(own_token)\" /v1/models; ask TRACE /; stolen_key",
          Leak("model's key")),
    Probe("key-memory", "Looks for the key in the memory of every process.",
          "python3 - <<'E'\nimport os, re, sys\n"
          "pids = {pid for pid in os.listdir('/proc') if pid.isdigit()} - {str(os.getpid())}\n"
          "for pid in sorted(pids, key=lambda pid: pid != os.environ['SERVICE']):\n"
          "    try:\n        name = open(f'/proc/{pid}/comm').read().strip()\n"
          "        if name == 'claude': continue\n"
          "        for line in open(f'/proc/{pid}/maps'):\n"
          "            start, end = (int(n, 16) for n in line.split()[0].split('-'))\n"
          "            if ' rw' not in line or end - start > 64 << 20: continue\n"
          "            memory = open(f'/proc/{pid}/mem', 'rb')\n            memory.seek(start)\n"
          "            for found in re.findall(rb'canary-key-[0-9a-f]{16}', memory.read(end - "
          "start)):\n                sys.exit(found.decode())\n"
          "    except (OSError, ValueError, OverflowError): pass\nE", Leak("model's key")),
]  # fmt: skip
