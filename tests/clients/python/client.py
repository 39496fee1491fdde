"""Drives a NATS server with nats-py. Argument: its URL. Any failure is an exception."""

import asyncio
import sys

import nats
from nats.errors import NoRespondersError


async def main(url):
    nc = await nats.connect(url, allow_reconnect=False, name="python")

    reply = await nc.request("echo", b"hello", timeout=5, headers={"A": "1", "b-C": "x y"})
    assert reply.data == b"hello", reply.data
    assert reply.headers == {"A": "1", "b-C": "x y"}, reply.headers
    replies = await asyncio.gather(*(nc.request("late.x", str(i).encode(), timeout=5) for i in range(200)))
    assert [r.data for r in replies] == [str(i).encode() for i in range(200)]

    try:
        await nc.request("nobody", b"", timeout=5)
        raise AssertionError("a request to nobody was answered")
    except NoRespondersError:
        pass

    plain = await nc.subscribe("p.*.x")
    tail = await nc.subscribe("p.>")
    await nc.publish("p.1.x", b"one", reply="r")
    message = await plain.next_msg(timeout=5)
    assert (message.subject, message.reply, message.data) == ("p.1.x", "r", b"one")
    assert (await tail.next_msg(timeout=5)).data == b"one"

    counts = [0, 0]

    def member(index):
        async def count(_):
            counts[index] += 1

        return count

    for index in range(2):
        await nc.subscribe("q", queue="workers", cb=member(index))
    for _ in range(200):
        await nc.publish("q", b"")
    await nc.flush()
    await asyncio.sleep(0.2)
    assert sum(counts) == 200 and min(counts) > 20, counts

    limited = await nc.subscribe("limited")
    await limited.unsubscribe(limit=2)
    for i in range(5):
        await nc.publish("limited", str(i).encode())
    await nc.flush()
    assert (await limited.next_msg(timeout=5)).data == b"0"
    assert (await limited.next_msg(timeout=5)).data == b"1"
    assert limited.pending_msgs == 0

    big = bytes(1024 * 1024)
    assert (await nc.request("echo", big, timeout=10)).data == big
    await nc.drain()
    print("ok")


asyncio.run(main(sys.argv[1]))
