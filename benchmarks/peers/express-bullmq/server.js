// Jobs over HTTP as they are usually taken with Express and BullMQ: a cluster of processes, each with one connection.
//
//   REDIS_PORT=6379 PORT=3000 PROCESSES=2 node server.js
//
// POST /v1/jobs {name, data, options} and POST /v1/jobs/bulk {jobs: [...]}; both check what they must, store, and
// answer 202. A line "ready" is printed once all processes listen.

import cluster from "node:cluster";
import process from "node:process";

import { Queue } from "bullmq";
import express from "express";
import { Redis } from "ioredis";

const PORT = Number(process.env.PORT ?? 3000);
const PROCESSES = Number(process.env.PROCESSES ?? 2);
const MOST = 1000;

function serve() {
  const connection = new Redis(Number(process.env.REDIS_PORT ?? 6379), "127.0.0.1", { maxRetriesPerRequest: null });
  const queue = new Queue("default", { connection });
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.use(express.json({ limit: "10mb" }));

  const isJob = (job) => job && typeof job.name === "string" && job.name !== "" && job.data !== undefined;

  app.post("/v1/jobs", async (request, response) => {
    const { name, data, options } = request.body ?? {};
    if (!isJob(request.body)) return response.status(422).json({ error: "name and data are needed" });
    const job = await queue.add(name, data, options);
    response.status(202).location(`/v1/jobs/${job.id}`).json(job.asJSON());
  });

  app.post("/v1/jobs/bulk", async (request, response) => {
    const jobs = request.body?.jobs;
    if (!Array.isArray(jobs) || jobs.length < 1 || jobs.length > MOST || !jobs.every(isJob)) {
      return response.status(422).json({ error: `jobs must be 1..${MOST} jobs with name and data` });
    }
    const stored = await queue.addBulk(jobs.map(({ name, data, options }) => ({ name, data, opts: options })));
    response.status(202).json({ jobs: stored.map(({ id }) => ({ id })) });
  });

  app.listen(PORT, "127.0.0.1", () => process.send("listening"));
}

if (cluster.isPrimary) {
  let listening = 0;
  for (let number = 0; number < PROCESSES; number += 1) {
    cluster.fork().on("message", () => {
      listening += 1;
      if (listening === PROCESSES) console.log("ready");
    });
  }
  process.on("SIGTERM", () => {
    for (const worker of Object.values(cluster.workers)) worker.process.kill();
    process.exit(0);
  });
} else {
  serve();
}
