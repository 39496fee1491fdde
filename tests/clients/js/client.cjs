// Drives a NATS server with nats.js. Argument: its URL. Any failure is an exception.
const assert = require("assert");
const { connect, headers, ErrorCode, StringCodec } = require("nats");

async function main(url) {
  const nc = await connect({ servers: url, reconnect: false, name: "js" });
  const text = StringCodec();

  const sent = headers();
  sent.append("A", "1");
  sent.append("A", "2");
  const reply = await nc.request("echo", text.encode("hello"), { timeout: 5000, headers: sent });
  assert.strictEqual(text.decode(reply.data), "hello");
  assert.deepStrictEqual(reply.headers.values("A"), ["1", "2"]);
  const many = await Promise.all(
    Array.from({ length: 200 }, (_, i) => nc.request("late.x", text.encode(`${i}`), { timeout: 5000 })),
  );
  many.forEach((r, i) => assert.strictEqual(text.decode(r.data), `${i}`));
  const single = await nc.request("echo", text.encode("own inbox"), { timeout: 5000, noMux: true });
  assert.strictEqual(text.decode(single.data), "own inbox");

  await assert.rejects(nc.request("nobody", "", { timeout: 5000 }), (e) => e.code === ErrorCode.NoResponders);

  const plain = nc.subscribe("p.*.x", { max: 2 });
  nc.publish("p.1.x", text.encode("one"), { reply: "r" });
  nc.publish("p.2.x", text.encode("two"));
  nc.publish("p.3.x", text.encode("three"));
  const seen = [];
  for await (const m of plain) seen.push([m.subject, m.reply ?? "", text.decode(m.data)].join(" "));
  assert.deepStrictEqual(seen, ["p.1.x r one", "p.2.x  two"]);

  const counts = [0, 0];
  for (const index of [0, 1]) nc.subscribe("q", { queue: "workers", callback: () => counts[index]++ });
  for (let i = 0; i < 200; i++) nc.publish("q");
  await nc.flush();
  assert.ok(counts[0] + counts[1] === 200 && Math.min(...counts) > 20, `${counts}`);

  await nc.drain();
  console.log("ok");
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
