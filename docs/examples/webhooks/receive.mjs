// Receive webhooks: JavaScript (Node 20 or newer), no dependency. (The package `standardwebhooks` does what verify does.)
//
// WEBHOOK_SECRET is what `backroom webhooks add` printed, or `backroom webhooks secret` for jobs' own webhooks.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const key = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const seen = new Set(); // in earnest: a table with a unique key

/** Whether one of the signatures is ours, and the message at most five minutes old. */
function verify(headers, body) {
  const timestamp = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) < 300)) return false;
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${timestamp}.`), body]);
  const ours = createHmac("sha256", key).update(signed).digest();
  return (headers["webhook-signature"] ?? "").split(" ").some((signature) => {
    const [version, text] = signature.split(",");
    const theirs = Buffer.from(text ?? "", "base64");
    return version === "v1" && theirs.length === ours.length && timingSafeEqual(ours, theirs);
  });
}

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks); // the bytes themselves, not parsed and written anew
  if (!verify(request.headers, body)) return response.writeHead(400).end();
  if (!seen.has(request.headers["webhook-id"])) {
    seen.add(request.headers["webhook-id"]); // a message may come twice
    const { type, data } = JSON.parse(body);
    console.log(type, data.id, data.state);
  }
  response.writeHead(204).end(); // at once: work that takes long belongs behind the answer
}).listen(Number(process.env.PORT ?? 9000), "127.0.0.1");
