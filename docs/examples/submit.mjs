// Submit a job and wait for its result: JavaScript (Node 20 or newer), no dependency.
//
// BACKROOM_URL (http://127.0.0.1:8000) and, where the stack has keys, BACKROOM_KEY.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const url = process.env.BACKROOM_URL ?? "http://127.0.0.1:8000";
const finished = new Set(["completed", "failed", "cancelled", "expired"]);

/** Send a request; once more if the connection fails or the stack says "later" (429, 502, 503). */
async function call(method, path, { body, headers = {} } = {}, tries = 5) {
  if (process.env.BACKROOM_KEY) headers.Authorization = `Bearer ${process.env.BACKROOM_KEY}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  for (let left = tries - 1; ; left--) {
    let pause = 1;
    try {
      const signal = AbortSignal.timeout(60_000);
      const response = await fetch(url + path, { method, headers, body: JSON.stringify(body), signal });
      if (response.ok) return await response.json();
      const problem = await response.text(); // problem+json says what is wrong, and where
      if (![429, 502, 503].includes(response.status) || left === 0) {
        throw new Error(`${response.status}: ${problem}`, { cause: "refused" });
      }
      pause = Number(response.headers.get("Retry-After") ?? pause);
    } catch (error) {
      if (error.cause === "refused" || left === 0) throw error;
    }
    await sleep(pause * 1000);
  }
}

// The key makes the repeat safe: however often this request arrives, it is one job.
let job = await call("POST", "/v1/jobs", {
  headers: { "Idempotency-Key": randomUUID() },
  body: {
    name: "heavy-task",
    data: { userId: "u1", payload: { rounds: 50 } },
    options: { attempts: 3, backoff: { type: "exponential", delay: 1000 } },
  },
});
console.error("submitted", job.id);

// Long polling: each request is held until the job has finished, for 30 seconds at most.
while (!finished.has(job.state)) {
  job = await call("GET", `/v1/jobs/${job.id}`, { headers: { Prefer: "wait=30" } });
}

if (job.state !== "completed") {
  console.error(`${job.id} is ${job.state}:`, job.error);
  process.exit(1);
}
console.log(JSON.stringify(job.result));
