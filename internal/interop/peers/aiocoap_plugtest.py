"""The client and the server of ETSI's plugtests on aiocoap, whose DTLS is tinydtls:

    aiocoap_plugtest.py client PORT IDENTITY KEY
    aiocoap_plugtest.py server PORT IDENTITY KEY

The client takes lines such as

    ask CON GET /query?first=1 accept=0 etag=HEX ifmatch=HEX ifnonematch=1 format=0 block=64 payload=HEX
    observe CON GET /obs
    forget | cancel

and prints "answer CODE HEX" for each answer, "notification CODE HEX" for each notification.
"""

import asyncio
import os
import sys

role, port, identity, key = sys.argv[1:5]
os.environ["AIOCOAP_CLIENT_TRANSPORT"] = "tinydtls"
os.environ["AIOCOAP_SERVER_TRANSPORT"] = "tinydtls_server"

import aiocoap  # noqa: E402  it reads the environment
import aiocoap.resource as resource  # noqa: E402
from aiocoap.numbers import ContentFormat  # noqa: E402
from aiocoap.optiontypes import BlockOption  # noqa: E402

CREDENTIAL = {"dtls": {"psk": {"ascii": key}, "client-identity": {"ascii": identity}}}


def say(word, message):
    print(word, message.code.dotted, message.payload.hex(), flush=True)


def parse(words):
    """The request that a line describes."""
    kind, method, path = words[:3]
    message = aiocoap.Message(
        code=getattr(aiocoap, method),
        uri=f"coaps://127.0.0.1:{port}{path}",
        transport_tuning=aiocoap.Unreliable if kind == "NON" else aiocoap.Reliable,
    )
    for word in words[3:]:
        name, value = word.split("=", 1)
        if name == "accept":
            message.opt.accept = int(value)
        elif name == "format":
            message.opt.content_format = int(value)
        elif name == "payload":
            message.payload = bytes.fromhex(value)
        elif name == "etag":
            message.opt.etags = [bytes.fromhex(value)]
        elif name == "ifmatch":
            message.opt.if_match = [bytes.fromhex(value)]
        elif name == "ifnonematch":
            message.opt.if_none_match = True
        elif name == "block":
            message.opt.block2 = BlockOption.BlockwiseTuple(0, False, int(value).bit_length() - 5)
    return message


async def client():
    context = await aiocoap.Context.create_client_context()
    context.client_credentials.load_from_dict({f"coaps://127.0.0.1:{port}/*": CREDENTIAL})
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    observing = None
    tasks = set()
    while line := (await reader.readline()).decode():
        words = line.split()
        if words[0] == "ask":
            say("answer", await context.request(parse(words[1:])).response)
        elif words[0] == "observe":
            message = parse(words[1:])
            message.opt.observe = 0
            observing = context.request(message)
            say("answer", await observing.response)

            async def hear(observation):
                try:
                    async for notification in observation:
                        say("notification", notification)
                except Exception as e:  # its ways to say that it is over
                    print("over", repr(e), flush=True)

            task = asyncio.create_task(hear(observing.observation))
            tasks.add(task)
        elif words[0] == "forget":
            observing.observation.cancel()
            print("forgotten", flush=True)


class Text(resource.Resource):
    def __init__(self, text, **links):
        super().__init__()
        self.text = text
        for name, value in links.items():
            setattr(self, {"interface": "if_"}.get(name, name), value)

    async def render_get(self, request):
        return aiocoap.Message(payload=self.text.encode(), content_format=ContentFormat.TEXT)


class Test(Text):
    async def render_put(self, request):
        return aiocoap.Message(code=aiocoap.CHANGED)

    async def render_post(self, request):
        return aiocoap.Message(code=aiocoap.CREATED, location_path=("location1", "location2", "location3"))

    async def render_delete(self, request):
        return aiocoap.Message(code=aiocoap.DELETED)


class Query(resource.Resource):
    async def render_get(self, request):
        text = "asked " + " ".join(request.opt.uri_query)
        return aiocoap.Message(payload=text.encode(), content_format=ContentFormat.TEXT)


class Separate(Text):
    async def render_get(self, request):
        await asyncio.sleep(0.5)
        return await super().render_get(request)


class LocationQuery(resource.Resource):
    async def render_post(self, request):
        return aiocoap.Message(code=aiocoap.CREATED, location_query=("first=1", "second=2"))


class MultiFormat(resource.Resource):
    async def render_get(self, request):
        if request.opt.accept == 41:
            return aiocoap.Message(payload=b"<a/>", content_format=41)
        return aiocoap.Message(payload=b"plain", content_format=0)


class Stored(resource.ObservableResource):
    """A resource that can be written, conditionally too."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.version = 1

    def tag(self):
        return b"v%d" % self.version

    def put(self, request):
        if request.opt.if_none_match and self.body is not None:
            return aiocoap.Message(code=aiocoap.PRECONDITION_FAILED)
        if request.opt.if_match and self.tag() not in request.opt.if_match:
            return aiocoap.Message(code=aiocoap.PRECONDITION_FAILED)
        code = aiocoap.CREATED if self.body is None else aiocoap.CHANGED
        self.body = request.payload
        self.version += 1
        self.updated_state()
        return aiocoap.Message(code=code)

    async def render_put(self, request):
        return self.put(request)

    async def render_get(self, request):
        if self.body is None:
            return aiocoap.Message(code=aiocoap.NOT_FOUND)
        return aiocoap.Message(payload=self.body, content_format=ContentFormat.TEXT)


class Validate(Stored):
    async def render_get(self, request):
        if self.tag() in request.opt.etags:
            return aiocoap.Message(code=aiocoap.VALID, etag=self.tag())
        return aiocoap.Message(payload=self.body, content_format=ContentFormat.TEXT, etag=self.tag())


class Created(Stored):
    async def render_post(self, request):
        self.body = request.payload
        return aiocoap.Message(code=aiocoap.CREATED, location_path=("large-create", "1"))


class Echo(resource.Resource):
    async def render_post(self, request):
        return aiocoap.Message(code=aiocoap.CHANGED, payload=request.payload.upper(), content_format=ContentFormat.TEXT)


def large(size, seed):
    return "".join(f"{seed} {i:04}\n" for i in range(size))[:size].encode()


class Obs(Stored):
    """A resource that changes by itself, size bytes long."""

    def __init__(self, size=0):
        super().__init__(b"state 0" if not size else large(size, "state 0"))
        self.size = size
        self.task = asyncio.get_running_loop().create_task(self.change())

    async def change(self):
        n = 0
        while True:
            await asyncio.sleep(1)
            n += 1
            self.body = large(self.size, f"state {n}") if self.size else b"state %d" % n
            self.updated_state()

    async def render_delete(self, request):
        self.task.cancel()
        self.updated_state(aiocoap.Message(code=aiocoap.NOT_FOUND))
        return aiocoap.Message(code=aiocoap.DELETED)

    async def render_put(self, request):
        self.task.cancel()
        if request.opt.content_format not in (None, ContentFormat.TEXT):
            self.updated_state(aiocoap.Message(code=aiocoap.NOT_ACCEPTABLE))
            return aiocoap.Message(code=aiocoap.CHANGED)
        return self.put(request)


async def server():
    site = resource.Site()
    site.add_resource([".well-known", "core"], resource.WKCResource(site.get_resources_as_linkheader, impl_info=None))
    site.add_resource(["test"], Test("a test"))
    site.add_resource(["seg1", "seg2", "seg3"], Text("three segments"))
    site.add_resource(["query"], Query())
    site.add_resource(["separate"], Separate("late"))
    site.add_resource(["location-query"], LocationQuery())
    site.add_resource(["multi-format"], MultiFormat())
    site.add_resource(["validate"], Validate(b"version 1"))
    site.add_resource(["create1"], Stored(None))
    site.add_resource(["large"], Text(large(1700, "large").decode()))
    site.add_resource(["large-update"], Stored(b"small"))
    site.add_resource(["large-create"], Created(b"small"))
    site.add_resource(["large-post"], Echo())
    site.add_resource(["obs"], Obs())
    site.add_resource(["obs-large"], Obs(1500))
    site.add_resource(["link1"], Text("link 1", rt="Type1 Type2", interface="If1"))
    site.add_resource(["link2"], Text("link 2", rt="Type2 Type3", interface="If2"))
    site.add_resource(["link3"], Text("link 3", rt="Type1 Type3", interface="foo"))
    # As with coap and coaps, its DTLS is one port above what it is told.
    context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", int(port) - 1))
    context.server_credentials.load_from_dict({":device": CREDENTIAL})
    await asyncio.get_running_loop().create_future()


asyncio.run(client() if role == "client" else server())
