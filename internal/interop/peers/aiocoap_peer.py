"""A CoAP peer on aiocoap, whose DTLS is tinydtls:

    aiocoap_peer.py client PORT IDENTITY KEY TEXT
    aiocoap_peer.py server PORT IDENTITY KEY

The client puts TEXT to /x and prints what comes back; the server answers a GET of /.
"""

import asyncio
import os
import sys

role, port, identity, key = sys.argv[1:5]
os.environ["AIOCOAP_CLIENT_TRANSPORT"] = "tinydtls"
os.environ["AIOCOAP_SERVER_TRANSPORT"] = "tinydtls_server"

import aiocoap  # noqa: E402  it reads the environment
import aiocoap.resource as resource  # noqa: E402

CREDENTIAL = {"dtls": {"psk": {"ascii": key}, "client-identity": {"ascii": identity}}}


class Root(resource.Resource):
    async def render_get(self, request):
        return aiocoap.Message(payload=b"hello from the other side\n")


async def client(text):
    context = await aiocoap.Context.create_client_context()
    context.client_credentials.load_from_dict({f"coaps://127.0.0.1:{port}/*": CREDENTIAL})
    request = aiocoap.Message(code=aiocoap.PUT, uri=f"coaps://127.0.0.1:{port}/x", payload=text.encode())
    response = await context.request(request).response
    print(response.payload.decode(), end="", flush=True)
    await context.shutdown()


async def server():
    site = resource.Site()
    site.add_resource([], Root())
    # As with coap and coaps, its DTLS is one port above what it is told.
    context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", int(port) - 1))
    context.server_credentials.load_from_dict({":device": CREDENTIAL})
    await asyncio.get_running_loop().create_future()


asyncio.run(client(sys.argv[5]) if role == "client" else server())
