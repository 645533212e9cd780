// A caller in JavaScript: loads the contract at run time, makes all nine calls, and prints what
// came of them as JSON.
//
//   node client.js ADDRESS PROTO_FOLDER PICTURE TOKEN

const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const MB = 1024 * 1024;
const CHUNK_BYTES = 512 * 1024;
const [address, protoFolder, picture, token] = process.argv.slice(2);

const definition = protoLoader.loadSync("media_proto/media_service.proto", {
  includeDirs: [protoFolder],
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
});
const { media } = grpc.loadPackageDefinition(definition);
const client = new media.MediaService(address, grpc.credentials.createInsecure(), {
  "grpc.max_send_message_length": 100 * MB + 64 * 1024,
  "grpc.max_receive_message_length": 100 * MB + 64 * 1024,
  "grpc.keepalive_time_ms": 30000,
});

function metadata() {
  const sent = new grpc.Metadata();
  sent.set("authorization", `Bearer ${token}`);
  sent.set("x-request-id", "from-node");
  return sent;
}

const within = (seconds) => ({ deadline: Date.now() + seconds * 1000 });

function call(name, request, seconds = 10) {
  return new Promise((resolve, reject) => {
    client[name](request, metadata(), within(seconds), (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
  });
}

function uploadStream(about, data) {
  return new Promise((resolve, reject) => {
    const stream = client.UploadMediaStream(metadata(), within(60), (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
    stream.write({ metadata: about });
    for (let at = 0; at < data.length; at += CHUNK_BYTES) {
      stream.write({ data: data.subarray(at, at + CHUNK_BYTES) });
    }
    stream.end();
  });
}

function watchUntilDone(request) {
  return new Promise((resolve, reject) => {
    let last;
    const stream = client.WatchMedia(request, metadata(), within(60));
    stream.on("data", (answer) => (last = answer));
    stream.on("end", () => resolve(last));
    stream.on("error", reject);
  });
}

async function refused(calling) {
  try {
    await calling;
  } catch (error) {
    const [details] = error.metadata.get("grpc-status-details-bin");
    return { status: error.code, message: error.details, details: details.toString("base64") };
  }
  throw new Error("this should have been refused");
}

async function main() {
  const data = fs.readFileSync(picture);
  const user_id = "carol";
  const about = {
    filename: "photo.jpg",
    content_type: "image/jpeg",
    user_id,
    purpose: "POST_ATTACHMENT",
  };
  const told = {};
  told.UploadMedia = await call("UploadMedia", { ...about, data }, 60);
  told.UploadMediaStream = await uploadStream({ ...about, expected_size_bytes: data.length }, data);
  const first = told.UploadMedia.media_id;
  const second = told.UploadMediaStream.media_id;
  told.GetMedia = await call("GetMedia", { media_id: first });
  told.ProcessMedia = await call("ProcessMedia", {
    media_id: first,
    user_id,
    processing_options: { generate_thumbnails: true, quality: 50 },
  });
  told.GetSignedUrl = await call("GetSignedUrl", {
    media_id: first,
    expiry_seconds: 60,
    rendition: "320",
  });
  told.BatchGetMedia = await call("BatchGetMedia", { media_ids: [second, "nonsense", first] });
  told.WatchMedia = await watchUntilDone({ media_id: first });
  told.DeleteMedia = await call("DeleteMedia", { media_id: second, user_id });
  told.BatchDeleteMedia = await call("BatchDeleteMedia", {
    media_ids: [first, "nonsense"],
    user_id,
  });
  told.refused = await refused(call("GetMedia", { media_id: second }));
  console.log(JSON.stringify(told));
  client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
