// A client of the original surface in a language without any of prn's code: one call an invocation.
//
//   node client.js METHOD REQUEST
//
// REQUEST is the request message as JSON. Prints one line of JSON for each response message, then one with the call's
// gRPC status. PRN_ADDRESS, PRN_CLIENT_CERT, PRN_SERVER_CERT (files) and PRN_TLS_KEY (text) are those of prn.
"use strict";

const { X509Certificate } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const { PRN_ADDRESS, PRN_CLIENT_CERT, PRN_SERVER_CERT, PRN_TLS_KEY } = process.env;

const [method, request] = process.argv.slice(2);
const { service } = grpc.loadPackageDefinition(
  protoLoader.loadSync(path.join(__dirname, "process_runner.proto"), {
    keepCase: true,
    longs: Number,
    enums: String,
    defaults: true,
  }),
).proto.v1.ProcessRunnerService;
const definition = service[method];

// The server's certificate is self-signed, so it is its own root. Names say nothing: the certificate is the identity.
const pinned = fs.readFileSync(PRN_SERVER_CERT);
const credentials = grpc.credentials.createSsl(pinned, Buffer.from(PRN_TLS_KEY), fs.readFileSync(PRN_CLIENT_CERT), {
  checkServerIdentity: (_name, { raw }) =>
    raw.equals(new X509Certificate(pinned).raw) ? undefined : new Error("the server's certificate is not the pinned one"),
});
const client = new grpc.Client(PRN_ADDRESS, credentials, { "grpc.ssl_target_name_override": "prn" });

// The numbers of a message's fields, whether the schema knows them or not.
function fieldNumbers(bytes) {
  const numbers = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    numbers.push(tag >>> 3);
    switch (tag & 7) {
      case 0:
        varint();
        break;
      case 1:
        at += 8;
        break;
      case 2: {
        const length = varint();
        at += length;
        break;
      }
      case 5:
        at += 4;
        break;
      default:
        throw new Error(`wire type ${tag & 7}`);
    }
  }
  return numbers;
}

// Bytes are printed as hexadecimal digits.
function print(line) {
  const readable = (_key, value) => (value?.type === "Buffer" ? Buffer.from(value).toString("hex") : value);
  console.log(JSON.stringify(line, readable));
}

function deserialize(bytes) {
  return { message: definition.responseDeserialize(bytes), fields: fieldNumbers(bytes) };
}

function end(status) {
  print({ code: status.code, details: status.details });
  client.close();
}

const call = [definition.path, definition.requestSerialize, deserialize, JSON.parse(request)];
if (definition.responseStream) {
  // The status comes as an event even where there is an error.
  client.makeServerStreamRequest(...call).on("data", print).on("status", end).on("error", () => {});
} else {
  client.makeUnaryRequest(...call, (error, response) => {
    if (!error) print(response);
    end(error ?? { code: grpc.status.OK, details: "" });
  });
}
