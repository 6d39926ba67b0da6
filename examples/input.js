// Standard input and terminals of processes, from Node: see README.md in this folder.
//
//   node input.js COMMAND [ARGUMENT…]    runs it with this program's standard input, and exits as it did
//   node input.js --terminal             a short session at a terminal
"use strict";

const { X509Certificate, randomBytes } = require("node:crypto");
const { once } = require("node:events");
const fs = require("node:fs");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { promisify } = require("node:util");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const { PRN_ADDRESS = "127.0.0.1:50051", PRN_CLIENT_CERT, PRN_SERVER_CERT, PRN_TLS_KEY, PRN_TLS_KEY_FILE } = process.env;
const schema = path.join(__dirname, "../proto/v1/process_runner.proto");
const loaded = protoLoader.loadSync(schema, { keepCase: true, longs: Number, enums: String, defaults: true });
const { ProcessRunnerService } = grpc.loadPackageDefinition(loaded).proto.v1;

// The server's certificate is self-signed, so it is its own root. Names say nothing: the certificate is the identity.
const pinned = fs.readFileSync(PRN_SERVER_CERT);
const key = PRN_TLS_KEY ? Buffer.from(PRN_TLS_KEY) : fs.readFileSync(PRN_TLS_KEY_FILE);
const credentials = grpc.credentials.createSsl(pinned, key, fs.readFileSync(PRN_CLIENT_CERT), {
  checkServerIdentity: (_name, { raw }) =>
    raw.equals(new X509Certificate(pinned).raw) ? undefined : new Error("the server's certificate is not the pinned one"),
});
// Pings find a connection that is gone without a word, as Node's HTTP/2 sometimes leaves one that was reset. They hold no
// program back: one that waits for a promise, with no timer and nothing open, has ended, with exit code 0.
setInterval(() => {}, 60_000);
const pings = { "grpc.keepalive_time_ms": 5000, "grpc.keepalive_timeout_ms": 5000 };
const server = new ProcessRunnerService(PRN_ADDRESS, credentials, { "grpc.ssl_target_name_override": "prn", ...pings });
const call = (method, request) => promisify(server[method]).call(server, request);

// Calls, again while the server cannot be reached or replaces a part of itself.
async function surely(attempt) {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (error.code !== grpc.status.UNAVAILABLE) throw error;
      console.error(`input.js: ${error.message}: trying again`);
    }
    await sleep(1000);
  }
}

// One stream of input, which is answered when all of it is taken. Without data it ends the input.
//
// It can have any number of messages, each with a piece of data. Here it is one: @grpc/grpc-js makes an error (INTERNAL) of an
// answer that comes while it has more to write, and one comes as soon as the process has closed its input.
function send(opening, data) {
  return new Promise((resolve, reject) => {
    const stream = server.SendInput((error, answer) => (error ? reject(error) : resolve(answer)));
    stream.end({ ...opening, data, end: data.length === 0 });
  });
}

// Feeds a process with the buffers that an iterator gives, and ends its input after them. None has more than 64 KiB, which
// is what Node reads at once and the most that a message takes.
//
// Data is kept until a stream with it was answered. After a loss it is sent again, under the same name, from the same offset:
// the server lets this stream take the old one's place and skips what it has taken, so no byte is lost or comes twice. If
// the server itself has lost how much that was, the call fails (DATA_LOSS).
async function feed(id, source) {
  const opening = { process_identifier: id, writer: randomBytes(16).toString("hex"), offset: 0 };
  for await (const data of source) {
    const answer = await surely(() => send(opening, data));
    if (answer.closed) return; // nobody reads it any more
    opening.offset = answer.taken;
  }
  await surely(() => send(opening, Buffer.alloc(0)));
}

// Writes a process's output to this program's own; returns the exit code that it stands for.
async function follow(request) {
  for await (const { type, data, offset, gap, end } of server.GetOutput(request)) {
    if (gap) throw new Error(`output is missing from ${gap.from} to ${gap.to}`);
    // Stopped or out of memory is no success, whatever code it left with.
    if (end) return end.exit_cause.kind === "EXITED" ? end.exit_cause.exit_code : 128 + end.exit_cause.signal;
    const to = type === "TYPE_STDERR" ? process.stderr : process.stdout;
    if (!to.write(data)) await once(to, "drain");
    request.from_offset = offset + data.length; // where to go on after a loss
  }
  throw Object.assign(new Error("the output was cut off"), { code: grpc.status.UNAVAILABLE });
}

// Starts a process, which waits rather than lose output that its follower has not had yet.
async function start(request) {
  const started = await call("Start", { output_policy: "OUTPUT_POLICY_FOLLOW", ...request });
  return started.response.id;
}

async function main([command, ...args]) {
  let id, source;
  if (command === "--terminal") {
    id = await start({ command: "sh", stdin: "STANDARD_INPUT_TERMINAL", terminal_size: { rows: 24, columns: 80 } });
    await call("ResizeTerminal", { process_identifier: id, terminal_size: { rows: 50, columns: 132 } });
    source = [Buffer.from("stty size; exit 3\n")];
  } else {
    id = await start({ command, args, stdin: "STANDARD_INPUT_PIPE" });
    source = process.stdin;
  }
  const request = { process_identifier: id, control_frames: true, from_offset: 0, follower: true };
  // What goes wrong with the input is told at once; else the process's end is what is waited for.
  const failing = new Promise((_resolve, reject) => feed(id, source).catch(reject));
  return Promise.race([surely(() => follow(request)), failing]);
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    console.error(`input.js: ${error.message}`);
    process.exit(1);
  },
);
